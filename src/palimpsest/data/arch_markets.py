"""Market series that come with the package ``arch`` 8.0.0: shares, volatility, oil, bonds, prices.

The package is under the NCSA licence and took the figures from public pages (Yahoo Finance, FRED,
the library of Kenneth French); its licence may not cover the publishers' rights in them.

The closes of the S&P 500 and the NASDAQ are stored as float32 printed with six decimals; they are
rounded to the two decimals at which exchanges publish them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from palimpsest.data.series import (
    SeriesInfo,
    package_file,
    package_version,
    published_decimals,
    series_frame,
)

PACKAGE = "arch"
DISTRIBUTION = "arch"
_FED = "Board of Governors of the Federal Reserve System"
_EIA = "US Energy Information Administration"
_MOODYS = "Moody's"
_FRENCH = "Kenneth R. French Data Library"


@dataclass(frozen=True)
class _File:
    """Where the dates stand in a file of the package, and how they are written."""

    path: str
    date_format: str
    frequency: str


_FILES = {
    "sp500": _File("sp500/sp500.csv.gz", "%m/%d/%Y", "day"),
    "nasdaq": _File("nasdaq/nasdaq.csv.gz", "%m/%d/%Y", "day"),
    "vix": _File("vix/vix.csv.gz", "%m/%d/%Y", "day"),
    "wti": _File("wti/wti.csv.gz", "%m/%d/%Y", "day"),
    "core_cpi": _File("core_cpi/core-cpi.csv.gz", "%m/%d/%Y", "month"),
    "default": _File("default/default.csv.gz", "%m/%d/%Y", "month"),
    "crude": _File("crude/crude.csv.gz", "%Y-%m-%d", "month"),
    "frenchdata": _File("frenchdata/frenchdata.csv.gz", "%Y%m%d", "month"),
}


def _info(
    slug: str,
    key: str,
    name: str,
    unit: str,
    kind: str,
    publisher: str,
    note: str = "",
    unit_phrase: str = "",
    prefix: str = "",
) -> SeriesInfo:
    return SeriesInfo(
        slug=slug,
        source="arch_markets",
        key=key,
        name=name,
        unit=unit,
        unit_phrase=unit_phrase,
        prefix=prefix,
        frequency=_FILES[key.split("/")[0]].frequency,
        kind=kind,
        licence="NCSA",
        publisher=publisher,
        note=note,
    )


def _close(slug: str, key: str, name: str, publisher: str) -> SeriesInfo:
    return _info(slug, key, name, "points", "level", publisher, "At the close.", " points")


def _oil(slug: str, key: str, name: str, note: str) -> SeriesInfo:
    unit = "US dollars per barrel"
    return _info(slug, key, name, unit, "level", _EIA, note, " a barrel", "$")


def _percent(slug: str, key: str, name: str, publisher: str, note: str) -> SeriesInfo:
    return _info(slug, key, name, "percent", "rate", publisher, note, " percent")


#: Keys are "file/column" of the package.
SERIES: dict[str, SeriesInfo] = {
    info.slug: info
    for info in (
        _close("sp500", "sp500/Close", "the closing value of the S&P 500", "S&P Dow Jones Indices"),
        _close("nasdaq", "nasdaq/Close", "the closing value of the NASDAQ Composite", "Nasdaq"),
        _close("vix", "vix/vix", "the closing value of the VIX", "Cboe Global Markets"),
        _oil(
            "wti_oil",
            "wti/DCOILWTICO",
            "the spot price of West Texas Intermediate crude oil",
            "Cushing, Oklahoma.",
        ),
        _oil(
            "brent_oil_monthly",
            "crude/Brent",
            "the average spot price of Brent crude oil",
            "Monthly mean of the daily prices.",
        ),
        _oil(
            "wti_oil_monthly",
            "crude/WTI",
            "the average spot price of West Texas Intermediate crude oil",
            "Monthly mean of the daily prices.",
        ),
        _info(
            "us_core_cpi_adjusted",
            "core_cpi/CPILFESL",
            "the seasonally adjusted US core consumer price index",
            "index 1982-84=100",
            "level",
            "US Bureau of Labor Statistics",
            "All items less food and energy, vintage of December 2018.",
        ),
        _percent(
            "aaa_bond_yield",
            "default/AAA",
            "the yield of Moody's Aaa corporate bonds",
            _MOODYS,
            "Seasoned bonds, monthly mean.",
        ),
        _percent(
            "baa_bond_yield",
            "default/BAA",
            "the yield of Moody's Baa corporate bonds",
            _MOODYS,
            "Seasoned bonds, monthly mean.",
        ),
        _percent(
            "us_market_excess_return",
            "frenchdata/Mkt-RF",
            "the monthly excess return of the US stock market",
            _FRENCH,
            "Value-weighted return less that of one-month Treasury bills.",
        ),
        _percent(
            "us_size_factor",
            "frenchdata/SMB",
            "the monthly return of the US small-minus-big size factor",
            _FRENCH,
            "Fama and French's SMB.",
        ),
        _percent(
            "us_value_factor",
            "frenchdata/HML",
            "the monthly return of the US high-minus-low value factor",
            _FRENCH,
            "Fama and French's HML.",
        ),
        _percent(
            "us_risk_free_return",
            "frenchdata/RF",
            "the monthly return of one-month US Treasury bills",
            _FRENCH,
            "Not annualised.",
        ),
    )
}


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Series of :data:`SERIES` (all by default) in the documented frame."""
    infos = [SERIES[slug] for slug in (SERIES if slugs is None else slugs)]
    observations = pl.concat(_observations(info) for info in infos)
    return series_frame(observations, infos, package_version(DISTRIBUTION))


def _observations(info: SeriesInfo) -> pl.DataFrame:
    name, column = info.key.split("/")
    file = _FILES[name]
    # A full stop is how FRED writes a missing value, such as the VIX on a holiday.
    with gzip.open(package_file(PACKAGE, f"data/{file.path}")) as stream:
        table = pl.read_csv(stream.read(), infer_schema=False, null_values=".")
    date = pl.col("Date")
    if name == "frenchdata":  # the month alone: 192607
        date = date + "01"
    rows = table.select(
        series=pl.lit(info.slug),
        date=date.str.to_date(file.date_format),
        value=pl.col(column).cast(pl.Float64),
    )
    if file.frequency == "month":  # crude dates its months on the 15th
        rows = rows.with_columns(pl.col("date").dt.truncate("1mo"))
    # Prices and yields are quoted to the cent; the index has one decimal to 2006, three since.
    decimals = published_decimals(least=1) if name == "core_cpi" else pl.lit(2, dtype=pl.Int64)
    return rows.with_columns(decimals=decimals)
