"""Corrections for families of tests: Holm for claims, Benjamini-Hochberg for exploration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.multitest import multipletests


def holm(p: ArrayLike) -> np.ndarray:
    """Holm-adjusted p-values (family-wise error), same shape; nan passes through, not counted."""
    return _adjusted(p, "holm")


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """Benjamini-Hochberg-adjusted p-values (false discovery rate), nan as in :func:`holm`.

    Valid for independent or positively dependent tests (Benjamini & Yekutieli 2001).
    """
    return _adjusted(p, "fdr_bh")


def _adjusted(p: ArrayLike, method: str) -> np.ndarray:
    p = np.array(p, dtype=float)
    tested = ~np.isnan(p)
    if np.any((p[tested] < 0) | (p[tested] > 1)):
        raise ValueError("p-values must lie in [0, 1]")
    if tested.any():
        p[tested] = multipletests(p[tested], method=method)[1]
    return p
