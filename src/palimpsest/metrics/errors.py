"""Errors and accuracies of numeric answers, one number an item.

The measures are those of Lopez-Lira, Tang & Zhu, "The Memorization Problem" (arXiv 2504.14765);
where the paper leaves a definition open, the docstring states ours.

**Missing answers** (refused, unparsable) are nan. They are wrong in every accuracy (0), and they
are nan in every error, so that :func:`summarise_errors` leaves them out of the mean *and counts
them*: an error without its share of missing answers is no result. An accuracy is nan only where
the item itself cannot be scored, such as a direction without a previous value.

Arguments are arrays or scalars that broadcast together; results are float64 arrays. Truths must be
finite, or ValueError is raised.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Two decimals that differ by the tolerance on paper may differ by a few ulps more as floats.
_ROUNDING = 8 * np.finfo(np.float64).eps
# Wide enough for every double; the default of 28 digits would raise.
_EXACT = Context(prec=800, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True)
class ErrorSummary:
    """Mean and median over the ``n_answered`` items with an error, out of ``n_asked``.

    ``mean`` and ``median`` are nan where nothing was answered.
    """

    mean: float
    median: float
    n_answered: int
    n_asked: int


def absolute_error(answer: ArrayLike, truth: ArrayLike) -> Array:
    """|ŷ − y|, in the unit of the series; its mean is the MAE. nan where the answer is missing."""
    answer, truth = _checked(answer, truth)
    return np.abs(answer - truth)


def percent_error(answer: ArrayLike, truth: ArrayLike) -> Array:
    """(ŷ − y) / y, a signed fraction (0.01 is one percent).

    100 times the mean of its absolute value is the MAPE. nan where the answer is missing and where
    y = 0. For negative y the sign is turned: 0.1 means further from zero.
    """
    answer, truth = _checked(answer, truth)
    return np.divide(answer - truth, truth, out=np.full(truth.shape, np.nan), where=truth != 0)


def summarise_errors(errors: ArrayLike) -> ErrorSummary:
    """Mean and median of ``errors`` without the missing ones, and how many there were of each.

    Pass absolute errors (or absolute percent errors): signed ones would cancel.
    """
    errors = np.asarray(errors, dtype=np.float64).ravel()
    given = errors[~np.isnan(errors)]
    if not given.size:
        return ErrorSummary(np.nan, np.nan, 0, errors.size)
    return ErrorSummary(float(given.mean()), float(np.median(given)), given.size, errors.size)


def exact_match(answer: ArrayLike, truth: ArrayLike, decimals: ArrayLike) -> Array:
    """1 where answer and truth are the same once rounded to the published decimals, else 0.

    Rounding is done on the shortest decimal that names each float, half to even, as values are
    printed in prompts: 2.675 rounds to 2.68 although the double lies just below it. ``decimals``
    are non-negative integers (ValueError).
    """
    answer, truth = _checked(answer, truth)
    decimals = np.asarray(decimals)
    if not np.issubdtype(decimals.dtype, np.integer) or (decimals < 0).any():
        raise ValueError("decimals must be non-negative integers")
    answer, truth, decimals = np.broadcast_arrays(answer, truth, decimals)
    matches = [
        np.isfinite(a) and _rounded(a, d) == _rounded(t, d)
        for a, t, d in zip(answer.flat, truth.flat, decimals.flat, strict=True)
    ]
    return np.array(matches, dtype=np.float64).reshape(answer.shape)


def threshold_accuracy_side(answer: ArrayLike, truth: ArrayLike, threshold: ArrayLike) -> Array:
    """1 where answer and truth lie on the same side of ``threshold``: 1{(ŷ > τ) = (y > τ)}.

    The two sides are "above" and "not above", so a value equal to the threshold is not above. The
    paper does not define its Threshold Accuracy, but calls 50% its random level, hence a binary
    event; a usual τ is 0, a policy target, or :func:`expanding_median`. nan where τ is nan.
    """
    answer, truth = _checked(answer, truth)
    threshold = np.asarray(threshold, dtype=np.float64)
    same_side = (answer > threshold) == (truth > threshold)
    return _scored(same_side & ~np.isnan(answer), unscorable=np.isnan(threshold))


def threshold_accuracy_tolerance(
    answer: ArrayLike, truth: ArrayLike, tolerance: float, relative: bool
) -> Array:
    """1 where |ŷ − y| ≤ δ, or ≤ δ·|y| if ``relative``: the other reading of Threshold Accuracy.

    The limit itself is within: 5.4 is within 0.1 of 5.3, although their doubles differ by more.
    Usual δ are 0.1 points for rates and 0.01 relative for levels. ValueError if δ is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    answer, truth = _checked(answer, truth)
    limit = tolerance * np.abs(truth) if relative else tolerance
    slack = _ROUNDING * (np.abs(truth) + limit)
    return _scored(np.abs(answer - truth) <= limit + slack)


