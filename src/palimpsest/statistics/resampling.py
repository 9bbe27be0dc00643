"""Bootstrap as matrix algebra: weights per replicate, never a loop over replicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from palimpsest.statistics.cluster_robust import t_quantile

#: a statistic as a function of row weights: shape (replicates, rows) -> (replicates,)
WeightedStatistic = Callable[[np.ndarray], np.ndarray]


def unit_weights(rng: np.random.Generator, n_units: int, n_replicates: int) -> np.ndarray:
    """How often each of ``n_units`` is drawn in each replicate, shape (replicates, units)."""
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_replicates)


def nested_weights(
    rng: np.random.Generator, outer_weights: np.ndarray, outer_of_inner: np.ndarray
) -> np.ndarray:
    """Weights of inner units, redrawn inside every drawn copy of their outer unit.

    ``outer_weights`` has shape (replicates, outer), ``outer_of_inner`` (inner,) names the outer
    unit of each inner one. The w copies of an outer unit with k inner units draw w*k times in all.
    """
    weights = np.zeros((len(outer_weights), len(outer_of_inner)), dtype=np.int64)
    for outer in range(outer_weights.shape[1]):
        members = np.flatnonzero(outer_of_inner == outer)
        k = len(members)
        draws = outer_weights[:, outer] * k
        weights[:, members] = rng.multinomial(draws, np.full(k, 1 / k))
    return weights


def expanded_tail(level: float, n_units: int, dof: float) -> float:
    """Tail probability at which a percentile interval gets the width of a t interval.

    Hesterberg (2015, The American Statistician 69, 371, "expanded percentile"): the plain interval
    is too short by sqrt((n-1)/n) and by z/t, which matters below some 30 units.
    """
    t = t_quantile(level, dof)
    return float(ndtr(-np.sqrt(n_units / (n_units - 1)) * t))


def percentile_interval(replicates: np.ndarray, tail: float) -> tuple[float, float]:
    """Percentile interval with probability ``tail`` cut off on each side."""
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(
    replicates: np.ndarray, estimate: float, jackknife: np.ndarray, tail: float
) -> tuple[float, float]:
    """BCa interval (Efron 1987, J. Am. Stat. Assoc. 82, 171).

    ``jackknife`` holds the statistic with each resampled unit left out, shape (units,).
    """
    share_below = np.mean(replicates < estimate) + np.mean(replicates == estimate) / 2
    bias = ndtri(np.clip(share_below, 1 / len(replicates), 1 - 1 / len(replicates)))
    influence = jackknife.mean() - jackknife
    scale = np.sum(influence**2) ** 1.5
    acceleration = np.sum(influence**3) / (6 * scale) if scale > 0 else 0.0
    z = bias + np.array([ndtri(tail), -ndtri(tail)])
    low, high = np.quantile(replicates, ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def weighted_median(values: np.ndarray) -> WeightedStatistic:
    """The median of ``values`` (rows,) as a function of whole-number row weights.

    Equal to ``np.median(np.repeat(values, weights))``, halves between two middle values included.
    """
    order = np.argsort(values)
    ascending = values[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        reached = np.cumsum(weights[:, order], axis=1)
        total = reached[:, -1:]
        lower = (reached < (total + 1) // 2).sum(axis=1)
        upper = (reached < total // 2 + 1).sum(axis=1)
        return (ascending[lower] + ascending[upper]) / 2

    return statistic
