"""Two runs whose answers are 0 or 1: intervals and p-values of many comparisons at once.

As ``share_differences``, for arrays (comparisons,) of shares instead of rows. Wilson's limits make
intervals and the p of a change; exact ones, which are cautious, the p of no change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv, ndtri

#: halvings of (0, 1) in search of a p-value: to 1e-12
HALVINGS = 40

Limits = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def are_shares(mean: np.ndarray, variance: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Whether values in [0, 1] with this mean and sample variance must all be 0 or 1.

    Only then is the mean square the mean. Fewer than two values say nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        square = variance * (n - 1) / n + mean**2
        return (n >= 2) & (np.abs(square - mean) < 1e-9)


def paired(
    difference: np.ndarray, variance: np.ndarray, n: np.ndarray, margin: np.ndarray, level: float
) -> dict[str, np.ndarray]:
    """low, high, p and p_same of mean differences of ``n`` pairs of 0/1, and their variance.

    p_same is cut at 0.5.
    """
    differ = variance * (n - 1) / n + difference**2
    more, less = np.clip((differ + difference) / 2, 0, 1), np.clip((differ - difference) / 2, 0, 1)
    room = (1 - more) * (1 - less)
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = np.where(room > 0, -np.sqrt(more * less / room), -1.0)
    return _inference((more, n), (less, n), np.maximum(shared, -1.0), margin, level)


def apart(
    old: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    margin: np.ndarray,
    level: float,
) -> dict[str, np.ndarray]:
    """low, high, p and p_same of new - old, each a share and its n, of different items."""
    return _inference(new, old, np.zeros_like(margin), margin, level)


def _inference(
    one: tuple[np.ndarray, np.ndarray],
    two: tuple[np.ndarray, np.ndarray],
    shared: np.ndarray,
    margin: np.ndarray,
    level: float,
) -> dict[str, np.ndarray]:
    def interval(limits: Limits, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (p, n_p), (q, n_q) = one, two
        (low_p, high_p), (low_q, high_q) = limits(p, n_p, alpha), limits(q, n_q, alpha)
        below = _joined(p - low_p, high_q - q, shared)
        return p - q - below, p - q + _joined(high_p - p, q - low_q, shared)

    def off_zero(alpha: np.ndarray) -> np.ndarray:
        low, high = interval(_wilson, alpha)
        return np.maximum(low, -high)

    def inside(alpha: np.ndarray) -> np.ndarray:
        low, high = interval(_exact, alpha)
        return np.minimum(low + margin, margin - high)

    low, high = interval(_wilson, np.full_like(margin, 1 - level))
    return {"low": low, "high": high, "p": _smallest(off_zero, margin),
            "p_same": _smallest(inside, margin) / 2}  # fmt: skip


def _smallest(rises: Callable[[np.ndarray], np.ndarray], like: np.ndarray) -> np.ndarray:
    """The alpha from which on a function that rises with it is above 0; 1 where it never is."""
    low, high = np.zeros_like(like), np.ones_like(like)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = rises(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def _wilson(p: np.ndarray, n: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    q2 = ndtri(alpha / 2) ** 2
    centre = (p + q2 / (2 * n)) / (1 + q2 / n)
    half = np.sqrt(q2 * (p * (1 - p) / n + q2 / (4 * n**2))) / (1 + q2 / n)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _exact(p: np.ndarray, n: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.rint(p * n)
    low = betaincinv(np.maximum(count, 1e-300), n - count + 1, alpha / 2)
    high = betaincinv(count + 1, np.maximum(n - count, 1e-300), 1 - alpha / 2)
    return np.where(count > 0, low, 0.0), np.where(count < n, high, 1.0)


def _joined(one: np.ndarray, two: np.ndarray, shared: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(0.0, one**2 + two**2 - 2 * shared * one * two))
