"""US macroeconomic quarters 1959Q1 to 2009Q3, the ``macrodata`` set of statsmodels.

Compiled from FRED and the Bureau of Labor Statistics as they stood on 15 December 2009 (so the
figures are that vintage, before later revisions); public domain.

The set's "end of the quarter" is, for consumer prices, the figure of the first month after the
quarter (its first quarter of 1959 has the index of April), and its inflation rate follows suit.
Where the month matters, take the monthly series of ``cpi_bls``.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from palimpsest.data.series import (
    SeriesInfo,
    package_file,
    package_version,
    published_decimals,
    series_frame,
)

PACKAGE = "statsmodels"
DISTRIBUTION = "statsmodels"
_BEA = "US Bureau of Economic Analysis"
_BLS = "US Bureau of Labor Statistics"
_FED = "Board of Governors of the Federal Reserve System"
_CHAINED = "billions of chained 2005 US dollars"
_NEXT_MONTH = "Stands for the end of the quarter: the index of the first month after it."
_ANNUAL = "Seasonally adjusted annual rate, 2009 vintage."

# (slug, column, name, unit, unit phrase, prefix, kind, publisher, decimals, note); decimals None
# stands for those that the values of a year show.
_ROWS = (
    (
        "us_real_gdp",
        "realgdp",
        "US real gross domestic product in chained 2005 dollars",
        *(_CHAINED, " billion", "$", "level", _BEA, 3, _ANNUAL),
    ),
    (
        "us_real_consumption",
        "realcons",
        "US real personal consumption expenditure in chained 2005 dollars",
        *(_CHAINED, " billion", "$", "level", _BEA, 1, _ANNUAL),
    ),
    (
        "us_real_investment",
        "realinv",
        "US real gross private domestic investment in chained 2005 dollars",
        *(_CHAINED, " billion", "$", "level", _BEA, 3, _ANNUAL),
    ),
    (
        "us_real_government_spending",
        "realgovt",
        "US real federal consumption and gross investment in chained 2005 dollars",
        *(_CHAINED, " billion", "$", "level", _BEA, 3, _ANNUAL),
    ),
    (
        "us_real_disposable_income",
        "realdpi",
        "US real disposable personal income in chained 2005 dollars",
        *(_CHAINED, " billion", "$", "level", _BEA, 1, _ANNUAL),
    ),
    (
        "us_cpi_quarterly",
        "cpi",
        "the end-of-quarter seasonally adjusted US consumer price index",
        *("index 1982-84=100", "", "", "level", _BLS, None, _NEXT_MONTH),
    ),
    (
        "us_m1",
        "m1",
        "the US M1 money stock",
        *("billions of US dollars", " billion", "$", "level", _FED, 1),
        "End of the quarter, nominal, seasonally adjusted.",
    ),
    (
        "us_treasury_bill_rate",
        "tbilrate",
        "the three-month US Treasury bill rate",
        *(
            "percent",
            " percent",
            "",
            "rate",
            _FED,
            2,
            "Secondary market; not in every quarter the mean of the monthly rates.",
        ),
    ),
    (
        "us_unemployment_rate",
        "unemp",
        "the US unemployment rate",
        *("percent", " percent", "", "rate", _BLS, 1, "Quarterly, seasonally adjusted."),
    ),
    (
        "us_population",
        "pop",
        "the population of the United States",
        *("millions of persons", " million", "", "level", "US Census Bureau", 3),
        "End of the quarter, all ages, with armed forces overseas.",
    ),
    (
        "us_inflation_rate",
        "infl",
        "the annualised US inflation rate",
        *("percent", " percent", "", "rate", _BLS, 2),
        "400 ln(cpi_t / cpi_t-1), derived by the compiler of the set.",
    ),
    (
        "us_real_interest_rate",
        "realint",
        "the US real interest rate",
        *("percent", " percent", "", "rate", _FED, 2),
        "Treasury bill rate less inflation rate, derived by the compiler of the set.",
    ),
)

SERIES: dict[str, SeriesInfo] = {
    slug: SeriesInfo(
        slug=slug,
        source="statsmodels_macro",
        key=column,
        name=name,
        unit=unit,
        unit_phrase=phrase,
        prefix=prefix,
        frequency="quarter",
        kind=kind,
        licence="public-domain",
        publisher=publisher,
        note=note,
    )
    for slug, column, name, unit, phrase, prefix, kind, publisher, _, note in _ROWS
}
_DECIMALS = {row[0]: row[8] for row in _ROWS}
# In the first quarter the file holds 0 for these two because there is no quarter before it.
_NEEDS_PREVIOUS = ("infl", "realint")


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Series of :data:`SERIES` (all by default): 203 quarters each, in the documented frame.

    The inflation rate and the real interest rate have 202: their first quarter in the file is a
    placeholder and is left out.
    """
    infos = [SERIES[slug] for slug in (SERIES if slugs is None else slugs)]
    path = package_file(PACKAGE, "datasets/macrodata/macrodata.csv")
    quarters = pl.read_csv(path, infer_schema_length=None).with_columns(
        date=pl.date(pl.col("year"), pl.col("quarter") * 3 - 2, 1)
    )
    observations = pl.concat(_observations(quarters, info) for info in infos)
    return series_frame(observations, infos, package_version(DISTRIBUTION))


def _observations(quarters: pl.DataFrame, info: SeriesInfo) -> pl.DataFrame:
    rows = quarters.slice(1) if info.key in _NEEDS_PREVIOUS else quarters
    fixed = _DECIMALS[info.slug]
    return rows.select(
        "date", series=pl.lit(info.slug), value=pl.col(info.key).cast(pl.Float64)
    ).with_columns(
        decimals=published_decimals(least=1) if fixed is None else pl.lit(fixed, dtype=pl.Int64)
    )
