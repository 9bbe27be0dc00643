"""Clustered regressions: hand-written sandwich, coverage, and what happens when a fit fails."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from palimpsest.statistics.mixed import before_after_gee, cluster_robust_ols


def panel(rng, m=12, k=20, shift=0.0):
    series = np.repeat(np.arange(m), k)
    after = np.tile(np.arange(k) >= k // 2, m).astype(float)
    return series, after, rng.standard_normal(m)[series] + shift * after


def test_ols_equals_the_sandwich_by_hand():
    rng = np.random.default_rng(0)
    series, after, base = panel(rng)
    y = base + rng.standard_normal(len(base))
    x = np.column_stack([np.ones_like(after), after])
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    scores = [x[series == g].T @ (y - x @ beta)[series == g] for g in range(12)]
    n, k, m = len(y), 2, 12
    factor = m / (m - 1) * (n - 1) / (n - k)
    error = np.sqrt(factor * (bread @ sum(np.outer(s, s) for s in scores) @ bread)[1, 1])
    result = cluster_robust_ols(y, {"after": after}, series)["after"]
    half = stats.t.ppf(0.975, m - 1) * error
    assert result.estimate == pytest.approx(beta[1])
    assert (result.low, result.high) == pytest.approx((beta[1] - half, beta[1] + half))
    assert result.p == pytest.approx(2 * stats.t.sf(abs(beta[1]) / error, m - 1))
    assert result.n == 12
    assert "12 clusters" in result.note


def test_ols_coverage_with_enough_clusters():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        series, after, base = panel(rng, 30, 8, 0.3)
        y = base + 0.5 * rng.standard_normal(30)[series] * after + rng.standard_normal(len(base))
        result = cluster_robust_ols(y, {"after": after}, series)["after"]
        hits += result.low <= 0.3 <= result.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_ols_says_when_it_cannot():
    y, x = np.arange(6.0), np.arange(6.0)
    collinear = cluster_robust_ols(y, {"a": x, "b": 2 * x}, [0, 0, 1, 1, 2, 2])
    assert np.isnan(collinear["a"].estimate)
    assert "collinear" in collinear["b"].note
    assert "one cluster" in cluster_robust_ols(y, {"a": x}, np.zeros(6))["a"].note


def test_gee_of_balanced_data_is_the_log_odds_ratio_of_the_rates():
    rng = np.random.default_rng(2)
    series, after, base = panel(rng, shift=-1.0)
    correct = (rng.random(len(base)) < expit(base)).astype(float)
    result = before_after_gee(correct, after, series)
    p0, p1 = correct[after == 0].mean(), correct[after == 1].mean()
    expected = np.log(p1 / (1 - p1)) - np.log(p0 / (1 - p0))
    assert result.estimate == pytest.approx(expected, abs=1e-6)
    assert result.low < result.estimate < result.high


def test_gee_coverage_and_size():
    rng = np.random.default_rng(3)
    truth, hits, rejections, studies = -0.8, 0, 0, 600
    for _ in range(studies):
        series, after, _ = panel(rng, 15, 16)
        # marginal rates fixed, correlation within a series from shared coins
        rate = expit(0.4 + truth * after)
        common = rng.random(15)[series]
        use = rng.random(len(series)) < 0.3
        u = np.where(use, common, rng.random(len(series)))
        result = before_after_gee((u < rate).astype(float), after, series)
        hits += result.low <= truth <= result.high
        # no change on average, but every series changes in its own way
        drift = expit(rng.standard_normal(15)[series] * after)
        correct = (rng.random(len(series)) < drift).astype(float)
        null = before_after_gee(correct, after, series)
        rejections += null.p <= 0.05
    assert 0.93 <= hits / studies <= 0.975
    assert rejections / studies <= 0.065


def test_gee_says_when_it_cannot():
    series = np.repeat(np.arange(5), 4)
    after = np.tile([0, 0, 1, 1], 5)
    separated = before_after_gee(1 - after, after, series)
    assert np.isnan(separated.estimate)
    assert "separated" in separated.note
    assert "no rows" in before_after_gee(np.tile([0, 1], 10), np.zeros(20), series).note
    assert "one cluster" in before_after_gee(np.tile([0, 1], 10), after, np.zeros(20)).note
    with pytest.raises(ValueError, match="0 or 1"):
        before_after_gee(after + 0.5, after, series)
