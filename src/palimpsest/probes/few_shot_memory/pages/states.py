"""What the page says of states that are held against one another, where a study has such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.reports.blocks import FINDS, Block, Column, Figure, Table, n_caption
from palimpsest.reports.figure_style import forest, name, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database


def _draw(frame: pl.DataFrame) -> Drawing:
    kinds = frame["memory"].unique(maintain_order=True).to_list()
    figure, axes = panels(1, len(kinds), height=0.9 + 0.26 * frame.height / len(kinds))
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = frame.filter(pl.col("memory") == kind)
        label = pl.format("{} {}: {}", "state", "reference", "stimuli")
        forest(ax, part.with_columns(row=label), "row", reference=0.0)
        ax.set_title(name(kind), loc="left", fontsize=9)
        ax.set_xlabel("difference")
    return figure


AGAINST: list[Block] = [
    Figure(
        "against",
        "Does a changed model form new memories as before?",
        n_caption(
            "Recognition by drop of the loss, and recall (share of the rest before the first error "
            "after half a sentence), after the largest number of exposures: a state minus the one "
            "it is held against, the same lists, paired by item. An unlearned state is held "
            "against the state it came from, others against the untouched model. Bars: 95% "
            "intervals, items resampled"
        ),
        "Differences of recognition and recall between states by stimuli",
        """SELECT role AS state, arm AS reference, replace(series, '_', ' ') AS stimuli,
  CASE metric WHEN 'correct_drop' THEN 'recognition' ELSE 'recall' END AS memory,
  estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'against'
  AND (metric = 'correct_drop' OR metric LIKE 'prefix%')
  AND step = (SELECT max(step) FROM statistics WHERE study = $study AND analysis = 'against')
ORDER BY memory DESC, state, reference, stimuli""",
        _draw,
    ),
    Table(
        "against-table",
        "States against one another",
        "Differences of recognition and recall by exposures, and by updates on new material, "
        "paired by item: a state minus the one it is held against.",
        """SELECT role, replace(arm, '_', ' ') AS reference, replace(series, '_', ' ') AS stimuli,
  CASE analysis WHEN 'against' THEN step || ' exposures' ELSE step || ' updates later' END
    AS moment,
  replace(metric, '_', ' ') AS measure, factor, estimate, low, high, n, p, detectable
FROM statistics WHERE study = $study AND analysis IN ('against', 'against_later')
ORDER BY role, reference, stimuli, measure, analysis, step""",
        {
            "role": Column("state"),
            "reference": Column("held against"),
            "stimuli": Column("stimuli"),
            "moment": Column("after"),
            "measure": Column("measure"),
            "estimate": Column("difference [95%]", "interval", low="low", high="high"),
            "n": Column("items", "number", digits=0),
            "p": Column("p", "p"),
            "detectable": FINDS,
            "factor": Column("condition"),
        },
    ),
]

#: claim -> what was estimated, and what it means when supported, unclear, contradicted.
SAID = {
    "unlearned_recognises_alike": (
        "After unlearning, recognition of new sentences minus recognition before it",
        "new sentences are recognised as before, within plus or minus 0.10",
        "whether they are recognised as before this run cannot tell",
        "they are not recognised as before",
    ),
    "unlearned_recalls_alike": (
        "After unlearning, recall of new sentences minus recall before it",
        "new sentences are recalled as before, within plus or minus 0.10",
        "whether they are recalled as before this run cannot tell",
        "they are not recalled as before",
    ),
}


def has_any(database: Database, study: str) -> bool:
    """Whether states of the study are held against one another."""
    query = "SELECT count(*) FROM statistics WHERE study = ? AND analysis = 'against'"
    return database.frame(query, [study]).item() > 0
