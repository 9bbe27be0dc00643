"""Dose-response: agreement with a GLM, coverage, floors, and trends by enumeration."""

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit

from palimpsest.statistics.dose import dose_response, trend_permutation
from tests.calibration import covers, keeps_size, studies

DOSE = np.array([0, 1, 3, 10, 30])
N = np.full(5, 40)


def test_without_floor_it_is_logistic_regression():
    successes = np.array([4, 9, 15, 24, 33])
    fit = dose_response(DOSE, successes, N)
    design = np.column_stack([np.ones(5), np.log1p(DOSE)])
    glm = sm.GLM(
        np.column_stack([successes, N - successes]), design, family=sm.families.Binomial()
    ).fit()
    assert fit.converged
    assert (fit.intercept, fit.slope.estimate) == pytest.approx(tuple(glm.params), abs=1e-3)
    # profile and Wald intervals agree to first order
    assert (fit.slope.low, fit.slope.high) == pytest.approx(tuple(glm.conf_int()[1]), abs=0.05)
    assert fit.rate(DOSE) == pytest.approx(glm.fittedvalues, abs=1e-4)


def test_profile_ends_drop_by_half_a_chi_square():
    successes = np.array([4, 9, 15, 24, 33])
    fit = dose_response(DOSE, successes, N)
    grid = np.linspace(-15, 10, 200_001)
    for end in (fit.slope.low, fit.slope.high):
        rate = expit(grid[:, None] + end * np.log1p(DOSE))
        best = (successes * np.log(rate) + (N - successes) * np.log1p(-rate)).sum(axis=1).max()
        drop = fit.log_likelihood - best
        assert drop == pytest.approx(stats.chi2.ppf(0.95, 1) / 2, abs=1e-3)


def test_slope_above_a_floor_is_recovered_and_covered():
    rng = np.random.default_rng(0)
    truth = 0.125 + 0.875 * expit(-3 + 1.2 * np.log1p(DOSE))
    n = studies(400)
    slopes = [dose_response(DOSE, rng.binomial(N, truth), N, 0.125).slope for _ in range(n)]
    hits = sum(s.low <= 1.2 <= s.high for s in slopes)
    assert covers("dose_response: 5 doses of 40, floor 0.125", hits, n)
    assert np.median([s.estimate for s in slopes]) == pytest.approx(1.2, abs=0.06)
    assert np.mean([s.p < 0.05 for s in slopes]) > 0.99


def test_flat_dose_response_keeps_its_size():
    rng = np.random.default_rng(1)
    n = studies(400)
    fits = [dose_response(DOSE, rng.binomial(N, 0.5), N, 0.125).slope for _ in range(n)]
    p = np.array([1.0 if fit.p is None else fit.p for fit in fits])
    assert keeps_size("dose_response: 5 doses of 40, flat", sum(p <= 0.05), n)


@pytest.mark.parametrize(
    "successes", [[0] * 5, [5] * 5, [4, 5, 3, 2, 4], [5, 5, 5, 40, 40], [40] * 5]
)
def test_slopes_that_are_not_identified_are_said_to_be_so(successes):
    fit = dose_response(DOSE, successes, N, 0.125)
    assert not fit.converged
    assert np.isnan(fit.slope.estimate)
    assert "did not converge" in fit.slope.note


def test_bad_input_raises():
    with pytest.raises(ValueError, match="successes"):
        dose_response(DOSE, N + 1, N)
    with pytest.raises(ValueError, match="two doses"):
        dose_response([3, 3], [1, 2], [5, 5])
    with pytest.raises(ValueError, match="chance"):
        dose_response(DOSE, N, N, 1.0)
    with pytest.raises(ValueError, match="two doses"):
        trend_permutation([1, 1], [2, 3])


@pytest.mark.parametrize("method", ["spearman", "jonckheere"])
def test_trend_equals_enumeration(method):
    dose, values = np.array([0, 0, 1, 1, 3, 3]), np.array([0.1, 0.5, 0.4, 0.9, 0.9, 1.1])

    def statistic(doses):
        if method == "spearman":
            return stats.spearmanr(doses, values).statistic
        pairs = [(i, j) for i in range(6) for j in range(6) if doses[i] < doses[j]]
        return np.mean([np.sign(values[j] - values[i]) for i, j in pairs])

    null = [statistic(np.array(order)) for order in itertools.permutations(dose)]
    result = trend_permutation(dose, values, method, n_permutations=40_000)
    assert result.estimate == pytest.approx(statistic(dose))
    exact = np.mean(np.array(null) >= statistic(dose) - 1e-9)
    assert result.p == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("method", ["spearman", "jonckheere"])
def test_trend_size(method):
    rng = np.random.default_rng(2)
    dose = np.repeat(DOSE, 6)
    n = studies(1500)
    p = [
        trend_permutation(dose, rng.random(30), method, n_permutations=99, seed=seed).p
        for seed in range(n)
    ]
    rejected = np.sum(np.array(p) <= 0.05)
    assert keeps_size(f"trend_permutation: {method}, 5 doses of 6", rejected, n)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_trend_is_one_sided_and_constant_values_give_nan():
    rising = trend_permutation(np.arange(12), np.arange(12.0))
    falling = trend_permutation(np.arange(12), -np.arange(12.0))
    assert (rising.estimate, rising.p) == (pytest.approx(1), pytest.approx(1e-4))
    assert falling.p == 1.0
    assert np.isnan(trend_permutation(np.arange(5), np.ones(5)).estimate)
