"""The one writer of ``palimpsest.duckdb``: verified shards in, a whole database out.

The database is built in a temporary file and renamed over the old one, so whoever has the old one
open keeps reading it. It can be rebuilt from the shards at any time, and two builds from the same
shards hold equal tables.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from palimpsest import __version__
from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES, columns, create_statement
from palimpsest.evidence.shards import ShardError, read_facts, read_shard
from palimpsest.files import atomic, read_json
from palimpsest.identity import digest
from palimpsest.threads import granted


def load(study: dict[str, Any], *, allow_missing: bool = False) -> dict[str, list | pl.DataFrame]:
    """Observations, cells and provenance of one study, from its verified shards.

    Args:
        study: manifest of the study.
        allow_missing: mark the cells of missing or damaged shards as missing instead of raising.

    Raises:
        ShardError: a shard is missing, changed or of another schema.
    """
    frames, provenance = [], []
    status: dict[str, dict[str, str | None]] = {}
    for shard in study["shards"]:
        try:
            frames.append(read_shard(shard))
            facts = read_facts(shard)
        except ShardError:
            if not allow_missing:
                raise
            continue
        provenance.append(facts["provenance"])
        for cell in facts["cells"]:
            reason, costs = cell["reason"], cell.get("costs")
            status[cell["cell"]] = {
                "status": "failed" if reason else "done",
                "reason": reason,
                "costs": json.dumps(costs, sort_keys=True) if costs else None,
            }
    missing = {"status": "missing", "reason": "its job has not finished"}
    cells = [row | status.get(row["cell"], missing) for row in study["cells"]]
    observations = pl.concat(frames) if frames else _empty("observations")
    wanted = [cell["cell"] for cell in cells]
    return {
        "observations": observations.filter(pl.col("cell").is_in(wanted)),
        "cells": frame_of("cells", cells),
        "provenance": provenance,
    }


def build(
    manifest: dict[str, Any], output: str, views: dict[str, str], *, allow_missing: bool = False
) -> None:
    """Build the database from everything that the manifest names.

    Args:
        manifest: manifest of the whole plan.
        output: the database.
        views: name -> SQL of the documented view of each probe.
        allow_missing: mark the cells of missing or damaged shards instead of raising.

    Raises:
        ShardError: a shard is missing or damaged; the message names it.
    """
    tables: dict[str, list[pl.DataFrame]] = {name: [] for name in TABLES}
    provenance: list[dict[str, Any]] = []
    for study in manifest["studies"]:
        loaded = load(study, allow_missing=allow_missing)
        tables["observations"].append(loaded["observations"])
        tables["cells"].append(loaded["cells"])
        provenance += loaded["provenance"]
        statistics = Path(study["statistics"])
        if statistics.is_file() or not allow_missing:
            facts = read_facts(statistics)
            tables["statistics"].append(
                pl.read_parquet(statistics).with_columns(study=pl.lit(study["study"]))
            )
            tables["claims"].append(frame_of("claims", facts["claims"]))
            provenance.append(facts["provenance"])
    for path in manifest["model_files"] + manifest["state_files"]:
        record = Path(path).with_name("provenance.json")
        if record.is_file():
            provenance.append(read_json(record))
    tables["provenance"].append(frame_of("provenance", _unique(provenance)))
    tables["models"].append(frame_of("models", [_model_row(m) for m in manifest["models"]]))
    with atomic(output) as temporary:
        temporary.unlink()
        _write(temporary, tables, views, manifest)
        _verify(temporary, {name: sum(f.height for f in frames) for name, frames in tables.items()})


def frame_of(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of ``table``: unknown keys are dropped, missing ones are null."""
    kinds = {
        "VARCHAR": pl.String,
        "BIGINT": pl.Int64,
        "DOUBLE": pl.Float64,
        "TIMESTAMP": pl.String,
        "DATE": pl.String,
    }
    schema = {name: kinds[kind] for name, (kind, _) in TABLES[table].items()}
    kept = [{name: row.get(name) for name in schema} for row in rows]
    return pl.DataFrame(kept, schema=schema, orient="row", strict=False)


