"""What the page says of unlearned states, where a study has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.reports.blocks import FINDS, Block, Column, Figure, Table, n_caption
from palimpsest.reports.figure_style import chance_line, errorbars, name, panels
from palimpsest.reports.formatting import interval_digits, signed
from palimpsest.reports.sentences import claims_by_name, estimates, interval_and_n

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database


def _draw(frame: pl.DataFrame) -> Drawing:
    states = frame["state"].unique(maintain_order=True).to_list()
    figure, axes = panels(len(states), height=2.5)
    for ax, state in zip(axes[:, 0], states, strict=True):
        errorbars(ax, frame.filter(pl.col("state") == state), "moment", hue="part")
        chance_line(ax, frame["chance"][0])
        ax.set_title(name(state), loc="left", fontsize=9)
        ax.set_ylabel("share right")
        ax.set_ylim(-0.03, 1.04)
        ax.set_xlim(-0.4, 1.4)
    return figure


BLOCKS: list[Block] = [
    Figure(
        "unlearned",
        "Is what was unlearned gone, and the rest still there?",
        n_caption(
            "Forced choice for planted facts in the planted state (before) and in the unlearned "
            "state that was made from it (after), in phrasings that were never trained on. forget: "
            "facts that were to go; retain: facts that had to stay; never: facts that were never "
            "taught, the floor. Bars: 95% intervals, facts resampled"
        ),
        "Recall before and after unlearning by part, one panel for each unlearned state",
        """SELECT role || CASE WHEN count(DISTINCT model) OVER () > 1 THEN ', ' || model ELSE '' END
  AS state, arm AS part, factor AS moment, estimate, low, high, n, unit,
  (SELECT 1 / any_value(value) FROM economic_recall
   WHERE study = $study AND metric = 'choices' AND facts = 'planted') AS chance
FROM statistics
WHERE study = $study AND analysis = 'unlearned' AND metric = 'correct' AND series IS NULL
  AND factor IN ('before', 'after') AND arm <> 'at large'
ORDER BY state, part, moment DESC""",
        _draw,
    ),
    Table(
        "unlearned-table",
        "What unlearning changed",
        "Every measure before and after unlearning, and the change, paired by fact and phrasing. "
        "correct: forced choice; margin: nats by which the answer exceeds the mean of the others; "
        "exposure: bits; share assigned, share truth: probability of the taught and of the true "
        "answer among the alternatives; log p: nats of the true answer. at large: facts that "
        "nobody planted, which show general damage. minus never: distance of planted falsehoods to "
        "the floor, which is the arm never of the same state.",
        """WITH changed AS (
  SELECT role, model, arm, metric, coalesce(series, '') AS asked,
    max(estimate) FILTER (factor = 'before') AS before,
    max(low) FILTER (factor = 'before') AS before_low,
    max(high) FILTER (factor = 'before') AS before_high,
    max(estimate) FILTER (factor = 'after') AS after,
    max(low) FILTER (factor = 'after') AS after_low,
    max(high) FILTER (factor = 'after') AS after_high,
    max(estimate) FILTER (factor = 'after - before') AS change,
    max(low) FILTER (factor = 'after - before') AS low,
    max(high) FILTER (factor = 'after - before') AS high,
    max(p) FILTER (factor = 'after - before') AS p,
    max(detectable) FILTER (factor = 'after - before') AS detectable, max(n) AS n
  FROM statistics WHERE study = $study AND analysis IN ('unlearned', 'unlearned_floor')
  GROUP BY ALL)
SELECT role, model, replace(replace(arm, '-', 'minus'), '_', ' ') AS part,
  CASE asked WHEN '' THEN 'all' ELSE replace(asked, '_', ' ') END AS asked,
  replace(metric, '_', ' ') AS measure, * EXCLUDE (role, model, arm, metric, asked)
