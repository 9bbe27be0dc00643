"""Intervals: hand-computed values, independent implementations, coverage by simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from palimpsest.statistics import intervals
from palimpsest.statistics.cluster_robust import intraclass_correlation, robust_mean
from palimpsest.statistics.resampling import nested_weights, unit_weights, weighted_median
from tests.calibration import covers, covers_at_least, studies

STUDIES = 2000


def hits(study, truth, estimate, n_studies=STUDIES):
    rng = np.random.default_rng(20)
    found = 0
    for _ in range(n_studies):
        result = estimate(*study(rng))
        found += result.low <= truth <= result.high
    return found


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
    covered = sum(
        (e := intervals.proportion(int(rng.binomial(40, p)), 40)).low <= p <= e.high for p in truths
    )
    assert covers("proportion: 40 items, rates 0.1 to 0.9", covered, STUDIES)


@pytest.mark.parametrize(("n", "p"), [(12, 0.5), (30, 0.1), (200, 0.3)])
def test_exact_proportion_never_covers_less_than_its_level(n, p):
    """Cautious by construction: its coverage, summed over all counts, is from 95% up to 100%."""
    counts = np.arange(n + 1)
    ends = [intervals.exact_proportion(int(k), n) for k in counts]
    inside = np.array([e.low <= p <= e.high for e in ends])
    exact = stats.binom.pmf(counts[inside], n, p).sum()
    assert exact >= 0.95
    drawn = np.random.default_rng(14).binomial(n, p, STUDIES)
    what = f"exact_proportion: {n} items, rate {p:g}"
    assert covers_at_least(what, inside[drawn].sum(), STUDIES, most=exact)
    assert inside[drawn].mean() == pytest.approx(exact, abs=0.015)


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


COVERED = {
    "10 clusters of 0/1 that differ much": (clustered_binary(10, 2, 2), 0.5),
    "10 clusters of 0/1 that differ little": (clustered_binary(10, 20, 20), 0.5),
    "8 clusters of 0/1": (clustered_binary(8, 3, 5), 0.375),
    "12 clusters of 0/1, rate 0.1": (clustered_binary(12, 1, 9), 0.1),
    "8 clusters": (clustered_graded(8, 1, 1), 0.0),
    "10 clusters of much noise": (clustered_graded(10, 1, 3), 0.0),
    "10 clusters of noise alone": (clustered_graded(10, 0, 1), 0.0),
}


@pytest.mark.parametrize("design", COVERED)
def test_clustered_mean_coverage(design):
    study, truth = COVERED[design]
    covered = hits(study, truth, intervals.clustered_mean)
    assert covers(f"clustered_mean: {design}", covered, STUDIES)


def test_ignoring_clusters_would_fail_that_test():
    study = clustered_graded(8, 1, 1)
    assert hits(study, 0.0, lambda v, c: intervals.clustered_mean(v)) / STUDIES < 0.7


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

    covered = hits(nested(12, 24, 0.1), 0.6, estimate)
    what = f"hierarchical_bootstrap: 12 units of 24, {interval}"
    assert covers(what, covered, STUDIES)


@pytest.mark.parametrize("between", [0.25, 0.1])
def test_hierarchical_bootstrap_of_both_levels_covers_as_much_as_its_variance_says(between):
    """Cautious: noise inside units counts twice, so the interval is so much longer than needed."""
    total = studies(300)

    def estimate(values, outer, inner):
        return intervals.hierarchical_bootstrap(
            values, outer, inner, resample="both", n_replicates=399
        )

    rates = np.clip(0.6 + between * np.random.default_rng(1).standard_normal(100_000), 0, 1)
    inside = np.mean(rates * (1 - rates)) / 24
    ratio = np.sqrt(1 + inside / (rates.var() + inside))
    most = 1 - 2 * stats.norm.sf(1.96 * ratio)
    covered = hits(nested(12, 24, between), rates.mean(), estimate, total)
    what = f"hierarchical_bootstrap: 12 units of 24 that differ by {between:g}, both resampled"
    assert covers_at_least(what, covered, total, most=most)


@pytest.mark.parametrize("clustered", [False, True])
def test_paired_bootstrap_covers(clustered):
    """Skewed differences of 30 pairs, or of 15 clusters of 4 with effects of their own."""

    def study(rng):
        common = rng.standard_normal(60)
        shared = np.repeat(rng.normal(2, 1, 15), 4)
        a = common + (shared + rng.gamma(2, size=60)) / 2
        codes = np.repeat(np.arange(15), 4)
        return (a, common, codes) if clustered else (common + rng.gamma(2, size=60), common)

    def estimate(a, b, codes=None):
        n = None if clustered else 30
        return intervals.paired_bootstrap(a[:n], b[:n], codes, n_replicates=399)

    design = "15 clusters of 4" if clustered else "30 pairs"
    total = studies(400)
    covered = hits(study, 2.0, estimate, total)
    assert covers(f"paired_bootstrap: {design}, skewed", covered, total)


def test_paired_bootstrap_draws_pairs_whole():
    rng = np.random.default_rng(15)
    common = 10 * rng.standard_normal(25)
    a, b = common + rng.standard_normal(25), common
    found = intervals.paired_bootstrap(a, b, interval="percentile")
    alone = intervals.hierarchical_bootstrap(a - b, np.arange(25))
    assert (found.low, found.high, found.n) == (alone.low, alone.high, 25)
    assert found.unit == "pairs"
    middle = intervals.paired_bootstrap(a, b, statistic=weighted_median(a - b))
    assert middle.estimate == pytest.approx(np.median(a - b))
    with pytest.raises(ValueError, match="25 values paired with 24"):
        intervals.paired_bootstrap(a, b[1:])


def test_hierarchical_bootstrap_of_fixed_outer_units_covers_their_own_mean():
    rates = np.array([0.2, 0.5, 0.8])

    def study(rng):
        values = (rng.random((3, 20)) < rates[:, None]).astype(float)
        return values.ravel(), np.repeat(np.arange(3), 20)

    def estimate(values, outer):
        return intervals.hierarchical_bootstrap(values, outer, resample="inner", n_replicates=399)

    what = "hierarchical_bootstrap: 3 fixed units of 20, inner resampled"
    assert covers(what, hits(study, 0.5, estimate), STUDIES)


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
def test_crossed_bootstrap_covers_as_much_as_its_variance_says(seed_effect):
    """Cautious: the noise of single rows counts three times (Owen 2007)."""

    def study(rng):
        table = rng.standard_normal((60, 1)) + seed_effect * rng.standard_normal((1, 8))
        table = table + rng.standard_normal((60, 8))
        rows, columns = np.indices(table.shape)
        return table.ravel(), rows.ravel(), columns.ravel()

    def estimate(*frame):
        return intervals.crossed_bootstrap(*frame, n_replicates=499)

    variance = 1 / 60 + seed_effect**2 / 8 + 1 / 480
    most = 1 - 2 * stats.norm.sf(1.96 * np.sqrt(1 + 2 / 480 / variance))
    total = studies(600)
    covered = hits(study, 0.0, estimate, total)
    what = f"crossed_bootstrap: 60 items, 8 seeds that differ by {seed_effect:g}"
    assert covers_at_least(what, covered, total, most=most)


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

    covered = hits(study, np.log(2), estimate)
    assert covers("median_bootstrap: 41 exponential values", covered, STUDIES)


def test_cr1_of_statsmodels_is_close_where_clusters_are_many_and_equal():
    rng = np.random.default_rng(13)
    codes = np.repeat(np.arange(200), 5)
    values = rng.standard_normal(200)[codes] + rng.standard_normal(1000)
    fit = sm.OLS(values, np.ones(1000)).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    ours = intervals.clustered_mean(values, codes)
    assert (ours.low, ours.high) == pytest.approx(tuple(fit.conf_int()[0]), rel=0.01)
