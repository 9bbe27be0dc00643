"""The page of unforgettable generalization: from the database to figures and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.cluster.hierarchy import leaves_list, linkage

from palimpsest.probes.unforgettable_generalization.pages.tables import GALLERY, TABLES
from palimpsest.probes.unforgettable_generalization.pages.words import (
    LIMITATIONS,
    REFERENCES,
    methods,
    summary,
)
from palimpsest.reports.blocks import Block, Explore, Figure, StudyPage, n_caption
from palimpsest.reports.evidence import study_entry
from palimpsest.reports.figure_style import direct_labels, forest, name, panels
from palimpsest.reports.heat_map import grids, heat_map
from palimpsest.reports.palette import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

#: Forgetting in the states and the mode that claims are judged on.
JUDGED = """study = $study AND arm = 'forget' AND (role, factor) = (
    SELECT (role, factor) FROM statistics WHERE study = $study AND analysis = 'judged')"""
#: Colours of forget ratios from none to all, light to dark.
_MAP = "Blues"
SPLITS = {
    "train": "trained items",
    "near": "near neighbours",
    "test": "same wording",
    "template": "new wording",
    "topic": "new topic",
}


def page(database: Database, study: str) -> StudyPage:
    """The page of one study."""
    entry = study_entry(database, study)
    return StudyPage(
        study=study,
        title=entry.title,
        question=entry.question,
        summary=summary(database, study),
        blocks=[*_FIGURES, *TABLES, GALLERY],
        methods=methods(database, study),
        limitations=LIMITATIONS,
        references=REFERENCES,
        explore=Explore("right", x="grp", colour="arm", fixed={"role": "taught"}),
    )


def _draw_ratios(frame: pl.DataFrame) -> Drawing:
    splits = [split for split in SPLITS if split in frame["split"].to_list()]
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = panels(1, len(splits), height=1.0 + 0.26 * len(tasks))
    for ax, split in zip(axes[0], splits, strict=True):
        own = frame.filter(pl.col("split") == split)
        order = pl.DataFrame({"task": tasks}).join(own, on="task", how="left")
        forest(ax, order, "task", reference=0.0)
        ax.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_title(SPLITS[split], loc="left", fontsize=8)
        ax.set_xlim(-0.6, 1.6)
    figure.supxlabel("forget ratio", fontsize=8)
    return figure


def _draw_transfer(frame: pl.DataFrame) -> Drawing:
    tasks = sorted({*frame["task"], *frame["other"]})
    found = grids(frame.to_dicts(), ("task", "other"), (tasks, tasks))
    order = _clustered(found[0])
    figure, axes = panels(height=1.6 + 0.34 * len(tasks))
    ax = axes[0, 0]
    cells = (grid[np.ix_(order, order)] for grid in found)
    heat_map(ax, *cells, colours=_MAP, ends=(0, 1), absent="not learned")
    labels = [name(tasks[k]) for k in order]
    ax.set_yticks(range(len(tasks)), labels)
    ax.set_xticks(range(len(tasks)), labels, rotation=40, ha="right")
    ax.set_ylabel("forgotten")
    ax.set_xlabel("asked")
    return figure


def _clustered(grid: np.ndarray) -> list[int]:
    """Tasks that do and suffer alike beside one another."""
    if len(grid) < 3:
        return list(range(len(grid)))
    filled = np.where(np.isfinite(grid), np.clip(grid, -1, 2), 0.0)
    return leaves_list(linkage(np.hstack([filled, filled.T]), "average")).tolist()


def _draw_depth(frame: pl.DataFrame) -> Drawing:
    tasks = frame["task"].unique(maintain_order=True).to_list()
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = panels(rows, columns, height=2.2)
    for place, ax in enumerate(axes.flat):
        if place >= len(tasks):
            ax.set_visible(False)
            continue
        ends = []
        for (line,), part in frame.filter(pl.col("task") == tasks[place]).group_by(
            ["line"], maintain_order=True
        ):
            colour, dashes = _LINES[str(line)]
            ax.plot(part["layer"], part["estimate"], dashes, color=colour, linewidth=1.2)
            known = part.drop_nulls(["low", "high"])
            ax.fill_between(
                known["layer"], known["low"], known["high"], color=colour, alpha=0.12, linewidth=0
            )
            ends.append((part["estimate"][-1], str(line), colour))
        if place % columns == columns - 1 or place == len(tasks) - 1:
            direct_labels(ax, ends)
        ax.set_title(name(tasks[place]), loc="left", fontsize=8)
        ax.set_ylim(0, 1.05)
    figure.supxlabel("layer", fontsize=8)
    figure.supylabel("accuracy of the linear probe", fontsize=8)
    return figure


#: Before, after, and what a probe learns by heart.
_LINES = {"before": (INK, "-"), "after": ("#d55e00", "-"), "control": (MUTED, "--")}


def _draw_relearning(frame: pl.DataFrame) -> Drawing:
    tasks = frame["task"].unique(maintain_order=True).to_list()
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = panels(rows, columns, height=2.0)
    colours = {"after forgetting": "#d55e00", "at first": INK}
    for place, ax in enumerate(axes.flat):
        if place >= len(tasks):
            ax.set_visible(False)
            continue
        ends = []
        for (line,), part in frame.filter(pl.col("task") == tasks[place]).group_by(
            ["line"], maintain_order=True
        ):
            colour = colours[str(line)]
            ax.plot(part["updates"], part["estimate"], "o-", color=colour, markersize=3)
            known = part.drop_nulls(["low", "high"])
            ax.vlines(known["updates"], known["low"], known["high"], color=colour, linewidth=0.9)
            ends.append((part["estimate"][-1], str(line), colour))
        if place % columns == columns - 1 or place == len(tasks) - 1:
            direct_labels(ax, ends)
        ax.set_title(name(tasks[place]), loc="left", fontsize=8)
        ax.set_ylim(0, 1.05)
    figure.supxlabel("updates with true labels", fontsize=8)
    figure.supylabel("accuracy, unseen items", fontsize=8)
    return figure


def _draw_predictors(frame: pl.DataFrame) -> Drawing:
    kinds = frame["predictor"].unique(maintain_order=True).to_list()
    figure, axes = panels(1, len(kinds), height=2.8, sharex=False)
    for ax, kind in zip(axes[0], kinds, strict=True):
        own = frame.filter(pl.col("predictor") == kind)
        ax.vlines(own["x"], own["low"], own["high"], color=MUTED, linewidth=0.9)
        ax.hlines(own["estimate"], own["x_low"], own["x_high"], color=MUTED, linewidth=0.9)
        ax.plot(own["x"], own["estimate"], "o", color=INK, markersize=4)
        for number, row in enumerate(own.sort("estimate").to_dicts()):
            ax.annotate(
                name(row["task"]),
                (row["x"], row["estimate"]),
                xytext=(3, 3 if number % 2 else -8),
                textcoords="offset points",
                fontsize=6.5,
                color=MUTED,
            )
        ax.set_title(kind, loc="left", fontsize=8)
        ax.margins(x=0.2)
    axes[0, 0].set_ylabel("forget ratio, unseen items")
    return figure


_FIGURES: list[Block] = [
    Figure(
        "ratios",
        "How far does forgetting reach?",
        n_caption(
            "Forget ratio of each task after random labels: 0 as before, 1 (dashed) as a guesser. "
            "trained: the items with random labels; near: edited and paraphrased neighbours of "
            "them; then unseen items of the same wording and topic, of new wordings, of new "
            "topics. Missing: not learned above chance. Bars: 95% intervals, items resampled"
        ),
        "Forget ratio with interval for each task, one panel for each kind of items",
        f"""SELECT series AS task, metric AS split, estimate, low, high, n, unit
