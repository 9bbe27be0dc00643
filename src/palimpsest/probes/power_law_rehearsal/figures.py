"""The page of power-law rehearsal: from the database to figures, tables and words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from matplotlib.ticker import FuncFormatter, MaxNLocator

from palimpsest.probes.power_law_rehearsal.pages.tables import TABLES
from palimpsest.probes.power_law_rehearsal.pages.words import (
    REFERENCES,
    limitations,
    methods,
    summary,
)
from palimpsest.reports.blocks import Block, Explore, Figure, StudyPage, n_caption
from palimpsest.reports.evidence import study_entry
from palimpsest.reports.figure_style import (
    chance_line,
    colours_for,
    direct_labels,
    forest,
    name,
    panels,
)
from palimpsest.reports.palette import CYCLE, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

_caption = partial(n_caption, each="")

#: Rows of the stream that claims are judged on.
MAIN = """study = $study AND (role, series, factor) IN (
  SELECT role, series, factor FROM statistics WHERE study = $study AND analysis = 'main')"""
#: Condition -> environment or strategy; the reference stands in both groups, where there are both.
SIDES = """sides AS (
  SELECT arm, CASE metric WHEN 'naive' THEN 'environments' ELSE 'strategies' END AS side
  FROM statistics WHERE study = $study AND analysis = 'condition'
  UNION SELECT arm, 'strategies' FROM statistics
  WHERE study = $study AND analysis = 'condition' AND note LIKE 'reference%' AND EXISTS (
    SELECT 1 FROM statistics
    WHERE study = $study AND analysis = 'condition' AND metric <> 'naive'))"""


def page(database: Database, study: str) -> StudyPage:
    """The page of one study."""
    entry = study_entry(database, study)
    several = database.frame(
        "SELECT count(DISTINCT series || factor) FROM statistics WHERE study = ? AND "
        "analysis = 'level' AND series NOT IN ('identical', 'shuffled')",
        [study],
    ).item()
    return StudyPage(
        study=study,
        title=entry.title,
        question=entry.question,
        summary=summary(database, study),
        blocks=[block for block in _blocks() if block.id != "factors" or several > 1],
        methods=methods(database, study),
        limitations=limitations(database, study),
        references=REFERENCES,
        explore=Explore("average_accuracy", x="condition", colour="benchmark"),
    )


def _blocks() -> list[Block]:
    return [
        Figure(
            "accuracy",
            "What is left of all tasks at the end?",
            _caption(
                "Accuracy over all tasks after the last one, on the oldest task alone, and on each "
                "task just after it was learned. Bars: 95% intervals over seeds"
            ),
            "Average accuracy, accuracy on the oldest task and on new tasks by condition",
            f"""SELECT CASE metric WHEN 'average_accuracy' THEN 'all tasks, at the end'
    WHEN 'oldest_accuracy' THEN 'the oldest, at the end' ELSE 'each, when learned' END AS measured,
  arm AS condition, estimate, low, high, n, unit
FROM statistics WHERE {MAIN} AND analysis = 'level'
  AND metric IN ('average_accuracy', 'oldest_accuracy', 'learned_accuracy')
ORDER BY measured, max(CASE metric WHEN 'average_accuracy' THEN estimate END)
  OVER (PARTITION BY arm) DESC, condition""",
            _draw_accuracy,
        ),
        Figure(
            "contrasts",
            "Is the power law better, or not worse?",
            _caption(
                "Average accuracy after the last task: the reference minus each other condition, "
                "paired by seed. Right of the line the reference is better. Bars: 95% intervals"
            ),
            "Difference of average accuracy between the reference and every other condition",
            f"""SELECT arm AS contrast, estimate, low, high, n, unit, p, q
FROM statistics WHERE {MAIN} AND analysis = 'contrast' AND metric = 'average_accuracy'
ORDER BY estimate DESC""",
            _draw_contrasts,
        ),
        Figure(
            "course",
            "How does it go as tasks come in?",
            _caption(
                "Mean accuracy on all tasks so far, by how many there have been. Bands: 95% "
                "intervals over seeds"
            ),
            "Accuracy on all tasks so far by number of tasks, environments and strategies apart",
            f"""WITH {SIDES}
SELECT side, arm AS condition, step AS tasks, estimate, low, high, n, unit
FROM statistics JOIN sides USING (arm) WHERE {MAIN} AND analysis = 'course'
ORDER BY side, condition, tasks""",
            _draw_course,
        ),
        Figure(
            "retention",
            "How old may a task be?",
            _caption(
                "Accuracy on each task at the end of the stream, by how many tasks have come "
                "since. Points: means with 95% intervals over seeds; lines, 95% bands: the form "
                "of forgetting that fits best (see the table). Dashed: guessing"
            ),
            "Accuracy by age of the task with fitted curves, environments and strategies apart",
            f"""WITH {SIDES}
