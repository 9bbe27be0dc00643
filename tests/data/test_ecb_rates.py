from datetime import date

import polars as pl
import pytest

from palimpsest.data import ecb_rates
from palimpsest.data.sentences import format_value


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return ecb_rates.read()


@pytest.mark.parametrize(
    ("series", "day", "text"),
    [
        ("eur_usd", date(1999, 1, 4), "1.1789"),
        ("eur_usd", date(2000, 10, 26), "0.8252"),  # the euro's all-time low
        ("eur_usd", date(2008, 7, 15), "1.5990"),  # and high, with its trailing zero
        ("eur_jpy", date(1999, 1, 4), "133.73"),
        ("eur_gbp", date(1999, 1, 4), "0.7111"),
        ("eur_gbp", date(1999, 1, 7), "0.70585"),  # the one day of 1999 with five decimals
        ("eur_gbp", date(2026, 10, 30), "0.83380"),
        ("eur_chf", date(2015, 1, 15), "1.0280"),  # the floor of 1.20 given up
        ("eur_trl", date(1999, 1, 4), "372274"),
        ("eur_bgn", date(2025, 12, 31), "1.9558"),  # the fixed rate, to the last day
    ],
)
def test_published_values_print_exactly(frame, series, day, text):
    found = frame.filter(pl.col("series") == series, pl.col("date") == day)
    assert format_value(*found.select("value", "decimals").row(0)) == text


def test_size_and_span(frame):
    assert frame["series"].n_unique() == 41 == len(ecb_rates.SERIES)
    assert frame.height == 221_702
    dollars = frame.filter(pl.col("series") == "eur_usd")
    assert dollars.height == 7126
    assert dollars["date"].min() == date(1999, 1, 4)
    assert dollars["date"].max() == date(2026, 10, 30)
    assert dollars["decimals"].unique().to_list() == [4]
    assert dollars["unit"].unique().to_list() == ["US dollars per euro"]


def test_extremes_of_the_dollar_are_where_they_were(frame):
    dollars = frame.filter(pl.col("series") == "eur_usd").sort("value")
    assert dollars["date"][0] == date(2000, 10, 26)
    assert dollars["date"][-1] == date(2008, 7, 15)


def test_days_after_the_knowledge_of_the_default_model_are_there(frame):
    recent = frame.filter(pl.col("date") >= date(2025, 1, 1), pl.col("series") == "eur_usd")
    assert recent.height > 400
    assert set(recent["date"].dt.year()) == {2025, 2026}


def test_no_rates_at_weekends(frame):
    assert frame["date"].dt.weekday().max() == 5
