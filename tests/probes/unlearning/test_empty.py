"""A figure or table that is empty says why."""

from __future__ import annotations

import pytest

from palimpsest.probes.unlearning import figures
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.reports.build import build_study
from tests.probes.unlearning.studied import cell, database, row


def _why(tmp_path, arms, settings, facts=3):
    rows = [
        (f"{arm} {run}", [row("forget", f"Ann/{k}", "probability", 0.5) for k in range(facts)])
        for arm in arms
        for run in (0, 1)
    ]
    cells = [cell(arm, run) for arm in arms for run in (0, 1)]
    study = database(tmp_path, cells, rows, settings=settings)
    return {block.id: block.empty for block in figures.page(study, "s").blocks}


def test_taught_and_retrained_models_that_are_alike_leave_no_way_to_go(tmp_path):
    why = _why(tmp_path, ["taught", "retrained", "npo"], Settings())
    assert why["front"] == why["verdicts-table"]
    assert "differ too little" in why["front"]
    assert why["facts"] == ""


@pytest.mark.parametrize(
    ("relearn", "words"),
    [([4, 5], "of 3 forgotten facts none is left"), ([], "no relearning"), ([1, 5], "")],
)
def test_relearning_without_facts_that_are_left_says_so(tmp_path, relearn, words):
    settings = Settings(robustness={"relearn": relearn})
    why = _why(tmp_path, ["taught", "retrained", "npo"], settings)
    assert words in why["relearning"]
    assert bool(words) == bool(why["relearning"])


def test_the_reason_stands_on_the_page(tmp_path):
    why = _why(tmp_path, ["taught", "npo"], Settings())
    assert "no model of this study was made without the forget set" in why["front"]
    build_study(tmp_path / "palimpsest.duckdb", "s", tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text("utf-8")
    assert f"Nothing to show: {why['front']}." in page
