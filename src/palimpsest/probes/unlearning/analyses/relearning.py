"""How soon forgotten facts are back where they are taught again, and whether others follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from palimpsest.probes.unlearning.analyses.frames import OTHERS, Data, Found, Rows
from palimpsest.probes.unlearning.analyses.units import LEAST_FACTS, Models, Units, units_of
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.intervals import clustered_mean, exact_proportion
from palimpsest.statistics.population import difference
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings


PROBE = "forget linear_probe"


def relearning(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Curves of relearning, and two claims on methods that forgot where asked directly."""
    rows: Rows = []
    keys = ["world", "model", "arm", "number", "updates", "metric"]
    for values, part in data.relearned.group_by(keys, maintain_order=True):
        world, model, arm, number, updates, metric = values
        runs = part["value"].to_numpy()
        if len(runs) > 1:
            place = {"series": world, "model": model, "arm": arm, "step": updates}
            estimate = clustered_mean(runs, unit="models").within(0, 1)
            factor = f"{number} taught again"
            rows.append(row("relearning", metric, estimate, factor=factor, **place))
    found: Found = {}
    for _, part in data.worlds():
        units = units_of(data, part, settings.judged_by)
        gone = [
            arm
            for arm in data.methods(part)
            if (way := units.way(arm, "forget probability")) is not None
            and way.mean() >= settings.enough
        ]
        back = [each for each in (_comes_back(units, arm) for arm in gone) if each is not None]
        if back:
            found["relearning_undoes"] = exact_proportion(
                sum(back), len(back), unit="methods that forgot"
            )
        if hidden := _hidden(units, gone, data.retrained):
            found["hidden_not_gone"] = hidden
    return rows, found


def _hidden(units: Units, gone: list[str], retrained: str) -> Estimate | None:
    """What a linear probe reads from methods that forgot, minus from models that never knew."""
    runs, never = [units.values(arm, PROBE) for arm in gone], units.values(retrained, PROBE)
    least = 2 if isinstance(units, Models) else LEAST_FACTS
    if len({len(each) for each in runs}) != 1 or min(len(runs[0]), len(never)) < least:
        return None
    mean = np.mean(runs, axis=0)
    if isinstance(units, Models):
        return difference(mean, never)
    return paired_difference(mean, never, unit=units.unit)


def _comes_back(units: Units, arm: str) -> bool | None:
    """Do other forgotten facts come back more than in models that never knew?"""
    metrics = [metric for metric in units.metrics() if metric.startswith(OTHERS)]
    if not metrics:
        return None
    metric = max(metrics, key=lambda name: int(name.removeprefix(OTHERS)))
    more = units.against(arm, metric)
    return None if more is None else bool(more.low > 0)
