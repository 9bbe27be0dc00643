"""What the overview warns of, and what the run cost."""

import re

import duckdb
import pytest

from palimpsest.evidence.database import Database
from palimpsest.reports import evidence
from palimpsest.reports.build import build_index


def _words(page):
    html = re.sub(r"<(style|script).*?</\1>", "", page.read_text("utf-8"), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


def test_the_index_says_which_claims_had_too_little_power(toy_probe, database_path, tmp_path):
    text = _words(build_index(database_path, tmp_path / "index.html"))
    assert (
        "Low power: 1 of 4 claims are inconclusive in a study too small to find the smallest "
        "effect that was said to matter: 1 in Planted economic figures." in text
    )
    assert "1 of 4 claims could not be tested: 1 in Planted economic figures." in text
    assert "although the study is large enough" not in text
    assert text.count("could find 0.18, matters from 0.10") == 3
    assert "curve: mixed model did not converge (2)" in text


def test_an_inconclusive_claim_of_a_large_study_has_no_low_power(toy, toy_probe, tmp_path):
    path = toy.write_database(tmp_path / "large.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE claims SET detectable = 0.04 WHERE verdict = 'inconclusive'")
        connection.execute(
            "UPDATE statistics SET factor = 'cannot tell', note = NULL WHERE rowid IN (0, 1)"
        )
        connection.execute(
            "UPDATE statistics SET analysis = 'other', note = 'one cluster only' WHERE rowid = 2"
        )
    text = _words(build_index(path, tmp_path / "large.html"))
    assert "Low power" not in text
    assert "1 of 4 claims are inconclusive although the study is large enough" in text
    assert "curve: cannot tell: too few to find what was looked for (2)" in text
    assert "other: one cluster only (1)" in text


@pytest.mark.parametrize(
    ("device", "gpus"),
    [("CPU Some Model", 0), ("cpu; far behind an endpoint", 0), (None, 0),
     ("none, all cells were finished", 0),
     ("NVIDIA H100 80GB HBM3", 1), ("4 x NVIDIA H100 80GB HBM3", 4)],
)  # fmt: skip
def test_the_index_gives_hours_of_gpus(device, gpus, toy, toy_probe, tmp_path):
    path = toy.write_database(tmp_path / "gpu.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE provenance SET device = ?, seconds = 5400, threads = 2 "
            "WHERE rule = 'intervene'",
            [device],
        )
    with Database(path) as database:
        cost = {row["rule"]: row for row in evidence.cost(database).to_dicts()}
    assert cost["probe"]["gpu_hours"] == 0
    assert cost["intervene"]["gpu_hours"] == pytest.approx(1.5 * gpus)
    assert cost["intervene"]["energy_kwh"] == pytest.approx(1.5 * (2 * 15 + 400 * gpus) / 1000)
    text = _words(build_index(path, tmp_path / "gpu.html"))
    assert f"of computing, {1.5 * gpus:g} GPU hours" in text.replace(".00 GPU", " GPU").replace(
        ".50 GPU", ".5 GPU"
    )


def test_networks_that_a_probe_makes_have_the_weights_of_one(toy, tmp_path):
    path = toy.write_database(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE models SET parameters = 0")
        connection.execute("""UPDATE cells SET costs = '{"weights": 551552}'""")
    with Database(path) as database:
        assert evidence.models(database)["parameters"].to_list() == [551552]
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE cells SET costs = NULL")
    with Database(path) as database:
        assert evidence.models(database)["parameters"].to_list() == [None]
