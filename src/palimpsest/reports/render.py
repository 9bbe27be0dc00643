"""Blocks with their data, ready for the templates."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from palimpsest.evidence.database import Database
from palimpsest.reports import formatting
from palimpsest.reports.blocks import Block, Column, Figure, Gallery, Prose, Table, Words
from palimpsest.reports.export import CsvLink, csv_link
from palimpsest.reports.figure_style import style, to_svg

LOG = logging.getLogger(__name__)

_GALLERY_COLUMNS = ("prompt", "truth", "answer", "verdict")
_FILTERS = ("arm", "model", "step", "verdict")
_LONGEST_TEXT = 2_000
_ROWS_OF_DATA = 60
#: Rows from which on a column that never changes is told once.
_ALIKE = 4


@dataclass(frozen=True)
class Limits:
    """How much of the data a page carries; the database has all of it."""

    rows: int
    cards: int
    csv: int


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is shown, what it sorts by, its kind, why it is empty."""

    text: str
    kind: str
    sort: str | None = None
    why: str | None = None


@dataclass
class Prepared:
    """A block with its frame, its drawing and its words, or with the reason why there is none.

    ``sql`` is the query as it ran; where ``language`` is Python, the call that gives the frame.
    """

    block: Block
    kind: str
    number: int
    sql: str = ""
    frame: pl.DataFrame | None = None
    svg: str = ""
    caption: str = ""
    alt: str = ""
    error: str | None = None
    affected: str | None = None
    language: Literal["sql", "python"] = "sql"

    @property
    def label(self) -> str:
        """``Figure 2`` or ``Table 1``; empty for prose."""
        return f"{self.kind.capitalize()} {self.number}" if self.number else ""

    @property
    def rows(self) -> int:
        """Rows of the frame."""
        return 0 if self.frame is None else len(self.frame)


def prepare(blocks: list[Block], database: Database, study: str) -> list[Prepared]:
    """Query, draw and caption every block.

    A block that fails is logged and carries its error: the page says so in its place.
    """
    numbers = {"figure": 0, "table": 0}
    prepared = []
    for block in blocks:
        kind = type(block).__name__.lower()
        if kind in numbers:
            numbers[kind] += 1
        item = Prepared(block, kind, numbers.get(kind, 0))
        if not isinstance(block, Prose):
            try:
                _fill(item, database, study)
            except Exception as error:
                LOG.exception("%s, block %s: not shown", study, block.id)
                item.error = f"{type(error).__name__}: {error}"
                item.svg = ""
        prepared.append(item)
    return prepared


def bound(sql: str, value: str, name: str = "study") -> str:
    """``sql`` with ``$study`` (or ``$name``) replaced by the value as an SQL string."""
    return re.sub(rf"\${name}\b", lambda _: quoted(value), sql).strip()


