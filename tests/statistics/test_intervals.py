"""Intervals: hand-computed values, independent implementations, coverage by simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from palimpsest.statistics import intervals
from palimpsest.statistics.cluster_robust import intraclass_correlation, robust_mean
from palimpsest.statistics.resampling import nested_weights, unit_weights, weighted_median

STUDIES = 2000


def coverage(study, truth, estimate, n_studies=STUDIES):
    rng = np.random.default_rng(20)
    hits = 0
    for _ in range(n_studies):
        result = estimate(*study(rng))
        hits += result.low <= truth <= result.high
    return hits / n_studies


def clustered_binary(m, alpha, beta):
    def study(rng):
        codes = np.repeat(np.arange(m), rng.integers(5, 21, m))
        rates = rng.beta(alpha, beta, m)
        return (rng.random(len(codes)) < rates[codes]).astype(float), codes

    return study


def clustered_graded(m, between, within):
    def study(rng):
        codes = np.repeat(np.arange(m), rng.integers(5, 21, m))
        noise = within * rng.standard_normal(len(codes))
        return between * rng.standard_normal(m)[codes] + noise, codes

    return study


def test_wilson_by_hand():
    result = intervals.proportion(2, 5)
    assert (result.low, result.high) == pytest.approx((0.1176, 0.7693), abs=1e-4)
    assert (result.estimate, result.n, result.unit) == (0.4, 5, "items")


def test_wilson_agrees_with_scipy_and_clopper_pearson_with_beta_quantiles():
    reference = stats.binomtest(7, 31).proportion_ci(method="wilson")
    assert intervals.proportion(7, 31).low == pytest.approx(reference.low)
    exact = intervals.exact_proportion(7, 31)
    assert exact.low == pytest.approx(stats.beta.ppf(0.025, 7, 25))
    assert exact.high == pytest.approx(stats.beta.ppf(0.975, 8, 24))


def test_proportion_of_nothing_says_so_and_impossible_counts_raise():
    empty = intervals.proportion(0, 0)
    assert np.isnan(empty.low)
    assert empty.note
    with pytest.raises(ValueError, match="6 successes of 5"):
        intervals.proportion(6, 5)


def test_proportion_coverage():
    rng = np.random.default_rng(1)
    truths = rng.uniform(0.1, 0.9, STUDIES)
    hits = [
        (e := intervals.proportion(int(rng.binomial(40, p)), 40)).low <= p <= e.high for p in truths
    ]
    assert 0.93 <= np.mean(hits) <= 0.97


def test_cr2_variance_and_dof_equal_explicit_matrices():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(6), [2, 9, 4, 7, 3, 12])
    values = rng.standard_normal(6)[codes] + rng.standard_normal(len(codes))
    n = len(values)
    residual = values - values.mean()
    rho = intraclass_correlation(residual, codes)
    working = np.where(codes[:, None] == codes, rho, 0.0) + (1 - rho) * np.eye(n)
    annihilator = np.eye(n) - 1 / n
    columns, variance = [], 0.0
    for g in range(6):
        rows = np.flatnonzero(codes == g)
        block = annihilator[np.ix_(rows, rows)]
        power, basis = np.linalg.eigh(block)
        adjust = basis @ np.diag(power**-0.5) @ basis.T
        weight = adjust @ np.ones(len(rows)) / n
        variance += (weight @ residual[rows]) ** 2
        columns.append(annihilator[:, rows] @ weight)
    spread = np.array(columns) @ working @ np.array(columns).T
    fit = robust_mean(values, codes)
    assert fit.variance == pytest.approx(variance, rel=1e-12)
    assert fit.dof == pytest.approx(np.trace(spread) ** 2 / np.sum(spread**2), rel=1e-10)


def test_intraclass_correlation_recovers_the_planted_one():
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(400), 10)
    values = rng.standard_normal(400)[codes] + np.sqrt(3) * rng.standard_normal(4000)
    assert intraclass_correlation(values - values.mean(), codes) == pytest.approx(0.25, abs=0.04)


def test_clustered_mean_of_single_rows_is_the_t_interval():
    values = np.random.default_rng(5).exponential(size=15)
    result = intervals.clustered_mean(values)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx(tuple(reference))


def test_the_interval_of_a_bounded_quantity_stays_in_its_bounds():
    values = [0.9, 0.95, 0.7, 1.0]
    free = intervals.clustered_mean(values)
    cut = free.within(0.0, 1.0)
    assert free.high > 1 == cut.high
    assert (free.low, free.estimate) == (cut.low, cut.estimate)


def test_clustered_mean_of_equal_clusters_is_the_t_interval_of_their_means():
    values = np.random.default_rng(6).standard_normal((9, 7)) + np.arange(9)[:, None]
    result = intervals.clustered_mean(values.ravel(), np.repeat(np.arange(9), 7))
    reference = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx(tuple(reference))
    assert result.n == 9


@pytest.mark.parametrize(
    ("study", "truth"),
    [
        (clustered_binary(10, 2, 2), 0.5),
        (clustered_binary(10, 20, 20), 0.5),
        (clustered_binary(8, 3, 5), 0.375),
        (clustered_binary(12, 1, 9), 0.1),
        (clustered_graded(8, 1, 1), 0.0),
        (clustered_graded(10, 1, 3), 0.0),
        (clustered_graded(10, 0, 1), 0.0),
    ],
    ids=["strong", "weak", "eight", "rare", "graded-8", "graded-10", "independent"],
)
def test_clustered_mean_coverage(study, truth):
    assert 0.93 <= coverage(study, truth, intervals.clustered_mean) <= 0.97


def test_ignoring_clusters_would_fail_that_test():
    study = clustered_graded(8, 1, 1)
    assert coverage(study, 0.0, lambda v, c: intervals.clustered_mean(v)) < 0.7


def test_one_cluster_and_equal_values():
    alone = intervals.clustered_mean([0.1, 0.4, 0.2], ["a", "a", "a"])
    assert np.isnan([alone.low, alone.high]).all()
    assert "one cluster" in alone.note
    perfect = intervals.clustered_mean(np.ones(40), np.repeat(np.arange(10), 4))
    assert (perfect.low, perfect.high) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert "cluster" in perfect.note
    flat = intervals.clustered_mean(np.full(40, 0.3), np.repeat(np.arange(10), 4))
    assert (flat.low, flat.high) == (0.3, 0.3)


def test_bad_values_raise():
    with pytest.raises(ValueError, match="finite"):
        intervals.clustered_mean([0.1, np.nan])
    with pytest.raises(ValueError, match="cluster labels"):
        intervals.clustered_mean([0.1, 0.2], ["a"])
    with pytest.raises(ValueError, match="no values"):
        intervals.clustered_mean([])


def nested(m, k, between):
    def study(rng):
        rates = np.clip(0.6 + between * rng.standard_normal(m), 0, 1)
        values = (rng.random((m, k)) < rates[:, None]).astype(float)
        return values.ravel(), np.repeat(np.arange(m), k), np.tile(np.arange(k), m)

    return study


@pytest.mark.parametrize("interval", ["percentile", "bca"])
def test_hierarchical_bootstrap_coverage(interval):
    def estimate(values, outer, inner):
        return intervals.hierarchical_bootstrap(
            values, outer, inner, interval=interval, n_replicates=799
        )

    assert 0.93 <= coverage(nested(12, 24, 0.1), 0.6, estimate) <= 0.97


def test_hierarchical_bootstrap_of_fixed_outer_units_covers_their_own_mean():
    rates = np.array([0.2, 0.5, 0.8])

    def study(rng):
        values = (rng.random((3, 20)) < rates[:, None]).astype(float)
        return values.ravel(), np.repeat(np.arange(3), 20)

    def estimate(values, outer):
        return intervals.hierarchical_bootstrap(values, outer, resample="inner", n_replicates=399)

    assert 0.93 <= coverage(study, 0.5, estimate) <= 0.97


def test_resampling_both_levels_is_wider_as_documented():
    values, outer, inner = nested(12, 24, 0.05)(np.random.default_rng(2))
    width = {}
    for resample in ("outer", "both"):
        result = intervals.hierarchical_bootstrap(values, outer, inner, resample=resample)
        width[resample] = result.high - result.low
    assert width["both"] > 1.2 * width["outer"]


def test_hierarchical_bootstrap_takes_any_statistic_of_weights():
    values, outer, inner = nested(10, 9, 0.2)(np.random.default_rng(8))

    def mean(weights):
        return weights @ values / weights.sum(axis=1)

    for resample in ("outer", "both", "inner"):
        for interval in ("percentile", "bca"):
            settings = {"resample": resample, "interval": interval, "seed": 3}
            named = intervals.hierarchical_bootstrap(values, outer, inner, **settings)
            given = intervals.hierarchical_bootstrap(
                values, outer, inner, statistic=mean, **settings
            )
            assert (named.low, named.high) == pytest.approx((given.low, given.high))


def test_bca_agrees_with_scipy_up_to_the_expansion(monkeypatch):
    values = np.random.default_rng(9).exponential(size=30)
    monkeypatch.setattr(intervals, "expanded_tail", lambda level, n, dof: (1 - level) / 2)
    ours = intervals.hierarchical_bootstrap(
        values, np.arange(30), interval="bca", n_replicates=50_000
    )
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=50_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(reference), abs=0.01)


def test_nested_weights_follow_their_outer_units():
    rng = np.random.default_rng(10)
    owner = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    outer = unit_weights(rng, 5, 300)
    inner = nested_weights(rng, outer, owner)
    totals = np.column_stack([inner[:, owner == g].sum(axis=1) for g in range(5)])
    assert np.array_equal(totals, outer * [1, 2, 3, 4, 5])
    assert np.var(inner[:, -5:] - outer[:, -1:]) > 0.5


@pytest.mark.parametrize("seed_effect", [0.3, 0.05])
def test_crossed_bootstrap_coverage(seed_effect):
    def study(rng):
        table = rng.standard_normal((60, 1)) + seed_effect * rng.standard_normal((1, 8))
        table = table + rng.standard_normal((60, 8))
        rows, columns = np.indices(table.shape)
        return table.ravel(), rows.ravel(), columns.ravel()

    def estimate(*frame):
        return intervals.crossed_bootstrap(*frame, n_replicates=499)

    assert 0.93 <= coverage(study, 0.0, estimate, 1000) <= 0.985


def test_crossed_bootstrap_is_blind_to_row_order_and_refuses_one_seed():
    rng = np.random.default_rng(11)
    values = rng.standard_normal(60)
    item, seed = np.repeat(np.arange(12), 5), np.tile(np.arange(5), 12)
    order = rng.permutation(60)
    one = intervals.crossed_bootstrap(values, item, seed)
    two = intervals.crossed_bootstrap(values[order], item[order], seed[order])
    assert (one.low, one.high) == pytest.approx((two.low, two.high))
    assert one.n == 5
    alone = intervals.crossed_bootstrap(values, item, np.zeros(60))
    assert np.isnan(alone.low)
    assert "one level" in alone.note


def test_weighted_median_equals_the_median_of_repeated_values():
    rng = np.random.default_rng(12)
    values = rng.integers(0, 9, 11).astype(float)
    weights = rng.integers(0, 4, (200, 11))
    expected = [np.median(np.repeat(values, w)) for w in weights]
    assert weighted_median(values)(weights) == pytest.approx(expected)


def test_median_bootstrap_coverage():
    def study(rng):
        return (rng.exponential(size=41),)

    def estimate(values):
        return intervals.median_bootstrap(values, n_replicates=499)

    assert 0.93 <= coverage(study, np.log(2), estimate) <= 0.97


def test_cr1_of_statsmodels_is_close_where_clusters_are_many_and_equal():
    rng = np.random.default_rng(13)
    codes = np.repeat(np.arange(200), 5)
    values = rng.standard_normal(200)[codes] + rng.standard_normal(1000)
    fit = sm.OLS(values, np.ones(1000)).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    ours = intervals.clustered_mean(values, codes)
    assert (ours.low, ours.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=0.01)
