"""The reference condition against every other one, paired by seed."""

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
from palimpsest.statistics.comparisons import noninferiority, paired_difference
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings
    from palimpsest.statistics import Estimate

METRICS = ("average_accuracy", "oldest_accuracy", "learned_accuracy", "min_accuracy")
REGULARISERS = ("ewc", "si", "lwf")


def contrasts(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Differences of accuracy, reference minus other; Holm over the others of one stream."""
    rows: Rows = []
    wanted = data.summary.filter(pl.col("metric").is_in(METRICS))
    for place, values, part in settings_of(wanted, ["metric"]):
        found = _differences(part, settings.reference)
        corrected = holm([float("nan") if e.p is None else e.p for e in found.values()])
        for (other, estimate), q in zip(found.items(), corrected, strict=True):
            arm = f"{settings.reference} - {other}"
            rows.append(row("contrast", values["metric"], estimate, arm=arm, **place))
            rows[-1]["q"] = None if q != q else float(q)
            rows[-1]["method"] += ", Holm over conditions"
    return rows, _evidence(data, settings)


def _differences(part: pl.DataFrame, reference: str) -> dict[str, Estimate]:
    own = part.filter(pl.col("condition") == reference)
    found = {}
    for (other,), rows in part.group_by(["condition"], maintain_order=True):
        if other == reference:
            continue
        one, two, _ = paired(own, rows)
        if len(one):
            found[other] = paired_difference(one.to_numpy(), two.to_numpy(), unit="seeds")
    return found


def _evidence(data: Data, settings: Settings) -> Found:
    found: Found = {}
    accuracy = data.summary.filter(pl.col("metric") == "average_accuracy")
    main = data.main(accuracy, settings)
    differences = _differences(main, settings.reference)
    plain = _plain(settings)
    weakest = {n: e for n, e in differences.items() if n in plain}
    if weakest:
        found["beats_no_rehearsal"] = _against(*least(weakest))
    for claim, names in (
        ("not_inferior_to_regularisers", _by_strategy(settings, REGULARISERS)),
        ("not_inferior_to_uniform", _uniform(settings)),
    ):
        tests = {}
        own = main.filter(pl.col("condition") == settings.reference)
        for other in names:
            one, two, _ = paired(own, main.filter(pl.col("condition") == other))
            if len(one):
                tests[other] = noninferiority(
                    one.to_numpy(), two.to_numpy(), settings.margin, alpha=0.025, unit="seeds"
                )
        if tests:
            found[claim] = _against(*least(tests))
    levels = {}
    for place, values, part in settings_of(accuracy, []):
        if values["benchmark"] not in settings.benchmarks:
            continue
        for budget in _budgets(settings):
            levels |= {
                (f"{place['series']}, {place['factor']}, {budget}", name): estimate
                for name, estimate in _differences(part, budget).items()
                if name in plain
            }
    if len({combination for combination, _ in levels}) > 1:
        (combination, name), estimate = least(levels)
        found["robust"] = _against(f"{name} in {combination}", estimate)
    return found


def _budgets(settings: Settings) -> list[str]:
    """The reference, and conditions that differ from it by their budget alone."""
    law = settings.conditions[settings.reference].environment.model_dump(exclude={"budget"})
    return [
        name
        for name, c in settings.conditions.items()
        if c.strategy.name == "naive"
        and c.to is None
        and c.kept is None
        and c.environment.budget
        and c.environment.model_dump(exclude={"budget"}) == law
    ]


def _plain(settings: Settings) -> list[str]:
    """Conditions without a strategy in which nothing returns, or the last task alone."""
    return [
        name
        for name, c in settings.conditions.items()
        if c.strategy.name == "naive"
        and (not c.environment.rehearses or c.environment.kind == "recent_only")
    ]


def _by_strategy(settings: Settings, strategies: tuple[str, ...]) -> list[str]:
    return [
        n
        for n, c in settings.conditions.items()
        if c.strategy.name in strategies and not c.environment.rehearses
    ]


def _uniform(settings: Settings) -> list[str]:
    """Uniform conditions with the budget of the reference."""
    budget = settings.conditions[settings.reference].environment.budget
    return [
        n
        for n, c in settings.conditions.items()
        if c.strategy.name == "naive"
        and c.environment.kind == "uniform"
        and c.environment.budget == budget
    ]


def _against(name: str, estimate: Estimate) -> Estimate:
    return with_note(estimate, f"against {name}")
