"""Rows of a network whose record is made by hand: every figure is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from palimpsest.interventions.continual._learning import Record
from palimpsest.probes.power_law_rehearsal.records import Schedule, rows_of
from palimpsest.probes.power_law_rehearsal.settings import Settings

AT = [0, 1, 2, 4]
SETTINGS = Settings(windows=[2], criterion=0.6, early=2)


@pytest.fixture(scope="module")
def rows():
    """Three tasks of four updates; the first task falls by 0.3 at each switch and comes back."""
    accuracy = np.array([[0.9, 0.1, 0.1], [0.8, 0.9, 0.1], [0.7, 0.8, 0.9]])
    traces = np.full((3, len(AT), 3, 2), np.nan)
    traces[0, :, 0, 0] = [0.1, 0.5, 0.7, 0.9]
    traces[1, :, 0, 0] = [0.9, 0.6, 0.7, 0.8]
    traces[1, :, 1, 0] = [0.1, 0.7, 0.8, 0.9]
    traces[2, :, 0, 0] = [0.8, 0.5, 0.6, 0.7]
    traces[2, :, 1, 0] = [0.9, 0.6, 0.7, 0.8]
    traces[2, :, 2, 0] = [0.1, 0.2, 0.3, 0.4]
    record = Record(
        accuracy=accuracy,
        loss=1 - accuracy,
        baseline=np.full(3, 0.1),
        baseline_loss=np.full(3, 2.3),
        traces=traces,
    )
    plans = Schedule(
        course=[(4, 10, 0), (4, 5, 5), (4, 5, 5)], at=AT, watched=[0, 1], tested=[50, 50, 20]
    )
    odds = np.array([[0, 0, 0], [1, 0, 0], [0.25, 0.75, 0]])
    lags = np.array([[0, 0, 0], [1, 0, 0], [2, 1, 0]])
    drawn = np.array([[0, 0, 0], [20, 0, 0], [6, 14, 0]])
    found = rows_of(SETTINGS, record, plans, odds, lags, drawn)
    return {(row["grp"], row["item"], row["metric"]): row["value"] for row in found}


def test_the_gap_is_the_change_since_just_before_the_switch(rows):
    gap = [rows["gap", str(step), "accuracy_change"] for step in AT]
    assert gap == pytest.approx([0, -0.3, -0.2, -0.1])


def test_the_matrix_holds_before_and_after_each_task(rows):
    assert rows["matrix", "-1/2", "accuracy"] == 0.1
    assert rows["matrix", "-1/2", "loss"] == 2.3
    assert rows["matrix", "2/0", "accuracy"] == 0.7
    assert rows["matrix", "2/0", "loss"] == pytest.approx(0.3)
    assert [rows["tested", str(task), "examples"] for task in range(3)] == [50, 50, 20]


def test_summaries_of_known_accuracies(rows):
    expected = {
        "average_accuracy": (0.7 + 0.8 + 0.9) / 3,
        "forgetting_max": (0.2 + 0.1) / 2,
        "backward_transfer": -(0.2 + 0.1) / 2,
        "oldest_accuracy": 0.7,
        "learned_accuracy": 0.9,
        "updates": 12,
        "new_examples": 80,
        "rehearsed_examples": 40,
        "min_accuracy": (0.5 + 0.6) / 2,
        # The last task at its end, and the worst of the two before.
        "worst_case_accuracy": 0.4 / 3 + 2 / 3 * 0.55,
    }
    got = {name: rows["summary", "network", name] for name in expected}
    assert got == pytest.approx(expected)


def test_a_task_is_learned_when_its_accuracy_first_reaches_the_criterion(rows):
    # The first evaluation that is there; a task that never gets there counts its whole course.
    updates = [rows["learning", str(task), "updates_to_criterion"] for task in range(3)]
    assert updates == [2, 1, 4]
    assert [rows["learning", str(task), "reached"] for task in range(3)] == [1, 1, 0]
    examples = [rows["learning", str(task), "examples_to_criterion"] for task in range(3)]
    assert examples == [20, 5, 20]


def test_what_came_back_by_lag_stands_beside_what_the_law_would_bring(rows):
    got = {
        (lag, kind): rows["returned", lag, kind] for lag in "12" for kind in ("drawn", "expected")
    }
    assert got == {
        ("1", "drawn"): 34,
        ("1", "expected"): 20 + 15,
        ("2", "drawn"): 6,
        ("2", "expected"): 5,
    }
