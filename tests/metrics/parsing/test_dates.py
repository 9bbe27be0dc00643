"""Dates in free answers."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.metrics.parsing import ParsedDate, parse_month_year


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("March 2008", (2008, 3, None)),
        ("It was published in Mar. 2008.", (2008, 3, None)),
        ("Sept, 2008", (2008, 9, None)),
        ("March of 2008", (2008, 3, None)),
        ("2008 March", (2008, 3, None)),
        ("14 March 2008", (2008, 3, 14)),
        ("the 14th of March, 2008", (2008, 3, 14)),
        ("March 14th, 2008", (2008, 3, 14)),
        ("2008-03", (2008, 3, None)),
        ("2008‑03‑14", (2008, 3, 14)),
        ("2008/3/14", (2008, 3, 14)),
        ("14.03.2008", (2008, 3, 14)),
        ("03/2008", (2008, 3, None)),
        ("3/14/2008", (2008, 3, 14)),
        ("14/3/2008", (2008, 3, 14)),
        ("4/4/2008", (2008, 4, 4)),
        ("29 February 2008", (2008, 2, 29)),
        ("in 2008", (2008, None, None)),
        ("2008Q1", (2008, None, None)),
        # a long s folds to s, but is no letter of a month's name
        ("ſep 2008", (2008, None, None)),
        ("the first quarter of 2008", (2008, None, None)),
        ("March 2008 or 2008-03", (2008, 3, None)),
        ("March 2008, long after the crisis of 1929", (2008, 3, None)),
    ],
)
def test_dates_are_read(text, expected):
    assert parse_month_year(text) == ParsedDate(*expected, "date")


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("", "empty"),
        ("March", "unparsable"),
        ("12008", "unparsable"),
        ("2008.5", "unparsable"),
        ("soon", "unparsable"),
        ("February 30, 2008", "unparsable"),
        ("31/2/2008", "unparsable"),
        ("2008-13", "unparsable"),
        ("3/4/2008", "ambiguous"),
        ("March or April 2008", "ambiguous"),
        ("2007-2008", "ambiguous"),
        ("between 2007 and 2009", "ambiguous"),
        ("2007 or perhaps early 2009", "ambiguous"),
        ("I don't know.", "refusal"),
    ],
)
def test_what_is_no_date(text, category):
    assert parse_month_year(text) == ParsedDate(None, None, None, category)


def test_the_order_of_numbers_can_be_told():
    assert parse_month_year("3/4/2008", day_first=True) == ParsedDate(2008, 4, 3, "date")
    assert parse_month_year("3/4/2008", day_first=False) == ParsedDate(2008, 3, 4, "date")
    assert parse_month_year("3/14/2008", day_first=True).category == "unparsable"


PIECES = st.sampled_from([*"0123456789/-., ", "2008", "March", "or ", "Q1", "th", "ſep", "–"])


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_any_text_gives_a_record(text):
    parsed = parse_month_year(text)
    assert (parsed.year is not None) == (parsed.category == "date")
    if parsed.category != "date":
        assert parsed.month is None
    if parsed.day is not None:
        date(parsed.year, parsed.month, parsed.day)


@given(
    st.dates(date(1500, 1, 1), date(2199, 12, 31)),
    st.sampled_from(["%B %d, %Y", "%d %b %Y", "%Y-%m-%d", "%d.%m.%Y", "the %dth of %B, %Y"]),
)
def test_format_then_parse_gives_the_date(day, form):
    # The locale of a test run is C, whose names are English.
    expected = ParsedDate(day.year, day.month, day.day, "date")
    assert parse_month_year(f"It was {day.strftime(form)}.") == expected
