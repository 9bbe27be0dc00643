"""Shards: what is written is read, and what was changed is refused."""

from __future__ import annotations

import json
import random

import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.schema import columns
from palimpsest.evidence.shards import (
    POLARS,
    ShardError,
    is_whole,
    observations,
    read_facts,
    read_shard,
    sidecar,
    write_shard,
)
from palimpsest.files import write_sealed
from palimpsest.identity import file_sha256

TEXTS = ["<script>alert(1)</script>", "zwölf\n", "\0", "", None, "🙂"]


def frame(rows: int = 200) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    return observations(
        (
            {
                "item": f"series/2001-{i % 12 + 1:02d}-01/value",
                "grp": "never",
                "metric": "correct",
                "value": float(generator.normal()),
                "text": TEXTS[i % len(TEXTS)],
            }
            for i in range(rows)
        ),
        study="s",
        cell="c",
        step=3,
    )


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "000.parquet"
    write_shard(path, frame(), {"cells": [{"cell": "c", "reason": None}]})
    return path


def test_columns_are_those_of_the_table():
    assert frame().columns == columns("observations")


def test_what_is_written_is_read(shard):
    assert read_shard(shard).equals(frame())
    facts = read_facts(shard)
    assert facts["rows"] == 200
    assert facts["cells"] == [{"cell": "c", "reason": None}]
    assert is_whole(shard)


def test_numbers_that_are_none_stay_none_and_nan_stays_nan(tmp_path):
    rows = [
        {"item": "i", "grp": "g", "metric": "m", "value": value}
        for value in (None, float("nan"), float("inf"), 5e-324)
    ]
    written = observations(rows, study="s", cell="c", step=0)
    write_shard(tmp_path / "x.parquet", written, {})
    assert read_shard(tmp_path / "x.parquet").equals(written, null_equal=True)
    assert written["value"].null_count() == 1
    assert written["value"].is_nan().sum() == 1


def test_an_empty_shard_is_a_shard(tmp_path):
    write_shard(tmp_path / "x.parquet", pl.DataFrame(schema=POLARS), {})
    assert read_shard(tmp_path / "x.parquet").height == 0


def test_the_same_rows_give_the_same_bytes(shard, tmp_path):
    write_shard(tmp_path / "again.parquet", frame(), {})
    assert (tmp_path / "again.parquet").read_bytes() == shard.read_bytes()


def test_every_one_of_100_flipped_bits_is_found(shard):
    whole = shard.read_bytes()
    dice = random.Random(1)
    for _ in range(100):
        place = dice.randrange(8 * len(whole))
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        shard.write_bytes(content)
        assert not is_whole(shard)
        with pytest.raises(ShardError, match="SHA-256") as caught:
            read_shard(shard)
        assert str(shard) in str(caught.value)
        assert "delete it and run again" in str(caught.value)
    shard.write_bytes(whole)
    assert is_whole(shard)


@pytest.mark.parametrize("length", [0, 1, 4, 100, -1])
def test_a_shard_that_was_cut_is_found(shard, length):
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(ShardError, match="SHA-256"):
        read_shard(shard)


@pytest.mark.parametrize("gone", ["shard", "sidecar"])
def test_what_is_missing_is_named(shard, gone):
    (shard if gone == "shard" else sidecar(shard)).unlink()
    assert not is_whole(shard)
    with pytest.raises(ShardError, match=r"000\.parquet: missing"):
        read_shard(shard)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"sha256": null}', "\xff"])
def test_a_damaged_sidecar_is_found(shard, text):
    sidecar(shard).write_bytes(text.encode("latin-1"))
    assert not is_whole(shard)
    with pytest.raises(ShardError, match=r"000\.(parquet|json)"):
        read_shard(shard)


def test_another_schema_is_refused_when_written(tmp_path):
    other = frame().with_columns(pl.col("step").cast(pl.Int32))
    with pytest.raises(ShardError, match=r"x\.parquet: columns"):
        write_shard(tmp_path / "x.parquet", other, {})
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    "other",
    [
        frame().drop("text"),
        frame().with_columns(extra=pl.lit(1)),
        frame().with_columns(pl.col("value").cast(pl.String)),
        frame().select(reversed(columns("observations"))),
    ],
    ids=["lacks a column", "has one more", "another type", "another order"],
)
def test_another_schema_is_named_when_read(shard, other):
    other.write_parquet(shard)
    facts = json.loads(sidecar(shard).read_text()) | {"sha256": file_sha256(shard)}
    write_sealed(sidecar(shard), facts)
    with pytest.raises(ShardError, match="columns") as caught:
        read_shard(shard)
    assert str(shard) in str(caught.value)


def test_folders_of_the_path_are_no_columns(tmp_path):
    path = tmp_path / "study=x" / "step=7" / "000.parquet"
    write_shard(path, frame(), {})
    assert read_shard(path)["study"].unique().to_list() == ["s"]


@pytest.mark.parametrize(
    "row",
    [
        {"item": "i", "grp": "g", "metric": "m", "value": "many"},
        {"item": "i", "grp": "g", "metric": "m", "valeu": 1.0},
        {"item": "i", "grp": "g", "value": 1.0},
    ],
    ids=["text for a number", "unknown column", "no metric"],
)
def test_rows_of_a_probe_are_checked(row):
    with pytest.raises(ShardError):
        observations([row], study="s", cell="c", step=0)
