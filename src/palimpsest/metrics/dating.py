"""Accuracies of dated answers: when was this published, which of these came first?

After the headline-dating experiment of Lopez-Lira, Tang & Zhu (arXiv 2504.14765): exact year, and
exact month and year. Arguments are numbers or arrays that broadcast; nan stands for what an answer
does not give, is wrong in accuracies (0) and nan in errors. True dates must be complete, or
ValueError is raised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def exact_year(year: ArrayLike, true_year: ArrayLike) -> Array:
    """1 where the year is right, else 0."""
    return (_floats(year) == _complete(true_year)).astype(np.float64)


def exact_month_year(
    year: ArrayLike, month: ArrayLike, true_year: ArrayLike, true_month: ArrayLike
) -> Array:
    """1 where month and year are both right, else 0; a year alone is wrong."""
    right_month = _floats(month) == _complete(true_month)
    return exact_year(year, true_year) * right_month


def months_off(
    year: ArrayLike, month: ArrayLike, true_year: ArrayLike, true_month: ArrayLike
) -> Array:
    """|12·(year − true year) + month − true month|, nan where the answer lacks either."""
    years = _floats(year) - _complete(true_year)
    return np.abs(12 * years + _floats(month) - _complete(true_month))


def order_correct(choice: ArrayLike, dates: ArrayLike) -> Array:
    """1 where the chosen option is the earliest, 0 where it is not or nothing was chosen.

    ``choice`` is (...), the index of the option that the answer puts first, nan for none;
    ``dates`` is (..., k), numbers or ``datetime64``. nan where options share the earliest date:
    there is no right answer.

    Raises:
        ValueError: a missing date, or a choice that is not nan and no index of an option.
    """
    dates, choice = np.asarray(dates), _floats(choice)
    if (np.isnat(dates) if dates.dtype.kind == "M" else np.isnan(_floats(dates))).any():
        raise ValueError("dates must be complete")
    chosen = choice[~np.isnan(choice)]
    if not np.isin(chosen, np.arange(dates.shape[-1])).all():
        raise ValueError(f"choices must be nan or 0 to {dates.shape[-1] - 1}")
    is_earliest = dates == dates.min(axis=-1, keepdims=True)
    correct = choice == is_earliest.argmax(axis=-1)
    return np.where(is_earliest.sum(axis=-1) > 1, np.nan, correct.astype(np.float64))


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _complete(values: ArrayLike) -> Array:
    values = _floats(values)
    if np.isnan(values).any():
        raise ValueError("true dates must be complete")
    return values
