from datetime import date

import polars as pl

from palimpsest.data import vega_stocks


def test_size_span_and_known_prices():
    frame = vega_stocks.read()
    assert dict(frame.group_by("series").len().iter_rows()) == {
        "amazon_share": 122,
        "apple_share": 122,
        "google_share": 67,
        "ibm_share": 122,
        "microsoft_share": 122,
    }
    assert frame["date"].min() == date(2000, 1, 1)
    last = frame.filter(pl.col("date") == date(2010, 2, 1))
    assert dict(last.select("series", "value").iter_rows()) == {
        "amazon_share": 118.4,
        "apple_share": 204.62,  # the close of 26 February 2010
        "google_share": 526.8,
        "ibm_share": 127.16,
        "microsoft_share": 28.67,
    }
    assert frame["decimals"].unique().to_list() == [2]


def test_the_month_that_stops_on_its_ninth_day_is_left_out():
    assert vega_stocks.read(["apple_share"])["date"].max() == date(2010, 2, 1)