def connect(
    tables: dict[str, list[pl.DataFrame]], views: dict[str, str], path: str | Path = ":memory:"
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the given tables and views."""
    connection = duckdb.connect(str(path), config=_threads())
    for name in TABLES:
        connection.execute(create_statement(name))
        for frame in tables.get(name, []):
            chosen = frame.select(columns(name)).to_arrow()
            connection.register("incoming", chosen)
            casts = ", ".join(
                f'CAST("{c}" AS {kind}) AS "{c}"' for c, (kind, _) in TABLES[name].items()
            )
            connection.execute(f'INSERT INTO "{name}" SELECT {casts} FROM incoming')
            connection.unregister("incoming")
    for name, query in views.items():
        connection.execute(f'CREATE VIEW "{name}" AS {query}')
    return connection


def _threads() -> dict[str, int]:
    number = granted()
    return {"threads": number} if number else {}


def content_hash(connection: duckdb.DuckDBPyConnection) -> str:
    """Hash of the observations as a set of rows; equal tables have equal hashes."""
    parts = ", ".join(f"coalesce(CAST(\"{c}\" AS VARCHAR), '\\0')" for c in columns("observations"))
    query = f"SELECT md5(concat_ws('\\1', {parts})) AS h FROM observations"
    return connection.execute(
        f"SELECT md5(coalesce(string_agg(h, '' ORDER BY h), '')) FROM ({query})"
    ).fetchone()[0]


def configuration_hash(studies: list[dict[str, Any]]) -> str:
    """Hash of what is asked: runs with the same settings, models, data and code have the same."""
    return digest(
        [[study["study"], sorted(c["cell"] for c in study["cells"])] for study in studies]
    )


#: What the table ``run`` tells of a study.
_DESCRIBED = ("study", "probe", "title", "question", "settings", "page", "after")


def _write(
    path: Path,
    tables: dict[str, list[pl.DataFrame]],
    views: dict[str, str],
    manifest: dict[str, Any],
) -> None:
    connection = connect(tables, views, path)
    try:
        described = [{k: s.get(k) for k in _DESCRIBED} for s in manifest["studies"]]
        facts = {
            "schema_version": str(SCHEMA_VERSION),
            "palimpsest": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "configuration": configuration_hash(manifest["studies"]),
            "content": content_hash(connection),
            "studies": json.dumps(described, sort_keys=True),
        }
        trusted = [m["name"] for m in manifest["models"] if m["entry"].get("trust_remote_code")]
        if trusted:
            facts["code_of_models_run"] = ", ".join(trusted)
        connection.executemany("INSERT INTO run VALUES (?, ?)", list(facts.items()))
        connection.execute("CHECKPOINT")
    finally:
        connection.close()


def _verify(path: str | Path, expected: dict[str, int]) -> None:
    with duckdb.connect(str(path), read_only=True, config=_threads()) as connection:
        for table, count in expected.items():
            if table != "run":
                found = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
                if found != count:
                    raise RuntimeError(f"{path}: {table} has {found} rows, {count} were written")


def _model_row(model: dict[str, Any]) -> dict[str, Any]:
    entry = model["entry"]
    path = Path("results/models") / model["id"] / "model.json"
    facts = read_json(path) if path.is_file() else {}
    place = entry.get("package") or entry.get("name") or entry.get("path") or ""
    if "base_url" in entry:
        place += f" at {entry['base_url']}"
    return {
        "model": model["name"],
        "source": f"{entry['source']} {place}".strip(),
        "revision": facts.get("revision"),
        "parameters": facts.get("parameters"),
        "format": _format(entry),
        "knowledge_cutoff": entry.get("knowledge_cutoff"),
        "cutoff_source": entry.get("cutoff_source"),
    }


def _format(entry: dict[str, Any]) -> str:
    if entry["source"] == "endpoint":
        return entry.get("mode", "chat")
    return entry.get("format", "plain")


def _unique(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({record["job"]: record for record in records}.values())


def _empty(table: str) -> pl.DataFrame:
    return frame_of(table, [])
