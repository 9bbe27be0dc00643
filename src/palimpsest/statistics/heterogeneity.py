"""Whether k tasks differ by more than their own noise, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, f

from palimpsest.statistics.estimate import Estimate

UNIT = "tasks"


@dataclass(frozen=True)
class Heterogeneity:
    """Attributes:
    q: Cochran's Q, the weighted sum of squares about the fixed-effect mean.
    p: that all tasks have one true value, by Q against chi-squared (k - 1) or Welch's F.
    tau: standard deviation of true values between tasks, in the unit of the estimates; carries p.
    i_squared: share of the variation between estimates that is not their own noise.
    """

    q: float
    p: float
    tau: Estimate
    i_squared: Estimate


def heterogeneity(
    estimates: ArrayLike,
    standard_errors: ArrayLike,
    dof: ArrayLike | None = None,
    level: float = 0.95,
    unit: str = UNIT,
) -> Heterogeneity:
    """Cochran's Q, tau and I squared of k estimates with their standard errors, shapes (k,).

    Under y_i = mu + N(0, tau^2) + N(0, se_i^2) the generalised Q(tau^2), with weights
    1 / (se_i^2 + tau^2), is chi-squared with k - 1 degrees of freedom, so that the interval of
    tau^2 is exact: the values that Q does not reject (Q-profile, Viechtbauer 2007, Stat. Med. 26,
    37). tau is the value with Q(tau^2) = k - 1 (Paule & Mandel 1982), which lies in that interval
    wherever tau > 0. I squared is tau^2 / (tau^2 + typical se^2) with Higgins & Thompson's typical
    variance (2002, Stat. Med. 21, 1539), its interval that of tau.

    The interval may be empty where estimates lie closer together than their noise allows (Q in
    the lower tail): both ends are then 0 and the note says so. Simulated coverage of 95%
    intervals, tau from half to twice the median standard error and k from 5 to 20, is 94-95% with
    known standard errors; 97% at tau = 0, which no interval from 0 on can miss below.

    Standard errors that are themselves estimated make Q too large: for 12 tasks of 40 values each
    its p is below 5% in 7% (20 values: 10%) where tasks are alike. ``dof`` (k,) or one number,
    values behind a standard error less one, takes this out of p (Welch 1951, Biometrika 38, 330;
    simulated 5%); tau and its interval stay as they are (its coverage at tau = 0 is then 96% and
    94%).

    Raises:
        ValueError: unequal lengths, fewer than two tasks, values that are not finite, or a
            standard error or ``dof`` that is not above 0.
    """
    y, se = np.asarray(estimates, dtype=float), np.asarray(standard_errors, dtype=float)
    if y.shape != se.shape or y.ndim != 1 or len(y) < 2:
        raise ValueError(f"{y.size} estimates with {se.size} standard errors: two tasks are needed")
    if not (np.isfinite(y).all() and np.isfinite(se).all() and (se > 0).all()):
        raise ValueError("estimates must be finite, standard errors finite and above 0")
    v, k = se**2, len(y)
    q = generalised_q(y, v, 0.0)
    p = float(chi2.sf(q, k - 1)) if dof is None else _welch(q, v, np.broadcast_to(dof, k))
    low, tau2, high = (
        _tau_squared(y, v, at)
        for at in (chi2.ppf((1 + level) / 2, k - 1), k - 1, chi2.ppf((1 - level) / 2, k - 1))
    )
    typical = (k - 1) * np.sum(1 / v) / (np.sum(1 / v) ** 2 - np.sum(1 / v**2))
    note = None if high > 0 else "estimates closer together than their noise allows"
    method = "Paule-Mandel, Q-profile"
    tau = [float(np.sqrt(t)) for t in (tau2, low, high)]
    share = [float(t / (t + typical)) for t in (tau2, low, high)]
    return Heterogeneity(
        q,
        p,
        Estimate(*tau, k, unit, f"tau, {method}", level, p, note),
        Estimate(*share, k, unit, f"I squared, {method}", level, p, note),
    )


def group_share(
    values: ArrayLike, groups: ArrayLike, level: float = 0.95, unit: str = UNIT
) -> Estimate:
    """Share of the variance between ``values`` (n,) that lies between their ``groups`` (n,).

    The intraclass correlation of one-way random effects, (MSB - MSW) / (MSB + (n0 - 1) MSW), its
    interval from the F distribution, with n0 for groups of unequal size (Donner 1979, Am. J.
    Epidemiol. 110, 335; exact for equal sizes; simulated coverage 94-96% for 4 to 10 groups of 1 to
    5); cut at 0, below which there is no share of variance. p is that of F: all groups alike.

    Raises:
        ValueError: one group, or no group with two values, or values that are not finite or equal.
    """
    y = np.asarray(values, dtype=float)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(codes)
    n, k = len(y), len(sizes)
    if k < 2 or n == k:
        raise ValueError(f"{n} {unit} in {k} groups: two groups are needed, one with two {unit}")
    if not np.isfinite(y).all() or np.ptp(y) == 0:
        raise ValueError("values must be finite, and not all equal")
    means = np.bincount(codes, y) / sizes
    between = np.sum(sizes * (means - y.mean()) ** 2) / (k - 1)
    within = np.sum((y - means[codes]) ** 2) / (n - k)
    typical = (n - np.sum(sizes**2) / n) / (k - 1)
    ratio = between / within if within > 0 else np.inf
    tail = (1 - level) / 2
    ends = ratio, ratio / f.isf(tail, k - 1, n - k), ratio / f.ppf(tail, k - 1, n - k)
    shares = [1.0 if np.isinf(x) else (x - 1) / (x + typical - 1) for x in ends]
    share, low, high = np.clip(shares, 0, 1).tolist()
    p = float(f.sf(ratio, k - 1, n - k))
    method = f"intraclass correlation of {k} groups, F interval"
    return Estimate(share, low, high, n, unit, method, level, p)


def generalised_q(y: NDArray[np.float64], v: NDArray[np.float64], tau2: float) -> float:
    """Q(tau^2): weighted squares about the weighted mean, weights 1 / (v + tau^2)."""
    weights = 1 / (v + tau2)
    return float(np.sum(weights * (y - np.sum(weights * y) / np.sum(weights)) ** 2))


def _welch(q: float, v: NDArray[np.float64], dof: NDArray[np.float64]) -> float:
    """p of Welch's F: Q / (k - 1), brought down by what estimated weights add to it."""
    if not (dof > 0).all():
        raise ValueError(f"dof must be above 0, not {dof.min():g}")
    k, weights = len(v), 1 / v
    excess = np.sum((1 - weights / weights.sum()) ** 2 / dof)
    scale = 1 + 2 * (k - 2) / (k**2 - 1) * excess
    return float(f.sf(q / (k - 1) / scale, k - 1, (k**2 - 1) / (3 * excess)))


def _tau_squared(y: NDArray[np.float64], v: NDArray[np.float64], target: float) -> float:
    """tau^2 at which Q falls to ``target``; 0 where it is below from the start."""
    if generalised_q(y, v, 0.0) <= target:
        return 0.0
    # Q(tau^2) < squares about the mean / tau^2, which brackets the root
    upper = float(np.sum((y - y.mean()) ** 2) / target)
    return float(brentq(lambda t: generalised_q(y, v, t) - target, 0.0, upper, xtol=1e-14))