def directional_accuracy(
    answer: ArrayLike,
    previous: ArrayLike,
    truth: ArrayLike,
    previous_truth: ArrayLike,
    zero_change: Literal["class", "exclude"] = "class",
) -> Array:
    """1 where the change has the right sign: 1{sign(ŷ_t − r_{t−1}) = sign(y_t − y_{t−1})}.

    Args:
        answer: ŷ_t; missing is wrong.
        previous: r_{t−1}: the true previous value (did the answer move the right way from what was
            known?) or the model's own previous answer (does its series move the right way?);
            missing is wrong.
        truth: y_t.
        previous_truth: y_{t−1}; nan where there is none, and the result is nan.
        zero_change: "class": no change is a third direction, which only an unchanged answer hits,
            so that persistence (ŷ_t = y_{t−1}) scores the share of unchanged values. "exclude":
            items whose truth does not change are nan, so that persistence scores 0.

    Raises:
        ValueError: unknown ``zero_change``.
    """
    if zero_change not in ("class", "exclude"):
        raise ValueError(f"zero_change must be class or exclude, got {zero_change!r}")
    answer, truth = _checked(answer, truth)
    previous = np.asarray(previous, dtype=np.float64)
    true_sign = np.sign(truth - np.asarray(previous_truth, dtype=np.float64))
    unscorable = np.isnan(true_sign)
    if zero_change == "exclude":
        unscorable = unscorable | (true_sign == 0)
    # nan equals nothing: a missing answer is wrong.
    return _scored(np.sign(answer - previous) == true_sign, unscorable)


def unit_slip(
    answer: ArrayLike,
    truth: ArrayLike,
    decimals: ArrayLike | None = None,
    relative_tolerance: float = 0.005,
) -> NDArray[np.int64]:
    """k where the answer is the truth times 10^k, 1 ≤ |k| ≤ 9: thousands for units, say. Else 0.

    A slip is |ŷ·10⁻ᵏ − y| ≤ max(ε|y|, min(u/2, |y|/20)), with ε the relative tolerance (0.005
    takes "131 million" for 131,212 thousand) and, if ``decimals`` are given, u = 10^−decimals the
    last published unit. Its half is cut at 5% of y, or for a truth of 0.1 every answer from 0.5
    to 1.5 would be a slip. A right answer is never a slip, nor is a missing one, one of the other
    sign, or any where y = 0. ValueError unless 0 ≤ ε ≤ 0.05, beyond which k is not unique.
    """
    if not 0 <= relative_tolerance <= 0.05:
        raise ValueError(f"relative_tolerance must be in [0, 0.05], got {relative_tolerance}")
    answer, truth = _checked(answer, truth)
    limit = (relative_tolerance + _ROUNDING) * np.abs(truth)
    if decimals is not None:
        limit = np.maximum(limit, np.minimum(precision_floor(decimals), np.abs(truth) / 20))
    answer, truth, limit = np.broadcast_arrays(answer, truth, limit)
    slip = np.zeros(answer.shape, dtype=np.int64)
    for k in (*range(-9, 0), *range(1, 10)):
        scaled = answer / 10.0**k if k > 0 else answer * 10.0**-k
        slip[(np.abs(scaled - truth) <= limit) & (truth != 0)] = k
    return slip


def recall_gain(error_model: ArrayLike, error_interpolation: ArrayLike, floor: ArrayLike) -> Array:
    """log(max(e_interpolation, f) / max(e_model, f)), natural logarithm; our measure of recall.

    Above 0 the model is nearer to the truth than interpolation from coarser knowledge
    (:func:`palimpsest.metrics.baselines.interpolate`), which small errors alone do not show. The
    floor f is half a unit of the last published decimal (:func:`precision_floor`): nothing below
    it can be told from the truth, and exact answers stay finite. nan where an error is nan.

    Raises:
        ValueError: a negative error, or a floor that is not above 0.
    """
    model, interpolation, floor = (
        np.asarray(x, dtype=np.float64) for x in (error_model, error_interpolation, floor)
    )
    if (model < 0).any() or (interpolation < 0).any() or not (floor > 0).all():
        raise ValueError("errors must not be negative and floors must be above 0")
    return np.log(np.maximum(interpolation, floor)) - np.log(np.maximum(model, floor))


def precision_floor(decimals: ArrayLike) -> Array:
    """Half a unit of the last published decimal: 0.5 · 10^−decimals."""
    return 0.5 * 10.0 ** -np.asarray(decimals, dtype=np.float64)


def expanding_median(values: ArrayLike) -> Array:
    """Median of the values strictly before each position: a threshold without look-ahead.

    ``values`` has shape (n,), in time order and finite (ValueError); the first result is nan.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("values must be one row of finite numbers")
    medians, past = np.full(values.size, np.nan), []
    for position, value in enumerate(values):
        if past:
            half = len(past) // 2
            medians[position] = (past[half] + past[~half]) / 2
        insort(past, value)
    return medians


def _checked(answer: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    answer, truth = np.broadcast_arrays(
        np.asarray(answer, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    )
    if not np.isfinite(truth).all():
        raise ValueError("truth must be finite")
    return answer, truth


def _scored(correct: NDArray[np.bool_], unscorable: NDArray[np.bool_] | bool = False) -> Array:
    return np.where(unscorable, np.nan, correct.astype(np.float64))


def _rounded(value: float, decimals: int) -> Decimal:
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-int(decimals)), context=_EXACT)
