"""Differences of answers that are 0 or 1, where few may differ and a t interval is then wrong.

Of 60 pairs of which 5% differ, all one way, a t interval lies inside a margin of 5% in 19% of
studies. Here the difference of two shares gets its interval from those of the shares by MOVER.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv

from palimpsest.statistics.cluster_robust import RobustMean, robust_mean, t_quantile
from palimpsest.statistics.intervals import mean_interval, wilson

#: An interval as a function of its level.
IntervalAt = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class ShareDifference:
    """``one`` - ``two``, shares of 0/1 rows, or ``one`` less the fixed number ``two``.

    ``correlation`` is that of the two estimates, ``rows`` their numbers of rows. ``exact`` takes
    Clopper-Pearson limits with an effective sample size (Korn & Graubard 1998, Surv. Methodol. 24,
    193) in place of Wilson's: cautious, as a test of equivalence has to be.
    """

    one: RobustMean
    two: RobustMean | float
    rows: tuple[int, int]
    correlation: float = 0.0
    exact: bool = False
    #: variance of a row and the fit whose effective number of rows a share has where its rows are
    #: equal and those of the other are not
    joint: tuple[float, RobustMean] | None = None

    def interval(self, level: float) -> tuple[float, float]:
        """MOVER (Zou & Donner 2008, Stat. Med. 27, 1693) with correlation (Zou 2007, eq. 15)."""
        p, low_p, high_p = self._limits(self.one, self.rows[0], level)
        q, low_q, high_q = self._limits(self.two, self.rows[1], level)
        below = joined(p - low_p, high_q - q, self.correlation)
        above = joined(high_p - p, q - low_q, self.correlation)
        return p - q - below, p - q + above

    def p_above(self, threshold: float) -> float:
        """One-sided p-value of the null "the difference is at most ``threshold``"."""
        return p_above(self.interval, threshold)

    def p_below(self, threshold: float) -> float:
        """One-sided p-value of the null "the difference is at least ``threshold``"."""
        return p_above(lambda level: tuple(-end for end in self.interval(level)[::-1]), -threshold)

    def _limits(
        self, share: RobustMean | float, rows: int, level: float
    ) -> tuple[float, float, float]:
        if not isinstance(share, RobustMean):
            return share, share, share
        if self.joint is not None and share.variance == 0:
            variance, fit = self.joint
            if self.exact:
                n = effective_rows(variance, fit, rows, level)
                return share.mean, *_clopper_pearson(share.mean, n, level)
            ends = wilson(share.mean, variance / fit.variance, t_quantile(level, fit.dof))
            return share.mean, *ends
        if self.exact:
            return share.mean, *exact_limits(share, rows, level)
        return share.mean, *mean_interval(share, level)[:2]


def paired_shares(
    a: np.ndarray, b: np.ndarray, clusters: object, fit: RobustMean, exact: bool
) -> ShareDifference | None:
    """The difference of pairs (rows,) of 0/1, or of 0/1 and one number; None for other values.

    ``fit`` is the robust mean of a - b. P(a > b) - P(a < b) is the difference; the correlation of
    the two shares follows from their variances and that of ``fit``.
    """
    if np.isnan(fit.variance) or not np.isin(a, (0.0, 1.0)).all():
        return None
    rows = (len(a), len(a))
    if not np.isin(b, (0.0, 1.0)).all():
        fixed = np.ptp(b) == 0
        return ShareDifference(robust_mean(a, clusters), float(b[0]), rows, exact=exact) if fixed \
            else None  # fmt: skip
    one, two = robust_mean(a > b, clusters), robust_mean(a < b, clusters)
    scale = 2 * np.sqrt(one.variance * two.variance)
    if scale > 0:
        shared = (one.variance + two.variance - fit.variance) / scale
    else:  # all alike: the rest may at worst differ the other way
        shared = -1.0 if fit.variance == 0 else 0.0
    joint = (float(np.var(a - b)), fit) if fit.variance > 0 else None
    return ShareDifference(one, two, rows, float(np.clip(shared, -1, 1)), exact, joint)


def exact_limits(fit: RobustMean, rows: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson limits of a share of ``rows`` rows with their effective number.

    Where all rows are equal it is the number of clusters.
    """
    p, n = fit.mean, float(fit.n_clusters)
    if fit.variance > 0:
        n = effective_rows(p * (1 - p), fit, rows, level)
    return _clopper_pearson(p, n, level)


def effective_rows(variance: float, fit: RobustMean, rows: int, level: float) -> float:
    """``variance`` of a row over that of the mean, + 1, at most ``rows``.

    It is ``rows`` where every row is a cluster of its own; with clusters there are fewer, in the
    ratio of squared t quantiles (Korn & Graubard 1998).
    """
    ratio = t_quantile(level, rows - 1) / t_quantile(level, fit.dof)
    return min(float(rows), (variance / fit.variance + 1) * ratio**2)


def _clopper_pearson(p: float, n: float, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low = betaincinv(p * n, (1 - p) * n + 1, tail) if p > 0 else 0.0
    high = betaincinv(p * n + 1, (1 - p) * n, 1 - tail) if p < 1 else 1.0
    return float(low), float(high)


def p_two_sided(interval: IntervalAt) -> float:
    """The alpha at which the interval of level 1 - alpha just touches 0."""

    def distance(alpha: float) -> float:
        low, high = interval(1 - alpha)
        return max(low, -high)

    return _root(distance)


def p_above(interval: IntervalAt, threshold: float) -> float:
    """The one-sided alpha at which the interval of level 1 - 2 alpha just leaves ``threshold``."""
    reached = _root(lambda alpha: interval(1 - alpha)[0] - threshold)
    if reached < 1:
        return reached / 2
    return 1 - _root(lambda alpha: threshold - interval(1 - alpha)[1]) / 2


def joined(one: float, two: float, correlation: float) -> float:
    """Length of an interval's arm from those of two estimates with this correlation."""
    return float(np.sqrt(max(0.0, one**2 + two**2 - 2 * correlation * one * two)))


def _root(distance: Callable[[float], float]) -> float:
    """Where a function that rises with alpha crosses 0; the ends of (0, 1) where it does not."""
    smallest, largest = 1e-12, 1 - 1e-9
    if distance(largest) <= 0:
        return 1.0
    if distance(smallest) >= 0:
        return smallest
    return float(brentq(distance, smallest, largest, xtol=1e-13))
