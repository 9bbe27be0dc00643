"""The frame in which every economic series comes, and what is known about each series.

Columns of the frame, one row an observation, sorted by series and date:

=========  =======  ==============================================================================
series     String   slug, such as ``us_unemployment_rate``
date       Date     first day of the period (month, quarter, year), the day itself for daily series
value      Float64  the published number, finite
unit       String   such as "percent", "index 1982-84=100", "US dollars per euro"
frequency  String   day, month, quarter or year
source     String   package with version, then the original publisher
decimals   Int64    decimals at which this value is published: with them it is printed exactly
=========  =======  ==============================================================================

No nulls, and one row for each series and date. ``decimals`` belongs to the row because publishers
change it: US consumer prices have one decimal to 2006 and three since. Alternatives to a value are
to be printed with the decimals of that value, or the number of decimals gives the answer away.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from palimpsest.data.sentences import FREQUENCIES

SCHEMA: dict[str, pl.DataType] = {
    "series": pl.String(),
    "date": pl.Date(),
    "value": pl.Float64(),
    "unit": pl.String(),
    "frequency": pl.String(),
    "source": pl.String(),
    "decimals": pl.Int64(),
}
MOST_DECIMALS = 6


@dataclass(frozen=True)
class SeriesInfo:
    """What is known about a series before its numbers are read.

    ``name`` is a noun phrase that stands in "In October 2009, {name} was 10.0 percent.";
    ``prefix`` and ``unit_phrase`` come directly before and after the number. ``kind`` is "rate"
    (differences are judged in percentage points) or "level" (in percent of the value). ``source``
    names the module of ``palimpsest.data`` that reads the series and ``key`` what it is called
    there. ``licence`` is a key of ``catalogue.LICENCES``.
    """

    slug: str
    source: str
    key: str
    name: str
    unit: str
    frequency: str
    kind: str
    licence: str
    publisher: str
    unit_phrase: str = ""
    prefix: str = ""
    note: str = ""


def series_frame(
    observations: pl.DataFrame, infos: Iterable[SeriesInfo], package: str
) -> pl.DataFrame:
    """The documented frame, checked, of the observations of one or more series.

    ``observations`` has columns series (slug), date, value and decimals in any order of rows; rows
    without a value and rows of other series than ``infos`` are dropped. Values are rounded to
    their decimals, which removes the noise of files that store float32. ``package`` is the
    source, such as "arch 8.0.0".
    """
    known = pl.DataFrame(
        [(i.slug, i.unit, i.frequency, f"{package}; {i.publisher}") for i in infos],
        schema=dict.fromkeys(("series", "unit", "frequency", "source"), pl.String),
        orient="row",
    )
    rounded = pl.coalesce(
        pl.when(pl.col("decimals") == d).then(pl.col("value").round(d))
        for d in range(MOST_DECIMALS + 1)
    )
    frame = (
        observations.drop_nulls("value")
        .join(known, on="series")
        .with_columns(value=rounded)
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        .sort("series", "date")
    )
    check_frame(frame)
    return frame


def check_frame(frame: pl.DataFrame) -> None:
    """Raise ValueError, naming what is wrong, unless ``frame`` is as this module documents."""
    if dict(frame.schema) != SCHEMA:
        raise ValueError(f"columns are {dict(frame.schema)}, should be {SCHEMA}")
    start = pl.coalesce(
        pl.when(pl.col("frequency") == frequency).then(pl.col("date").dt.truncate(step))
        for frequency, step in zip(FREQUENCIES, ("1d", "1mo", "1q", "1y"), strict=True)
    )
    faults = {
        "null": pl.any_horizontal(pl.all().is_null()),
        "a value that is not finite": ~pl.col("value").is_finite(),
        "an unknown frequency": ~pl.col("frequency").is_in(FREQUENCIES),
        "a date that does not start its period": pl.col("date") != start,
        "negative decimals": pl.col("decimals") < 0,
        "a repeated series and date": pl.struct("series", "date").is_duplicated(),
    }
    for fault, where in faults.items():
        rows = frame.filter(where)
        if rows.height:
            raise ValueError(f"{rows.height} rows with {fault}, the first: {rows.row(0)}")
    if not frame.equals(frame.sort("series", "date")):
        raise ValueError("rows are not sorted by series and date")


def published_decimals(least: int = 0) -> pl.Expr:
    """Decimals at which ``value`` was published, to be told from a file that drops final zeros.

    What at least one value in twenty of the same series and calendar year needs (of ten values
    printed at d decimals, nine need them all), or what the value itself needs, if that is more; at
    least ``least``, at most six. To be used on a frame with columns series, date and value.
    """
    needed = pl.coalesce(
        *(
            pl.when(pl.col("value").round(d) == pl.col("value")).then(d)
            for d in range(MOST_DECIMALS)
        ),
        MOST_DECIMALS,
    )
    usual = needed.quantile(0.95, interpolation="higher").over("series", pl.col("date").dt.year())
    return pl.max_horizontal(needed, usual, pl.lit(least)).cast(pl.Int64).alias("decimals")


def package_file(package: str, inside: str) -> Path:
    """Path of a file inside an installed package, found without importing the package.

    Raises:
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: it is, but holds no such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"package {package!r} is not installed", name=package)
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise FileNotFoundError(f"package {package!r} holds no {inside!r}: another version?")
    return path


def package_version(distribution: str) -> str:
    """Name and version of an installed distribution, such as "arch 8.0.0"."""
    return f"{distribution} {importlib.metadata.version(distribution)}"
