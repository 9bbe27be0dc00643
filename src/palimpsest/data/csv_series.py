"""Bring your own series: a CSV file with a date and a value in each row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date as Date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median

import polars as pl

from palimpsest.data.errors import DataError
from palimpsest.data.sentences import FREQUENCIES, format_date, format_value, period_start
from palimpsest.data.series import MOST_DECIMALS, SeriesInfo, series_frame

_SLUG = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.(\d*))?|\.(\d+))([eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[,'’_ \u00a0\u202f]\d{3})+(?:\.\d*)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_MISSING = {"", ".", "-", "na", "n/a", "null", "none"}
# How a date is written, and the frequency that this tells; a full date tells nothing.
_FULL_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_SHORT_DATES = {
    "month": re.compile(r"(\d{4})-(\d\d)", re.ASCII),
    "quarter": re.compile(r"(\d{4})-?Q([1-4])", re.ASCII),
    "year": re.compile(r"(\d{4})", re.ASCII),
}
_FORMS = "YYYY-MM-DD, YYYY-MM, YYYYQn, YYYY-Qn or YYYY"


@dataclass(frozen=True)
class _Row:
    """A good row; ``precision`` is the frequency its way of writing the date tells, or None."""

    line: int
    date: Date
    precision: str | None
    value: float
    decimals: int


def read_series(
    name: str,
    path: str | Path,
    unit: str = "",
    frequency: str | None = None,
    decimals: int | None = None,
    date_column: str = "date",
    value_column: str = "value",
) -> pl.DataFrame:
    """A series of the user's as the frame that ``palimpsest.data.series`` documents.

    The file is UTF-8 CSV (a byte order mark is allowed) with a header that has ``date_column`` and
    ``value_column``; other columns are ignored, rows may come in any order, blank lines are
    skipped. Dates are YYYY-MM-DD, YYYY-MM, YYYYQn, YYYY-Qn or YYYY, one way throughout. Values are
    plain decimal numbers such as -1234.5 or 1e-3.

    ``frequency`` (day, month, quarter or year) is taken from the way dates are written, for full
    dates from their median spacing; dates inside a month, quarter or year move to its first day.
    ``decimals`` is by default the most that is written in the file, at most six. Values are
    rounded to it (half to even), so that what is printed is what is in the frame.

    Raises:
        DataError: every bad row, with its line number.
        ValueError: ``name`` is not a slug, or ``frequency`` or ``decimals`` are out of range.
        OSError: the file cannot be opened.
    """
    _check_arguments(name, frequency, decimals)
    rows: list[_Row] = []
    problems: list[tuple[int, str]] = []
    for line, cells in _records(Path(path), date_column, value_column):
        try:
            rows.append(_parse(line, cells))
        except _BadRow as bad:
            problems += [(line, problem) for problem in bad.args[0]]
    problems += _mixed(rows) + _repeated(rows, "day")
    if not problems and not rows:
        problems = [(1, "there are no rows after the header")]
    if problems:
        raise DataError(path, sorted(problems))

    frequency = frequency or _infer_frequency(rows)
    if frequency is None:
        hint = "pass frequency: day, month, quarter or year"
        raise DataError(path, [(rows[0].line, f"the spacing of the dates is not clear; {hint}")])
    problems = _too_coarse(rows, frequency) or _repeated(rows, frequency)
    if decimals is None:
        decimals = min(max(row.decimals for row in rows), MOST_DECIMALS)
        problems += _vanishing(rows, decimals)
    if problems:
        raise DataError(path, sorted(problems))
    return _frame(name, Path(path), unit, frequency, decimals, rows)


def _check_arguments(name: str, frequency: str | None, decimals: int | None) -> None:
    if not _SLUG.fullmatch(name):
        raise ValueError(f"a series is named in small letters, digits and _, got {name!r}")
    if frequency is not None and frequency not in FREQUENCIES:
        raise ValueError(f"frequency must be one of {', '.join(FREQUENCIES)}, got {frequency!r}")
    if decimals is not None and not 0 <= decimals <= MOST_DECIMALS:
        raise ValueError(f"decimals must be 0 to {MOST_DECIMALS}, got {decimals}")


class _BadRow(Exception):
    """Carries the list of what is wrong with a row."""


def _records(
    path: Path, date_column: str, value_column: str
) -> Iterator[tuple[int, tuple[str, str] | str]]:
    """Line number and the two cells of each row, or what is wrong with the row as a whole."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(path, header, (date_column, value_column))
        date_at, value_at = header.index(date_column), header.index(value_column)
        end = reader.line_num
        for cells in reader:
            line, end = end + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                yield line, f"{len(cells)} fields where the header has {len(header)}"
            else:
                yield line, (cells[date_at].strip(), cells[value_at].strip())
    except csv.Error as error:
        raise DataError(path, [(max(reader.line_num, 1), f"not CSV: {error}")]) from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise DataError(path, [(line, problem)]) from error
    if not text.strip():
        raise DataError(path, [(1, "the file is empty")])
    return text


