"""How soon forgotten facts are back where they are taught again, and whether others follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import binomtest

from palimpsest.metrics.unlearning import updates_to_target
from palimpsest.probes.unlearning.analyses.contrasts import LEAST_FACTS, mean_of
from palimpsest.probes.unlearning.analyses.evidence import ALPHA
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, of
from palimpsest.probes.unlearning.analyses.units import Models, Units, units_of
from palimpsest.probes.unlearning.analyses.verdicts import DIRECT
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import mean_of_differences, paired_difference
from palimpsest.statistics.intervals import exact_proportion
from palimpsest.statistics.multiplicity import holm
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
        runs = part.filter(pl.col("value").is_finite())["value"].to_numpy()
        if len(runs) > 1:
            place = {"series": world, "model": model, "arm": arm, "step": updates}
            estimate = mean_of(runs, "models").within(0, 1)
            factor = f"{number} taught again"
            rows.append(row("relearning", metric, estimate, factor=factor, **place))
    found: Found = {}
    for place, part in data.worlds():
        rows += _speeds(data, part, place)
        units = units_of(data, part, settings.judged_by)
        gone = gone_far(units, data.methods(part), settings)
        risen, back = _risen(data, units, gone, place)
        rows += risen
        if back:
            share = exact_proportion(sum(back), len(back), unit="methods gone where asked directly")
            test = binomtest(sum(back), len(back), MOST)
            note = "methods share their taught models"
            found["relearning_undoes"] = replace(share, p=float(test.pvalue), null=MOST, note=note)
        if hidden := _hidden(units, gone, data.retrained):
            found["hidden_not_gone"] = hidden
    return rows, found


def gone_far(units: Units, methods: list[str], settings: Settings) -> list[str]:
    """Methods whose answers, asked directly, have gone far enough, whatever their verdict."""
    ways = {arm: units.way(arm, DIRECT) for arm in methods}
    return [arm for arm, way in ways.items() if way is not None and way.mean() >= settings.enough]


def _risen(
    data: Data, units: Units, gone: list[str], place: dict[str, str]
) -> tuple[Rows, list[bool]]:
    """How much likelier forgotten facts become when others are taught again, minus the same in
    models that never knew; and whether that is more, by Holm's method over these methods."""
    own = (pl.col("world") == place["series"]) & (pl.col("model") == place["model"])
    rises = data.rises.filter(own).filter(pl.col("number") == pl.col("number").max())
    found: list[tuple[str, Estimate]] = []
    for arm in gone:
        more = _more(units, rises, arm, data.retrained)
        if more is not None:
            found.append((arm, more))
    adjusted = holm([np.nan if more.p is None else more.p for _, more in found])
    rows = [
        row("rise", "others, minus retrained", more, arm=arm, **place)
        | {"q": None if q != q else float(q)}
        for (arm, more), q in zip(found, adjusted, strict=True)
    ]
    return rows, [
        bool(more.estimate > 0 and q <= ALPHA) for (_, more), q in zip(found, adjusted, strict=True)
    ]


def _more(units: Units, rises: pl.DataFrame, arm: str, retrained: str) -> Estimate | None:
    key = "run" if isinstance(units, Models) else "item"
    sides = [
        rises.filter(pl.col("arm") == one).group_by(key).agg(pl.col("value").mean()).sort(key)
        for one in (arm, retrained)
    ]
    if isinstance(units, Models):
        values, never = (side["value"].to_numpy() for side in sides)
        return difference(values, never) if min(len(values), len(never)) > 1 else None
    both = sides[0].join(sides[1], on=key, suffix="_never", maintain_order="left")
    if both.height < LEAST_FACTS:
        return None
    return paired_difference(both["value"], both["value_never"], unit=units.unit)


def _speeds(data: Data, part: pl.DataFrame, place: dict[str, str]) -> Rows:
    """Updates until the shown facts are half way back, of each arm and minus retrained models'.

    Read at the numbers of updates that were asked for; what is never back there counts as twice the
    last of them, and the note says how many models that is.
    """
    reference = [of(part, arm, DIRECT) for arm in (data.taught, data.retrained)]
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
    read = [arm for arm in gone if len(units.values(arm, PROBE))]
    if not read:
        return None
    if isinstance(units, Models):
        runs = np.mean(units.together(*((arm, PROBE) for arm in read)), axis=0)
        never = units.values(retrained, PROBE)
        return difference(runs, never) if min(len(runs), len(never)) > 1 else None
    *facts, never = units.together(*((arm, PROBE) for arm in (*read, retrained)))
    if len(never) < LEAST_FACTS:
        return None
    return paired_difference(np.mean(facts, axis=0), never, unit=units.unit)