SELECT side, arm AS condition, analysis, step AS lag, estimate, low, high, n, unit,
  (SELECT max(estimate) FROM statistics WHERE {MAIN} AND analysis = 'guessing') AS guessing
FROM statistics JOIN sides USING (arm)
WHERE {MAIN} AND analysis IN ('retention', 'retention_curve')
ORDER BY side, condition, analysis, lag""",
            _draw_retention,
        ),
        Figure(
            "gap",
            "What does a switch do to old tasks?",
            _caption(
                "Accuracy on traced old tasks in the updates after a new task has begun, above "
                "that just before, mean over switches. A dip that is made good is a stability gap "
                "(De Lange et al. 2023). Bands: 95% intervals over seeds"
            ),
            "Change of accuracy on old tasks by updates after a switch",
            f"""WITH {SIDES}
SELECT side, arm AS condition, step AS updates, estimate, low, high, n, unit
FROM statistics JOIN sides USING (arm)
WHERE {MAIN} AND analysis = 'gap' AND metric = 'accuracy_change' AND step > 0
ORDER BY side, condition, updates""",
            _draw_gap,
        ),
        Figure(
            "facilitation",
            "Are later tasks learned faster?",
            _caption(
                "Accuracy on a task over its first updates, by its place in the stream; identical "
                "tasks must rise (positive control), shuffled labels must not (negative control). "
                "Bands: 95% intervals over seeds"
            ),
            "Accuracy over the first updates of each task by its place, with both controls",
            f"""SELECT CASE WHEN series IN ('identical', 'shuffled')
    THEN series || ' (control)' ELSE arm END AS condition,
  step + 1 AS task, estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND analysis = 'learning' AND metric = 'early_area'
  AND (series IN ('identical', 'shuffled') OR ({MAIN} AND arm IN (
    SELECT arm FROM statistics WHERE study = $study AND analysis = 'condition'
      AND (note LIKE 'reference%' OR note LIKE 'plain%'))))
ORDER BY condition, task""",
            _draw_facilitation,
        ),
        Figure(
            "schedules",
            "What came back, and how often?",
            _caption(
                "Rehearsed examples by the age of their task, share of all that came back, drawn "
                "in this run, mean over networks; both axes logarithmic, where a power law is a "
                "straight line when all ages are to be had. Younger ages are to be had more often. "
                "Bars: 95% intervals over networks"
            ),
            "Share of rehearsed examples by age of the task for every environment",
            f"""SELECT arm AS condition, step AS lag, estimate, low, high, n, unit
FROM statistics WHERE {MAIN} AND analysis = 'returned' ORDER BY condition, lag""",
            _draw_schedules,
        ),
        Figure(
            "factors",
            "Does it hold elsewhere?",
            _caption(
                "Average accuracy after the last task in every combination of benchmark, number of "
                "tasks, width and compute. Bars: 95% intervals over seeds"
            ),
            "Average accuracy by combination of factors and condition",
            """SELECT series || ', ' || factor AS combination, arm AS condition,
  estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'level' AND metric = 'average_accuracy'
  AND series NOT IN ('identical', 'shuffled')
