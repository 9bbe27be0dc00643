import gzip
from datetime import date

import polars as pl
import pytest

from palimpsest.data import arch_markets
from palimpsest.data.sentences import format_value
from palimpsest.data.series import package_file


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return arch_markets.read()


@pytest.mark.parametrize(
    ("series", "day", "text"),
    [
        ("sp500", date(1999, 1, 4), "1228.10"),
        ("sp500", date(2000, 3, 24), "1527.46"),  # top of the bubble
        ("sp500", date(2008, 3, 14), "1288.14"),
        ("sp500", date(2009, 3, 9), "676.53"),  # bottom of the crisis
        ("nasdaq", date(2000, 3, 10), "5048.62"),
        ("vix", date(2018, 2, 5), "37.32"),
        ("wti_oil", date(2008, 7, 3), "145.31"),
        ("us_core_cpi_adjusted", date(1957, 1, 1), "28.5"),
        ("aaa_bond_yield", date(1981, 9, 1), "15.49"),
        ("us_market_excess_return", date(1926, 7, 1), "2.96"),
        ("us_market_excess_return", date(1987, 10, 1), "-23.24"),
        ("brent_oil_monthly", date(1987, 5, 1), "18.58"),
    ],
)
def test_published_values_print_exactly(frame, series, day, text):
    found = frame.filter(pl.col("series") == series, pl.col("date") == day)
    assert format_value(*found.select("value", "decimals").row(0)) == text


def test_size_and_span(frame):
    spans = {
        series: (rows, first, last)
        for series, rows, first, last in frame.group_by("series")
        .agg(pl.len(), pl.col("date").min(), last=pl.col("date").max())
        .iter_rows()
    }
    assert len(spans) == 13
    assert frame.height == 28_007
    assert spans["sp500"] == (5031, date(1999, 1, 4), date(2018, 12, 31))
    assert spans["nasdaq"] == (5031, date(1999, 1, 4), date(2018, 12, 31))
    assert spans["vix"] == (1259, date(2014, 1, 3), date(2019, 1, 3))
    assert spans["wti_oil"] == (8321, date(1986, 1, 2), date(2019, 1, 3))
    assert spans["us_core_cpi_adjusted"] == (743, date(1957, 1, 1), date(2018, 11, 1))
    assert spans["baa_bond_yield"] == (1200, date(1919, 1, 1), date(2018, 12, 1))
    assert spans["us_value_factor"] == (1109, date(1926, 7, 1), date(2018, 11, 1))
    assert spans["wti_oil_monthly"] == (393, date(1987, 5, 1), date(2020, 1, 1))


def test_monthly_oil_is_the_mean_of_the_days(frame):
    """Two files of the package, one truth: this would fail if either dates were misread."""
    days = frame.filter(pl.col("series") == "wti_oil")
    means = days.group_by(pl.col("date").dt.truncate("1mo")).agg(pl.col("value").mean())
    months = frame.filter(pl.col("series") == "wti_oil_monthly").join(means, on="date")
    whole = months.filter(pl.col("date") < date(2018, 12, 1))
    assert whole.height > 370
    difference = (whole["value"] - whole["value_right"]).abs()
    assert difference.quantile(0.99) < 0.05


def test_rounding_removes_only_the_noise_of_float32(frame):
    for slug in ("sp500", "nasdaq"):
        with gzip.open(package_file("arch", f"data/{slug}/{slug}.csv.gz")) as stream:
            raw = pl.read_csv(stream.read())["Close"]
        published = frame.filter(pl.col("series") == slug)["value"]
        assert (raw - published).abs().max() <= 0.005 + 1e-6
        assert (raw - published).abs().quantile(0.9) < 5e-4
