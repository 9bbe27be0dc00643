"""Gathering: verified shards in, one database out, the same for the same shards."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from palimpsest.evidence import gather
from palimpsest.evidence.database import Database
from palimpsest.evidence.gather import build, configuration_hash, frame_of, load
from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES
from palimpsest.evidence.shards import ShardError, observations, sidecar, write_shard
from palimpsest.files import write_json, write_sealed
from palimpsest.identity import file_sha256

VIEW = {"toy": "SELECT c.role, o.* FROM observations o JOIN cells c USING (study, cell)"}
DATABASE = "results/palimpsest.duckdb"


def record(job: str, rule: str = "probe") -> dict:
    return {
        "job": job,
        "rule": rule,
        "study": "toy",
        "state": "tiny",
        "started": "2026-01-02T03:04:05.678+00:00",
        "ended": "2026-01-02T03:04:06+00:00",
        "seconds": 0.322,
        "peak_memory_mb": 10.5,
        "device": 'CPU "x", 2 GHz',
        "threads": 1,
        "tokens": 5,
        "cells_computed": 2,
        "cells_reused": 0,
        "command": "python scripts/probe.py",
        "code": "abc",
        "versions": '{"python": "3.11"}',
        "settings": "{}",
        "notes": {"dropped": True},
    }


def cell(name: str) -> dict:
    return {
        "cell": name,
        "study": "toy",
        "probe": "toy",
        "state": "tiny",
        "role": "untouched",
        "model": "tiny",
        "seed": 0,
        "step": 0,
        "experiment": "value",
        "parameters": "{}",
    }


def rows_of(name: str, count: int = 5) -> pl.DataFrame:
    return observations(
        (
            {"item": f"{name}/{i}", "grp": "asked", "metric": "correct", "value": i / 7}
            for i in range(count)
        ),
        study="toy",
        cell=name,
        step=0,
    )


def shard(path: str, cells: dict[str, str | None]) -> None:
    """A shard with the given cells; a cell with a reason has failed."""
    frames = [rows_of(name) for name, reason in cells.items() if reason is None]
    status = [{"cell": name, "reason": reason} for name, reason in cells.items()]
    status[0]["costs"] = {"seconds": 0.5}
    facts = {"cells": status, "provenance": record(f"toy/{Path(path).stem}")}
    write_shard(path, pl.concat([*frames, rows_of("x", 0)]), facts)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards = [f"results/observations/toy/tiny/{i:03d}.parquet" for i in range(2)]
    shard(shards[0], {"a": None, "b": "ValueError: too short"})
    shard(shards[1], {"c": None, "d": None})
    statistics = "results/statistics/toy.parquet"
    Path("results/statistics").mkdir()
    made = [{"study": "toy", "analysis": "x", "metric": "m", "estimate": 0.5, "n": 3}]
    frame_of("statistics", made).write_parquet(statistics)
    claims = [{"study": "toy", "claim": "holds", "verdict": "supported", "n": 3}]
    analysed = record("toy/analyse", "analyse")
    facts = {"claims": claims, "provenance": analysed, "sha256": file_sha256(statistics)}
    write_sealed(sidecar(statistics), facts)
    write_json("results/models/tiny-1/model.json", {"revision": "seed 0", "parameters": 9})
    write_json("results/models/tiny-1/provenance.json", record("model/tiny-1", "prepare_model"))
    entry = {"source": "tiny", "knowledge_cutoff": "2000-01-01"}
    return {
        "models": [{"name": "tiny", "id": "tiny-1", "entry": entry}],
        "model_files": ["results/models/tiny-1/model.json"],
        "state_files": ["results/states/never-made/state.json"],
        "studies": [
            {
                "study": "toy",
                "probe": "toy",
                "title": "Toy",
                "question": "Why?",
                "settings": {},
                "page": "toy.html",
                "statistics": statistics,
                "shards": shards,
                "cells": [cell(name) for name in "abcd"],
            }
        ],
    }


def tables(path: str = DATABASE) -> dict[str, list]:
    with duckdb.connect(path, read_only=True) as connection:
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall()))
            for name in [*TABLES, *VIEW]
        }


def test_everything_is_in_its_table(manifest):
    build(manifest, DATABASE, VIEW)
    with Database(DATABASE) as database:
        costs = database.frame("SELECT cell, costs FROM cells WHERE costs IS NOT NULL ORDER BY 1")
        assert costs.rows() == [("a", '{"seconds": 0.5}'), ("c", '{"seconds": 0.5}')]
        cells = database.frame("SELECT cell, status, reason FROM cells ORDER BY cell")
        assert cells.rows() == [
            ("a", "done", None),
            ("b", "failed", "ValueError: too short"),
            ("c", "done", None),
            ("d", "done", None),
        ]
        counted = database.frame("SELECT cell, count(*)::INT AS n FROM observations GROUP BY cell")
        assert sorted(counted.rows()) == [("a", 5), ("c", 5), ("d", 5)]
        jobs = database.frame("SELECT job FROM provenance ORDER BY job")["job"].to_list()
        assert jobs == ["model/tiny-1", "toy/000", "toy/001", "toy/analyse"]
        (model,) = database.frame("SELECT * FROM models").to_dicts()
        assert model["parameters"] == 9
        assert str(model["knowledge_cutoff"]) == "2000-01-01"
        run = dict(database.frame("SELECT key, value FROM run").rows())
        assert run["schema_version"] == str(SCHEMA_VERSION)
        assert json.loads(run["studies"])[0]["title"] == "Toy"
        assert database.frame("SELECT verdict FROM claims").rows() == [("supported",)]
        assert database.frame("SELECT estimate FROM statistics").rows() == [(0.5,)]


def test_the_view_works(manifest):
    build(manifest, DATABASE, VIEW)
    with Database(DATABASE) as database:
        found = database.frame("SELECT role, count(*)::INT AS n FROM toy GROUP BY role")
    assert found.rows() == [("untouched", 15)]


def test_two_builds_hold_equal_tables_and_the_same_content(manifest):
    build(manifest, DATABASE, VIEW)
    first = tables()
    other = manifest | {
        "studies": [manifest["studies"][0] | {"shards": manifest["studies"][0]["shards"][::-1]}]
    }
    build(other, "other.duckdb", VIEW)
    second = tables("other.duckdb")

    def without_time(found: dict[str, list]) -> dict[str, list]:
        return found | {"run": [row for row in found["run"] if "'created'" not in row]}

    assert without_time(first) == without_time(second)


def test_one_changed_number_is_other_content(manifest):
    def content() -> str:
        build(manifest, DATABASE, VIEW)
        with Database(DATABASE) as database:
            return database.frame("SELECT value FROM run WHERE key = 'content'").item()

    before = content()
    assert content() == before
    path = manifest["studies"][0]["shards"][1]
    frame = pl.concat([rows_of("c"), rows_of("d")])
    nudged = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(0.43).otherwise(pl.col("value")).alias("value")
    )
    facts = json.loads(sidecar(path).read_text())
    write_shard(path, nudged, facts)
    assert content() != before


def test_a_configuration_is_known_by_its_cells_in_any_order(manifest):
    def configuration(names: str) -> str:
        studies = [{"study": "toy", "cells": [cell(name) for name in names]}]
        return configuration_hash(studies)

    assert configuration("abc") == configuration("cab")
    assert configuration("abc") != configuration("abd")
    build(manifest, DATABASE, VIEW)
    with Database(DATABASE) as database:
        found = database.frame("SELECT value FROM run WHERE key = 'configuration'").item()
    assert found == configuration_hash(manifest["studies"])


def test_what_the_manifest_does_not_name_is_left_out(manifest):
    shard("results/observations/toy/tiny/002.parquet", {"orphan": None})
    manifest["studies"][0]["cells"] = [cell(name) for name in "abd"]
    build(manifest, DATABASE, VIEW)
    with Database(DATABASE) as database:
        named = set(database.frame("SELECT DISTINCT cell FROM observations")["cell"])
        assert named == {"a", "d"}
        assert set(database.frame("SELECT cell FROM cells")["cell"]) == {"a", "b", "d"}


@pytest.mark.parametrize("how", ["flipped", "gone", "cut"])
def test_a_damaged_shard_stops_the_build_and_is_named(manifest, how):
    build(manifest, DATABASE, VIEW)
    before = Path(DATABASE).read_bytes()
    path = Path(manifest["studies"][0]["shards"][1])
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        content[40] ^= 4
        path.write_bytes(content if how == "flipped" else content[:-9])
    with pytest.raises(ShardError) as caught:
        build(manifest, DATABASE, VIEW)
    assert str(path) in str(caught.value)
    assert Path(DATABASE).read_bytes() == before
    assert [p.name for p in Path("results").iterdir() if p.name.startswith(".")] == []


def test_a_partial_build_marks_what_is_missing(manifest):
    Path(manifest["studies"][0]["shards"][1]).unlink()
    Path(manifest["studies"][0]["statistics"]).unlink()
    build(manifest, DATABASE, VIEW, allow_missing=True)
    with Database(DATABASE) as database:
        status = database.frame("SELECT cell, status, reason FROM cells ORDER BY cell").rows()
    assert [(c, s) for c, s, _ in status] == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "missing"),
        ("d", "missing"),
    ]
    assert all(reason for _, state, reason in status if state != "done")


def test_a_missing_table_of_statistics_is_an_error(manifest):
    Path(manifest["studies"][0]["statistics"]).unlink()
    with pytest.raises(ShardError, match=r"statistics.*missing"):
        build(manifest, DATABASE, VIEW)


def test_loading_nothing_gives_empty_tables(manifest):
    for path in manifest["studies"][0]["shards"]:
        Path(path).unlink()
    loaded = load(manifest["studies"][0], allow_missing=True)
    assert loaded["observations"].height == 0
    assert set(loaded["cells"]["status"]) == {"missing"}


def test_provenance_survives_csv(manifest):
    build(manifest, DATABASE, VIEW)
    with duckdb.connect(DATABASE, read_only=True) as connection:
        connection.execute("COPY (SELECT * FROM provenance ORDER BY job) TO 'provenance.csv'")
        names = [row[0] for row in connection.execute("DESCRIBE provenance").fetchall()]
    with open("provenance.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert names == list(TABLES["provenance"])
    assert [row["job"] for row in rows] == ["model/tiny-1", "toy/000", "toy/001", "toy/analyse"]
    assert {row["device"] for row in rows} == {'CPU "x", 2 GHz'}
    assert {json.loads(row["versions"])["python"] for row in rows} == {"3.11"}
    assert rows[0]["started"].startswith("2026-01-02 03:04:05.678")


READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
count = lambda: connection.execute("SELECT count(*) FROM observations").fetchone()[0]
print(count(), flush=True)
sys.stdin.readline()
print(count(), flush=True)
"""


def test_a_reader_elsewhere_does_not_stop_the_build(manifest):
    build(manifest, DATABASE, VIEW)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, DATABASE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "15\n"
    shard(manifest["studies"][0]["shards"][1], {"c": None, "d": "RuntimeError: gone"})
    build(manifest, DATABASE, VIEW)
    assert reader.communicate("go on\n")[0] == "15\n"
    assert reader.returncode == 0
    with Database(DATABASE) as database:
        assert database.frame("SELECT count(*)::INT AS n FROM observations").item() == 10


def test_a_full_disk_leaves_the_old_database(manifest, monkeypatch):
    build(manifest, DATABASE, VIEW)
    before = Path(DATABASE).read_bytes()

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(gather, "_write", full)
    with pytest.raises(OSError, match=r"disk full while writing .*palimpsest\.duckdb"):
        build(manifest, DATABASE, VIEW)
    assert Path(DATABASE).read_bytes() == before
