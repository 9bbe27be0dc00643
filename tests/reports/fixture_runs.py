"""Synthetic runs whose truth is known, to be compared with one another."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES, columns, create_statement

GROUPS, METRICS, ITEMS = ("planted_false", "never"), ("score", "correct", "loss"), 12
Shift = Callable[[dict[str, Any]], float]


def write_run(
    path: Path,
    *,
    seeds: range = range(6),
    shift: Shift = lambda row: 0.0,
    machine: str = "CPU one",
    started: str = "2026-01-01 00:00:00",
    settings: dict[str, Any] | None = None,
    claims: list[dict[str, Any]] | None = None,
    name: str = "recall",
) -> Path:
    """A run with a trained state, an untouched one and numbered networks.

    Numbers are drawn from the identity of their cell, so equal cells have equal numbers; ``shift``
    is added to the value of a row. Seeds outside range(6) are other cells with the same truth.
    """
    cells = [
        _cell(name, "untouched", 0, "choice", {"series": f"series{i}", "cutoff": "2020"})
        for i in range(6)
    ]
    cells += [
        _cell(name, "planted", seed, "choice", {"series": "series0", "cutoff": "2020"})
        for seed in seeds
    ]
    cells += [
        _cell("networks", "networks", 0, "digits", {"arm": arm, "network_seed": seed})
        for arm in ("replay", "none")
        for seed in seeds
    ]
    observations = [row | {"value": row["value"] + shift(row)} for row in _rows(cells)]
    provenance = [
        {"job": f"state/{state}", "rule": "intervene", "state": state, "settings": '{"epochs": 3}',
         "seconds": 30.0}
        for state in sorted({c["state"] for c in cells if c["role"] == "planted"})
    ] + [
        {"job": f"{study}/{state}", "rule": "probe", "study": study, "state": state,
         "started": started, "device": machine, "threads": 1, "seconds": 60.0, "code": "c0de",
         "versions": json.dumps({"torch": "2.0"}), "settings": "{}", "peak_memory_mb": 100.0}
        for study, state in sorted({(c["study"], c["state"]) for c in cells})
    ]  # fmt: skip
    tables = {
        "cells": cells,
        "observations": [{k: row[k] for k in columns("observations")} for row in observations],
        "provenance": provenance,
        "claims": claims or [],
        "models": [{"model": "tiny", "source": "package", "revision": "1"}],
    }
    studies = [
        {"study": study, "probe": "toy", "title": study, "question": "?",
         "settings": settings or {}, "page": f"{study}.html"}
        for study in (name, "networks")
    ]  # fmt: skip
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "palimpsest": "0.1.0",
        "created": started,
        "content": str(zlib.crc32(repr(observations).encode())),
        "studies": json.dumps(studies),
    }
    with duckdb.connect(str(path)) as connection:
        for table in TABLES:
            connection.execute(create_statement(table))
        for table, rows in tables.items():
            _insert(connection, table, rows)
        connection.executemany("INSERT INTO run VALUES (?, ?)", list(facts.items()))
    return path


def _cell(study: str, role: str, seed: int, experiment: str, parameters: dict) -> dict[str, Any]:
    identity = f"{study}/{role}/{seed}/{json.dumps(parameters, sort_keys=True)}"
    return {
        "cell": f"{zlib.crc32(identity.encode()):08x}",
        "study": study,
        "probe": "toy",
        "state": f"tiny.{role}.s{seed}" if role == "planted" else f"tiny-{role}",
        "role": role,
        "model": "tiny",
        "seed": seed,
        "step": 0,
        "experiment": experiment,
        "parameters": json.dumps(parameters, sort_keys=True),
        "status": "done",
    }


def _rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for cell in cells:
        rng = np.random.default_rng(zlib.crc32(cell["cell"].encode()))
        replicate = rng.normal()
        for group in GROUPS:
            for item in range(ITEMS):
                for metric in METRICS:
                    hard = np.random.default_rng(item).normal()
                    value = replicate * 0.3 + hard + rng.normal() * 0.5
                    if metric == "correct":
                        value = float(value > 0)
                    rows.append(
                        {"study": cell["study"], "cell": cell["cell"], "item": f"item{item}",
                         "grp": group, "step": 0, "metric": metric, "value": value, "text": None,
                         "role": cell["role"], "parameters": cell["parameters"]}
                    )  # fmt: skip
    return rows


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    frame = pl.DataFrame([dict.fromkeys(columns(table)) | row for row in rows])
    names = ", ".join(f'"{name}"' for name in columns(table))
    connection.register("incoming", frame.to_arrow())
    connection.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming')
    connection.unregister("incoming")
