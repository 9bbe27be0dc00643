import sqlite3
import sys
from contextlib import closing
from datetime import date

import polars as pl
import pytest

from palimpsest.data import cpi_bls
from palimpsest.data.sentences import format_value
from palimpsest.data.series import check_frame, package_file


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return cpi_bls.read()


@pytest.fixture(scope="module")
def everything() -> pl.DataFrame:
    return cpi_bls.read_all()


def row(frame: pl.DataFrame, series: str, day: date) -> tuple[float, int]:
    found = frame.filter(pl.col("series") == series, pl.col("date") == day)
    return found.select("value", "decimals").row(0)


@pytest.mark.parametrize(
    ("series", "day", "text"),
    [
        ("us_cpi", date(1913, 1, 1), "9.8"),
        ("us_cpi", date(1929, 10, 1), "17.3"),
        ("us_cpi", date(1983, 7, 1), "99.9"),
        ("us_cpi", date(2000, 1, 1), "168.8"),
        ("us_cpi", date(2008, 7, 1), "219.964"),
        ("us_cpi", date(2020, 4, 1), "256.389"),
        ("us_cpi", date(2022, 6, 1), "296.311"),
        ("us_cpi_adjusted", date(1947, 1, 1), "21.48"),
        ("us_cpi_core", date(1957, 1, 1), "28.5"),
    ],
)
def test_published_values_print_exactly(frame, series, day, text):
    assert format_value(*row(frame, series, day)) == text


def test_size_and_span(frame):
    cpi = frame.filter(pl.col("series") == "us_cpi")
    assert cpi.height == 1363
    assert (cpi["date"].min(), cpi["date"].max()) == (date(1913, 1, 1), date(2026, 8, 1))
    assert frame.height == 12539
    assert set(frame["series"]) == set(cpi_bls.SERIES)


def test_all_default_series_are_monthly_on_the_base_they_name(frame):
    for slug in cpi_bls.SERIES:
        base = frame.filter(
            pl.col("series") == slug, pl.col("date").dt.year().is_between(1982, 1984)
        )
        assert base["date"].n_unique() == 36, slug
        assert base["value"].mean() == pytest.approx(100, abs=0.2), slug
        assert base["unit"].unique().to_list() == ["index 1982-84=100"]


def test_months_after_the_knowledge_of_the_default_model_are_there(frame):
    recent = frame.filter(pl.col("date") >= date(2025, 1, 1)).group_by("series").len()
    assert recent.filter(pl.col("len") >= 18)["series"].n_unique() == len(cpi_bls.SERIES)


def test_october_2025_was_never_published(frame):
    assert date(2025, 10, 1) not in frame.filter(pl.col("series") == "us_cpi")["date"].to_list()


def test_annual_averages_are_those_of_the_months():
    months = cpi_bls.read_ids(["CUUR0000SA0"])
    years = cpi_bls.read_ids(["CUUR0000SA0"], frequency="year")
    assert years["frequency"].unique().to_list() == ["year"]
    assert row(years, "cuur0000sa0", date(2008, 1, 1)) == (215.303, 3)
    means = months.group_by(pl.col("date").dt.truncate("1y")).agg(pl.len(), pl.col("value").mean())
    both = years.join(means.filter(pl.col("len") == 12), on="date")
    assert both.height == 112  # 1913 to 2024; 2025 lacks a month
    # The BLS averaged unrounded indexes, so old averages miss the printed months by up to 0.067.
    assert (both["value"] - both["value_right"]).abs().max() < 0.07


def test_any_series_by_id():
    frame = cpi_bls.read_ids(["CUUR0000AA0", "CUUR0000SA0R", "CUURS49ASA0"])
    units = dict(frame.select("series", "unit").unique().iter_rows())
    assert units == {
        "cuur0000aa0": "index 1967=100",
        "cuur0000sa0r": "index 1982-84=100",
        "cuurs49asa0": "index 1982-84=100",
    }
    assert row(frame, "cuur0000sa0r", date(2010, 1, 1)) == (46.1, 1)
    assert row(frame, "cuurs49asa0", date(2026, 8, 1)) == (356.993, 3)
    info = cpi_bls.describe(["CUUR0000SETB01"])["CUUR0000SETB01"]
    assert "Gasoline (all types) in U.S. city average" in info.name
    assert (info.slug, info.frequency) == ("cuur0000setb01", "month")


def test_a_semiannual_series_comes_by_year():
    some = cpi_bls.titles().filter(pl.col("periodicity") == "S", pl.col("item") == "All items")
    frame = cpi_bls.read_ids(some["id"].to_list())
    assert frame.height
    assert frame["frequency"].unique().to_list() == ["year"]
    with pytest.raises(ValueError, match="semiannual"):
        cpi_bls.read_ids(some["id"].to_list(), frequency="month")


def test_unknown_ids_and_frequencies_are_named():
    with pytest.raises(ValueError, match="NOSUCH1, NOSUCH2"):
        cpi_bls.read_ids(["NOSUCH2", "CUUR0000SA0", "NOSUCH1"])
    with pytest.raises(ValueError, match="'quarter'"):
        cpi_bls.read_ids(["CUUR0000SA0"], frequency="quarter")


def test_every_series_of_the_survey(everything):
    check_frame(everything)
    assert cpi_bls.titles().height == 8104
    series = everything.group_by("frequency").agg(pl.len(), pl.col("series").n_unique())
    assert {name: (rows, n) for name, rows, n in series.iter_rows()} == {
        "month": (1_357_083, 4203),
        "year": (72_264, 3009),
    }
    assert everything["value"].min() > 0


def test_decimals_follow_the_practice_of_the_bureau(everything):
    unadjusted = everything.filter(
        pl.col("series").str.starts_with("cuu"), ~pl.col("series").str.contains("a0r$")
    )
    modern = pl.col("date") >= date(2007, 1, 1)
    assert unadjusted.filter(modern)["decimals"].unique().to_list() == [3]
    assert unadjusted.filter(~modern)["decimals"].unique().to_list() == [1]


def test_every_stored_value_needs_no_more_decimals_than_it_is_given(everything):
    with closing(sqlite3.connect(package_file("cpi", "cpi.db"))) as database:
        total, zeros = database.execute(
            "SELECT sum(value), sum(value = 0) FROM indexes "
            "WHERE (period LIKE 'M%' AND period != 'M13') OR period = 'S03'"
        ).fetchone()
    assert everything["value"].sum() == pytest.approx(total, rel=1e-12)
    assert zeros == 49
    sample = everything.sample(20_000, seed=0)
    for value, decimals in sample.select("value", "decimals").iter_rows():
        assert float(format_value(value, decimals)) == value


def test_the_package_is_read_without_being_imported(frame):
    assert frame.height
    assert "cpi" not in sys.modules