FROM statistics WHERE {JUDGED} AND analysis = 'ratio'
  AND metric IN ('train', 'near', 'test', 'template', 'topic')
ORDER BY task, split""",
        _draw_ratios,
    ),
    Figure(
        "transfer",
        "Does forgetting one task reach the others?",
        n_caption(
            "Forget ratio of the task in a column after the task in a row was forgotten, unseen "
            "items; tasks that do and suffer alike lie beside one another. The diagonal is the "
            "forgotten task itself. Below: 95% intervals, items resampled",
            " a cell",
        ),
        "Heat map of forget ratios, forgotten task by asked task",
        f"""SELECT series AS task, metric AS other, estimate, low, high, n, unit
FROM statistics WHERE {JUDGED} AND analysis = 'transfer' ORDER BY task, other""",
        _draw_transfer,
    ),
    Figure(
        "depth",
        "Is the knowledge still there?",
        n_caption(
            "Accuracy of a linear probe on hidden states at the end of the prompt, layer by layer, "
            "fitted and judged on unseen items with true labels by nested cross-validation: before "
            "and after forgetting. control: random labels a topic, what the probe learns by heart, "
            "one number a replicate. Bands: 95% intervals, items (control: replicates) resampled"
        ),
        "Accuracy of linear probes by layer before and after forgetting, one panel a task",
        f"""SELECT series AS task, 'after' AS line, step AS layer, estimate, low, high, n, unit
