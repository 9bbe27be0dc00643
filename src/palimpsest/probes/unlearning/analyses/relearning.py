"""How soon forgotten facts are back where they are taught again, and whether others follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import binomtest

from palimpsest.metrics.unlearning import updates_to_target
from palimpsest.probes.unlearning.analyses.frames import OTHERS, Data, Found, Rows, of
from palimpsest.probes.unlearning.analyses.units import LEAST_FACTS, Models, Units, units_of
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import mean_of_differences, paired_difference
from palimpsest.statistics.intervals import clustered_mean, exact_proportion
from palimpsest.statistics.population import difference
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings


PROBE = "forget linear_probe"
#: Share of the gap between taught and retrained models at which shown facts count as back.
BACK = 0.5
#: More than this share of methods are "most".
MOST = 0.5


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
    for place, part in data.worlds():
        rows += _speeds(data, part, place)
        units = units_of(data, part, settings.judged_by)
        gone = [
            arm
            for arm in data.methods(part)
            if (way := units.way(arm, "forget probability")) is not None
            and way.mean() >= settings.enough
        ]
        back = [each for each in (_comes_back(units, arm) for arm in gone) if each is not None]
        if back:
            share = exact_proportion(sum(back), len(back), unit="methods gone where asked directly")
            test = binomtest(sum(back), len(back), MOST)
            found["relearning_undoes"] = replace(share, p=float(test.pvalue), null=MOST)
        if hidden := _hidden(units, gone, data.retrained):
            found["hidden_not_gone"] = hidden
    return rows, found


def _speeds(data: Data, part: pl.DataFrame, place: dict[str, str]) -> Rows:
    """Updates until the shown facts are half way back, of each arm and minus retrained models'.

    Read at the numbers of updates that were asked for; what is never back there counts as twice the
    last of them, and the note says how many models that is.
    """
    reference = [of(part, arm, "forget probability") for arm in (data.taught, data.retrained)]
    if not all(map(len, reference)):
        return []
    taught, never = (float(values.mean()) for values in reference)
    target = never + BACK * (taught - never)
    own = (pl.col("world") == part["world"][0]) & (pl.col("model") == part["model"][0])
    shown = data.relearned.filter(own & (pl.col("metric") == "shown"))
    rows: Rows = []
    for (number,), each in shown.group_by(["number"], maintain_order=True):
        where = place | {"factor": f"{number} taught again"}
        runs = {
            str(arm): _updates(curves, target)
            for (arm,), curves in each.group_by(["arm"], maintain_order=True)
        }
        last = float(each["updates"].max())  # type: ignore[arg-type]
        for arm, updates in runs.items():
            late = int(np.isinf(updates).sum())
            note = f"{late} of {len(updates)} never: counted as {2 * last:g}" if late else None
            others = runs.get(data.retrained, np.empty(0))
            counted, never_knew = (np.minimum(side, 2 * last) for side in (updates, others))
            if len(counted) > 1:
                estimate = mean_of_differences(counted, unit="models").within(0, 2 * last)
                estimate = replace(estimate, p=None, note=note)
                rows.append(row("back", "updates", estimate, arm=arm, **where))
            if arm != data.retrained and min(len(counted), len(never_knew)) > 1:
                sooner = difference(counted, never_knew)
                rows.append(row("back", "minus retrained", sooner, arm=arm, **where))
    return rows


def _updates(curves: pl.DataFrame, target: float) -> np.ndarray:
    """(runs,) updates after which each run's curve has reached the target; inf: not at all."""
    found = []
    for _, curve in curves.group_by("run", maintain_order=True):
        ordered = curve.sort("updates")
        found.append(updates_to_target(ordered["value"], ordered["updates"], target))
    return np.array(found)


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
