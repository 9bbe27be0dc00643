from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.data.sentences import (
    FREQUENCIES,
    add_periods,
    format_date,
    format_period,
    format_value,
    period_end,
    period_start,
)

MIDDLE_DATES = st.dates(date(1000, 1, 1), date(8999, 12, 31))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (10.0, 1, "10.0"),
        (202.416, 3, "202.416"),
        (1836200.0, 0, "1836200"),
        (12990.341, 3, "12990.341"),
        (2.675, 2, "2.68"),  # the double lies below 2.675: binary rounding gives 2.67
        (1.005, 2, "1.00"),
        (0.125, 2, "0.12"),
        (2.5, 0, "2"),
        (3.5, 0, "4"),
        (-0.04, 1, "0.0"),
        (-0.0, 1, "0.0"),
        (-0.05, 1, "0.0"),
        (-0.15, 1, "-0.2"),
        (-3.44, 2, "-3.44"),
        (1e-7, 2, "0.00"),
        (1e22, 0, "10000000000000000000000"),
        (5, 1, "5.0"),
    ],
)
def test_format_value(value, decimals, text):
    assert format_value(value, decimals) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_format_value_refuses_what_is_not_a_number(value):
    with pytest.raises(ValueError, match="finite"):
        format_value(value, 1)


def test_format_value_refuses_negative_decimals():
    with pytest.raises(ValueError, match="decimals"):
        format_value(1.0, -1)


@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
def test_published_decimal_comes_back_as_written(digits, decimals):
    published = Decimal(digits).scaleb(-decimals)
    text = format_value(float(published), decimals)
    assert Decimal(text) == published
    assert len(text.partition(".")[2]) == decimals


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 6))
def test_format_value_is_within_half_a_unit_and_never_minus_zero(value, decimals):
    text = format_value(value, decimals)
    assert abs(Decimal(text) - Decimal(repr(value))) <= Decimal(5).scaleb(-decimals - 1)
    assert "e" not in text.lower()
    assert not (text.startswith("-") and Decimal(text) == 0)


@pytest.mark.parametrize(
    ("day", "frequency", "noun", "phrase"),
    [
        (date(2008, 3, 14), "day", "14 March 2008", "on 14 March 2008"),
        (date(2008, 3, 1), "month", "March 2008", "in March 2008"),
        (
            date(2008, 1, 1),
            "quarter",
            "the first quarter of 2008",
            "in the first quarter of 2008",
        ),
        (
            date(2009, 10, 1),
            "quarter",
            "the fourth quarter of 2009",
            "in the fourth quarter of 2009",
        ),
        (date(2008, 1, 1), "year", "2008", "in 2008"),
    ],
)
def test_dates_in_words(day, frequency, noun, phrase):
    assert format_date(day, frequency) == noun
    assert format_period(day, frequency) == phrase


@pytest.mark.parametrize(
    ("day", "frequency"),
    [(date(2008, 3, 14), "month"), (date(2008, 2, 1), "quarter"), (date(2008, 4, 1), "year")],
)
def test_a_date_inside_a_period_is_refused(day, frequency):
    with pytest.raises(ValueError, match="first day"):
        format_date(day, frequency)


@pytest.mark.parametrize("function", [format_date, format_period, period_start, period_end])
def test_unknown_frequency(function):
    with pytest.raises(ValueError, match="frequency must be one of"):
        function(date(2008, 1, 1), "week")


@pytest.mark.parametrize(
    ("day", "frequency", "end"),
    [
        (date(2008, 2, 29), "day", date(2008, 2, 29)),
        (date(2008, 2, 1), "month", date(2008, 2, 29)),
        (date(2009, 2, 1), "month", date(2009, 2, 28)),
        (date(2008, 5, 9), "quarter", date(2008, 6, 30)),
        (date(9999, 12, 31), "year", date(9999, 12, 31)),
    ],
)
def test_period_end(day, frequency, end):
    assert period_end(day, frequency) == end


@pytest.mark.parametrize(
    ("day", "frequency", "k", "expected"),
    [
        (date(2008, 2, 28), "day", 2, date(2008, 3, 1)),
        (date(2008, 12, 1), "month", 1, date(2009, 1, 1)),
        (date(2009, 1, 1), "month", -1, date(2008, 12, 1)),
        (date(2009, 7, 1), "quarter", 2, date(2010, 1, 1)),
        (date(2009, 1, 1), "year", -10, date(1999, 1, 1)),
        (date(2009, 1, 1), "month", 0, date(2009, 1, 1)),
    ],
)
def test_add_periods(day, frequency, k, expected):
    assert add_periods(day, frequency, k) == expected


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_add_periods_outside_the_calendar(frequency):
    with pytest.raises(OverflowError):
        add_periods(date(9999, 12, 1), frequency, 40)
    with pytest.raises(OverflowError):
        add_periods(date(1, 1, 1), frequency, -1)


@given(MIDDLE_DATES, st.sampled_from(FREQUENCIES), st.integers(-900, 900))
def test_periods_tile_the_calendar(day, frequency, k):
    start = period_start(day, frequency)
    assert start <= day <= period_end(day, frequency)
    following = add_periods(day, frequency, 1)
    assert period_end(day, frequency) + timedelta(days=1) == following
    there = add_periods(day, frequency, k)
    assert add_periods(there, frequency, -k) == start
    assert period_start(there, frequency) == there