def quoted(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def mark_affected(prepared: list[Prepared], gaps: pl.DataFrame) -> None:
    """Write beside each block which groups of unfinished cells its numbers may come from.

    A group (role, model, experiment) counts where the columns of these names in the block's frame
    contain it; a block without such columns pools over the study, so every group counts.
    """
    if gaps.is_empty():
        return
    for item in prepared:
        if item.frame is None:
            continue
        hit = gaps
        for column in ("role", "model", "experiment"):
            if column in item.frame.columns and item.frame[column].null_count() == 0:
                present = item.frame[column].cast(pl.String).unique().to_list()
                wholly_absent = pl.col("planned") == pl.col("failed") + pl.col("missing")
                hit = hit.filter(pl.col(column).is_in(present) | wholly_absent)
        if not hit.is_empty():
            lost = (hit["failed"] + hit["missing"]).sum()
            groups = [f"{role} on {model}" for role, model in hit.select("role", "model").rows()]
            named = list(dict.fromkeys(groups))
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            item.affected = (
                f"Partial data: {lost:,} of {hit['planned'].sum():,} cells are not done in "
                f"{', '.join(named[:3])}{more}."
            )


def table_view(item: Prepared, limits: Limits) -> dict[str, Any]:
    """Header and rows of a table block, at most ``limits.rows`` of them.

    A column that says the same in every row, or nothing in any, is told once, under ``alike``.
    """
    columns: dict[str, Column] = item.block.columns
    alike = _alike(item.frame, columns)
    shown = item.frame.head(limits.rows)
    kept = {name: column for name, column in columns.items() if name not in alike}
    return {
        "alike": _told(shown.row(0, named=True), alike) if alike else "",
        "columns": list(kept.values()),
        "rows": [
            [_cell(row, name, column) for name, column in kept.items()]
            for row in shown.iter_rows(named=True)
        ],
        "total": item.rows,
        "rest": "the query below gives" if item.sql else "the CSV file has more, the database",
    }


def _alike(frame: pl.DataFrame, columns: dict[str, Column]) -> dict[str, Column]:
    """Columns of words with one value, and any without a value, in all of several rows, as long as
    others say more."""
    found = {
        name: column
        for name, column in columns.items()
        if all(map(formatting.is_missing, frame[name]))
        or (column.kind == "text" and frame[name].null_count() == 0 and frame[name].n_unique() == 1)
    }
    return found if len(frame) >= _ALIKE and len(found) <= len(columns) - 2 else {}


def _told(row: dict[str, Any], alike: dict[str, Column]) -> str:
    """What all rows say, and what none does, by one of them."""
    empty = {name: column for name, column in alike.items() if formatting.is_missing(row[name])}
    said = ", ".join(
        f"{column.header}: {_cell(row, name, column).text}"
        for name, column in alike.items()
        if name not in empty
    )
    none = ", ".join(column.header for column in empty.values())
    sentences = [said and f"In all rows: {said}.", none and f"No value in any row: {none}."]
    return " ".join(filter(None, sentences))


def data_view(item: Prepared) -> dict[str, Any] | None:
    """The numbers behind a figure as a table, when they are few enough to read."""
    if item.frame is None or not 0 < item.rows <= _ROWS_OF_DATA:
        return None
    columns = {
        name: Column(
            name,
            "number" if kind.is_numeric() else "text",
            digits=_column_digits(item.frame[name]) if kind.is_float() else None,
        )
        for name, kind in item.frame.schema.items()
    }
    return {
        "alike": "",
        "columns": list(columns.values()),
        "rows": [
            [_cell(row, name, column) for name, column in columns.items()]
            for row in item.frame.iter_rows(named=True)
        ],
        "total": item.rows,
    }


def gallery_view(item: Prepared, limits: Limits) -> dict[str, Any]:
    """Cards and filters of a gallery block, at most ``limits.cards`` of them."""
    shown = item.frame.head(limits.cards)
    filters = {
        name: sorted(shown[name].unique().to_list(), key=_natural)
        for name in _FILTERS
        if name in shown.columns and shown[name].n_unique() > 1
    }
    cards = [
        {name: _cut(value) for name, value in row.items()} for row in shown.iter_rows(named=True)
    ]
    return {"cards": cards, "filters": filters, "total": item.rows}


def download(item: Prepared, study: str, limits: Limits) -> CsvLink:
    """The link under the block with all columns of its query."""
    return csv_link(item.frame, f"{study}-{item.block.id.removeprefix('page-')}", limits.csv)


def glossary(
    prepared: list[Prepared], meanings: dict[str, str], terms: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Names of columns on the page, and terms of its own, with what they mean, sorted; what the
    page says itself comes first, then a column's help."""
    found: dict[str, str] = dict(terms)
    for item in prepared:
        if item.frame is None:
            continue
        helps = item.block.columns if isinstance(item.block, Table) else {}
        for name in item.frame.columns:
            if name in helps and helps[name].help:
                # By the name that a reader sees above the column.
                found.setdefault(helps[name].header, helps[name].help)
            elif name in meanings:
                found.setdefault(name, meanings[name])
    return sorted(found.items(), key=lambda pair: pair[0].lower())


def _fill(item: Prepared, database: Database, study: str) -> None:
    block = item.block
    item.sql = bound(block.sql, study)
    item.frame = database.frame(item.sql)
    if item.frame.is_empty():
        return
    item.caption = _words(block.caption, item.frame)
    if isinstance(block, Figure):
        item.caption += uncertainty(block, item.frame)
        item.alt = _words(block.alt, item.frame)
        with style():
            drawing = block.draw(item.frame)
            item.svg = to_svg(
                drawing, id=f"{block.id}-svg", title=block.title, description=item.alt
            )
    elif isinstance(block, Table):
        wanted = {
            name
            for key, column in block.columns.items()
            for name in (key, column.low, column.high)
            if name
        }
        _demand(wanted, item.frame)
    elif isinstance(block, Gallery):
        _demand(set(_GALLERY_COLUMNS), item.frame)


def uncertainty(figure: Figure, frame: pl.DataFrame) -> str:
    """What a figure's caption adds on intervals that are missing; empty where all are there.

    Raises ValueError where the frame lacks n, or intervals without a reason.
    """
    if wanting := figure.wanting(frame):
        raise ValueError(
            f"figure {figure.id!r} draws numbers without {', '.join(wanting)}: its query must give "
            "them, or `bare` say why a number has no interval"
        )
    if figure.bare:
        return f" {figure.bare}"
    drawn = frame.select(
        *(
            (pl.col(number).is_not_null() & (pl.col(low).is_null() | pl.col(high).is_null())).sum()
            for number, (low, high) in figure.numbers.items()
        )
    )
    missing = sum(drawn.row(0))
    total = sum(frame[number].count() for number in figure.numbers)
    return f" Without interval: {missing:,} of {total:,} numbers." if missing else ""


def _column_digits(values: pl.Series) -> int | None:
    """Decimals that give the largest finite value three significant digits."""
    largest = values.filter(values.is_finite()).abs().max()
    return max(0, 2 - math.floor(math.log10(largest))) if largest else None


def _demand(names: set[str], frame: pl.DataFrame) -> None:
    absent = sorted(names - set(frame.columns))
    if absent:
        raise ValueError(f"the query gives no column {', '.join(absent)}")


def _words(words: Words, frame: pl.DataFrame) -> str:
    return words(frame) if callable(words) else words


def _cell(row: dict[str, Any], name: str, column: Column) -> Cell:
    value = row[name]
    if formatting.is_missing(value):
        stored = "no number: the computation gave none" if value is not None else "no value stored"
        why = column.empty or stored
        return Cell(formatting.MISSING, column.kind, "", why)
    match column.kind:
        case "number":
            return Cell(formatting.number(value, column.digits), "number", repr(value))
        case "percent":
            return Cell(formatting.percent(value, column.digits), "number", repr(value))
        case "p":
            return Cell(formatting.p_value(value), "number", repr(value))
        case "interval":
            ends = row[column.low], row[column.high]
            text = formatting.interval(value, *ends, column.digits)
            return Cell(text, "number", repr(value))
        case _:
            return Cell(_cut(value), column.kind)


def _cut(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]} … (cut here, {len(text):,} characters in all)"


def _natural(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))
