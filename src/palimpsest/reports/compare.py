"""The page that compares two runs: what changed, beyond noise?"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Drawing
from scipy.stats import beta

from palimpsest.evidence import schema
from palimpsest.evidence.database import EvidenceError
from palimpsest.evidence.two_runs import TwoRuns
from palimpsest.reports import figure_style as fs
from palimpsest.reports import formatting, two_runs
from palimpsest.reports.blocks import FINDS, Column, Figure, Table, n_caption
from palimpsest.reports.build import write_page
from palimpsest.reports.calls import Calls
from palimpsest.reports.palette import HUES, INK, MUTED
from palimpsest.reports.references import with_statistics
from palimpsest.reports.render import Prepared, uncertainty
from palimpsest.statistics.run_differences import compared

#: Where the database of a run lies inside its folder.
PLACES = (f"results/{schema.FILE}", schema.FILE)
#: Comparisons in the figure.
SHOWN = 24
_CHANGED = HUES["vermilion"].mark
_OTHER = HUES["grey"].mark

#: Claims that are shown in full: another verdict, or a change beyond noise.
_MOVING = pl.col("flipped") | (pl.col("change") == "changed")

_COLUMNS = {
    "verdict": Column("Change", "verdict"),
    "metric": Column("Metric", "code"),
    "grp": Column("Group"),
    "state": Column("State"),
    "difference": Column("New − old [95%]", "interval", low="low", high="high"),
    "detectable": replace(FINDS, header="Could find", empty="no spread, or one replicate in a run"),
    "q": Column("Adjusted p", "p", help="p over all comparisons (Benjamini-Hochberg)"),
    "old": Column("Old", "number"),
    "new": Column("New", "number"),
    "n": Column("n"),
    "study": Column("Study"),
    "where": Column("Condition"),
    "p": Column("p", "p"),
    "q_same": Column("Adjusted p, same", "p", help="p of the equivalence tests, adjusted"),
    "margin": Column("Margin", "number"),
    "note": Column("Note"),
}
_PLOTTED = (
    "metric", "grp", "role", "where", "difference", "low", "high", "detectable", "spread", "p",
    "q", "verdict", "n",
)  # fmt: skip
_UNEQUAL = {
    "study": Column("Study"),
    "metric": Column("Metric", "code"),
    "grp": Column("Group"),
    "rows": Column("Rows compared", "number"),
    "numbers": Column("Other numbers", "number"),
    "texts": Column("Other texts", "number"),
    "alone": Column("In one run alone", "number"),
    "largest": Column("Largest difference", "number"),
    "item": Column("Item of it"),
    "old": Column("Old", "number"),
    "new": Column("New", "number"),
}


def find_database(place: str | Path) -> Path:
    """The database that ``place`` is, or that lies in the run's folder ``place``.

    Raises:
        EvidenceError: there is none; the message says where was looked.
    """
    place = Path(place)
    if place.is_file():
        return place
    found = [place / inner for inner in PLACES if (place / inner).is_file()]
    if found:
        return found[0]
    if place.is_dir():
        looked = " nor ".join(PLACES)
        raise EvidenceError(f"{place}: this folder has neither {looked}; run snakemake there first")
    raise EvidenceError(f"{place}: no such database or run folder")


def build_compare(
    old: str | Path,
    new: str | Path,
    output: str | Path,
    margin_share: float = 0.05,
    margin_spread: float = 0.2,
) -> Path:
    """Write the page that compares two runs to ``output`` and return that path.

    Args:
        old: database or folder of the run to compare with.
        new: the other one.
        output: page to write.
        margin_share: how much counts as no change where all values lie in [0, 1].
        margin_spread: the same elsewhere, in standard deviations of single values.

    Raises:
        EvidenceError: a database is missing or cannot be read.
        ValueError: a margin is not positive.
    """
    paths = find_database(old), find_database(new)
    with TwoRuns(*paths) as database:
        shared, unequal = database.shared(), database.unequal()
        metrics = compared(database.moments(), margin_share, margin_spread)
        calls = Calls(paths, margin_share, margin_spread)
        runs = [
            two_runs.run_facts(database, run) | {"name": str(given), "label": run}
            for run, given in zip(two_runs.RUNS, (old, new), strict=True)
        ]
        claims = two_runs.claims(database)
        both = claims.filter(
            pl.col("old_verdict").is_not_null()
            & pl.col("new_verdict").is_not_null()
            & (pl.col("old").is_not_null() | pl.col("new").is_not_null())
        )
        context = {
            "runs": runs,
            "facts": runs[1],
            "identical": runs[0].get("content") == runs[1].get("content"),
            "shared": two_runs.by_study(shared).to_dicts(),
            "broken_promise": shared.filter(~pl.col("equal") & pl.col("same_machine")).height,
            "sources": calls.sources(database, shared, claims),
            "claims": both.to_dicts(),
            "moving": both.filter(_MOVING).to_dicts(),
            "resting": both.filter(~_MOVING).to_dicts(),
            "claims_alone": _claims_alone(claims, set(database.common_studies())),
            "made": two_runs.made_differently(database),
            "alone": two_runs.alone(database),
            "cost": two_runs.cost(database),
            "tally": Counter(metrics["verdict"].to_list()),
            "equal_numbers": metrics.filter(pl.col("note") == "every number is the same").height,
            "tested": metrics["p"].count(),
            "small": (metrics["p"] <= 0.05).sum(),
            "few": _few_replicates(metrics),
            "single": metrics.filter(pl.col("note").str.starts_with("one replicate")).height,
            "units": _units(metrics),
        }
    said = two_runs.methods(int(context["tested"]), (margin_share, margin_spread))
    context |= {"methods": said, "references": with_statistics([], said)}
    blocks = _unequal_block(unequal, calls)
    blocks += _metric_blocks(metrics, calls, number=len(blocks) + 1)
    context["summary"] = _summary(context, shared, unequal)
    return write_page("compare.html", context, blocks, Path(output))


def _claims_alone(claims: pl.DataFrame, studies: set[str]) -> list[dict[str, Any]]:
    """Claims that one run lacks, of studies that both have."""
    claims = claims.filter(pl.col("study").is_in(studies))
    only = {
        run: pl.col("claim").filter(pl.col(f"{other}_verdict").is_null()).sort()
        for run, other in (("old", "new"), ("new", "old"))
    }
    found = claims.group_by("study").agg(**only).sort("study")
    return [row for row in found.to_dicts() if row["old"] or row["new"]]


def _units(metrics: pl.DataFrame) -> list[tuple[str, int]]:
    counted = metrics.filter(pl.col("p").is_not_null()).group_by("unit", "paired").len()
    return [
        (f"{unit}{', paired' if paired else ''}", count)
        for unit, paired, count in counted.sort("len", descending=True).iter_rows()
    ]


def _few_replicates(metrics: pl.DataFrame) -> int:
    """Tested comparisons with at most three replicates in a run."""
    few = pl.min_horizontal("n_old", "n_new") <= 3
    return metrics.filter(pl.col("unit").str.starts_with("replicates") & few)["p"].count()


def _summary(context: dict[str, Any], shared: pl.DataFrame, unequal: pl.DataFrame) -> list[str]:
    """The answer in a few sentences."""
    if context["identical"]:
        cells = formatting.number(shared.height)
        return [
            f"The observations of both runs are identical, bit by bit: {cells} cells, "
            f"{formatting.number(context['runs'][0]['observations'])} observations."
        ]
    said = []
    if shared.height:
        equal = shared["equal"].sum()
        again = shared.filter(~pl.col("carried_over")).height
        part = "All" if equal == shared.height else f"{formatting.number(equal)}"
        whole = f"{formatting.number(shared.height)} cells that both runs have"
        said.append(
            f"{part} {'' if part == 'All' else 'of '}{whole} are equal bit by bit; "
            f"{formatting.number(again)} of them were measured twice, not carried over."
        )
        if unequal.height:
            said.append(f"{unequal['numbers'].sum():,} numbers inside the same cells differ.")
    else:
        said.append("The runs share no cell: everything was measured under other conditions.")
    tally = context["tally"]
    if total := tally.total():
        said.append(
            f"Of {total:,} metrics of groups that both runs measured in other cells or with other "
            f"numbers, {tally['changed']:,} changed beyond noise, {tally['the same']:,} are the "
            f"same, and of {tally['cannot tell']:,} these runs cannot tell."
        )
        if context["tested"] >= 20:
            said.append(
                f"{context['small']:,} of {context['tested']:,} p-values are below 0.05, where "
                f"noise alone gives about {0.05 * context['tested']:,.0f}."
            )
        if context["few"]:
            said.append(
                f"{context['few']:,} of them rest on three or fewer replicates in a run, in which "
                "only large changes show; more seeds would tell more."
            )
        if context["equal_numbers"]:
            said.append(
                f"{context['equal_numbers']:,} metrics have exactly the same numbers although the "
                "identity of their cells changed."
            )
    flipped = [claim for claim in context["claims"] if claim["flipped"]]
    real = sum(claim["change"] == "changed" for claim in flipped)
    if context["claims"]:
        said.append(
            f"{len(flipped)} of {len(context['claims'])} claims have another verdict"
            + (f", {real or 'none'} of these by more than noise." if flipped else ".")
        )
    return said


def _unequal_block(unequal: pl.DataFrame, calls: Calls) -> list[Prepared]:
    if unequal.is_empty():
        return []
    block = Table(
        "inside",
        "What differs inside the same cells",
        "Cells with one identity should hold one set of numbers. On other hardware the last digits "
        "may differ; on the same machine nothing may. Rows are matched by item, group, step and "
        "metric.",
        calls.unequal(),
        _UNEQUAL,
    )
    return [_prepared(block, "table", 1, unequal)]


def _metric_blocks(metrics: pl.DataFrame, calls: Calls, number: int) -> list[Prepared]:
    """The clearest comparisons, all p-values against what noise gives, and the table."""
    if metrics.is_empty():
        return []
    several = metrics["model"].n_unique() > 1
    frame = metrics.with_columns(
        n=pl.when("paired")
        .then(pl.format("{} {}, paired", "n_old", "unit"))
        .otherwise(pl.format("{} and {} {}", "n_old", "n_new", "unit")),
        state=pl.format("{} · {}", "role", "model") if several else pl.col("role"),
        where=pl.concat_str(
            pl.col("experiment").replace("", None),
            pl.col("condition").replace("", None),
            pl.when(pl.col("step") != 0).then(pl.format("step {}", "step")),
            separator=" · ",
            ignore_nulls=True,
        ),
    )
    blocks = []
    clearest = frame.filter(
        pl.col("p").is_not_null() & pl.col("low").is_finite() & (pl.col("spread") > 0)
    ).head(SHOWN)
    if clearest.height:
        fewest = n_caption(
            f"The {clearest.height} comparisons with the clearest evidence, new minus old in "
            "standard deviations of single values, with 95% intervals. Coloured: changed after "
            "correction for all comparisons",
            " in the run that has fewer",
        )
        blocks.append(_figure(
            1, "clearest", "What moved most clearly",
            fewest(clearest.with_columns(n=pl.min_horizontal("n_old", "n_new"))),
            f"Forest plot of {clearest.height} differences, "
            f"{(clearest['verdict'] == 'changed').sum()} of them changed.",
            clearest.select(*_PLOTTED), _draw_clearest, "difference",
            calls.metrics(
                'pl.col("p").is_not_null() & pl.col("low").is_finite() & (pl.col("spread") > 0)',
                most=SHOWN,
            ),
        ))  # fmt: skip
    tested = frame.filter(pl.col("p").is_not_null()).sort("p")
    if tested.height >= 20:
        place = np.arange(tested.height) + 1
        expected = (place - 0.5) / tested.height
        # The k-th smallest of m independent uniform values has a beta distribution.
        low, high = beta.ppf([[0.025], [0.975]], place, tested.height + 1 - place)
        blocks.append(_figure(
            2, "expected", "Is it more than noise?",
            f"All {tested.height:,} p-values, sorted, against those that noise alone gives. Points "
            "below the line are smaller than noise explains. Band: 95% of each under noise, if "
            "comparisons were independent; metrics of the same models move together, so the whole "
            f"curve may wander out of it. n = {tested.height:,} comparisons.",
            f"{tested.height} sorted p-values against uniform quantiles; the smallest is "
            f"{tested['p'].min():.2g} where {expected[0]:.2g} is expected.",
            tested.select(
                "p", expected=pl.Series(expected), low=pl.Series(low), high=pl.Series(high),
                n=pl.lit(tested.height),
            ),
            _draw_expected, "expected",
            calls.metrics('pl.col("p").is_not_null()', order="p"),
        ))  # fmt: skip
    table = Table(
        "metrics",
        "Every comparison",
        "One row a metric, group, state and condition that both runs measured; the clearest first.",
        calls.metrics(),
        _COLUMNS,
    )
    blocks.append(_prepared(table, "table", number, frame))
    return blocks


def _prepared(block: Figure | Table, kind: str, number: int, frame: pl.DataFrame) -> Prepared:
    return Prepared(
        block,
        kind,
        number,
        sql=block.sql,
        frame=frame,
        caption=str(block.caption),
        language="python",
    )


def _figure(
    place: int,
    id: str,
    title: str,
    caption: str,
    alt: str,
    frame: pl.DataFrame,
    draw: Any,
    number: str,
    how: str,
) -> Prepared:
    """A figure of the column ``number``, with low and high."""
    block = Figure(id, title, caption, alt, how, draw, {number: ("low", "high")})
    item = _prepared(block, "figure", place, frame)
    item.caption += uncertainty(block, frame)
    item.alt = alt
    with fs.style():
        item.svg = fs.to_svg(draw(frame), id=f"{id}-svg", title=title, description=alt)
    return item


def _draw_clearest(frame: pl.DataFrame) -> Drawing:
    figure, axes = fs.panels(height=0.8 + 0.27 * frame.height)
    ax = axes[0, 0]
    names = []
    for place, row in enumerate(frame.iter_rows(named=True)):
        changed = row["verdict"] == "changed"
        colour = _CHANGED if changed else _OTHER
        low, middle, high = (row[key] / row["spread"] for key in ("low", "difference", "high"))
        ax.plot([low, high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
        ax.plot(middle, place, "o" if changed else "s", color=colour, markersize=5)
        group = f" ({row['grp']})" if row["grp"] else ""
        where = _shortened(f"{row['role']}, {row['where']}" if row["where"] else row["role"], 46)
        names.append(f"{row['metric']}{group}\n{where}")
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(frame.height), names, fontsize=7)
    ax.set_ylim(frame.height - 0.5, -0.5)
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("new minus old, in standard deviations of single values")
    return figure


def _draw_expected(frame: pl.DataFrame) -> Drawing:
    figure, axes = fs.panels(height=3.0)
    ax = axes[0, 0]
    expected = frame["expected"].to_numpy()
    ends = [expected[0], 1.0]
    ax.plot(ends, ends, color=MUTED, linewidth=1)
    least = 1e-16
    low = np.maximum(frame["low"].to_numpy(), least)
    ax.fill_between(expected, low, frame["high"].to_numpy(), color=MUTED, alpha=0.2, linewidth=0)
    observed = np.maximum(frame["p"].to_numpy(), least)
    ax.plot(expected, observed, "o", color=HUES["blue"].mark, markersize=3)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("p-value expected by noise alone")
    ax.set_ylabel("p-value found")
    return figure


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