def _check_header(path: Path, header: list[str], wanted: tuple[str, str]) -> None:
    there = ", ".join(repr(cell) for cell in header)
    problems = []
    for column in wanted:
        if column not in header:
            problems.append((1, f"no column {column!r}; the columns are {there}"))
        elif header.count(column) > 1:
            problems.append((1, f"column {column!r} is there {header.count(column)} times"))
    if problems:
        raise DataError(path, problems)


def _parse(line: int, cells: tuple[str, str] | str) -> _Row:
    if isinstance(cells, str):
        raise _BadRow([cells])
    problems = []
    for parse, cell in ((_parse_date, cells[0]), (_parse_value, cells[1])):
        try:
            parse(cell)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise _BadRow(problems)
    return _Row(line, *_parse_date(cells[0]), *_parse_value(cells[1]))


def _parse_date(written: str) -> tuple[Date, str | None]:
    """First day, and the frequency that the way of writing tells."""
    try:
        if match := _FULL_DATE.fullmatch(written):
            return Date(*map(int, match.groups())), None
        for frequency, pattern in _SHORT_DATES.items():
            if match := pattern.fullmatch(written):
                year, *part = map(int, match.groups())
                month = part[0] if part else 1
                return Date(year, 3 * month - 2 if frequency == "quarter" else month, 1), frequency
    except ValueError as error:
        raise ValueError(f"date {_shown(written)} is not in the calendar") from error
    raise ValueError(f"date {_shown(written)} is not written as {_FORMS}")


def _parse_value(written: str) -> tuple[float, int]:
    """The number and the decimals with which it is written."""
    match = _NUMBER.fullmatch(written)
    if match:
        value = float(written)
        if not math.isfinite(value):
            raise ValueError(f"value {_shown(written)} is too large")
        fraction, only, power = match.groups()
        if power:
            return value, max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
        return value, len(fraction or only or "")
    if written.lower() in _MISSING:
        raise ValueError("the value is missing: leave the row out")
    if _NOT_FINITE.fullmatch(written):
        raise ValueError(f"value {_shown(written)} is not finite")
    if _GROUPED.fullmatch(written):
        raise ValueError(f"value {_shown(written)} has thousands separators: write it without")
    raise ValueError(f"value {_shown(written)} is not a number such as -1234.5")


def _shown(written: str) -> str:
    return repr(written if len(written) <= 40 else written[:37] + "...")


def _mixed(rows: list[_Row]) -> list[tuple[int, str]]:
    """Rows whose date is written in another way than that of the first row."""
    if not rows:
        return []
    first = rows[0].precision or "day"
    return [
        (row.line, f"date names a {row.precision or 'day'}, that of line {rows[0].line} a {first}")
        for row in rows
        if row.precision != rows[0].precision
    ]


def _repeated(rows: list[_Row], frequency: str) -> list[tuple[int, str]]:
    """Rows of a period that an earlier line has already."""
    lines: dict[Date, int] = {}
    problems = []
    for row in rows:
        start = period_start(row.date, frequency)
        first = lines.setdefault(start, row.line)
        if first != row.line:
            period = format_date(start, row.precision or frequency)
            problems.append((row.line, f"a second value of {period}, the first is in line {first}"))
    return problems


def _infer_frequency(rows: list[_Row]) -> str | None:
    """Frequency of the dates as written, else of their median spacing; None where unclear."""
    if rows[0].precision is not None or len(rows) < 2:
        return rows[0].precision
    dates = sorted(row.date for row in rows)
    spacing = median((b - a).days for a, b in pairwise(dates))
    # Weeks count as days; two months as months with gaps.
    for frequency, least, most in (("day", 1, 20), ("month", 21, 62), ("quarter", 80, 100)):
        if least <= spacing <= most:
            return frequency
    return "year" if spacing >= 330 else None


def _too_coarse(rows: list[_Row], frequency: str) -> list[tuple[int, str]]:
    """All rows, if their dates name longer periods than ``frequency``."""
    written = rows[0].precision or "day"
    if FREQUENCIES.index(written) <= FREQUENCIES.index(frequency):
        return []
    return [(row.line, f"date names a {written}, the series is one by {frequency}") for row in rows]


def _vanishing(rows: list[_Row], decimals: int) -> list[tuple[int, str]]:
    """Rows whose value is not zero but would be printed as zero."""
    return [
        (row.line, f"value {row.value!r} is zero at {decimals} decimals: rescale the series")
        for row in rows
        if row.value != 0 and float(format_value(row.value, decimals)) == 0
    ]


def _frame(
    name: str, path: Path, unit: str, frequency: str, decimals: int, rows: list[_Row]
) -> pl.DataFrame:
    observations = pl.DataFrame(
        {
            "series": name,
            "date": [period_start(row.date, frequency) for row in rows],
            "value": [float(format_value(row.value, decimals)) for row in rows],
            "decimals": decimals,
        }
    )
    info = SeriesInfo(
        slug=name,
        source="csv_series",
        key=name,
        name=name,
        unit=unit,
        frequency=frequency,
        kind="level",
        licence="",
        publisher="the user",
    )
    return series_frame(observations, [info], path.name)
