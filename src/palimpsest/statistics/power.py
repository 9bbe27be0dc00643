"""Power, before and after the fact: what could a test of this size have seen?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import nctdtrinc, stdtrit
from scipy.stats import binom, norm

from palimpsest.statistics.estimate import Estimate


def power_binomial_above_chance(
    n: ArrayLike, p_true: ArrayLike, chance: ArrayLike, alpha: float = 0.05
) -> np.ndarray | float:
    """Exact power of the one-sided exact binomial test of a rate above ``chance``.

    Arguments broadcast. The critical number is the smallest c with P(X >= c | chance) <= alpha;
    the power is P(X >= c | p_true).
    """
    return binom.sf(_critical(n, chance, alpha) - 1, n, p_true)[()]


def minimal_detectable_rate(
    n: int, chance: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true rate found above ``chance`` with ``power`` from ``n`` items.

    nan where even a rate of 1 would not be found.
    """
    critical = _critical(n, chance, alpha)
    if critical > n:
        return np.nan
    return float(brentq(lambda p: binom.sf(critical - 1, n, p) - power, chance, 1.0))


def required_n(
    p_true: float,
    chance: float,
    alpha: float = 0.05,
    power: float = 0.8,
    max_n: int = 100_000,
) -> int:
    """Items needed to find ``p_true`` above ``chance``: from here on power never falls below.

    Exact power is a sawtooth in n; this is the n after its last tooth below ``power``. Raises
    ValueError when p_true <= chance or more than ``max_n`` items would be needed.
    """
    if p_true <= chance:
        raise ValueError(f"a rate of {p_true} does not exceed chance {chance}")
    limit = 128
    while True:
        powers = power_binomial_above_chance(np.arange(1, limit + 1), p_true, chance, alpha)
        last_short = np.flatnonzero(powers < power)
        n = int(last_short[-1]) + 2 if last_short.size else 1
        # teeth shrink with n: twice the answer has been looked at before it is believed
        if 2 * n <= limit:
            return n
        if limit >= 2 * max_n:
            raise ValueError(f"more than {max_n} items needed")
        limit *= 2


def power_two_proportions(n_a: int, n_b: int, p_a: float, p_b: float, alpha: float = 0.05) -> float:
    """Exact power of the two-sided pooled z (score) test of two independent proportions.

    Sums the binomial probabilities of all outcomes in the critical region, O(n_a n_b).
    """
    return _region_probability(_score_region(n_a, n_b, alpha), p_a, p_b)


def minimal_detectable_difference(
    n_a: int, n_b: int, p_a: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest d with which p_b = p_a + d is told from p_a with ``power`` (two-sided score test).

    Give d for an increase; for a decrease swap the meaning of success (p_a -> 1 - p_a). nan where
    not even p_b = 1 is found.
    """
    region = _score_region(n_a, n_b, alpha)

    def missing(d: float) -> float:
        return _region_probability(region, p_a, p_a + d) - power

    return float(brentq(missing, 0.0, 1 - p_a)) if missing(1 - p_a) >= 0 else np.nan


def detectable_difference(
    half: ArrayLike,
    level: ArrayLike = 0.95,
    dof: ArrayLike = np.inf,
    alpha: ArrayLike = 0.05,
    power: float = 0.8,
) -> np.ndarray | float:
    """Smallest true difference that a two-sided t test finds with ``power``, by an interval.

    An interval of ``level`` with ``dof`` degrees of freedom that reaches ``half`` to a side has the
    standard error half / t. The difference is that times the noncentrality at which Student's t
    exceeds its critical value with ``power`` (Cohen 1988, Statistical Power Analysis, chapter 2;
    nearly t_(1 - alpha/2) + t_power from 6 degrees of freedom on, more below). Infinite ``dof``
    give the normal distribution, and with it a little more than any t.

    It takes the spread that was seen: with few units that is known badly, and shares that a
    difference would bring nearer to a half would vary more (0.3 against 0.3 with 120 a side
    promises 0.17, found in 75%). Arguments broadcast; nan where the interval has no width or is
    none.
    """
    half = np.asarray(half, dtype=float)
    half = np.where((half > 0) & np.isfinite(half), half, np.nan)
    # beyond, t is normal to 6 digits, and its noncentral relative is costly
    dof = np.minimum(np.asarray(dof, dtype=float), 1e6)
    critical = stdtrit(dof, 1 - np.asarray(alpha) / 2)
    error = half / stdtrit(dof, (1 + np.asarray(level)) / 2)
    return (error * nctdtrinc(dof, 1 - power, critical))[()]


def detectable(
    estimate: Estimate,
    direction: Literal["above", "below", "within", "either"],
    power: float = 0.8,
) -> float:
    """What a study with the interval of this one finds with ``power``.

    ``above`` and ``below``: the distance from the threshold at which the whole interval lies beyond
    it, by the half of the interval that faces it. ``within``: the smallest margin that no
    difference at all is shown to lie in, by the longer half, where both sides must hold.
    ``either``: the distance from a fixed value, such as 0, at which a two-sided test at 5% tells it
    from that value, by the longer half. nan where the interval has no width or is none.

    Where ``dof`` are unknown the normal distribution takes their place, which overstates a little.
    """
    half, level = estimate.half, estimate.level
    dof = np.inf if estimate.dof is None else estimate.dof
    if direction == "either":
        return float(detectable_difference(half, level, dof, power=power))
    if direction == "within":
        # as often as it fails on one side it fails on the other
        return float(detectable_difference(half, level, dof, 1 - level, (1 + power) / 2))
    if estimate.uncut is None:
        low, high = estimate.low, estimate.high
        half = estimate.estimate - low if direction == "above" else high - estimate.estimate
    return float(detectable_difference(half, level, dof, 1 - level, power))


def minimal_flagged_share(n_candidates: int, q: float = 0.1) -> float:
    """Smallest share of items that Benjamini-Hochberg can flag when p = rank / candidates.

    The smallest p is 1/candidates, and R flags of m need p <= q R / m: so at least a share
    1 / (candidates q) is flagged together, or nothing. Above 1, nothing can ever be flagged: with
    8 candidates and q = 0.1 a single template finds no item, however well it is remembered.
    """
    return 1 / (n_candidates * q)


def _critical(n: ArrayLike, chance: ArrayLike, alpha: float) -> np.ndarray:
    """Smallest count whose upper tail under ``chance`` is at most ``alpha``; n + 1 if none."""
    critical = binom.isf(alpha, n, chance) + 1
    # isf returns the smallest k with P(X > k) <= alpha, up to rounding at equality
    return np.where(binom.sf(critical - 2, n, chance) <= alpha, critical - 1, critical)


def _score_region(n_a: int, n_b: int, alpha: float) -> np.ndarray:
    """Outcomes (n_a + 1, n_b + 1) that the two-sided pooled z test rejects."""
    x_a, x_b = np.ogrid[: n_a + 1, : n_b + 1]
    pooled = (x_a + x_b) / (n_a + n_b)
    variance = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
    limit = norm.isf(alpha / 2) * np.sqrt(variance)
    return np.abs(x_a / n_a - x_b / n_b) > limit + 1e-12


def _region_probability(region: np.ndarray, p_a: float, p_b: float) -> float:
    n_a, n_b = (side - 1 for side in region.shape)
    chance_a = binom.pmf(np.arange(n_a + 1), n_a, p_a)
    chance_b = binom.pmf(np.arange(n_b + 1), n_b, p_b)
    return float(chance_a @ region @ chance_b)