ORDER BY combination, condition""",
            _draw_factors,
        ),
        *TABLES,
    ]


def _draw_accuracy(frame: pl.DataFrame) -> Drawing:
    kinds = ["all tasks, at the end", "the oldest, at the end", "each, when learned"]
    count = frame["condition"].n_unique()
    figure, axes = panels(1, 3, height=0.7 + 0.24 * count)
    for ax, kind in zip(axes[0], kinds, strict=True):
        forest(ax, frame.filter(pl.col("measured") == kind), "condition")
        ax.set_title(kind, loc="left", fontsize=9)
        ax.set_xlim(-0.02, 1.02)
    axes[0, 1].set_xlabel("accuracy")
    return figure


def _draw_contrasts(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=0.7 + 0.26 * frame.height)
    forest(axes[0, 0], frame, "contrast", reference=0.0)
    axes[0, 0].set_xlabel("difference of average accuracy")
    return figure


def _by_side(frame: pl.DataFrame, x: str, label: str, height: float = 2.7) -> Drawing:
    sides = frame["side"].unique(maintain_order=True).to_list()
    figure, axes = panels(len(sides), height=height)
    for ax, side in zip(axes[:, 0], sides, strict=True):
        _bands(ax, frame.filter(pl.col("side") == side), x, _in_all(frame, sides))
        ax.set_title(name(side), loc="left", fontsize=9)
    axes[-1, 0].set_xlabel(label)
    return figure


def _in_all(frame: pl.DataFrame, sides: list[str]) -> list[str]:
    """Conditions that stand in every panel; they come first, so that they look the same there."""
    seen = frame.group_by("condition").agg(pl.col("side").n_unique())
    return sorted(seen.filter(pl.col("side") == len(sides))["condition"])


def _looks(frame: pl.DataFrame, first: list[str]) -> dict[str, tuple[str, str]]:
    """Condition -> colour and line style; where colours come again, lines are broken."""
    there = frame["condition"].unique(maintain_order=True).to_list()
    order = [c for c in first if c in there] + [c for c in there if c not in first]
    colours = colours_for(order)
    return {
        condition: (colours[condition], ("-", "--", ":")[min(2, number // len(CYCLE))])
        for number, condition in enumerate(order)
    }


def _bands(ax: Axes, frame: pl.DataFrame, x: str, first: list[str]) -> None:
    """A line with its band for each condition, named at its end."""
    ends = []
    for condition, (colour, line) in _looks(frame, first).items():
        part = frame.filter(pl.col("condition") == condition).sort(x)
        known = part.drop_nulls(["low", "high"])
        ax.fill_between(known[x], known["low"], known["high"], color=colour, alpha=0.18, lw=0)
        ax.plot(part[x], part["estimate"], color=colour, linewidth=1.4, linestyle=line)
        ends.append((part["estimate"][-1], name(condition), colour))
    direct_labels(ax, ends)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_course(frame: pl.DataFrame) -> Drawing:
    figure = _by_side(frame, "tasks", "tasks learned so far")
    figure.axes[0].set_ylim(0, 1.02)
    return figure


def _draw_gap(frame: pl.DataFrame) -> Drawing:
    figure = _by_side(frame, "updates", "updates since the switch, logarithmic")
    for ax in figure.axes:
        ax.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


def _draw_retention(frame: pl.DataFrame) -> Drawing:
    sides = frame["side"].unique(maintain_order=True).to_list()
    figure, axes = panels(len(sides), height=2.9)
    for ax, side in zip(axes[:, 0], sides, strict=True):
        part = frame.filter(pl.col("side") == side)
        ends = []
        for condition, (colour, line) in _looks(part, _in_all(frame, sides)).items():
            own = part.filter(pl.col("condition") == condition)
            points = own.filter(pl.col("analysis") == "retention")
            curve = own.filter(pl.col("analysis") == "retention_curve")
            known = points.drop_nulls(["low", "high"])
            ax.vlines(known["lag"], known["low"], known["high"], color=colour, linewidth=1.1)
            ax.plot(points["lag"], points["estimate"], "o", color=colour, markersize=3)
            if curve.height:
                band = curve.drop_nulls(["low", "high"])
                ax.fill_between(
                    band["lag"], band["low"], band["high"], color=colour, alpha=0.15, lw=0
                )
                ax.plot(curve["lag"], curve["estimate"], line, color=colour, linewidth=1.3)
            ends.append((points["estimate"][-1], name(condition), colour))
        direct_labels(ax, ends)
        chance_line(ax, frame["guessing"][0], "guessing")
        ax.set_title(name(side), loc="left", fontsize=9)
        ax.set_ylim(0, 1.02)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1, 0].set_xlabel("tasks since it was learned")
    return figure


def _draw_facilitation(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=3.0)
    _bands(axes[0, 0], frame, "task", [])
    axes[0, 0].set_xlabel("place of the task in the stream")
    axes[0, 0].set_ylabel("accuracy over the first updates")
    return figure


def _draw_schedules(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=3.0)
    ax = axes[0, 0]
    ends = []
    # Where an interval reaches 0, the logarithmic axis ends before it does.
    least = 0.5 * frame["estimate"].min()
    for condition, (colour, line) in _looks(frame, []).items():
        part = frame.filter(pl.col("condition") == condition).sort("lag")
        known = part.drop_nulls(["low", "high"])
        ax.vlines(known["lag"], known["low"].clip(least), known["high"], color=colour, lw=0.9)
        ax.plot(part["lag"], part["estimate"], line, marker="o", color=colour, ms=3, lw=1.2)
        ends.append((part["estimate"][-1], name(condition), colour))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    direct_labels(ax, ends)
    ax.set_xlabel("age of the task in tasks")
    ax.set_ylabel("share of what came back")
    return figure


def _draw_factors(frame: pl.DataFrame) -> Drawing:
    kinds = frame["combination"].unique(maintain_order=True).to_list()
    figure, axes = panels(len(kinds), height=0.7 + 0.2 * frame["condition"].n_unique())
    for ax, kind in zip(axes[:, 0], kinds, strict=True):
        forest(ax, frame.filter(pl.col("combination") == kind), "condition")
        ax.set_title(kind, loc="left", fontsize=9)
        ax.set_xlim(-0.02, 1.02)
    axes[-1, 0].set_xlabel("average accuracy after the last task")
    return figure
