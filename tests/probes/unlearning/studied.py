"""A database as a study of unlearning leaves it, for what its page says."""

from __future__ import annotations

import json

import polars as pl

from palimpsest.evidence.database import Database
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.schema import SCHEMA_VERSION
from palimpsest.evidence.shards import POLARS, observations
from palimpsest.probes.unlearning.claims import VIEW


def cell(arm, run=0, costs=None, experiment="scratch", **more):
    """A finished model of an arm; of language models the arm is the role."""
    scratch = experiment == "scratch"
    factors = {"arm": arm if scratch else None, "model_seed": run if scratch else None}
    return {
        "study": "s", "cell": f"{arm} {run}", "probe": "unlearning", "role": arm, "seed": run,
        "state": "networks" if scratch else f"{arm}.s{run}", "model": "networks", "step": 0,
        "experiment": experiment, "status": "done",
        "parameters": json.dumps(factors | {"how": None, "requests": 0}),
        "costs": json.dumps(costs) if costs else None,
    } | more  # fmt: skip


def row(grp, item, metric, value, text=None):
    """An observation of a probe."""
    return {"grp": grp, "item": item, "metric": metric, "value": float(value), "text": text}


def database(path, cells, rows=(), provenance=(), settings=None, after=None, statistics=()):
    """A gathered database.

    Args:
        path: folder.
        cells: from :func:`cell`.
        rows: (cell, its rows) pairs.
        provenance: of states.
        settings: that the probe has used.
        after: role -> interventions of its states.
        statistics: rows of that table; they are of study s.
    """
    frames = [observations(each, study="s", cell=name, step=0) for name, each in rows]
    used = [] if settings is None else [
        {"job": "s/0", "rule": "probe", "study": "s",
         "settings": settings.model_dump_json(exclude_none=True)}
    ]  # fmt: skip
    tables = {
        "cells": [frame_of("cells", cells)],
        "observations": frames or [pl.DataFrame(schema=POLARS)],
        "provenance": [frame_of("provenance", [*used, *provenance])],
        "statistics": [frame_of("statistics", [{"study": "s"} | each for each in statistics])],
    }
    file = path / "palimpsest.duckdb"
    with connect(tables, {"unlearning": VIEW}, file) as connection:
        connection.execute("INSERT INTO run VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
        listed = json.dumps([{"study": "s", "probe": "unlearning", "after": after or {}}])
        connection.execute("INSERT INTO run VALUES ('studies', ?)", [listed])
    return Database(file)
