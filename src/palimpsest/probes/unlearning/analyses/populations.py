"""Every metric of every method against the models that never knew, and the calibration of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, metrics_of, of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.population import alike, difference, equivalence, left_out
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

UNIT = "models"
#: A p of a held-out retrained model at or below this counts as a rejection.
ALPHA = 0.05


def populations(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Levels, differences from the retrained models, equivalence, and calibration."""
    rows: Rows = []
    found: Found = {}
    for place, part in data.worlds():
        for arm in (data.taught, data.retrained, *data.methods(part)):
            rows += _of_arm(data, settings, part, arm, place | {"arm": arm})
        calibration = _calibration(data, part)
        if calibration is not None:
            rows.append(row("calibration", "rejected", calibration, **place))
            found["calibrated"] = calibration
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


def _calibration(data: Data, part: pl.DataFrame) -> Estimate | None:
    """Share of metrics by which each retrained model is told from the others.

    The unit is the model, since the metrics of one model go together.
    """
    rejected = []
    for metric in metrics_of(part):
        population = of(part, data.retrained, metric)
        if len(population) > 2 and not alike(population):
            p = left_out(population)
            rejected.append(np.where(np.isfinite(p), p <= ALPHA, np.nan))
    if not rejected or len({len(each) for each in rejected}) > 1:
        return None
    return clustered_mean(np.nanmean(np.array(rejected, float), axis=0), unit="retrained models")
