"""Speed of learning on curves whose answer is known."""

import math

import numpy as np
import pytest

from palimpsest.metrics.learning_speed import (
    early_area,
    facilitation,
    learning_curve_area,
    steps_to_criterion,
)

UPDATES = [0, 1, 2, 5, 10, 50]


def test_learning_curve_area_by_hand():
    curves = np.array([[0.1, 0.3, 0.5, 1.0], [0.2, 0.6, 0.7, 0.0]])
    assert learning_curve_area(curves, 0) == pytest.approx(0.15)  # before any update
    assert learning_curve_area(curves, 2) == pytest.approx((0.3 + 0.5) / 2)
    both = learning_curve_area(np.stack([curves, 0 * curves]), 3)
    assert both == pytest.approx([(0.475 + 0.375) / 2, 0])
    for beta in (-1, 4):
        with pytest.raises(ValueError, match="updates, but curves"):
            learning_curve_area(curves, beta)


def test_criterion_is_reached_at_the_first_evaluation_at_or_above_it():
    curves = [
        [0.1, 0.2, 0.5, 0.4, 0.9, 0.9],
        [0.1, 0.2, 0.3, 0.49, 0.499, 0.5],
        [0.5, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.1, 0.2, 0.3, 0.3, 0.3, 0.49999],
    ]
    assert steps_to_criterion(curves, UPDATES, 0.5).tolist() == [2, 50, 0, math.inf]
    assert steps_to_criterion(curves[1], UPDATES, 0.45) == 5


def test_a_lower_criterion_is_never_reached_later():
    curves = np.random.default_rng(0).random((50, 6))
    needed = [steps_to_criterion(curves, UPDATES, criterion) for criterion in (0.2, 0.6, 0.95)]
    assert (needed[0] <= needed[1]).all()
    assert (needed[1] <= needed[2]).all()


def test_facilitation():
    inf, nan = math.inf, math.nan
    needed = [[20, 10, 40, inf], [inf, 10, 20, inf], [0, 0, 5, inf]]
    wanted = [[1, 0.5, 2, inf], [nan] * 4, [nan] * 4]
    assert np.array_equal(facilitation(needed), wanted, equal_nan=True)


def test_early_area_of_straight_lines():
    line = np.array(UPDATES) / 50
    for first in (1, 3, 10, 30, 50):  # also between evaluations
        assert early_area(line, UPDATES, first) == pytest.approx(first / 100)
    both = early_area(np.stack([line, 1 - line]), UPDATES, 20)
    assert both == pytest.approx([0.2, 0.8])
    # A step up is counted from the evaluation before it on.
    assert early_area([0, 0, 1, 1, 1, 1], UPDATES, 2) == pytest.approx(0.25)
    assert early_area([0, 0, 1, 1, 1, 1], UPDATES, 5) == pytest.approx((0.5 + 3) / 5)


def test_early_area_of_an_exponential():
    updates, rate = np.arange(401) / 4, 0.05
    found = early_area(1 - np.exp(-rate * updates), updates, 100)
    assert found == pytest.approx(1 - (1 - math.exp(-5)) / 5, abs=1e-4)


def test_impossible_curves_raise():
    with pytest.raises(ValueError, match="increase"):
        steps_to_criterion([0.1, 0.2], [1, 1], 0.5)
    with pytest.raises(ValueError, match="increase"):
        steps_to_criterion([0.1, 0.2], [0, 1, 2], 0.5)
    with pytest.raises(ValueError, match="finite"):
        steps_to_criterion([0.1, np.nan], [0, 1], 0.5)
    for updates, first in (([1, 2], 2), ([0, 2], 3), ([0, 2], 0)):
        with pytest.raises(ValueError, match="wanted"):
            early_area([0.1, 0.2], updates, first)
