"""Savings: by hand, censored, and covered by their interval."""

import numpy as np
import pytest

from palimpsest.statistics.savings import savings
from tests.calibration import covers, studies


def test_by_hand():
    result = savings([10, 4, 8, 5], [5, 3, 8, 0], max_trials=10)
    assert result.estimate == pytest.approx((0.5 + 0.25 + 0 + 1) / 4)
    assert result.n == 4
    assert "nothing censored" in result.note
    assert savings([2, 4], [4, 8], 10).estimate == -1


def test_censored_units_are_recorded_one_beyond_and_counted():
    first, again = [np.nan, np.nan, 5, np.inf, 4], [5, 5, 99, np.nan, 2]
    result = savings(first, again, max_trials=9)
    assert result.estimate == pytest.approx((0.5 + 0.5 - 1.0 + 0.0 + 0.5) / 5)
    for part in ("first only (understates) 40", "again only (overstates) 20", "as 0) 20"):
        assert part in result.note
    # the criterion met on the very last trial is not censored
    assert "nothing censored" in savings([9, 9], [9, 1], max_trials=9).note


def test_directions_of_the_note_are_right():
    rng = np.random.default_rng(1)
    first = rng.integers(4, 30, 400)
    again = np.maximum(first // 3, 1)
    whole = savings(first, again, 40).estimate
    assert savings(first, again, 20).estimate < whole  # only first learning is cut
    slow = first * 2
    assert savings(first, slow, 30).estimate > savings(first, slow, 60).estimate


def test_coverage_over_clusters():
    rng = np.random.default_rng(2)
    covered, n = 0, studies(600)
    for _ in range(n):
        cluster = np.repeat(np.arange(15), 6)
        first = 20 * np.ones(90)
        mean = 10 + np.repeat(rng.integers(-4, 5, 15), 6)
        again = rng.binomial(20, mean / 20)
        result = savings(first, again, 20, cluster, n_replicates=399)
        covered += result.low <= 0.5 <= result.high
    assert covers("savings: 15 clusters of 6 items", covered, n)


def test_impossible_counts_raise():
    with pytest.raises(ValueError, match="at least one trial"):
        savings([0, 2], [1, 1], 5)
    with pytest.raises(ValueError, match="at least none"):
        savings([1, 2], [-1, 1], 5)
    with pytest.raises(ValueError, match="whole"):
        savings([1.5, 2], [1, 1], 5)
    with pytest.raises(ValueError, match="paired"):
        savings([1, 2, 3], [1, 1], 5)
