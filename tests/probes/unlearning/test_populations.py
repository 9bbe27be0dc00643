"""Comparisons with retrained models where these do not differ."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest

from palimpsest.probes.unlearning.analyses.frames import Data, in_words, in_words_sql
from palimpsest.probes.unlearning.analyses.populations import populations
from palimpsest.probes.unlearning.settings import Settings


@pytest.fixture
def data():
    arms = {"taught": [0.9, 0.8], "retrained": [0.1 + 0.2, 0.3, 0.3], "npo": [0.3, 0.31]}
    rows = [
        ("w", "m", arm, run, "forget refusal", "forgetting", value)
        for arm, values in arms.items()
        for run, value in enumerate(values)
    ]
    names = ["world", "model", "arm", "run", "metric", "group", "value"]
    values = pl.DataFrame(rows, schema=names, orient="row")
    empty = pl.DataFrame()
    return Data(values, *[empty] * 9, ["npo"], "taught", "retrained")


def test_retrained_models_that_differ_by_rounding_give_no_margin_and_no_calibration(data):
    rows, found = populations(data, Settings(judged_by="models"))
    assert {(r["arm"], r["analysis"]) for r in rows} == {
        ("taught", "level"),
        ("taught", "distance"),
        ("retrained", "level"),
        ("npo", "level"),
        ("npo", "distance"),
    }
    assert "calibrated" not in found


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("membership min_k_plus_plus", "membership, min-k++"),
        ("membership loss", "membership, loss"),
        ("forget rouge_l", "forget ROUGE-L"),
        ("min_k_plus_plus", "min k plus plus"),
    ],
)
def test_tables_call_a_measure_what_sentences_call_it(metric, words):
    query = f"SELECT {in_words_sql('metric')} FROM (SELECT $1 AS metric)"
    assert in_words(metric) == words
    assert duckdb.execute(query, [metric]).fetchone() == (words,)