FROM statistics WHERE {JUDGED} AND analysis = 'layer' AND metric = 'probe'
UNION ALL
SELECT series, 'before', step, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'layer' AND metric = 'probe'
  AND arm = 'before' AND role = (
    SELECT role FROM statistics WHERE study = $study AND analysis = 'judged')
UNION ALL
SELECT series, 'control', step, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'layer' AND metric = 'control'
  AND arm = 'before' AND role = (
    SELECT role FROM statistics WHERE study = $study AND analysis = 'judged')
ORDER BY task, line DESC, layer""",
        _draw_depth,
    ),
    Figure(
        "relearning",
        "How soon is it back?",
        n_caption(
            "Accuracy on unseen items by updates with true labels: after forgetting, and in the "
            "model that was never taught. Bars: 95% intervals, items resampled"
        ),
        "Accuracy by updates of relearning and of first learning, one panel a task",
        f"""SELECT series AS task, 'after forgetting' AS line, step AS updates, estimate, low, high,
  n, unit
FROM statistics WHERE {JUDGED} AND analysis = 'relearning' AND metric = 'right'
UNION ALL
SELECT series, 'at first', step, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'relearning' AND metric = 'right'
  AND arm = 'first'
ORDER BY task, line, updates""",
        _draw_relearning,
    ),
    Figure(
        "predictors",
        "What predicts how far it reaches?",
        n_caption(
            "Forget ratio of unseen items against what was known of a task before forgetting. "
            "loss: of the right choice among the choices, in nats; confidence: probability of the "
            "likeliest choice; variance: of last-layer states of training items, as a share of "
            "their mean squared norm. Bars: 95% intervals, items (variance: replicates) resampled"
        ),
        "Forget ratio of unseen items of each task against loss, confidence and variance",
        f"""WITH reach AS (
  SELECT series, estimate, low, high, n, unit FROM statistics
  WHERE {JUDGED} AND analysis = 'ratio' AND metric = 'unseen' AND estimate IS NOT NULL),
known AS (
  SELECT series, metric AS predictor, estimate AS x, low AS x_low, high AS x_high
  FROM statistics
  WHERE study = $study AND analysis = 'task' AND metric IN ('loss', 'confidence', 'variance'))
SELECT predictor, series AS task, x, x_low, x_high, estimate, low, high, n, unit
FROM reach JOIN known USING (series) ORDER BY predictor, task""",
        _draw_predictors,
        numbers={"estimate": ("low", "high"), "x": ("x_low", "x_high")},
    ),
]
