"""The table of benchmarks: one part a machine, and what got worse there is marked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.fixture
def run(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmarks_run", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(module, "TABLE", tmp_path / "table.md")
    return module


def _row(ratio, machine="one", sense="at_least", date="2026-01-01", best=None):
    row = {"work": "w", "peer": "p", "ours": 1.0, "theirs": 2.0, "ratio": ratio, "reach": 1.0}
    row |= {"sense": sense, "unit": "s", "note": "n", "machine": machine, "date": date, "load": 0.5}
    return row | {"best": best or {"ratio": ratio, "date": date}}


@pytest.mark.parametrize(
    ("sense", "ratios", "marked"),
    [
        ("at_least", (2.0, 1.9, 1.5), True),
        ("at_least", (2.0, 1.7), False),
        # Little by little counts too: the best is what is compared with.
        ("at_least", (2.0, 1.7, 1.5), True),
        ("at_most", (0.5, 0.55, 0.61), True),
        ("at_most", (0.5, 0.45, 0.5), False),
    ],
)
def test_a_ratio_much_worse_than_the_best_of_its_machine_is_marked(run, sense, ratios, marked):
    old = None
    for day, ratio in enumerate(ratios, 1):
        row = _row(ratio, sense=sense, date=f"2026-01-0{day}")
        row["best"] = run._best(row, old)
        old = row
    assert ("worse than on 2026-01-01" in run._line(row)) is marked


def test_every_machine_has_its_own_table(run):
    run._write([_row(1.5, "two"), _row(0.5, "one"), _row(3.0, "one") | {"work": "v"}])
    parts = run.TABLE.read_text().split("## ")[1:]
    assert [part.splitlines()[0] for part in parts] == ["one", "two"]
    assert [part.count("\n| ") for part in parts] == [3, 2]
    assert "**no**" in parts[0]
    assert len(json.loads(run.RESULTS.read_text())) == 3
