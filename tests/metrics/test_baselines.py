"""Forecasters that cannot look ahead, and interpolation that does so only as documented."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.tsa.ar_model import AutoReg

from palimpsest.metrics.baselines import (
    ar1,
    drift,
    frozen_at_cutoff,
    interpolate,
    last_value,
    moving_average,
)
from palimpsest.metrics.errors import absolute_error, directional_accuracy, recall_gain

NAN = np.nan


def moving_average_of_3(dates, values, target_dates, cutoff=None):
    return moving_average(dates, values, target_dates, cutoff, window=3)


FORECASTERS = [last_value, drift, ar1, moving_average_of_3]


def months(n, start="2000-01"):
    return (np.datetime64(start) + np.arange(n)).astype("datetime64[D]")


MONTHS = months(6)
VALUES = np.array([1.0, 2.0, 4.0, 4.0, 8.0, 7.0])


def test_last_value_by_hand():
    assert_array_equal(last_value(MONTHS, VALUES, MONTHS), [NAN, 1, 2, 4, 4, 8])
    assert_array_equal(last_value(MONTHS, VALUES, MONTHS, "2000-03-01"), [NAN, 1, 2, 4, 4, 4])
    assert_array_equal(last_value(MONTHS, VALUES, ["2000-02-15", "2010-01-01"]), [2, 7])
    assert last_value(MONTHS, VALUES, "2000-02-15") == 2


def test_frozen_at_cutoff_by_hand():
    frozen = frozen_at_cutoff(MONTHS, VALUES, MONTHS, "2000-03-01")
    assert_array_equal(frozen, [NAN, NAN, NAN, 4, 4, 4])
    assert_array_equal(frozen_at_cutoff(MONTHS, VALUES, MONTHS, "1999-01-01"), np.full(6, NAN))
    with pytest.raises(ValueError, match="cutoff"):
        frozen_at_cutoff(MONTHS, VALUES, MONTHS)


def test_drift_by_hand():
    # from 1 to 4 in two steps: 1.5 a step
    assert_allclose(drift(MONTHS, VALUES, MONTHS, "2000-03-01"), [NAN, NAN, 3, 5.5, 7, 8.5])
    line = drift(MONTHS, np.arange(6.0), MONTHS)
    assert_allclose(line[2:], np.arange(2.0, 6.0))


def test_drift_counts_months_beyond_the_series():
    dates = months(120)
    far = drift(dates, np.arange(120.0), np.datetime64("2019-12-01"))
    assert far == 239
    assert drift(dates, np.arange(120.0), np.datetime64("2010-01-01")) == 120


def test_moving_average_by_hand():
    result = moving_average(MONTHS, VALUES, MONTHS, window=2)
    assert_allclose(result, [NAN, NAN, 1.5, 3, 4, 6])
    one = moving_average(MONTHS, VALUES, MONTHS, window=1)
    assert_array_equal(one, last_value(MONTHS, VALUES, MONTHS))
    with pytest.raises(ValueError, match="window"):
        moving_average(MONTHS, VALUES, MONTHS, window=0)


def test_ar1_agrees_with_statsmodels():
    generator = np.random.default_rng(1)
    values = np.zeros(60)
    for t in range(1, 60):
        values[t] = 0.4 + 0.8 * values[t - 1] + generator.normal()
    dates = months(60)
    rolling = ar1(dates, values, dates)
    assert np.isnan(rolling[:4]).all()
    for t in (4, 10, 59):
        assert_allclose(rolling[t], AutoReg(values[:t], 1).fit().forecast(1)[0])
    frozen = ar1(dates, values, dates, dates[39])
    assert_allclose(frozen[40:], AutoReg(values[:40], 1).fit().forecast(20))


def test_ar1_continues_a_constant():
    assert_array_equal(ar1(MONTHS, np.full(6, 3.0), MONTHS)[4:], 3)


def test_ar1_that_explodes_is_missing():
    values = 3.0 ** np.arange(6)
    assert_allclose(ar1(MONTHS, values, "2000-07-01"), 3.0**6)
    assert np.isnan(ar1(MONTHS, values, "2099-01-01"))


def test_persistence_has_the_direction_right_where_nothing_changes():
    predictions = last_value(MONTHS, VALUES, MONTHS)
    previous = np.append(NAN, VALUES[:-1])
    scores = directional_accuracy(predictions, previous, VALUES, previous)
    assert_array_equal(scores, [NAN, 0, 0, 1, 0, 0])


@settings(max_examples=60)
@given(st.integers(5, 14), st.data())
@pytest.mark.parametrize("forecaster", FORECASTERS)
def test_no_look_ahead(forecaster, n, data):
    """Values on or after the target date, or after the cutoff, change no prediction."""
    number = st.floats(-100, 100)
    gaps = data.draw(st.lists(st.integers(1, 40), min_size=n, max_size=n))
    dates = np.datetime64("2000-01-01") + np.cumsum(gaps)
    values = np.array(data.draw(st.lists(number, min_size=n, max_size=n)))
    origin = data.draw(st.integers(0, n - 1))
    changed = values.copy()
    changed[origin:] = data.draw(st.lists(number, min_size=n - origin, max_size=n - origin))
    up_to_origin = dates[: origin + 1]
    assert_array_equal(
        forecaster(dates, values, up_to_origin), forecaster(dates, changed, up_to_origin)
    )
    later = [*dates, dates[-1] + np.timedelta64(100)]
    cutoff = dates[origin] - np.timedelta64(1)
    assert_array_equal(
        forecaster(dates, values, later, cutoff), forecaster(dates, changed, later, cutoff)
    )
    assert_array_equal(
        frozen_at_cutoff(dates, values, later, cutoff),
        frozen_at_cutoff(dates, changed, later, cutoff),
    )


@pytest.mark.parametrize("forecaster", FORECASTERS)
def test_the_past_is_used(forecaster):
    dates = months(8)
    values = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 7.0, 6.5])
    changed = values.copy()
    changed[6] = 9.0
    assert forecaster(dates, values, dates[7]) != forecaster(dates, changed, dates[7])


def test_interpolation_by_hand():
    dates = months(27, "1999-12")  # December 1999 to February 2002
    values = np.random.default_rng(0).normal(size=27)
    values[[0, 12, 24]] = [10.0, 22.0, 10.0]
    result = interpolate(dates, values, "year")
    assert_array_equal(np.flatnonzero(result.excluded), [0, 12, 24])
    days = (dates[12] - dates[0]).astype(int)
    assert_allclose(result.predictions[1], 10 + 12 * 31 / days)
    assert_allclose(result.predictions[12], 22)
    assert_array_equal(np.isnan(result.predictions), np.arange(27) > 24)


def test_interpolation_between_quarter_and_month_ends():
    quarterly = interpolate(months(12), np.arange(12.0), "quarter")
    assert_array_equal(np.flatnonzero(quarterly.excluded), [2, 5, 8, 11])
    assert np.isnan(quarterly.predictions[:2]).all()
    monthly = interpolate(months(12), np.arange(12.0), "month")
    assert monthly.excluded.all()
    days = np.arange("2000-01-01", "2000-04-16", dtype="datetime64[D]")
    daily = interpolate(days, np.arange(days.size, dtype=float), "month")
    ends = ["2000-01-31", "2000-02-29", "2000-03-31"]
    assert_array_equal(days[daily.excluded], np.array(ends, dtype="datetime64[D]"))
    assert_allclose(daily.predictions[30:91], np.arange(30.0, 91.0))


def test_the_last_period_needs_its_end():
    whole, cut = months(24), months(23)
    assert interpolate(whole, np.zeros(24), "year").excluded[-1]
    assert not interpolate(cut, np.zeros(23), "year").excluded[-1]
    one_year = interpolate(months(12), np.zeros(12), "year")
    assert not one_year.excluded.any()
    assert np.isnan(one_year.predictions).all()
    assert interpolate([], []).predictions.size == 0


@given(st.data(), st.sampled_from(["year", "quarter", "month"]))
def test_a_value_never_enters_its_own_interpolation(data, granularity):
    n = data.draw(st.integers(2, 20))
    gaps = data.draw(st.lists(st.integers(1, 60), min_size=n, max_size=n))
    dates = np.datetime64("2000-01-01") + np.cumsum(gaps)
    values = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=n, max_size=n)))
    before = interpolate(dates, values, granularity)
    inner = ~before.excluded
    changed = np.where(inner, values + 1000, values)
    after = interpolate(dates, changed, granularity)
    assert_array_equal(before.excluded, after.excluded)
    assert_array_equal(before.predictions, after.predictions)
    assert_array_equal(before.predictions[before.excluded], values[before.excluded])


def test_an_answer_by_interpolation_shows_no_recall():
    dates, values = months(48), np.random.default_rng(2).normal(size=48).round(1)
    guess = interpolate(dates, values)
    asked = ~guess.excluded & ~np.isnan(guess.predictions)
    errors = absolute_error(guess.predictions, values)[asked]
    assert_array_equal(recall_gain(errors, errors, 0.05), 0)
    # and one that remembers gains
    assert (recall_gain(0.0, errors, 0.05) >= 0).all()
    assert recall_gain(0.0, errors, 0.05).mean() > 1


@pytest.mark.parametrize(
    ("dates", "values"),
    [
        (MONTHS[::-1], VALUES),
        (MONTHS[[0, 0]], VALUES[:2]),
        (MONTHS, VALUES[:5]),
        (MONTHS, np.append(VALUES[:5], NAN)),
        (["2000-01-01", "NaT"], [1.0, 2.0]),
    ],
)
def test_input_is_checked(dates, values):
    with pytest.raises(ValueError, match="must be"):
        last_value(dates, values, MONTHS)
    with pytest.raises(ValueError, match="must be"):
        interpolate(dates, values)


def test_granularity_is_checked():
    with pytest.raises(ValueError, match="granularity"):
        interpolate(MONTHS, VALUES, "week")
