"""Regression across few tasks: refits in a loop, known regressions, coverage, power."""

from itertools import permutations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from palimpsest.statistics.leave_one_out import (
    _critical,
    bonett_wright,
    leave_one_out,
    smallest_detectable_rho,
    spearman,
)
from tests.calibration import covers, covers_at_least, keeps_size, studies


def tasks(rng, k, slopes=(1.0,), noise=1.0):
    x = rng.standard_normal((k, len(slopes)))
    return x, 2 + x @ np.array(slopes) + noise * rng.standard_normal(k)


def refitted(x, y):
    """Predictions of each task from a regression on the others, by statsmodels."""
    found = []
    for left in range(len(y)):
        rest = np.arange(len(y)) != left
        fit = sm.OLS(y[rest], sm.add_constant(x[rest])).fit()
        found.append(float(fit.params @ np.concatenate([[1.0], x[left]])))
    return np.array(found)


def score(x, y):
    baseline = np.array([np.delete(y, i).mean() for i in range(len(y))])
    return 1 - np.sum((y - refitted(x, y)) ** 2) / np.sum((y - baseline) ** 2)


@pytest.mark.parametrize("m", [1, 3])
def test_predictions_are_those_of_refitting(m):
    x, y = tasks(np.random.default_rng(m), 9, np.ones(m))
    found = leave_one_out(x, y, n_permutations=10)
    assert found.predicted == pytest.approx(refitted(x, y))
    assert found.r_squared.estimate == pytest.approx(score(x, y))


def test_p_counts_all_orders():
    x, y = tasks(np.random.default_rng(4), 5)
    every = [score(x, y[list(order)]) for order in permutations(range(5))]
    assert leave_one_out(x[:, 0], y).r_squared.p == pytest.approx(np.mean(every >= every[0] - 1e-9))


def test_error_is_unbiased_for_tasks_not_seen():
    """Mean left-out error of k tasks is the error of regressions on k - 1 at new tasks."""
    rng, k = np.random.default_rng(5), 10
    left, new = [], []
    for _ in range(3000):
        x, y = tasks(rng, k, noise=0.7)
        left.append(np.mean((y - leave_one_out(x, y, n_permutations=0).predicted) ** 2))
        fit = np.polyfit(x[1:, 0], y[1:], 1)
        at, value = tasks(rng, 200, noise=0.7)
        new.append(np.mean((value - np.polyval(fit, at[:, 0])) ** 2))
    error = np.hypot(np.std(left), np.std(new)) / np.sqrt(3000)
    assert abs(np.mean(left) - np.mean(new)) < 3 * error
    assert error < 0.02


def test_with_many_tasks_r_squared_is_the_known_one():
    x, y = tasks(np.random.default_rng(6), 4000, noise=0.5)
    assert leave_one_out(x, y, n_permutations=0).r_squared.estimate == pytest.approx(0.8, abs=0.02)


def test_size_of_both_tests_is_five_in_a_hundred():
    rng = np.random.default_rng(7)
    left, ranked = [], []
    n = studies(1000)
    for number in range(n):
        x, y = rng.standard_normal((2, 10))
        left.append(leave_one_out(x, y, 199, number).r_squared.p)
        ranked.append(spearman(x, y, n_permutations=199, seed=number).p)
    for name, p in (("leave_one_out", left), ("spearman", ranked)):
        rejected = np.sum(np.array(p) <= 0.05)
        assert rejected / n > 0.035
        assert keeps_size(f"{name}: 10 tasks", rejected, n)


def test_rho_agrees_with_scipy_and_its_p_with_all_orders():
    a, b = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0]), np.array([2.0, 7.0, 1.0, 8.0, 2.0, 8.0])
    found = spearman(a, b)
    assert found.estimate == pytest.approx(stats.spearmanr(a, b).statistic)
    every = [abs(stats.spearmanr(a, o).statistic) for o in permutations(b)]
    assert found.p == pytest.approx(np.mean(np.array(every) >= every[0] - 1e-9))
    assert "all 720" in found.method


def test_interval_by_hand():
    half = 1.959964 * np.sqrt((1 + 0.5**2 / 2) / 9)
    expected = (np.tanh(np.arctanh(0.5) - half), np.tanh(np.arctanh(0.5) + half))
    assert bonett_wright(0.5, 12) == pytest.approx(expected)
    low, high = bonett_wright(1.0, 6)
    assert 0 < low < high == 1.0
    assert bonett_wright(-1.0, 6) == (-1.0, -low)


@pytest.mark.parametrize("k", [6, 12, 20])
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_intervals_cover(k, rho):
    rng, n = np.random.default_rng(8), 3000
    r = 2 * np.sin(np.pi * rho / 6)
    x, noise = rng.standard_normal((2, n, k))
    y = r * x + np.sqrt(1 - r**2) * noise
    ranks = [stats.rankdata(v, axis=1) for v in (x, y)]
    found = 1 - 6 * np.sum((ranks[0] - ranks[1]) ** 2, axis=1) / (k * (k**2 - 1))
    ends = np.array([bonett_wright(value, k) for value in found])
    hits = np.sum((ends[:, 0] <= rho) & (rho <= ends[:, 1]))
    # Of six tasks rho has few values and the interval is cautious.
    check = covers_at_least if k == 6 else covers
    assert check(f"spearman, interval: {k} tasks, rho {rho:g}", hits, n)


def test_power_is_that_of_tests_run():
    rho = smallest_detectable_rho(8)
    r = 2 * np.sin(np.pi * rho / 6)
    rng = np.random.default_rng(9)
    p = []
    for _ in range(400):
        x, noise = rng.standard_normal((2, 8))
        p.append(spearman(x, r * x + np.sqrt(1 - r**2) * noise).p)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.8, abs=0.06)


def test_more_tasks_find_less():
    found = [smallest_detectable_rho(k) for k in (5, 6, 8, 12, 20)]
    assert found == sorted(found, reverse=True)
    assert 0.9 < found[0] < 1
    assert np.isnan(smallest_detectable_rho(4))
    assert "cannot reach" in spearman([1, 2, 3, 4], [1, 2, 3, 4]).note


@pytest.mark.parametrize(("k", "critical"), [(5, 1.0), (6, 0.886), (7, 0.786), (8, 0.738)])
def test_critical_values_are_those_of_the_tables(k, critical):
    """Two-sided 5% (Zar 1972, J. Am. Stat. Assoc. 67, 578)."""
    assert _critical(k, 0.05) == pytest.approx(critical, abs=5e-4)


def test_a_constant_has_no_rank():
    found = spearman([1, 1, 1, 1], [1, 2, 3, 4])
    assert np.isnan(found.estimate)
    assert found.p is None


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [(np.arange(5), np.arange(4), "shape"), (np.arange(3), np.arange(3), "need 4 tasks"),
     (np.ones(6), np.arange(6), "same for all"), (np.arange(6), np.ones(6), "same for all"),
     (np.array([0, 0, 0, 0, 1]), np.arange(5), "without one"),
     (np.column_stack([np.arange(6), 2 * np.arange(6)]), np.arange(6), "collinear"),
     (np.array([0, 1, np.nan, 3]), np.arange(4), "finite")],
)  # fmt: skip
def test_bad_input_is_refused(x, y, match):
    with pytest.raises(ValueError, match=match):
        leave_one_out(x, y)


def test_few_tasks_are_refused():
    with pytest.raises(ValueError, match="4 tasks"):
        spearman([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="4 tasks"):
        smallest_detectable_rho(3)
    with pytest.raises(ValueError, match="4 tasks"):
        bonett_wright(0.5, 3)
