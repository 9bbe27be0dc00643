"""Which items are remembered: a p-value per item, flags under FDR control, and their quality."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import combine_pvalues

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import proportion
from palimpsest.statistics.multiplicity import benjamini_hochberg

#: p-values above this count as this in the Cauchy combination
CAUCHY_CEILING = 0.99


def worst_rank(true_score: ArrayLike, other_scores: ArrayLike) -> np.ndarray:
    """Rank of the true candidate, 1 = best, a tie counted against it (higher score is better).

    ``true_score`` has shape (items,), ``other_scores`` (items, candidates - 1). nan among the other
    scores counts as no candidate; pass the number of real ones to :func:`rank_p_value`.
    """
    true_score = np.asarray(true_score, dtype=float)
    return 1 + np.sum(np.asarray(other_scores) >= true_score[..., None], axis=-1)


def rank_p_value(rank: ArrayLike, n_candidates: ArrayLike) -> np.ndarray:
    """p = rank / candidates: exact when, unremembered, all candidates are exchangeable.

    ``rank`` 1 is best; ties must carry the worst rank (:func:`worst_rank`), which keeps the p-value
    valid. The smallest p is 1 / candidates, which limits what :func:`flag` can find: see
    ``power.minimal_flagged_share``. Raises ValueError unless 1 <= rank <= candidates.
    """
    rank, n_candidates = np.asarray(rank, dtype=float), np.asarray(n_candidates, dtype=float)
    if np.any((rank < 1) | (rank > n_candidates)):
        raise ValueError("ranks must lie between 1 and the number of candidates")
    return rank / n_candidates


def combine_p(p_values: ArrayLike, method: Literal["fisher", "cauchy"] = "cauchy") -> np.ndarray:
    """One p-value from several along the last axis, such as one per template of an item.

    Templates of one item are dependent. "cauchy" (Liu & Xie 2020, J. Am. Stat. Assoc. 115, 393,
    eq. 2-3, equal weights) is valid for small p under arbitrary dependence: T = mean of
    tan(pi (1/2 - p)) and p = 1/2 - arctan(T) / pi. p-values above 0.99 count as 0.99, or one
    template that ranks last would silence all others. "fisher" needs independence and is
    anti-conservative under dependence. nan is left out; all nan gives nan.
    """
    p = np.asarray(p_values, dtype=float)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("p-values must lie in [0, 1]")
    if method == "fisher":
        return combine_pvalues(p, method="fisher", axis=-1, nan_policy="omit").pvalue
    if method != "cauchy":
        raise ValueError(f"method must be fisher or cauchy, not {method!r}")
    tangents = np.tan(np.pi * (0.5 - np.clip(p, 1e-300, CAUCHY_CEILING)))
    # cot(pi p) keeps the digits that 1/2 - p loses for tiny p
    small = p < 1e-8
    tangents = np.where(small, 1 / (np.pi * np.clip(p, 1e-300, None)), tangents)
    counted = ~np.isnan(p)
    with np.errstate(invalid="ignore"):
        mean = np.where(counted, tangents, 0).sum(axis=-1) / counted.sum(axis=-1)
    return np.where(mean > 0, np.arctan2(1, mean), np.pi / 2 - np.arctan(mean)) / np.pi


def flag(p_values: ArrayLike, q: float = 0.1) -> np.ndarray:
    """True for items found at false discovery rate ``q`` (Benjamini-Hochberg); nan is never found.

    Raises ValueError on p-values outside [0, 1].
    """
    with np.errstate(invalid="ignore"):
        return benjamini_hochberg(p_values) <= q


def detection_power(flags: ArrayLike, truth: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of remembered items (``truth``) that were flagged, Wilson interval."""
    flags, truth = _booleans(flags, truth)
    return proportion(int(flags[truth].sum()), int(truth.sum()), level, "remembered items")


def false_positive_rate(flags: ArrayLike, truth: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of items not remembered that were flagged all the same, Wilson interval."""
    flags, truth = _booleans(flags, truth)
    return proportion(int(flags[~truth].sum()), int((~truth).sum()), level, "unexposed items")


def false_discovery_proportion(flags: ArrayLike, truth: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of flagged items that are not remembered; 0 without interval when none is flagged."""
    flags, truth = _booleans(flags, truth)
    if not flags.any():
        note = "nothing flagged: 0 by definition"
        return Estimate(0.0, np.nan, np.nan, 0, "flagged items", "by definition", level, note=note)
    return proportion(int((flags & ~truth).sum()), int(flags.sum()), level, "flagged items")


def _booleans(flags: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    flags, truth = np.asarray(flags, dtype=bool), np.asarray(truth, dtype=bool)
    if flags.shape != truth.shape:
        raise ValueError("flags and truth differ in shape")
    return flags, truth
