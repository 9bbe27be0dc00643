"""A method against retrained models: levels by simulation, closed forms, limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics.population import (
    calibration,
    difference,
    distance,
    equivalence,
    left_out,
    margin,
    pareto_front,
    pareto_shares,
    rank_intervals,
)


def test_distance_is_a_prediction_interval():
    population = np.array([1.0, 2.0, 3.0, 4.0])
    found = distance(6.0, population)
    width = population.std(ddof=1) * np.sqrt(1.25)
    assert found.estimate == pytest.approx(3.5)
    assert found.p == pytest.approx(2 * stats.t.sf(3.5 / width, 3))
    assert found.high - found.low == pytest.approx(2 * width * stats.t.ppf(0.975, 3))
    assert found.n == 4


def test_a_held_out_retrained_model_is_rejected_at_the_nominal_rate():
    rng = np.random.default_rng(0)
    rejected = [distance(rng.normal(), rng.normal(size=10)).p <= 0.05 for _ in range(4000)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.012)
    # Moderately skewed, as probabilities near zero are: still near it.
    rejected = [distance(rng.gamma(4), rng.gamma(4, size=10)).p <= 0.05 for _ in range(4000)]
    assert 0.03 < np.mean(rejected) < 0.085


def test_leaving_one_out_reads_the_calibration():
    rng = np.random.default_rng(1)
    p = np.concatenate([left_out(rng.normal(size=10)) for _ in range(300)])
    found = calibration(p)
    assert found.low <= 0.06
    assert found.high >= 0.04
    assert found.n == 3000
    outlier = left_out([0.1, 0.11, 0.09, 0.1, 0.9])
    assert outlier.argmin() == 4
    assert outlier[4] < 1e-4
    with pytest.raises(ValueError, match="three models"):
        left_out([1.0, 2.0])


def test_equivalence_keeps_its_level_although_the_margin_is_estimated():
    """A method that lies just at two deviations must not pass more often than 5%."""
    rng = np.random.default_rng(2)

    def passed(shift):
        return np.mean(
            [
                equivalence(rng.normal(shift, 1, 5), rng.normal(0, 1, 10)).p <= 0.05
                for _ in range(600)
            ]
        )

    assert passed(2.0) <= 0.06
    assert passed(0.0) > 0.55


def test_the_margin_is_below_the_estimated_deviation():
    rng = np.random.default_rng(3)
    population = rng.normal(0, 1, 10)
    assert 0 < margin(population, 2.0) < 2 * population.std(ddof=1)
    large = rng.normal(0, 1, 100_000)
    assert margin(large, 2.0) == pytest.approx(2, abs=0.02)


def test_models_that_are_all_alike_give_no_margin_and_say_so():
    assert distance(1.0, [1.0, 1.0, 1.0]).p == 1
    other = distance(2.0, [1.0, 1.0, 1.0])
    assert other.p is None
    assert "no variance" in other.note
    with pytest.raises(ValueError, match="no margin"):
        equivalence([1.0, 1.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="two retrained models, not 1"):
        difference([1.0, 2.0], [1.0])


def test_difference_is_that_of_welch():
    a, b = [0.9, 0.8, 0.95], [0.1, 0.2, 0.12, 0.15]
    expected = stats.ttest_ind(a, b, equal_var=False)
    found = difference(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_front_holds_what_nothing_dominates():
    points = [(1, 0), (0, 1), (0.5, 0.5), (0.4, 0.5), (1, 0)]
    assert pareto_front(points).tolist() == [True, True, True, False, True]


def test_shares_of_fronts_are_certain_where_runs_agree():
    forgetting = np.array([[1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    utility = np.array([[0.2, 0.2, 0.2], [0.9, 0.9, 0.9], [0.5, 0.5, 0.5]])
    assert pareto_shares(forgetting, utility).tolist() == [1, 1, 0]
    noisy = utility + np.array([[0, 0, 0], [0, -0.6, 0.1], [0, 0.4, 0.0]])
    assert 0 < pareto_shares(forgetting, noisy)[2] < 1


def test_ranks_have_intervals_where_runs_disagree():
    values = np.array([[0.9, 0.92, 0.91], [0.5, 0.1, 0.6], [0.4, 0.6, 0.3]])
    first, second, third = rank_intervals(values)
    assert (first.estimate, first.low, first.high) == (1, 1, 1)
    assert (third.low, third.high) == (second.low, second.high) == (2, 3)
    tied = rank_intervals(np.ones((2, 4)))
    assert [each.estimate for each in tied] == [1.5, 1.5]
