"""Shards: Parquet files of observations, hashed, written whole, verified when read.

A flipped bit in Parquet goes unnoticed by every reader, so each file has its SHA-256 beside it. A
probe job writes one file a finished cell, which is what resumes after a kill, and at its end one
shard with all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from palimpsest.evidence.schema import columns
from palimpsest.files import atomic, read_sealed, write_sealed
from palimpsest.identity import file_sha256

POLARS = {
    "study": pl.String,
    "cell": pl.String,
    "item": pl.String,
    "grp": pl.String,
    "step": pl.Int64,
    "metric": pl.String,
    "value": pl.Float64,
    "text": pl.String,
}
assert list(POLARS) == columns("observations")
_REQUIRED = POLARS.keys() - {"text"}
_DELETE = "; delete it and run again"


class ShardError(RuntimeError):
    """A shard is missing, changed or of another schema; the message names the file."""


def observations(rows: Iterable[dict[str, Any]], **constant: Any) -> pl.DataFrame:
    """Rows as a frame of the table ``observations``; ``constant`` fills whole columns.

    Raises:
        ShardError: a column is unknown, missing (only ``text`` may be) or of another type.
    """
    whole = [constant | row for row in rows]
    for keys in {frozenset(row) for row in whole}:
        # Polars drops a misspelt column without a word and fills the right one with nulls.
        if not _REQUIRED <= keys <= POLARS.keys():
            raise ShardError(f"observations with {sorted(keys)}, expected {list(POLARS)}")
    try:
        return pl.DataFrame(whole, schema=POLARS, strict=True, orient="row")
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise ShardError(f"observations of other types than {POLARS}: {error}") from None


def sidecar(path: str | Path) -> Path:
    """The file beside a shard that holds its hash and what is in it."""
    return Path(path).with_suffix(".json")


def write_shard(path: str | Path, frame: pl.DataFrame, facts: dict[str, Any]) -> None:
    """Write a shard and then its sidecar; ``facts`` are kept there."""
    if list(frame.schema.items()) != list(POLARS.items()):
        raise ShardError(f"{path}: columns {dict(frame.schema)}, expected {POLARS}")
    with atomic(path) as temporary:
        frame.write_parquet(temporary, statistics=False)
        hashed = file_sha256(temporary)
    write_sealed(sidecar(path), facts | {"sha256": hashed, "rows": frame.height})


def is_whole(path: str | Path) -> bool:
    """Is the shard there, with a sidecar, and unchanged?"""
    try:
        read_facts(path)
    except ShardError:
        return False
    return True


def is_finished(path: str | Path) -> bool:
    """As :func:`is_whole`; what is there and has changed is named on standard error."""
    try:
        read_facts(path)
    except ShardError as error:
        if Path(path).is_file() and sidecar(path).is_file():
            print(str(error).replace(_DELETE, "; it is measured again"), file=sys.stderr)
        return False
    return True


def read_facts(path: str | Path) -> dict[str, Any]:
    """The sidecar of a shard whose content agrees with it.

    Raises:
        ShardError: shard or sidecar is missing, or the content has changed.
    """
    path = Path(path)
    if not path.is_file() or not sidecar(path).is_file():
        raise ShardError(f"{path}: missing")
    try:
        facts = read_sealed(sidecar(path))
    except ValueError as error:
        raise ShardError(f"{error}{_DELETE}") from None
    if file_sha256(path) != facts.get("sha256"):
        raise ShardError(f"{path}: content differs from its recorded SHA-256{_DELETE}")
    return facts


def status_of(cell: str, path: str | Path, reason: str | None) -> dict[str, Any]:
    """How a cell fared, for the record of its job: why it failed, or what it took.

    Args:
        cell: its identity.
        path: its shard.
        reason: why it failed; None where it is finished.

    Raises:
        ShardError: as :func:`read_facts`, of a finished cell.
    """
    costs = read_facts(path).get("costs") if reason is None else None
    return {"cell": cell, "reason": reason, "costs": costs}


def read_shard(path: str | Path) -> pl.DataFrame:
    """Observations of a verified shard.

    Raises:
        ShardError: as :func:`read_facts`, or another schema.
    """
    read_facts(path)
    frame = pl.read_parquet(path, hive_partitioning=False)
    if list(frame.schema.items()) != list(POLARS.items()):
        raise ShardError(f"{path}: columns {dict(frame.schema)}, expected {POLARS}")
    return frame
