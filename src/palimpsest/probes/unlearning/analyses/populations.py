"""Every metric of every method against the models that never knew, and the calibration of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, metrics_of, of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.population import (
    alike,
    calibration,
    difference,
    equivalence,
    global_distance,
    left_out,
)
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

UNIT = "models"
#: A p of a held-out retrained model at or below this counts as a rejection.
ALPHA = 0.05
#: Groups of metrics of what is to be forgotten.
FORGETTING = ("forgetting", "hidden", "membership")


def populations(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Levels, differences from the retrained models, equivalence, and calibration."""
    rows: Rows = []
    found: Found = {}
    for place, part in data.worlds():
        for arm in (data.taught, data.retrained, *data.methods(part)):
            rows += _of_arm(data, settings, part, arm, place | {"arm": arm})
        rejected = _calibration(data, part)
        if rejected is not None:
            rows.append(row("calibration", "rejected", rejected, **place))
            found["calibrated"] = rejected
        for arm in (data.taught, *data.methods(part)):
            rows += _together(data, part, arm, place | {"arm": arm})
        taught, never = (of(part, a, "forget probability") for a in (data.taught, data.retrained))
        if min(len(taught), len(never)) > 1:
            found["taught_is_told"] = difference(taught, never)
    return rows, found


def _of_arm(
    data: Data, settings: Settings, part: pl.DataFrame, arm: str, place: dict[str, str]
) -> Rows:
    rows: Rows = []
    compared: Rows = []
    for metric, group in metrics_of(part).items():
        values, population = of(part, arm, metric), of(part, data.retrained, metric)
        common = place | {"factor": group}
        if not len(values):
            continue
        rows.append(row("level", metric, clustered_mean(values, unit=UNIT), **common))
        if arm == data.retrained or min(len(values), len(population)) < 2:
            continue
        compared.append(row("distance", metric, difference(values, population), **common))
        if not alike(population):
            same = equivalence(values, population, settings.width)
            rows.append(row("equivalence", metric, same, **common))
    # The metrics of one method are a family.
    adjusted = holm([np.nan if r["p"] is None else r["p"] for r in compared])
    return rows + [
        r | {"q": None if q != q else float(q)} for r, q in zip(compared, adjusted, strict=True)
    ]


def _together(data: Data, part: pl.DataFrame, arm: str, place: dict[str, str]) -> Rows:
    """All metrics at once: of what is to be forgotten, and of what must stay."""
    rows: Rows = []
    groups = metrics_of(part)
    for name, own in (("forgetting", FORGETTING), ("utility", ("utility",))):
        metrics = [metric for metric, group in groups.items() if group in own]
        runs, never = (
            [of(part, one, metric) for metric in metrics] for one in (arm, data.retrained)
        )
        same = [
            k
            for k in range(len(metrics))
            if len(runs[k]) == len(runs[0]) > 1 and len(never[k]) == len(never[0]) > 1
        ]
        if same:
            columns = [np.stack([side[k] for k in same], axis=1) for side in (runs, never)]
            far = global_distance(*columns)
            if np.isfinite(far.estimate):
                rows.append(row("together", name, far, **place))
    return rows


def _calibration(data: Data, part: pl.DataFrame) -> Estimate | None:
    """Share of metrics by which each retrained model is told from the others."""
    p = []
    for metric in metrics_of(part):
        population = of(part, data.retrained, metric)
        if len(population) > 2 and not alike(population):
            p.append(left_out(population))
    if not p or len({len(each) for each in p}) > 1:
        return None
    return calibration(np.array(p), ALPHA)
