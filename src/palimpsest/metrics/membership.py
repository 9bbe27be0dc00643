"""Membership scores of a text: was it seen in training? Higher means more likely a member.

All are functions of what one pass of ``engine.scoring.sequence_scores`` returns, so a battery costs
one forward pass. Log-probabilities are in nats. A score alone says nothing about membership: it is
compared between members and non-members of the same distribution, or with a model that never saw
the text.
"""

from __future__ import annotations

import zlib as zlib_compression
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Variances below this are taken for it, so that certain tokens do not decide min-k++ alone.
LEAST_VARIANCE = 1e-6


class Scores(Protocol):
    """What is needed of ``engine.scoring.SequenceScores``."""

    log_p: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def loss(log_p: ArrayLike) -> float:
    """Mean log-probability of a token: the negative loss (Yeom et al. 2018, arXiv 1709.01604).

    Raises:
        ValueError: no token is scored.
    """
    return float(np.mean(_scored(log_p)))


def zlib(log_p: ArrayLike, text: str) -> float:
    """Negative ratio of mean loss to the bytes that zlib needs (Carlini et al. 2021, 2012.07805).

    Args:
        log_p: (T,) log-probabilities.
        text: the text, compressed as UTF-8 with zlib's default level.

    Raises:
        ValueError: no token is scored.
    """
    return loss(log_p) / len(zlib_compression.compress(text.encode()))


def min_k(log_p: ArrayLike, share: float = 0.2) -> float:
    """Mean of the lowest ``share`` of log-probabilities (Shi et al. 2024, 2310.16789, eq. 1).

    Args:
        log_p: (T,) log-probabilities.
        share: of the tokens; rounded down, at least one token.

    Raises:
        ValueError: no token is scored, or ``share`` is not in (0, 1].
    """
    return _mean_of_lowest(_scored(log_p), share)


def min_k_plus_plus(
    log_p: ArrayLike, mean: ArrayLike, deviation: ArrayLike, share: float = 0.2
) -> float:
    """Min-k of standardised log-probabilities (Zhang et al. 2025, 2404.02936, eq. 3 and 4).

    Args:
        log_p: (T,) log-probabilities.
        mean: (T,) mean of log p under the model's distribution at each place.
        deviation: (T,) its standard deviation; variances are floored at :data:`LEAST_VARIANCE`.
        share: as in :func:`min_k`.

    Raises:
        ValueError: no token is scored, or ``share`` is not in (0, 1].
    """
    variance = np.maximum(np.square(np.asarray(deviation, dtype=float)), LEAST_VARIANCE)
    standardised = (_scored(log_p) - np.asarray(mean, dtype=float)) / np.sqrt(variance)
    return _mean_of_lowest(standardised, share)


def reference(log_p: ArrayLike, log_p_reference: ArrayLike) -> float:
    """Mean loss of a reference model minus that of the model (Carlini et al. 2021, sec. 5.2).

    The models may cut the text into different tokens.

    Raises:
        ValueError: no token is scored.
    """
    return loss(log_p) - loss(log_p_reference)


def battery(scores: Scores, text: str, share: float = 0.2) -> dict[str, float]:
    """All scores that need no other model: loss, zlib, min_k and min_k_plus_plus.

    Raises:
        ValueError: no token is scored, or ``share`` is not in (0, 1].
    """
    return {
        "loss": loss(scores.log_p),
        "zlib": zlib(scores.log_p, text),
        "min_k": min_k(scores.log_p, share),
        "min_k_plus_plus": min_k_plus_plus(scores.log_p, scores.mean, scores.deviation, share),
    }


def _scored(log_p: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(log_p, dtype=float)
    if not values.size:
        raise ValueError("no token is scored")
    return values


def _mean_of_lowest(values: NDArray[np.float64], share: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"share {share}: must be above 0 and at most 1")
    n = max(1, int(share * len(values)))
    return float(np.partition(values, n - 1)[:n].mean())
