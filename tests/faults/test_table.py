"""The table of faults in the README is what was measured."""

from __future__ import annotations

import json

from tests.faults.figures import RESULTS, ROWS, table
from tests.faults.runs import HERE, ROOT

MEASURED = json.loads(RESULTS.read_text())["faults"]


def test_the_readme_has_the_table_that_was_measured():
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_row_was_tried_and_nothing_was_lost():
    for row, (names, _, file) in ROWS.items():
        found = [each for fault, each in MEASURED.items() if fault.startswith(names)]
        assert found, row
        assert sum(each["tried"] for each in found) > 0, row
        assert all(each["lost"] == 0 for each in found), row
        assert (HERE / f"test_{file}.py").is_file()


def test_what_differs_elsewhere_is_what_the_readme_says():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for fault, each in MEASURED.items():
        if fault.startswith("elsewhere"):
            assert each["note"] in text, fault
