"""Graded measures of memory from log-likelihoods of a target and its foils.

Scores are finite or -inf, higher is better; the last axis runs over the k candidates. Log
probabilities are natural logarithms, as scored by a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

Array = NDArray[np.float64]


def prior_corrected(log_p: ArrayLike, log_p_neutral: ArrayLike) -> Array:
    """log p(candidate | question) − log p(candidate | neutral prompt), elementwise.

    Takes out how likely the candidate is whatever was asked: the domain-conditional pointwise
    mutual information of Holtzman et al. (2021), "Surface Form Competition", arXiv 2104.08315.

    Raises:
        ValueError: a neutral log-probability that is not finite; nothing can be corrected by it.
    """
    neutral = np.asarray(log_p_neutral, dtype=np.float64)
    if not np.isfinite(neutral).all():
        raise ValueError("neutral log-probabilities must be finite")
    return np.asarray(log_p, dtype=np.float64) - neutral


def forced_choice(scores: ArrayLike, target_index: ArrayLike) -> Array:
    """Whether the target has the highest score: 1, 0, or 1/(number tied) if it shares the top.

    The value of a tie is the chance of being right when ties are broken at random, so that equal
    scores give 1/k. ``scores`` is (..., k), ``target_index`` an integer or (...); returns (...).
    """
    scores, target = _with_target(scores, target_index)
    top = scores.max(axis=-1)
    return np.where(target == top, 1.0 / (scores == top[..., None]).sum(axis=-1), 0.0)


def rank_of_target(scores: ArrayLike, target_index: ArrayLike) -> NDArray[np.int64]:
    """Rank of the target among all candidates, itself included: 1 is best, ties take the worst.

    The number of candidates that score at least as high as the target, so that a model which
    cannot tell its candidates apart gets rank k, never 1. Shapes as :func:`forced_choice`.
    """
    scores, target = _with_target(scores, target_index)
    return (scores >= target[..., None]).sum(axis=-1)


def normalised_rank(rank: ArrayLike, n: ArrayLike) -> Array:
    """(rank − 1) / (n − 1): 0 is best, 1 is worst, 0.5 is expected of a guesser without ties.

    Raises:
        ValueError: ``n`` below 2, or ``rank`` outside 1 to ``n``.
    """
    rank, n = _checked_rank(rank, n, least=2)
    return (rank - 1) / (n - 1)


def exposure(rank: ArrayLike, n: ArrayLike) -> Array:
    """log₂ n − log₂ rank: bits by which the model narrows down the target among n candidates.

    Exposure of Carlini et al. (2019), "The Secret Sharer", USENIX Security, with n the size of
    the candidate space: log₂ n for rank 1, 0 for rank n. A guesser's mean is about log₂ e = 1.44
    bits for large n, not 0.

    Raises:
        ValueError: ``rank`` outside 1 to ``n``.
    """
    rank, n = _checked_rank(rank, n, least=1)
    return np.log2(n) - np.log2(rank)


def surprisal_bits(log_p: ArrayLike) -> Array:
    """−log₂ p, from natural log-probabilities (ValueError if one is above 0)."""
    log_p = np.asarray(log_p, dtype=np.float64)
    if not (log_p <= 0).all():
        raise ValueError("log-probabilities must not be above 0")
    return np.abs(log_p) / np.log(2)


def probability_among(scores: ArrayLike) -> Array:
    """Softmax of ``scores`` over the last axis: probability of each candidate if one must be it.

    Raises:
        ValueError: no candidate has a score above -inf.
    """
    scores = _checked_scores(scores)
    if np.isneginf(scores.max(axis=-1)).any():
        raise ValueError("every candidate scores -inf")
    return softmax(scores, axis=-1)


def _checked_scores(scores: ArrayLike) -> Array:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError("scores must have a last axis of candidates")
    if not (scores < np.inf).all():
        raise ValueError("scores must be finite or -inf")
    return scores


def _with_target(scores: ArrayLike, target_index: ArrayLike) -> tuple[Array, Array]:
    """Scores and the score of each target, shape (..., k) and (...)."""
    scores = _checked_scores(scores)
    index = np.broadcast_to(np.asarray(target_index), scores.shape[:-1])
    if not np.issubdtype(index.dtype, np.integer):
        raise ValueError("target_index must be integer")
    if ((index < 0) | (index >= scores.shape[-1])).any():
        raise ValueError(f"target_index outside 0 to {scores.shape[-1] - 1}")
    return scores, np.take_along_axis(scores, index[..., None], axis=-1)[..., 0]


def _checked_rank(rank: ArrayLike, n: ArrayLike, least: int) -> tuple[Array, Array]:
    rank, n = np.asarray(rank, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if not ((n >= least) & (rank >= 1) & (rank <= n)).all():
        raise ValueError(f"n must be at least {least} and rank from 1 to n")
    return rank, n
