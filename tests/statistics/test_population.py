"""A method against retrained models: levels by simulation, closed forms, limits."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics.population import (
    alike,
    calibration,
    difference,
    equivalence,
    global_distance,
    held_out,
    margin,
    pareto_front,
    pareto_shares,
    rank_intervals,
)
from tests.calibration import covers, covers_at_least, keeps_equivalence, keeps_size, studies


def test_held_out_groups_are_tested_as_methods_are():
    population = np.random.default_rng(0).gamma(4, size=(7, 3))
    found = held_out(population, 3)
    assert found.shape == (35, 3)
    for row, group in zip(found, combinations(range(7), 3), strict=True):
        inside = np.isin(range(7), group)
        for metric in range(3):
            values = population[:, metric]
            assert row[metric] == pytest.approx(difference(values[inside], values[~inside]).p)
    # Where neither side varies, signs are flipped; equal means are equal.
    flat = held_out(np.array([[0.2], [0.2], [0.1], [0.1], [0.1]]), 2)
    assert flat[0, 0] == pytest.approx(2 * 0.5**5)
    assert flat.max() <= 1
    with pytest.raises(ValueError, match="no groups of 3"):
        held_out(population[:4], 3)


@pytest.mark.parametrize(("runs", "draw"), [(5, "normal"), (3, "normal"), (5, "exponential")])
def test_held_out_groups_show_the_level_of_the_test_of_methods(runs, draw):
    """What groups say of the test is what simulated methods that are retraining say of it."""
    rng = np.random.default_rng(4)
    n = studies(40)
    drawn = getattr(rng, draw)
    found = np.mean([held_out(drawn(size=(10, 20)), runs) <= 0.05 for _ in range(n)])
    told = [difference(drawn(size=runs), drawn(size=10 - runs)).p <= 0.05 for _ in range(4000)]
    told = np.mean(told)
    # Three standard errors of the simulated share.
    assert found == pytest.approx(told, abs=0.011)


def test_calibration_covers_where_metrics_go_together():
    """Cautious: of the few models each is rejected on some metrics or none."""
    rng = np.random.default_rng(7)
    for together in (0.5, 0.9):
        own, common = np.sqrt(1 - together), np.sqrt(together)
        inside, resolved = [], []
        for _ in range(30):
            x = common * rng.normal(size=(10, 1)) + own * rng.normal(size=(10, 20))
            found = calibration(x, 5)
            inside.append(found.low <= 0.045 <= found.high)
            resolved.append(found.high < 0.1)
        assert np.mean(inside) > 0.9
        # Ten models are enough to see that the test errs less than twice as often as it should.
        assert np.mean(resolved) > 0.9
    assert (found.n, found.unit) == (10, "retrained models")
    with pytest.raises(ValueError, match="three others"):
        calibration(np.zeros((6, 2)), 4)


@pytest.mark.parametrize("runs", [3, 10])
def test_equivalence_keeps_its_level_although_the_margin_is_estimated(runs):
    """A method that lies just at two deviations must not pass more often than 5%."""
    rng = np.random.default_rng(2)
    n = studies(600)

    def passed(shift, spread=1.0):
        return np.mean(
            [
                equivalence(rng.normal(shift, spread, runs), rng.normal(0, 1, 10)).p <= 0.05
                for _ in range(n)
            ]
        )

    what = f"population.equivalence: {runs} runs, 10 retrained models"
    for shift, spread in ((2.0, 1.0), (2.0, 0.5), (-2.0, 2.0)):
        design = f"{what}, spread {spread:g}"
        assert keeps_equivalence(design, round(passed(shift, spread) * n), n)
    assert passed(0.0) > {3: 0.35, 10: 0.85}[runs]


def test_equivalence_is_too_easy_with_the_deviation_as_it_is_estimated():
    """Why the margin is taken at the lower end."""
    rng = np.random.default_rng(8)
    passed = []
    for _ in range(1000):
        values, population = rng.normal(2, 0.5, 10), rng.normal(0, 1, 10)
        limit = 2 * population.std(ddof=1)
        found = difference(values, population, level=0.9)
        passed.append(-limit < found.low and found.high < limit)
    assert np.mean(passed) > 0.06


def test_equivalence_in_skewed_populations_stays_near_its_level():
    rng = np.random.default_rng(9)
    passed = [
        equivalence(rng.gamma(4, size=5) / 2 + 2, rng.gamma(4, size=10) / 2).p <= 0.05
        for _ in range(800)
    ]
    assert np.mean(passed) < 0.1


def test_the_margin_is_below_the_estimated_deviation():
    rng = np.random.default_rng(3)
    population = rng.normal(0, 1, 10)
    assert 0 < margin(population, 2.0) < 2 * population.std(ddof=1)
    large = rng.normal(0, 1, 100_000)
    assert margin(large, 2.0) == pytest.approx(2, abs=0.02)


def test_models_that_are_all_alike_give_no_margin_and_say_so():
    assert margin([1.0, 1.0], 2) == 0
    with pytest.raises(ValueError, match="no margin"):
        equivalence([1.0, 1.0], [1.0, 1.0, 1.0])


def test_rounding_is_no_deviation():
    """Three times 0.1 has a deviation of 1e-17: every other value would be infinitely far away."""
    population = [0.1, 0.1, 0.1]
    assert np.std(population, ddof=1) > 0
    assert alike(population)
    assert alike([0.1 + 0.2, 0.3, 0.3])
    assert not alike([0.1, 0.1, 0.1001])
    assert margin(population, 2) == 0
    with pytest.raises(ValueError, match="no margin"):
        equivalence([0.1, 0.1], population)
    dust = np.array([[0.1 + 0.2], [0.3], [0.3], [0.1 + 0.2], [0.4]])
    assert held_out(dust, 2).max() <= 1


def test_what_is_missing_or_single_is_refused():
    for call in (difference, equivalence):
        with pytest.raises(ValueError, match="two retrained models, not 1"):
            call([1.0, 2.0], [1.0])
        with pytest.raises(ValueError, match="finite"):
            call([1.0, 2.0], [1.0, np.nan, 2.0])
        with pytest.raises(ValueError, match="finite"):
            call([np.nan, 2.0], [1.0, 1.5, 2.0])


def test_difference_is_that_of_welch():
    a, b = [0.9, 0.8, 0.95], [0.1, 0.2, 0.12, 0.15]
    expected = stats.ttest_ind(a, b, equal_var=False)
    found = difference(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("runs", [3, 5])
def test_difference_covers(runs):
    rng, n = np.random.default_rng(11), studies(1000)
    hits = 0
    for _ in range(n):
        found = difference(rng.normal(1, 0.7, runs), rng.normal(0, 1, 10))
        hits += found.low <= 1 <= found.high
    assert covers(f"population.difference: {runs} runs, 10 retrained models", hits, n)


def test_global_distance_by_hand():
    """All ten labellings of two runs among five models, with two metrics."""
    runs, population = (
        np.array([[3.0, 1.0], [2.5, 0.0]]),
        np.array([[0.0, 1.5], [1, 0.5], [0.5, 4]]),
    )
    found = global_distance(runs, population)
    every, squares = np.concatenate([runs, population]), []
    for own in combinations(range(5), 2):
        others = np.delete(every, own, axis=0)
        far = (every[list(own)].mean(0) - others.mean(0)) / others.std(0, ddof=1)
        squares.append(np.mean(far**2))
    assert found.estimate == pytest.approx(squares[0])
    assert found.p == pytest.approx(np.mean(np.array(squares) >= squares[0] - 1e-9))
    assert found.n == 5
    assert "p cannot be below 0.1" in found.note
    # In other units, and from other zeros, it is the same.
    again = global_distance(runs * [3, 0.1] + 7, population * [3, 0.1] + 7)
    assert (again.estimate, again.p) == pytest.approx((found.estimate, found.p))


def test_global_distance_draws_where_there_are_many_labellings():
    rng = np.random.default_rng(3)
    runs, population = rng.normal(0.9, 1, (4, 3)), rng.normal(0, 1, (9, 3))
    exact = global_distance(runs, population)
    drawn = global_distance(runs, population, n_draws=600)
    assert "0.0014" in exact.note
    assert drawn.p == pytest.approx(exact.p, abs=0.05)
    assert drawn.p != exact.p
    assert drawn == global_distance(runs, population, n_draws=600)
    assert drawn.p * 601 == pytest.approx(round(drawn.p * 601))


def test_global_distance_keeps_its_level_and_sees_what_is_spread_over_metrics():
    """With metrics that go together, and skewed; then two deviations on each of six."""
    rng = np.random.default_rng(4)

    def rejected(shift):
        p = []
        for _ in range(studies(400)):
            common, own = rng.gamma(2, size=(11, 1)), rng.gamma(2, size=(11, 6))
            values = common + own
            values[:3] += shift
            p.append(global_distance(values[:3], values[3:]).p)
        return np.array(p) <= 0.05

    null = rejected(0.0)
    assert null.mean() > 0.02
    what = "population.global_distance: 3 runs, 8 models, 6 skewed metrics"
    assert keeps_size(what, null.sum(), len(null))
    assert rejected(4.0).mean() > 0.5


def test_global_distance_of_one_run_cannot_be_told_from_few_models():
    found = global_distance([100.0, 100.0], np.random.default_rng(5).normal(size=(9, 2)))
    assert found.p == pytest.approx(0.1)
    assert "p cannot be below 0.1" in found.note


def test_global_distance_leaves_out_metrics_without_spread_and_says_so():
    rng = np.random.default_rng(6)
    runs, population = rng.normal(size=(3, 2)), rng.normal(size=(8, 2))
    plain = global_distance(runs, population)
    wide, refusal = np.c_[runs, [0.1, 0.1, 0.9]], np.c_[population, np.full(8, 0.1)]
    found = global_distance(wide, refusal)
    assert (found.estimate, found.p) == pytest.approx((plain.estimate, plain.p))
    assert "1 metrics left out" in found.note
    nothing = global_distance(np.ones((2, 1)), np.ones((3, 1)))
    assert np.isnan(nothing.estimate)
    assert nothing.p is None


def test_global_distance_refuses_other_metrics_and_what_is_missing():
    with pytest.raises(ValueError, match="shapes"):
        global_distance(np.zeros((3, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="finite"):
        global_distance([[np.nan]], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="two retrained models"):
        global_distance([[1.0]], [[1.0]])


def test_the_front_holds_what_nothing_dominates():
    points = [(1, 0), (0, 1), (0.5, 0.5), (0.4, 0.5), (1, 0)]
    assert pareto_front(points).tolist() == [True, True, True, False, True]


def test_shares_of_fronts_are_certain_where_runs_agree():
    forgetting = np.array([[1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [0.4, 0.4, 0.4]])
    utility = np.array([[0.2, 0.2, 0.2], [0.9, 0.9, 0.9], [0.5, 0.5, 0.5]])
    assert pareto_shares(forgetting, utility).tolist() == [1, 1, 0]
    noisy = utility + np.array([[0, 0, 0], [0, -0.6, 0.1], [0, 0.4, 0.0]])
    assert 0 < pareto_shares(forgetting, noisy)[2] < 1


def test_shares_of_fronts_are_those_of_all_samples():
    first, second = np.array([[0.9, 0.2, 0.7], [0.5, 0.6, 0.4]]), np.array([[0.1] * 3, [0.1] * 3])
    means = np.array([first[:, list(drawn)].mean(1) for drawn in product(range(3), repeat=3)])
    expected = np.mean(means >= means.max(1, keepdims=True) - 1e-12, axis=0)
    assert pareto_shares(first, second) == pytest.approx(expected, abs=0.03)


def test_ranks_are_of_means_over_as_many_runs_as_there_are():
    """One of ten runs goes the other way: no sample of ten is likely to."""
    better = np.full(10, 1.0)
    better[0] = -0.1
    first, second = rank_intervals([better, np.zeros(10)])
    assert (first.low, first.high, second.low, second.high) == (1, 1, 2, 2)


def test_ranks_have_intervals_where_runs_disagree():
    values = np.array([[0.9, 0.92, 0.91], [0.5, 0.1, 0.6], [0.4, 0.6, 0.3]])
    first, second, third = rank_intervals(values)
    assert (first.estimate, first.low, first.high) == (1, 1, 1)
    assert (third.low, third.high) == (second.low, second.high) == (2, 3)
    tied = rank_intervals(np.ones((2, 4)))
    assert [each.estimate for each in tied] == [1.5, 1.5]
    with pytest.raises(ValueError, match="finite"):
        rank_intervals([[1.0, np.nan], [1.0, 2.0]])


def test_one_run_has_neither_a_share_nor_an_interval():
    (first, second) = rank_intervals([[0.9], [0.5]])
    assert (first.estimate, second.estimate) == (1, 2)
    assert np.isnan(first.low)
    assert "cannot be estimated" in first.note
    assert np.isnan(pareto_shares([[0.9], [0.5]], [[0.1], [0.2]])).all()
    with pytest.raises(ValueError, match="shapes"):
        pareto_shares([[0.9, 1.0]], [[0.1, 0.1], [0.2, 0.1]])


def test_ranks_are_covered_from_five_runs_on():
    rng = np.random.default_rng(10)
    true, hits = np.arange(5, 0, -1), []
    for _ in range(studies(120)):
        values = 0.3 * np.arange(5)[:, None] + rng.normal(size=(5, 5)) + rng.normal(size=5)
        found = rank_intervals(values, n_resamples=500)
        hits += [each.low <= t <= each.high for each, t in zip(found, true, strict=True)]
    # Cautious: ranks are whole, and most intervals of neighbours overlap.
    assert covers_at_least("population.rank_intervals: 5 methods, 5 runs", sum(hits), len(hits))
    assert found[0].note is None
    assert "below 5" in rank_intervals(values[:, :3])[0].note
