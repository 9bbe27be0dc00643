"""Measures of accuracy matrices by hand, at their limits and against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from palimpsest.metrics.continual import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting_first,
    forgetting_max,
    forward_transfer,
    intransigence,
    retention_by_lag,
)
from palimpsest.statistics.retention import fit

HAND = np.array([[0.90, 0.10, 0.20], [0.92, 0.80, 0.30], [0.60, 0.85, 0.95]])
UNTRAINED, JOINT = [0.1, 0.12, 0.1], [0.9, 0.9, 0.9]
BY_HAND = {
    average_accuracy: 0.8,
    average_incremental_accuracy: (0.9 + 0.86 + 0.8) / 3,
    forgetting_max: (0.32 - 0.05) / 2,
    forgetting_first: (0.30 - 0.05) / 2,
    backward_transfer: (-0.30 + 0.05) / 2,
}
MATRICES = st.integers(1, 6).flatmap(
    lambda t: arrays(np.float64, (2, 3, t, t), elements=st.integers(0, 64).map(lambda n: n / 64))
)


@pytest.mark.parametrize("measure", BY_HAND)
def test_by_hand(measure):
    assert measure(HAND) == pytest.approx(BY_HAND[measure])


def test_transfer_and_intransigence_by_hand():
    assert forward_transfer(HAND, UNTRAINED) == pytest.approx((-0.02 + 0.2) / 2)
    assert intransigence(HAND, JOINT) == pytest.approx((0 + 0.1 - 0.05) / 3)


def slow(matrix, untrained, joint):
    """Every measure by its formula, one network."""
    tasks = len(matrix)
    old = range(tasks - 1)
    return {
        average_accuracy: sum(matrix[-1]) / tasks,
        average_incremental_accuracy: sum(
            sum(matrix[i][: i + 1]) / (i + 1) for i in range(tasks)
        ) / tasks,
        forgetting_max: sum(max(matrix[i][j] for i in old) - matrix[-1][j] for j in old)
        / max(tasks - 1, 1),
        forgetting_first: sum(matrix[j][j] - matrix[-1][j] for j in old) / max(tasks - 1, 1),
        forward_transfer: sum(matrix[j - 1][j] - untrained[j] for j in range(1, tasks))
        / max(tasks - 1, 1),
        intransigence: sum(joint[j] - matrix[j][j] for j in range(tasks)) / tasks,
    }  # fmt: skip


@given(MATRICES)
def test_equals_loops_over_networks(matrices):
    tasks = matrices.shape[-1]
    untrained, joint = np.linspace(0.1, 0.2, tasks), np.linspace(1, 0.9, tasks)
    found = {
        measure: measure(matrices)
        for measure in (
            average_accuracy, average_incremental_accuracy, forgetting_max, forgetting_first
        )
    } | {
        forward_transfer: forward_transfer(matrices, untrained),
        intransigence: intransigence(matrices, joint),
    }  # fmt: skip
    needs_two = (forgetting_max, forgetting_first, forward_transfer)
    for measure, values in found.items():
        assert values.shape == (2, 3)
        if tasks == 1 and measure in needs_two:
            assert np.isnan(values).all()
            continue
        for place in np.ndindex(2, 3):
            wanted = slow(matrices[place], untrained, joint)[measure]
            assert values[place] == pytest.approx(wanted)


@given(MATRICES.filter(lambda matrices: matrices.shape[-1] > 1))
def test_conventions_and_their_order(matrices):
    assert np.array_equal(backward_transfer(matrices), -forgetting_first(matrices))
    # The best is at least the first, as the first is among those it is taken over.
    assert (forgetting_max(matrices) >= forgetting_first(matrices) - 1e-12).all()
    with_last = (matrices.max(-2) - matrices[..., -1, :])[..., :-1].mean(-1)
    assert (with_last >= np.maximum(forgetting_max(matrices), 0) - 1e-12).all()


def test_the_best_may_be_the_last_only_for_mammoth():
    risen = np.array([[0.5, 0.0], [0.7, 0.9]])
    assert forgetting_max(risen) == pytest.approx(-0.2)
    assert max(risen[:, 0]) - risen[-1, 0] == 0


def test_what_never_changes_is_not_forgotten():
    still = np.broadcast_to([0.5, 0.75, 1.0], (3, 3))
    assert forgetting_max(still) == forgetting_first(still) == backward_transfer(still) == 0


def test_only_needed_evaluations_may_be_missing():
    lower = np.where(np.tri(3, dtype=bool), HAND, np.nan)
    for measure in BY_HAND:
        assert measure(lower) == pytest.approx(BY_HAND[measure])
    assert np.isnan(forward_transfer(lower, UNTRAINED))
    ends = np.where(np.eye(3, dtype=bool) | (np.arange(3) == 2)[:, None], HAND, np.nan)
    assert forgetting_first(ends) == pytest.approx(BY_HAND[forgetting_first])
    assert forgetting_max(ends) == pytest.approx(BY_HAND[forgetting_first])
    assert np.isnan(average_incremental_accuracy(ends))
    lower[2, 1] = np.nan
    assert all(np.isnan(measure(lower)) for measure in BY_HAND)


def test_impossible_matrices_raise():
    for wrong in (np.zeros(3), np.zeros((2, 3)), np.zeros((0, 0))):
        with pytest.raises(ValueError, match="shape"):
            average_accuracy(wrong)
    with pytest.raises(ValueError, match="finite"):
        average_accuracy([[np.inf]])
    with pytest.raises(ValueError, match="3 tasks"):
        forward_transfer(HAND, [0.1, 0.1])
    with pytest.raises(ValueError, match="3 tasks"):
        intransigence(HAND, 0.9)


def test_retention_rows_by_hand():
    two = np.stack([HAND, np.where(HAND == 0.92, np.nan, HAND)])
    rows = retention_by_lag(two, items=[50, 20, 100])
    first = {key: column[rows["network"] == 0].tolist() for key, column in rows.items()}
    assert first["after"] == [0, 1, 1, 2, 2, 2]
    assert first["task"] == [0, 0, 1, 0, 1, 2]
    assert first["lag"] == [0, 1, 0, 2, 1, 0]
    assert first["accuracy"] == [0.9, 0.92, 0.8, 0.6, 0.85, 0.95]
    assert first["trials"] == [50, 50, 20, 50, 20, 100]
    assert first["successes"] == [45, 46, 16, 30, 17, 95]
    assert rows["lag"][rows["network"] == 1].tolist() == [0, 0, 2, 1, 0]


def test_retention_counts_whole_numbers_of_examples():
    single = np.array([[7 / 9, np.nan], [2 / 9, 1.0]], dtype=np.float32)
    rows = retention_by_lag(single, items=9)
    assert rows["successes"].tolist() == [7, 2, 9]
    last = retention_by_lag(single, items=9, last_only=True)
    assert last["successes"].tolist() == [2, 9]
    assert last["lag"].tolist() == [1, 0]
    assert "trials" not in retention_by_lag(single)
    with pytest.raises(ValueError, match="test examples"):
        retention_by_lag(single, items=10)
    with pytest.raises(ValueError, match="test examples"):
        retention_by_lag([[1.5]], items=2)


def test_retention_rows_give_the_curve_that_made_them():
    tasks, items = 12, 10**6
    lag = np.arange(tasks)[:, None] - np.arange(tasks)
    matrix = np.where(lag >= 0, 0.9 * (1 + np.maximum(lag, 0)) ** -0.4, np.nan)
    rows = retention_by_lag(np.round(matrix * items) / items, items)
    fitted = fit(rows["lag"], rows["successes"], rows["trials"], "power")
    assert fitted.parameters["a"] == pytest.approx(0.9, abs=1e-3)
    assert fitted.parameters["b"] == pytest.approx(0.4, abs=1e-3)
