"""Reading the evidence: a read-only door to ``palimpsest.duckdb``."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import polars as pl

from palimpsest.evidence.schema import SCHEMA_VERSION
from palimpsest.threads import granted


class EvidenceError(Exception):
    """The database cannot be read, or a query on it failed; the message says what to do."""


class Database:
    """A read-only connection to a gathered database; also a context manager.

    Any number of readers may hold the file at once. Raises :class:`EvidenceError` when the file is
    missing, is no DuckDB database, is locked by a writer, or has another ``schema_version``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise EvidenceError(f"{self.path}: no such database; the rule `gather` makes it")
        try:
            self._connection = duckdb.connect(str(self.path), read_only=True)
            if number := granted():
                # Not a setting of the connection: two readers of one file must not differ in those.
                self._connection.execute(f"SET threads = {number}")
        except duckdb.Error as error:
            raise EvidenceError(_why_closed(self.path, str(error))) from error
        try:
            self._check_version()
        except EvidenceError:
            self._connection.close()
            raise

    def frame(self, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> pl.DataFrame:
        """Result of ``sql`` as a polars frame; ``parameters`` fill ``?`` or ``$name``.

        DuckDB's exact decimals (every literal such as ``0.5``, every sum of integers) come as
        Float64, or as Int64 when they have no fraction. Raises :class:`EvidenceError` with the
        query in the message when DuckDB refuses it, or when it is no query.
        """
        try:
            relation = self._connection.sql(sql, params=parameters)
            if relation is None:
                raise EvidenceError(f"not a query:\n{sql}")
            frame = pl.from_arrow(relation.to_arrow_table())
        except duckdb.Error as error:
            raise EvidenceError(f"{error}\n\nin the query:\n{sql}") from error
        return frame.with_columns(
            pl.col(name).cast(pl.Int64 if kind.scale == 0 else pl.Float64)
            for name, kind in frame.schema.items()
            if isinstance(kind, pl.Decimal)
        )

    def keep(
        self, name: str, sql: str, parameters: list[Any] | dict[str, Any] | None = None
    ) -> None:
        """Keep the result of ``sql`` as the temporary table ``name`` until the file is closed.

        The file itself is not written to. Raises :class:`EvidenceError` as :meth:`frame`.
        """
        try:
            self._connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {sql}', parameters)
        except duckdb.Error as error:
            raise EvidenceError(f"{error}\n\nin the query:\n{sql}") from error

    def close(self) -> None:
        """Release the file; closing twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_version(self) -> None:
        try:
            found = self._connection.execute(
                "SELECT value FROM run WHERE key = 'schema_version'"
            ).fetchall()
        except duckdb.Error as error:
            raise EvidenceError(
                f"{self.path}: not a Palimpsest database (it has no table `run`)"
            ) from error
        version = found[0][0] if found else "none"
        if version != str(SCHEMA_VERSION):
            raise EvidenceError(
                f"{self.path}: schema_version is {version}, this Palimpsest reads "
                f"{SCHEMA_VERSION}; gather the shards again"
            )


def _why_closed(path: Path, message: str) -> str:
    if "lock" in message.lower():
        return (
            f"{path}: locked by a process that writes to it; close that process (a notebook?) "
            f"and try again. DuckDB says: {message}"
        )
    return f"{path}: cannot be opened as a DuckDB database. DuckDB says: {message}"
