"""What can be answered about a series without remembering the value that was asked for.

**Forecasters**, each ``f(dates, values, target_dates, cutoff=None)``: the answer for target date t
uses only values dated before t, and on or before the cutoff if there is one. Changing any other
value changes nothing. ``dates`` is (n,) and strictly increasing, anything that numpy reads as days
("datetime64[D]"); ``values`` is (n,) and finite; the result has the shape of ``target_dates``, nan
where the past is too short. A period counts by its date: whether it was *published* by then is
the caller's question.

Horizons h are counted in observation dates after the last value used, up to t; the calendar of a
series is known in advance. Past its end, dates are assumed to go on at their mean spacing.

**Coarse knowledge**: :func:`interpolate` does look ahead, on purpose. It is what someone answers
who remembers the value at the end of each year (quarter, month) and nothing between.

All raise ValueError for dates that are not increasing, lengths that differ or values not finite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_Days = NDArray[np.datetime64]

_PERIODS = {"year": ("Y", 1), "quarter": ("M", 3), "month": ("M", 1)}
# Three pairs: with fewer an autoregression of two coefficients has no residual.
_LEAST_FOR_AR1 = 4


@dataclass(frozen=True)
class Interpolation:
    """``predictions`` for every date; ``excluded`` where that is the value itself (period ends)."""

    predictions: Array
    excluded: NDArray[np.bool_]


def last_value(
    dates: ArrayLike, values: ArrayLike, target_dates: ArrayLike, cutoff: object = None
) -> Array:
    """Persistence: the last known value, ŷ = y_T."""
    return _forecast(dates, values, target_dates, cutoff, 1, lambda past, h: past[-1])


def frozen_at_cutoff(
    dates: ArrayLike, values: ArrayLike, target_dates: ArrayLike, cutoff: object = None
) -> Array:
    """The last value on or before ``cutoff``, for targets after it; nan for targets up to it.

    What a model says that stopped learning at the cutoff and believes that nothing has changed.

    Raises:
        ValueError: no cutoff.
    """
    if cutoff is None:
        raise ValueError("frozen_at_cutoff needs a cutoff")
    predictions = last_value(dates, values, target_dates, cutoff)
    return np.where(_days(target_dates) > _days(cutoff), predictions, np.nan)


def drift(
    dates: ArrayLike, values: ArrayLike, target_dates: ArrayLike, cutoff: object = None
) -> Array:
    """Random walk with drift: ŷ = y_T + h·(y_T − y_1)/(T − 1); needs two values.

    Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", drift method.
    """

    def forecast(past: Array, h: int) -> float:
        return past[-1] + h * (past[-1] - past[0]) / (past.size - 1)

    return _forecast(dates, values, target_dates, cutoff, 2, forecast)


def ar1(
    dates: ArrayLike, values: ArrayLike, target_dates: ArrayLike, cutoff: object = None
) -> Array:
    """Autoregression y_t = a + b·y_{t−1} + e, least squares on the past, iterated h times.

    The window expands: every target has its own fit. Needs four values; a past without variation
    is continued. b is not restricted: in a trending series it may exceed 1, and a forecast that
    leaves the range of floats is nan.
    """

    def forecast(past: Array, h: int) -> float:
        before, after = past[:-1], past[1:]
        deviation = before - before.mean()
        variation = deviation @ deviation
        if variation == 0:
            return past[-1]
        b = deviation @ (after - after.mean()) / variation
        a = after.mean() - b * before.mean()
        prediction = past[-1]
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(h):
                prediction = a + b * prediction
        return prediction if np.isfinite(prediction) else np.nan

    return _forecast(dates, values, target_dates, cutoff, _LEAST_FOR_AR1, forecast)


def moving_average(
    dates: ArrayLike,
    values: ArrayLike,
    target_dates: ArrayLike,
    cutoff: object = None,
    *,
    window: int,
) -> Array:
    """Mean of the last ``window`` known values; nan where fewer are known. ``window`` >= 1."""
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    return _forecast(
        dates, values, target_dates, cutoff, window, lambda past, h: past[-window:].mean()
    )


def interpolate(
    dates: ArrayLike, values: ArrayLike, granularity: Literal["year", "quarter", "month"] = "year"
) -> Interpolation:
    """Linear interpolation in time between the values at the ends of years, quarters or months.

    *Coarse knowledge, not a forecast*: it uses the period end after each date. The value asked
    for enters only where it is itself a period end; those dates are ``excluded`` and say nothing
    about recall. A period's end is its last observation. The last period of the series has one
    only if it goes on as long as some earlier period did: a year that stops in May has no end yet.
    Before the first and after the last period end predictions are nan.

    Raises:
        ValueError: unknown granularity.
    """
    if granularity not in _PERIODS:
        raise ValueError(f"granularity must be one of {', '.join(_PERIODS)}, got {granularity!r}")
    days, values = _series(dates, values)
    if not days.size:
        return Interpolation(np.empty(0), np.empty(0, dtype=bool))
    unit, length = _PERIODS[granularity]
    period = days.astype(f"datetime64[{unit}]").astype(np.int64) // length
    is_end = np.append(period[1:] != period[:-1], True)
    next_start = ((period + 1) * length).astype(f"datetime64[{unit}]").astype(days.dtype)
    missing_days = (next_start - days)[is_end].astype(np.int64)
    is_end[-1] = missing_days[-1] <= missing_days[:-1].max(initial=0)
    if not is_end.any():
        return Interpolation(np.full(days.size, np.nan), is_end)
    time = days.astype(np.int64)
    predictions = np.interp(time, time[is_end], values[is_end], left=np.nan, right=np.nan)
    return Interpolation(predictions, is_end)


def _forecast(
    dates: ArrayLike,
    values: ArrayLike,
    target_dates: ArrayLike,
    cutoff: object,
    least: int,
    forecast: Callable[[Array, int], float],
) -> Array:
    """``forecast(past values, horizon)`` for each target with at least ``least`` past values."""
    days, values = _series(dates, values)
    targets = _days(target_dates)
    n_known = np.searchsorted(days, targets, side="left")
    if cutoff is not None:
        n_known = np.minimum(n_known, np.searchsorted(days, _days(cutoff), side="right"))
    predictions = np.full(targets.shape, np.nan)
    for position, n in np.ndenumerate(n_known):
        if n >= least:
            predictions[position] = forecast(values[:n], _horizon(days, int(n), targets[position]))
    return predictions


def _horizon(days: _Days, n_known: int, target: np.datetime64) -> int:
    steps = int(np.searchsorted(days, target, side="right")) - n_known
    if target > days[-1] and days.size > 1:
        # A ratio of spans: a time span divided by a number would be cut to whole days.
        steps += round((target - days[-1]) / (days[-1] - days[0]) * (days.size - 1))
    return max(1, steps)


def _series(dates: ArrayLike, values: ArrayLike) -> tuple[_Days, Array]:
    days, values = _days(dates), np.asarray(values, dtype=np.float64)
    if days.ndim != 1 or days.shape != values.shape:
        raise ValueError(
            f"dates and values must be rows of one length: {days.shape}, {values.shape}"
        )
    if np.isnat(days).any() or not (days[1:] > days[:-1]).all():
        raise ValueError("dates must be strictly increasing")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    return days, values


def _days(dates: object) -> _Days:
    return np.asarray(dates, dtype="datetime64[D]")
