"""Every metric of every method against the models that never knew, and the calibration of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, bounds, metrics_of, of
from palimpsest.probes.unlearning.analyses.units import Models, Units, units_of
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.population import (
    alike,
    calibration,
    equivalence,
    global_distance,
)
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

#: A p of held-out retrained models at or below this counts as a rejection.
ALPHA = 0.05
#: Retrained models that must be left beside those that are held out.
LEAST_OTHERS = 3
#: Groups of metrics of what is to be forgotten.
FORGETTING = ("forgetting", "hidden", "membership")


def populations(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Levels, differences from the retrained models, equivalence, and calibration."""
    rows: Rows = []
    found: Found = {}
    for place, part in data.worlds():
        units = units_of(data, part, settings.judged_by)
        for arm in (data.taught, data.retrained, *data.methods(part)):
            rows += _of_arm(units, settings, arm, place | {"arm": arm})
        rejected = _calibration(data, part)
        if rejected is not None:
            rows.append(row("calibration", "rejected", rejected, **place))
            found["calibrated"] = rejected
        for arm in (data.taught, *data.methods(part)):
            rows += _together(data, part, arm, place | {"arm": arm})
        told = units.against(data.taught, "forget probability")
        if told is not None:
            found["taught_is_told"] = told
    return rows, found


def _of_arm(units: Units, settings: Settings, arm: str, place: dict[str, str]) -> Rows:
    rows: Rows = []
    compared: Rows = []
    never = units.data.retrained
    for metric, group in units.metrics().items():
        values = units.values(arm, metric)
        common = place | {"factor": group}
        if not len(values):
            continue
        level = units.level(arm, metric).within(*bounds(metric))
        rows.append(row("level", metric, level, **common))
        distance = None if arm == never else units.against(arm, metric)
        if distance is None:
            continue
        compared.append(row("distance", metric, distance, **common))
        population = units.values(never, metric)
        if isinstance(units, Models) and not alike(population):
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
    """Share of metrics by which retrained models are told from the others, in groups as large as
    the arms are: by the test that methods are held to."""
    arms = part.filter(pl.col("arm") != data.retrained)
    runs = int(arms.group_by("arm").agg(pl.col("run").n_unique())["run"].min() or 0)
    columns = [of(part, data.retrained, metric) for metric in metrics_of(part)]
    whole = max(map(len, columns))
    columns = [each for each in columns if len(each) == whole and not alike(each)]
    if not columns or runs < 2 or whole - runs < LEAST_OTHERS:
        return None
    return calibration(np.stack(columns, axis=1), runs, ALPHA)