FROM changed
ORDER BY role, model, asked <> 'all', asked, metric <> 'correct', metric, part""",
        {
            "role": Column("state"),
            "model": Column("model"),
            "part": Column("part"),
            "asked": Column("asked for"),
            "measure": Column("measure"),
            "before": Column("before [95%]", "interval", low="before_low", high="before_high"),
            "after": Column("after [95%]", "interval", low="after_low", high="after_high"),
            "change": Column("change [95%]", "interval", low="low", high="high"),
            "n": Column("facts", "number", digits=0),
            "p": Column("p (change)", "p"),
            "detectable": FINDS,
        },
    ),
]

METHODS = (
    "Unlearned states were made from the planted states with the same seed: half of the planted "
    "facts of each series and arm, unless the configuration says otherwise, were to be forgotten "
    "and the others had to stay. Both states were asked the same questions, and changes are paired "
    "by fact and phrasing. The floor are the facts of the arm never; planted falsehoods alone are "
    "held against it, since their answers were drawn in the same way. Unlearned states are left "
    "out of all other statistics."
)
LIMITATION = (
    "An unlearned state is held against facts that were never taught to it, not against models "
    "that were trained without the forgotten facts; the probe unlearning does that."
)

#: claim -> what was estimated, and what it means when supported, unclear, contradicted.
_SAID = {
    "forgotten_at_floor": (
        "Unlearning, facts that were to go against facts that were never taught, forced choice "
        "after it",
        "they are back at the floor, within plus or minus 0.10",
        "whether they are back at the floor this run cannot tell",
        "they are not back at the floor",
    ),
    "kept_above_floor": (
        "Facts that had to stay against facts that were never taught, forced choice after "
        "unlearning",
        "they are still there",
        "whether they are still there this run cannot tell",
        "they are gone",
    ),
    "forgetting_is_selective": (
        "Change of forced choice by unlearning, facts that had to stay minus facts that were to go",
        "what was to go lost more",
        "whether it is selective this run cannot tell",
        "what had to stay lost more",
    ),
}


def said(database: Database, study: str) -> list[str]:
    """Sentences of the summary; none where no state was unlearned."""
    return estimates(claims_by_name(database, study), _SAID, interval_and_n) + _changed(
        database, study
    )


def has_any(database: Database, study: str) -> bool:
    """Whether the study has unlearned states."""
    query = "SELECT count(*) FROM statistics WHERE study = ? AND analysis = 'unlearned'"
    return database.frame(query, [study]).item() > 0


def _changed(database: Database, study: str) -> list[str]:
    """For each unlearned state recall before and after, by part, and of facts at large."""
    frame = database.frame(
        "SELECT role, arm, max(estimate) FILTER (factor = 'before') AS before, "
        "max(estimate) FILTER (factor = 'after') AS after, "
        "max(low) FILTER (factor = 'after - before') AS low, "
        "max(high) FILTER (factor = 'after - before') AS high, max(n) AS n FROM statistics "
        "WHERE study = ? AND analysis = 'unlearned' AND metric = 'correct' AND series IS NULL "
        "GROUP BY ALL ORDER BY role, arm",
        [study],
    )
    sentences = []
    for (role,), part in frame.group_by("role", maintain_order=True):
        listed = "; ".join(
            f"{_PARTS.get(row['arm'], name(row['arm']))} {row['before']:.2f} before, "
            f"{row['after']:.2f} after{_interval(row)}, n = {row['n']}"
            for row in part.drop_nulls(["before", "after"]).to_dicts()
        )
        if listed:
            sentences.append(f"Forced choice in the state {name(role)}: {listed}.")
    return sentences


_PARTS = {
    "forget": "facts to be forgotten",
    "retain": "facts that had to stay",
    "never": "facts never taught",
    "at large": "facts at large",
    "later": "facts of later requests",
    "unlisted": "facts of neither set",
}


def _interval(row: dict[str, float | None]) -> str:
    if row["low"] is None:
        return ""
    ends = row["low"], row["high"]
    low, high = (signed(end, interval_digits(ends)) for end in ends)
    return f" (95% interval of the change {low} to {high})"
