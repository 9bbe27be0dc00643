from datetime import date

import numpy as np
import polars as pl
import pytest

from palimpsest.data import cpi_bls, statsmodels_macro
from palimpsest.data.series import package_file


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return statsmodels_macro.read()


def value(frame: pl.DataFrame, series: str, day: date) -> float:
    return frame.filter(pl.col("series") == series, pl.col("date") == day)["value"].item()


def test_size_and_span(frame):
    sizes = dict(frame.group_by("series").len().iter_rows())
    derived = {"us_inflation_rate", "us_real_interest_rate"}
    assert sizes == {slug: 202 if slug in derived else 203 for slug in statsmodels_macro.SERIES}
    assert len(sizes) == 12
    assert frame["date"].min() == date(1959, 1, 1)
    assert frame["date"].max() == date(2009, 7, 1)
    assert frame["frequency"].unique().to_list() == ["quarter"]


def test_known_values(frame):
    assert value(frame, "us_unemployment_rate", date(1959, 1, 1)) == 5.8
    assert value(frame, "us_unemployment_rate", date(2009, 7, 1)) == 9.6
    assert value(frame, "us_unemployment_rate", date(1982, 10, 1)) == 10.7  # post-war record
    assert value(frame, "us_real_gdp", date(1959, 1, 1)) == 2710.349


def test_placeholder_of_the_first_quarter_is_left_out(frame):
    derived = frame.filter(pl.col("series").is_in(["us_inflation_rate", "us_real_interest_rate"]))
    assert derived["date"].min() == date(1959, 4, 1)


def test_prices_are_those_of_the_month_after_the_quarter(frame):
    """The set says "end of the quarter"; the monthly index of the BLS says which month."""
    quarters = frame.filter(pl.col("series") == "us_cpi_quarterly").select("date", "value")
    months = cpi_bls.read(["us_cpi_adjusted"]).select("date", published="value")
    error = {
        offset: (joined["value"] - joined["published"]).abs().mean()
        for offset in range(-1, 6)
        for joined in [
            quarters.with_columns(pl.col("date").dt.offset_by(f"{offset}mo")).join(
                months, on="date"
            )
        ]
    }
    assert min(error, key=error.get) == 3
    assert error[3] < 0.1 < error[2] / 3


def test_derived_rates_follow_from_the_published_ones(frame):
    wide = frame.pivot("series", index="date", values="value").sort("date")
    prices = wide["us_cpi_quarterly"].to_numpy()
    inflation = wide["us_inflation_rate"].to_numpy()[1:]
    assert np.abs(400 * np.diff(np.log(prices)) - inflation).max() < 0.011
    real = wide["us_treasury_bill_rate"].to_numpy()[1:] - inflation
    assert np.abs(real - wide["us_real_interest_rate"].to_numpy()[1:]).max() < 0.011


def test_no_value_changes_on_the_way(frame):
    raw = pl.read_csv(package_file("statsmodels", "datasets/macrodata/macrodata.csv"))
    for slug, info in statsmodels_macro.SERIES.items():
        values = frame.filter(pl.col("series") == slug)["value"]
        assert values.to_list() == raw[info.key].cast(pl.Float64).tail(len(values)).to_list()


def test_only_the_asked_series_come():
    assert statsmodels_macro.read(["us_m1"])["series"].unique().to_list() == ["us_m1"]
