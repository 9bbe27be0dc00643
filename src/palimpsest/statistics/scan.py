"""The date at which recall ends: a likelihood-ratio scan over all dates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy


@dataclass(frozen=True)
class CutoffScan:
    """The most likely last date of recall.

    ``date_index`` items in order of date lie up to and including ``date``, the last date with the
    higher rate. ``statistic`` is twice the log likelihood ratio of one drop against none, ``p``
    its permutation p-value, ``found`` whether p <= alpha. ``low`` and ``high`` (dates, nan unless
    found) bound the last date of recall at ``level``; they may be one date.
    """

    date_index: int
    date: float
    statistic: float
    p: float
    low: float
    high: float
    rate_before: float
    rate_after: float
    n: int
    found: bool
    level: float = 0.95


def cutoff_scan(
    dates_ordinal: ArrayLike,
    values: ArrayLike,
    min_segment: int = 5,
    n_permutations: int = 999,
    n_bootstrap: int = 999,
    alpha: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
) -> CutoffScan:
    """Scan for the date after which recall is lower than before.

    ``dates_ordinal`` and ``values`` have shape (items,): one independent value an item (average
    its templates first). Values that are all 0 or 1 use the binomial likelihood, others the normal
    one with common variance. A change is allowed between any two distinct dates that leave at
    least ``min_segment`` items on each side, and only from higher to lower. Each scan is O(items)
    by cumulative sums.

    The p-value permutes values over dates, so the search over dates is paid for. The interval
    inverts the likelihood-ratio profile: all dates whose profile lies within c of the maximum,
    where c is the ``level`` quantile of that distance at the true date when values are drawn anew,
    with replacement, from those before the change and from those after it, each side with one
    value of all more (the best split makes its sides look more alike than they are). The chi-square
    limit
    does not hold for a change-point, and values that are shares of few answers vary less where
    nearly all are right: normal errors of one size would give intervals that are too short.

    A rejection says that recall falls with date; a gradual decline is found as well as a cliff.
    Raises ValueError when no admissible change exists.
    """
    dates, values = np.asarray(dates_ordinal, dtype=float), np.asarray(values, dtype=float)
    if dates.shape != values.shape or dates.ndim != 1:
        raise ValueError("one value per date is needed")
    if not (np.isfinite(dates).all() and np.isfinite(values).all()):
        raise ValueError("dates and values must be finite")
    order = np.argsort(dates, kind="stable")
    dates, values = dates[order], values[order]
    n = len(values)
    before = np.flatnonzero(np.diff(dates) > 0) + 1
    before = before[(before >= min_segment) & (n - before >= min_segment)]
    if before.size == 0:
        raise ValueError(f"no date leaves {min_segment} items on each side")

    binary = bool(np.isin(values, (0.0, 1.0)).all())
    profile = _binomial_profile if binary else _normal_profile
    rng = np.random.default_rng(seed)
    observed = profile(values[None], before)[0]
    best = int(np.argmax(observed))
    shuffled = rng.permuted(np.broadcast_to(values, (n_permutations, n)), axis=1)
    null = profile(shuffled, before).max(axis=1)
    # permutations that repeat the observed split differ from it only by rounding
    as_extreme = np.sum(null >= observed[best] - 1e-9 * max(1.0, observed[best]))
    p = float((1 + as_extreme) / (1 + n_permutations))
    found = p <= alpha

    k = int(before[best])
    rates = values[:k].mean(), values[k:].mean()
    low = high = np.nan
    if found:
        drawn = [_redrawn(rng, part, values, n_bootstrap) for part in (values[:k], values[k:])]
        replicas = profile(np.concatenate(drawn, axis=1), before)
        distance = replicas.max(axis=1) - replicas[:, best]
        inside = observed >= observed[best] - np.quantile(distance, level)
        low, high = dates[before[inside] - 1][[0, -1]]
    return CutoffScan(
        date_index=k,
        date=float(dates[k - 1]),
        statistic=float(observed[best]),
        p=p,
        low=float(low),
        high=float(high),
        rate_before=float(rates[0]),
        rate_after=float(rates[1]),
        n=n,
        found=found,
        level=level,
    )


def _binomial_profile(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """2 log LR of a drop after ``before`` (changes,) items, for 0/1 rows (replicates, items)."""
    n = values.shape[1]
    cumulative = np.cumsum(values.astype(np.int32), axis=1, dtype=np.int32)
    first, total = cumulative[:, before - 1], cumulative[:, -1:]
    second, after = total - first, n - before
    x_log_x = xlogy(np.arange(n + 1.0), np.arange(n + 1.0))
    split = (
        x_log_x[first]
        + x_log_x[before - first]
        - x_log_x[before]
        + x_log_x[second]
        + x_log_x[after - second]
        - x_log_x[after]
    )
    whole = x_log_x[total] + x_log_x[n - total] - x_log_x[n]
    return np.where(first * after > second * before, 2 * (split - whole), 0.0)


def _normal_profile(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """As the binomial profile for graded rows, n log(RSS without / RSS with the drop)."""
    n = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    first = np.cumsum(centred, axis=1)[:, before - 1]
    explained = first**2 * n / (before * (n - before))
    total = np.sum(centred**2, axis=1, keepdims=True)
    share = np.divide(explained, total, out=np.zeros_like(explained), where=total > 0)
    ratio = -n * np.log1p(-np.minimum(share, 1 - 1e-15))
    return np.where(first > 0, ratio, 0.0)


def _redrawn(
    rng: np.random.Generator, part: np.ndarray, values: np.ndarray, n_bootstrap: int
) -> np.ndarray:
    """Rows (replicates, items of the part), drawn from the part and, one in size + 1, from all."""
    shape = (n_bootstrap, part.size)
    foreign = rng.random(shape) < 1 / (part.size + 1)
    return np.where(foreign, rng.choice(values, shape), rng.choice(part, shape))
