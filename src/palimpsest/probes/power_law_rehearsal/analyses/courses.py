"""What happens on the way: learning of each task, the stability gap, growth with the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.power_law_rehearsal.analyses.frames import (
    Data,
    Found,
    Rows,
    least,
    paired,
    settings_of,
    with_note,
)
from palimpsest.statistics.comparisons import equivalence_paired, noninferiority, paired_difference
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings
    from palimpsest.statistics import Estimate

#: Margins of the controls, fixed beforehand.
KEPT, TAUGHT = 0.02, 0.05
#: Share of later tasks that must reach the criterion for a ratio to mean anything.
REACHED = 0.98


def facilitation(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """How fast tasks are learned, by their place, and against the first."""
    rows: Rows = []
    for place, values, part in settings_of(data.learning, ["condition", "metric", "task"]):
        estimate = clustered_mean(part["value"].to_numpy(), unit="networks")
        common = place | {"arm": values["condition"], "step": values["task"]}
        rows.append(row("learning", values["metric"], estimate, **common))
    found: Found = {}
    for place, values, part in settings_of(data.learning, ["condition"]):
        later = _later_minus_first(part)
        if later is None:
            continue
        common = place | {"arm": values["condition"]}
        rows.append(row("facilitation", "early_area, later - first", later, **common))
        ratio = _examples_ratio(part)
        if ratio is not None:
            rows.append(
                row("facilitation", "examples to criterion, later / first", ratio, **common)
            )
    main = data.main(data.learning, settings).filter(pl.col("condition") == settings.reference)
    ratio = _examples_ratio(main)
    if ratio is not None:
        found["facilitates"] = ratio
    same = _later_minus_first(data.control(data.learning, "identical"))
    if same is not None:
        found["identical_tasks_facilitate"] = same
    shuffled = _sides(data.control(data.learning, "shuffled"), "early_area")
    if shuffled is not None:
        found["unlearnable_tasks_teach_nothing"] = equivalence_paired(
            shuffled[0].to_numpy(), shuffled[1].to_numpy(), TAUGHT, unit="networks"
        )
    return rows, found


def _sides(part: pl.DataFrame, metric: str) -> tuple[pl.Series, pl.Series] | None:
    """Mean of the second half of the tasks, and the first task, by network."""
    part = part.filter(pl.col("metric") == metric)
    if part.is_empty():
        return None
    half = (part["task"].max() + 1) // 2
    later = part.filter(pl.col("task") >= max(half, 1))
    later = later.group_by("network_seed", maintain_order=True).agg(pl.col("value").mean())
    one, two, _ = paired(later, part.filter(pl.col("task") == 0))
    return (one, two) if len(one) else None


def _later_minus_first(part: pl.DataFrame) -> Estimate | None:
    sides = _sides(part, "early_area")
    if sides is None:
        return None
    return paired_difference(sides[0].to_numpy(), sides[1].to_numpy(), unit="networks")


def _examples_ratio(part: pl.DataFrame) -> Estimate | None:
    """Ratio of the numbers of new examples; None where later tasks often never got there.

    A first task that never got there counts with all its examples, which makes the ratio larger
    than it is.
    """
    reached, sides = _sides(part, "reached"), _sides(part, "examples_to_criterion")
    if reached is None or sides is None or reached[0].mean() < REACHED or not sides[1].min():
        return None
    estimate = clustered_mean((sides[0] / sides[1]).to_numpy(), unit="networks")
    never = int((reached[1] == 0).sum())
    if not never:
        return estimate
    return with_note(estimate, f"{never} first tasks ended below the criterion: at most this")


def gaps(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """The stability gap: course after a switch, and against streams without a switch."""
    rows: Rows = []
    for place, values, part in settings_of(data.gap, ["condition", "step"]):
        estimate = clustered_mean(part["value"].to_numpy(), unit="networks")
        common = place | {"arm": values["condition"], "step": values["step"]}
        rows.append(row("gap", "accuracy_change", estimate, **common))
    found: Found = {}
    recovered = data.summary.filter(pl.col("metric") == "gap_recovered")
    control = data.control(recovered, "identical")
    if control.height:
        differences: dict[str, Estimate] = {}
        main = data.main(recovered, settings)
        for (condition,), part in main.group_by(["condition"], maintain_order=True):
            one, two, _ = paired(part, control)
            if not len(one):
                continue
            estimate = paired_difference(one.to_numpy(), two.to_numpy(), unit="seeds")
            if _defends(settings, condition):
                differences[condition] = estimate
            rows.append(row("gap", "recovered, above identical tasks", estimate, arm=condition))
        if differences:
            name, estimate = least(differences)
            found["stability_gap"] = with_note(estimate, f"least in {name}")
    return rows, found | _identical_keep(data)


def _defends(settings: Settings, condition: str) -> bool:
    """Whether a condition rehearses or regularises at all."""
    block = settings.conditions[condition]
    return block.environment.rehearses or block.strategy.name not in ("naive", "joint", "gdumb")


def _identical_keep(data: Data) -> Found:
    same = data.control(data.summary, "identical")
    end = same.filter(pl.col("metric") == "average_accuracy")
    learned = same.filter(pl.col("metric") == "learned_accuracy")
    one, two, _ = paired(end, learned)
    if not len(one):
        return {}
    estimate = noninferiority(one.to_numpy(), two.to_numpy(), KEPT, alpha=0.025, unit="networks")
    return {"identical_tasks_keep": estimate}


def courses(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Mean accuracy on all tasks so far, by how many there have been."""
    rows: Rows = []
    seen = data.matrix.filter((pl.col("metric") == "accuracy") & (pl.col("on") <= pl.col("after")))
    if seen.is_empty():
        return rows, {}
    keys = [c for c in seen.columns if c not in ("on", "metric", "value")]
    means = seen.group_by(keys, maintain_order=True).agg(pl.col("value").mean())
    for place, values, part in settings_of(means, ["condition", "after"]):
        estimate = clustered_mean(part["value"].to_numpy(), unit="networks")
        common = place | {"arm": values["condition"], "step": values["after"] + 1}
        rows.append(row("course", "accuracy_so_far", estimate, **common))
    return rows, {}
