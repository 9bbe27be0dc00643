"""The table of faults in the README is what was measured."""

from __future__ import annotations

import json

import pytest

from palimpsest.reports.reproducibility import differences
from tests.faults.figures import COUNTED, FILE, NOTES, RESULTS, ROWS, SLURM, table
from tests.faults.runs import ROOT

MEASURED = json.loads(RESULTS.read_text())["faults"]
#: While faults are counted the README has the counts before.
told = pytest.mark.skipif(FILE is not None, reason="the counts are being made")


@told
def test_the_readme_has_the_table_that_was_measured():
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_row_was_tried_and_nothing_was_lost():
    for row, (names, _, file) in ROWS.items():
        found = [each for fault, each in MEASURED.items() if fault.startswith(names)]
        assert found or names == SLURM, row
        assert all(each["tried"] > 0 for each in found), row
        assert all(each["lost"] == 0 for each in found), row
        assert (ROOT / "tests" / file).is_file()


def test_every_count_stands_in_the_table_and_says_of_which_commit_it_is():
    rows = [names if isinstance(names, tuple) else (names,) for names, _, _ in ROWS.values()]
    for fault, each in MEASURED.items():
        found = [names for names in rows if fault.startswith(names)]
        assert len(found) == 1, fault
        assert each["commit"].strip("+").isalnum(), fault


def test_what_is_counted_elsewhere_is_there():
    for test in (each for tests in COUNTED.values() for each in tests):
        file, name = test.split("::")
        assert f"\ndef {name}" in (ROOT / file).read_text(encoding="utf-8"), test


@told
def test_what_differs_elsewhere_is_what_the_readme_says():
    assert differences() in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    notes = json.loads(NOTES.read_text(encoding="utf-8"))
    assert all(note in differences() for where, note in notes.items() if where != "commit")
