"""Means and contrasts of one number a model or fact: what :mod:`units` and :mod:`facts` share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm

from palimpsest.statistics import Estimate
from palimpsest.statistics.cluster_robust import RobustMean, t_quantile
from palimpsest.statistics.intervals import clustered_mean, no_width

#: From fewer facts than this no difference is read.
LEAST_FACTS = 4
#: Where taught and retrained models differ by fewer of these deviations there is no way to go.
LEAST_GAP = 3.0
#: Area under the curve of membership, as a difference from retrained models, that counts where no
#: population of models says how far these scatter.
FAR = 0.1
#: Equivalence, and that something has gone or stayed, is shown by one-sided tests at 5%.
LEVEL = 0.9
#: A measure can decide where one more retrained arm would pass its test this often.
POWER = 0.95


class Numbers:
    """One number a unit, by arm and metric; of each the units come in their order."""

    #: (arm, metric) -> unit -> value; what is no number is left out.
    _values: dict[tuple[str, str], dict[Any, float]]

    def values(self, arm: str, metric: str) -> np.ndarray:
        """One number a unit."""
        return np.array(list(self._values.get((arm, metric), {}).values()))

    def together(self, *wanted: tuple[str, str]) -> list[np.ndarray]:
        """Values of several arms and metrics, of the units that all of them have: a fact, or a
        taught model and what became of it. Some of a study's cells may have failed."""
        found = [self._values.get(each, {}) for each in wanted]
        common = sorted(set.intersection(*map(set, found)))
        return [np.array([each[unit] for unit in common]) for each in found]


def by_unit(frame: pl.DataFrame, unit: str) -> dict[tuple[str, str], dict[Any, float]]:
    """What :class:`Numbers` holds, of a frame with arm, metric, value and the column ``unit``."""
    finite = frame.filter(pl.col("value").is_finite()).sort(unit)
    found: dict[tuple[str, str], dict[Any, float]] = {}
    for arm, metric, one, value in finite.select("arm", "metric", unit, "value").iter_rows():
        found.setdefault((arm, metric), {})[one] = value
    return found


def mean_of(values: np.ndarray, unit: str, level: float = 0.95) -> Estimate:
    """Mean of one number a model, or of shares of a way: never answers, even if all are 0 or 1.

    Where nothing has changed at all, that is exact.
    """
    found = clustered_mean(values, level=level, unit=unit, graded=True)
    return found if values.any() else replace(found, low=0.0, high=0.0)


def estimate_of(fit: RobustMean, unit: str, level: float = LEVEL) -> Estimate:
    """A mean with its interval; p is that of "not above 0"."""
    if not fit.variance >= 0:
        low, high, p = np.nan, np.nan, None
    else:
        low, high = fit.t_interval(level) if fit.variance > 0 else no_width(fit, level)
        p = fit.p_above(0)
    method = "contrast, t interval"
    n = fit.n_clusters
    return Estimate(fit.mean, low, high, n, unit, method, level, p, dof=float(fit.dof))


def reach(parts: np.ndarray, sizes: np.ndarray) -> float:
    """How far from a limit a one-sided test has :data:`POWER`, by variances of means and their
    numbers of values."""
    variance = float(parts.sum())
    if variance == 0:
        return 0.0
    freedom = variance**2 / float((parts**2 / (sizes - 1)).sum())
    return float(np.sqrt(variance)) * (t_quantile(LEVEL, freedom) + float(norm.ppf(POWER)))
