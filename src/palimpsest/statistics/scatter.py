"""Is what is remembered scattered over time, or does it come in clumps?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from palimpsest.statistics.estimate import Estimate

Alternative = Literal["two-sided", "clumped", "scattered"]
NO_INTERVAL = "a test conditional on the data: no interval"


def runs_test(binary_in_time_order: ArrayLike, alternative: Alternative = "two-sided") -> Estimate:
    """Wald-Wolfowitz runs test of a 0/1 sequence (items,), exact at every n.

    The estimate is observed runs / runs expected in random order given the number of ones: below 1
    is clumped, above 1 more regular than chance. The null distribution is the exact one,
    conditional on that number (Wald & Wolfowitz 1940, Ann. Math. Stat. 11, 147, eq. 2); the
    two-sided p doubles the smaller tail. A sequence of one kind only gives nan.
    """
    x = np.asarray(binary_in_time_order, dtype=float)
    if x.ndim != 1 or x.size == 0 or not np.isin(x, (0.0, 1.0)).all():
        raise ValueError("a non-empty sequence of 0 and 1 is needed")
    ones, zeros = int(x.sum()), int((1 - x).sum())
    if min(ones, zeros) == 0:
        note = "all alike: one run whatever the order"
        return _estimate(np.nan, len(x), "Wald-Wolfowitz exact", None, note)
    runs = 1 + int(np.sum(x[1:] != x[:-1]))
    counts, probability = runs_distribution(ones, zeros)
    few = float(min(1.0, probability[counts <= runs].sum()))
    many = float(min(1.0, probability[counts >= runs].sum()))
    p = {"clumped": few, "scattered": many, "two-sided": min(1.0, 2 * min(few, many))}
    expected = 1 + 2 * ones * zeros / (ones + zeros)
    note = f"{runs} runs, {expected:.1f} expected; {NO_INTERVAL}"
    method = f"Wald-Wolfowitz exact, {alternative}"
    return _estimate(runs / expected, len(x), method, p[alternative], note)


def runs_distribution(ones: int, zeros: int) -> tuple[np.ndarray, np.ndarray]:
    """Possible numbers of runs and their probabilities in random order, both (2 min + 1 or so,)."""
    runs = np.arange(2, 2 * min(ones, zeros) + 2)
    k = runs // 2
    even = np.log(2) + _log_choose(ones - 1, k - 1) + _log_choose(zeros - 1, k - 1)
    odd = np.logaddexp(
        _log_choose(ones - 1, k) + _log_choose(zeros - 1, k - 1),
        _log_choose(ones - 1, k - 1) + _log_choose(zeros - 1, k),
    )
    log_ways = np.where(runs % 2 == 0, even, odd)
    return runs, np.exp(log_ways - _log_choose(ones + zeros, np.array(ones)))


def autocorrelation(
    values: ArrayLike,
    lag: int = 1,
    n_permutations: int = 999,
    seed: int = 0,
    alternative: Alternative = "clumped",
) -> Estimate:
    """Autocorrelation at ``lag`` of a series in time order (items,), with a permutation p.

    r = sum x_t x_(t+lag) / sum x_t^2 about the mean. "clumped" tests r larger than in random order,
    "scattered" smaller. The order is permuted, so the small negative mean of r under randomness
    needs no correction. A constant series gives nan. Raises ValueError unless 0 < lag < items.
    """
    x = np.asarray(values, dtype=float)
    if not 0 < lag < x.size:
        raise ValueError(f"lag {lag} does not fit {x.size} values")
    x = x - x.mean()
    power = x @ x
    method = f"permutation of the order, {alternative}, N={n_permutations}"
    if np.allclose(x, 0):
        return _estimate(np.nan, x.size, method, None, "constant series")
    rng = np.random.default_rng(seed)
    permuted = rng.permuted(np.broadcast_to(x, (n_permutations, x.size)), axis=1)
    null = np.sum(permuted[:, lag:] * permuted[:, :-lag], axis=1) / power
    r = x[lag:] @ x[:-lag] / power
    larger = (1 + np.sum(null >= r - 1e-12)) / (1 + n_permutations)
    smaller = (1 + np.sum(null <= r + 1e-12)) / (1 + n_permutations)
    two_sided = min(1.0, 2 * min(larger, smaller))
    p = {"clumped": larger, "scattered": smaller, "two-sided": two_sided}[alternative]
    return _estimate(float(r), x.size, method, float(p), NO_INTERVAL)


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    """log of n over k, -inf where k > n."""
    inside = np.minimum(k, n)
    value = gammaln(n + 1) - gammaln(inside + 1) - gammaln(n - inside + 1)
    return np.where(k <= n, value, -np.inf)


def _estimate(value: float, n: int, method: str, p: float | None, note: str) -> Estimate:
    return Estimate(value, np.nan, np.nan, n, "items", method, p=p, note=note)
