"""What stands under the tables that every page has: how the numbers were found, and the numbers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import polars as pl

from palimpsest.reports.blocks import Column, Table
from palimpsest.reports.export import CsvLink, csv_link
from palimpsest.reports.render import Limits, Prepared, bound, quoted

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database

Found = TypeVar("Found")

_CLAIM_COLUMNS = {
    "verdict": Column("Verdict", "verdict"),
    "claim": Column("Claim", "code"),
    "estimate": Column("Estimate", "interval", low="low", high="high"),
    "n": Column("n", "number"),
    "unit": Column("Unit"),
    "p": Column("p", "p"),
    "p_adjusted": Column("Adjusted p", "p"),
    "detectable": Column("Detectable", "number"),
}


@dataclass(frozen=True)
class Source:
    """Under the table ``id``-table: ``how`` its numbers were found, and all of them as ``frame``.

    ``how`` is the query as it ran, or the call that gives the frame, in ``language``.
    """

    id: str
    how: str
    frame: pl.DataFrame
    language: Literal["sql", "python"] = "sql"


class Asked:
    """A database that keeps the last query, with its parameters filled in, and what it gave.

    ``kept`` has the statements that made temporary tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sql = ""
        self.rows = pl.DataFrame()
        self.kept: list[str] = []

    def frame(self, sql: str, parameters: Any = None) -> pl.DataFrame:
        """As :meth:`Database.frame`."""
        self.rows = self._database.frame(sql, parameters)
        self.sql = filled(sql, parameters)
        return self.rows

    def keep(self, name: str, sql: str, parameters: Any = None) -> None:
        """As :meth:`Database.keep`."""
        self._database.keep(name, sql, parameters)
        self.kept.append(f'CREATE OR REPLACE TEMP TABLE "{name}" AS\n{filled(sql, parameters)}')


def sourced(
    id: str, database: Database, read: Callable[..., Found], *arguments: Any
) -> tuple[Found, Source]:
    """What ``read(database, *arguments)`` gives, with the last query that it ran."""
    asked = Asked(database)
    found = read(asked, *arguments)
    return found, Source(id, asked.sql, asked.rows)


def filled(sql: str, parameters: Any = None) -> str:
    """``sql`` without indentation, its parameters as SQL strings: a query to run as it stands."""
    text = inspect.cleandoc(sql)
    if isinstance(parameters, dict):
        for name, value in parameters.items():
            text = bound(text, value, name)
    elif parameters:
        rest = iter(parameters)
        text = re.sub(
            r"\?|\$(\d+)",
            lambda found: quoted(parameters[int(found[1]) - 1] if found[1] else next(rest)),
            text,
        )
    return text


def claims_table(database: Database, study: str | None) -> Prepared:
    """The claims of a study (None: of all) as a table that can be sorted and taken along."""
    columns = _CLAIM_COLUMNS if study else {"study": Column("Study"), **_CLAIM_COLUMNS}
    names = ", ".join([*columns, "low", "high", "level", "statement", "test"])
    where = "" if study is None else "\nWHERE study = $study"
    block = Table("page-claims", "Claims", "", f"SELECT {names}\nFROM claims{where}", columns)
    sql = bound(block.sql, study or "")
    return Prepared(block, "table", 0, sql=sql, frame=database.frame(sql))


def file_of(source: Source, page: str, limits: Limits) -> CsvLink:
    """The link to the rows of ``source``, in a file that is named after the page."""
    return csv_link(source.frame, f"{page}-{source.id.removeprefix('page-')}", limits.csv)
