"""What the simulations of the statistics are allowed, and the table that is written of them."""

import json

import pytest

from tests import calibration


@pytest.mark.parametrize(
    ("check", "counts", "holds"),
    [
        (calibration.covers, (1860, 2000), True),
        (calibration.covers, (1859, 2000), False),
        (calibration.covers, (1940, 2000), True),
        (calibration.covers, (1941, 2000), False),
        (calibration.keeps_size, (120, 2000), True),
        (calibration.keeps_size, (121, 2000), False),
        (calibration.covers_at_least, (2000, 2000), True),
        (calibration.covers_at_least, (1859, 2000), False),
        # 0.995 quantile of a binomial of 2,000 with 5%: 126
        (calibration.keeps_equivalence, (126, 2000), True),
        (calibration.keeps_equivalence, (127, 2000), False),
    ],
)
def test_bounds(check, counts, holds):
    assert check("one: design", *counts) == holds


def test_a_cautious_method_is_held_to_what_its_theory_says():
    assert calibration.covers_at_least("one: design", 1970, 2000, most=0.98)
    assert not calibration.covers_at_least("one: design", 1990, 2000, most=0.98)


def test_a_full_run_keeps_what_came_out_and_makes_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "FULL", True)
    monkeypatch.setattr(calibration, "RECORDS", tmp_path / "records.jsonl")
    monkeypatch.setattr(calibration, "TABLE", tmp_path / "table.md")
    assert calibration.studies(50) == 2000
    calibration.covers("mean: 8 clusters", 1900, 2000)
    calibration.keeps_size("area: 40 items", 100, 2000)
    rows = [json.loads(line) for line in calibration.RECORDS.read_text().splitlines()]
    assert [row["statistic"] for row in rows] == ["mean", "area"]
    calibration.main()
    lines = calibration.TABLE.read_text().splitlines()
    assert lines[-2] == "| area | 40 items | 2,000 | size | 5.0% | at most 6.0% |"
    assert lines[-1] == "| mean | 8 clusters | 2,000 | coverage | 95.0% | 93.0% to 97.0% |"
    assert not calibration.RECORDS.exists()
