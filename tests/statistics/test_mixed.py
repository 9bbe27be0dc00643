"""Clustered regressions: hand-written sandwich, coverage, and what happens when a fit fails."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit
from statsmodels.regression.mixed_linear_model import VCSpec

from palimpsest.statistics.mixed import before_after_gee, cluster_robust_ols, crossed_mixed
from tests.calibration import covers, keeps_size, studies


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
    assert covers("cluster_robust_ols: 30 clusters of 8", hits, 2000)


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
    truth, hits, rejections, n = -0.8, 0, 0, studies(600)
    for _ in range(n):
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
    assert covers("before_after_gee: 15 clusters of 16", hits, n)
    assert keeps_size("before_after_gee: 15 clusters of 16 that drift", rejections, n)


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


def crossed(rng, n_items, n_seeds, item_sd=1.0, seed_sd=0.7):
    item, seed = (x.ravel() for x in np.indices((n_items, n_seeds)))
    length, exposure = rng.normal(0, 2, n_items)[item], rng.normal(5, 1, item.size)
    y = 0.3 * length / 2 - 0.2 * exposure + rng.standard_normal(item.size)
    y += item_sd * rng.standard_normal(n_items)[item] + seed_sd * rng.standard_normal(n_seeds)[seed]
    return y, {"length": length, "exposure": exposure}, item, seed


def test_crossed_model_equals_statsmodels():
    rng = np.random.default_rng(6)
    y, predictors, item, seed = crossed(rng, 30, 5)
    kept = rng.random(len(y)) < 0.85  # unbalanced
    y, item, seed = y[kept], item[kept], seed[kept]
    predictors = {name: x[kept] for name, x in predictors.items()}
    z = [(x - x.mean()) / x.std() for x in predictors.values()]
    model = sm.MixedLM(
        y,
        np.column_stack([np.ones_like(y), *z]),
        groups=np.zeros(len(y)),
        exog_vc=VCSpec(
            ["item", "seed"],
            [[["0"] * (codes.max() + 1)] for codes in (item, seed)],
            [[np.eye(codes.max() + 1)[codes]] for codes in (item, seed)],
        ),
    )
    reference = model.fit(reml=True)
    ours = crossed_mixed(y, predictors, item, seed)
    for i, (name, dof) in enumerate([("length", 30 - 2), ("exposure", len(y) - 3)], start=1):
        assert ours[name].estimate == pytest.approx(reference.fe_params[i], rel=1e-3)
        half = stats.t.ppf(0.975, dof) * reference.bse_fe[i]
        assert ours[name].high - ours[name].estimate == pytest.approx(half, rel=1e-3)
    assert (ours["length"].n, ours["length"].unit) == (30, "items")
    assert ours["exposure"].unit == "rows"


def test_crossed_model_covers_at_both_layers():
    rng = np.random.default_rng(7)
    covered = {"length": 0, "exposure": 0}
    n = studies(300)
    for _ in range(n):
        y, predictors, item, seed = crossed(rng, 40, 4)
        result = crossed_mixed(y, predictors, item, seed)
        slope = {"length": 0.3 * predictors["length"].std() / 2,
                 "exposure": -0.2 * predictors["exposure"].std()}  # fmt: skip
        for name, each in result.items():
            covered[name] += each.low <= slope[name] <= each.high
    for name, hits in covered.items():
        assert covers(f"crossed_mixed: 40 items, 4 seeds, predictor of {name}", hits, n)


def test_crossed_model_of_seed_predictors_and_of_no_variance():
    rng = np.random.default_rng(8)
    y, predictors, item, seed = crossed(rng, 25, 6, item_sd=0, seed_sd=0)
    result = crossed_mixed(y, predictors | {"size": np.arange(6.0)[seed]}, item, seed)
    assert (result["size"].n, result["size"].unit) == (6, "seeds")
    assert np.isfinite(result["size"].low)
    plain = sm.OLS(y, np.column_stack([np.ones_like(y), predictors["exposure"]])).fit()
    per_sd = plain.params[1] * predictors["exposure"].std()
    assert result["exposure"].estimate == pytest.approx(per_sd, abs=0.05)
    two = crossed_mixed(y, {"size": (seed > 2).astype(float)}, item, seed > 2)
    assert np.isnan(two["size"].low)
    assert "too few seeds" in two["size"].note
    collinear = crossed_mixed(y, {"a": y, "b": 2 * y}, item, seed)
    assert "collinear" in collinear["a"].note
