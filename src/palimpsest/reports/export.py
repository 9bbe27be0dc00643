"""The data under a figure or table, as a CSV file that lives in the page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import polars as pl

#: A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class CsvLink:
    """``href``: a ``data:`` address; ``rows`` of ``total`` rows are in it."""

    href: str
    name: str
    rows: int
    total: int


def neutral_csv(frame: pl.DataFrame) -> str:
    """``frame`` as CSV; text that a spreadsheet would run as a formula gets an apostrophe.

    Numbers are written as numbers, with all their digits.
    """
    safe = frame.select(_cell(name, kind) for name, kind in frame.schema.items())
    return safe.rename({name: neutral(name) for name in safe.columns}).write_csv()


def neutral(text: str) -> str:
    """``text`` with a leading apostrophe when a spreadsheet would read it as a formula."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def csv_link(frame: pl.DataFrame, name: str, limit: int) -> CsvLink:
    """A link that holds ``frame`` as ``name``.csv, cut to whole rows within ``limit`` characters.

    ``limit`` counts the characters of the address, after percent encoding.
    """
    total = rows = len(frame)
    while True:
        text = neutral_csv(frame.head(rows))
        # Encoding only lengthens: what is too long already need not be encoded to know it.
        href = _address(text) if len(text) <= limit else ""
        length = len(href) or len(text)
        if length <= limit or rows == 0:
            return CsvLink(href or _address(text), f"{name}.csv", rows, total)
        rows = min(rows - 1, int(rows * limit / length))


def _address(text: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(text, safe=",;:!*()'/@$?=[]")


def _cell(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean:
        return column
    if kind.is_nested():
        return column.map_elements(lambda value: neutral(str(value)), return_dtype=pl.String)
    text = column.cast(pl.String)
    risky = pl.any_horizontal(text.str.starts_with(start) for start in _FORMULA_STARTS)
    return pl.when(risky).then(pl.lit("'") + text).otherwise(text).alias(name)
