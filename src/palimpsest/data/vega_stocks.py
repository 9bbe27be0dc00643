"""Monthly share prices of five companies, January 2000 to February 2010, from ``vega_datasets``.

The package (MIT) took them from Yahoo Finance: the close of the last trading day of the month,
adjusted for later splits and dividends as seen in March 2010. So they differ from the prices
printed in the newspapers of the time (IBM closed January 2000 at 112.25, here 100.52), and a model
that has read those may rightly disagree. The file's last row a company, March 2010, stops at 9
March (Apple 223.02) and is left out. Google starts in August 2004.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from palimpsest.data.series import SeriesInfo, package_file, package_version, series_frame

PACKAGE = "vega_datasets"
DISTRIBUTION = "vega_datasets"
_COMPANIES = {
    "AAPL": ("apple", "an Apple"),
    "AMZN": ("amazon", "an Amazon"),
    "GOOG": ("google", "a Google"),
    "IBM": ("ibm", "an IBM"),
    "MSFT": ("microsoft", "a Microsoft"),
}
_FIRST_PARTIAL_MONTH = date(2010, 3, 1)

SERIES: dict[str, SeriesInfo] = {
    f"{company}_share": SeriesInfo(
        slug=f"{company}_share",
        source="vega_stocks",
        key=symbol,
        name=f"the adjusted month-end price of {phrase} share",
        unit="US dollars",
        prefix="$",
        frequency="month",
        kind="level",
        licence="MIT",
        publisher="Yahoo Finance",
        note="Adjusted for splits and dividends as seen in March 2010.",
    )
    for symbol, (company, phrase) in _COMPANIES.items()
}


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Monthly prices of :data:`SERIES` (all by default) in the documented frame."""
    infos = [SERIES[slug] for slug in (SERIES if slugs is None else slugs)]
    slug_of = {info.key: info.slug for info in infos}
    prices = pl.read_csv(package_file(PACKAGE, "_data/stocks.csv"))
    observations = prices.filter(pl.col("symbol").is_in(list(slug_of))).select(
        series=pl.col("symbol").replace_strict(slug_of),
        date=pl.col("date").str.to_date("%b %d %Y"),
        value=pl.col("price").cast(pl.Float64),
        decimals=2,
    )
    complete = observations.filter(pl.col("date") < _FIRST_PARTIAL_MONTH)
    return series_frame(complete, infos, package_version(DISTRIBUTION))
