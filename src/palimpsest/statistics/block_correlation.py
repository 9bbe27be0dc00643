"""Correlation along time, where neighbours resemble each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from palimpsest.statistics.cluster_robust import t_quantile
from palimpsest.statistics.estimate import Estimate

#: Fewer blocks than this give no interval.
LEAST = 4


def block_correlation(
    a: ArrayLike, b: ArrayLike, length: int = 5, unit: str = "dates", level: float = 0.95
) -> Estimate:
    """Pearson's correlation of ``a`` and ``b``, both (n,) and in the order of time.

    The interval is tanh(z -+ t s): z is Fisher's transform of r, s its standard error from leaving
    out one block of ``length`` neighbours at a time (Kunsch 1989, who leaves out blocks; Miller
    1974 for the transform), t with one degree of freedom less than there are blocks. It is right
    where what is ``length`` apart hardly depends on each other, and too short where it does.
    NaN where a series is constant, and no interval below 4 blocks.

    Raises ValueError for unequal lengths.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"series of shapes {a.shape} and {b.shape}")
    n = max(1, len(a) // length)
    unit, method = f"blocks of {length} {unit}", "jackknife of blocks, Fisher's z"

    def missing(r: float, note: str) -> Estimate:
        return Estimate(r, np.nan, np.nan, n, unit, method, level, note=note)

    if len(a) < 2 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return missing(np.nan, "one of the two does not vary")
    x, y = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    products = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    blocks = np.stack([part.sum(1) for part in np.array_split(products, n, axis=1)])
    whole = blocks.sum(0)
    r = _r(whole)
    if n < LEAST:
        return missing(r, f"an interval needs {LEAST} blocks, not {n}")
    with np.errstate(divide="ignore", invalid="ignore"):
        z, left = np.arctanh(r), np.arctanh(_r(whole - blocks))
    if not np.isfinite([z, *left]).all():
        return missing(r, "without one of the blocks the two are the same or do not vary")
    error = np.sqrt((n - 1) / n * np.sum((left - z) ** 2))
    half = t_quantile(level, n - 1) * error
    return Estimate(r, *np.tanh([z - half, z + half]).tolist(), n, unit, method, level, dof=n - 1)


def _r(sums: np.ndarray) -> np.ndarray | float:
    """From the sums of 1, x, y, xx, yy, xy in the last axis."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    r = (n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2))
    # Rounding must not tell two series that are the same apart.
    r = np.where(np.abs(r) > 1 - 1e-12, np.sign(r), r)
    return float(r) if r.ndim == 0 else r
