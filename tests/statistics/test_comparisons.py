"""Differences: independent implementations, size, coverage, false equivalence."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import ttost_paired

from palimpsest.statistics import comparisons
from tests.calibration import covers, keeps_equivalence, keeps_size, studies

STUDIES = 2000


def inside(estimate, truth):
    return estimate.low <= truth <= estimate.high


def clustered(rng, m, mean, between=1.0, binary=False):
    codes = np.repeat(np.arange(m), rng.integers(5, 21, m))
    if binary:
        rates = rng.beta(4 * mean, 4 * (1 - mean), m)
        return (rng.random(len(codes)) < rates[codes]).astype(float), codes
    return mean + between * rng.standard_normal(m)[codes] + rng.standard_normal(len(codes)), codes


def test_paired_difference_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 25))
    result = comparisons.paired_difference(a, b)
    reference = stats.ttest_rel(a, b)
    assert result.p == pytest.approx(reference.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_mean_of_differences_is_the_t_test_and_exact_where_nothing_varies():
    values = np.random.default_rng(3).normal(0.4, 1, 12)
    found = comparisons.mean_of_differences(values, level=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    nothing = comparisons.mean_of_differences(np.zeros(8))
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)
    moved = comparisons.mean_of_differences(values, null=0.2)
    assert moved.p == pytest.approx(stats.ttest_1samp(values, 0.2).pvalue)
    same = comparisons.equivalence_of_differences(values, 1.5)
    paired = comparisons.equivalence_paired(values, np.zeros(12), 1.5)
    assert (same.low, same.high, same.p) == pytest.approx((paired.low, paired.high, paired.p))
    # Four that are alike reach no level, whatever they are.
    assert np.isnan(comparisons.mean_of_differences(np.zeros(4)).low)


def test_two_sample_difference_is_welch():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(12), 3 * rng.standard_normal(30)
    result = comparisons.two_sample_difference(a, b)
    reference = stats.ttest_ind(a, b, equal_var=False)
    assert result.p == pytest.approx(reference.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_binary_two_sample_interval_is_newcombe_in_the_limit():
    a, b = np.repeat([1.0, 0.0], [900, 2100]), np.repeat([1.0, 0.0], [500, 1500])
    result = comparisons.two_sample_difference(a, b)
    reference = confint_proportions_2indep(900, 3000, 500, 2000, method="newcomb")
    assert (result.low, result.high) == pytest.approx(reference, abs=1e-4)


def test_p_of_the_binary_difference_agrees_with_its_interval():
    rng = np.random.default_rng(2)
    for _ in range(40):
        a, b = (rng.random(20) < 0.7).astype(float), (rng.random(25) < 0.4).astype(float)
        p = comparisons.two_sample_difference(a, b).p
        touching = comparisons.two_sample_difference(a, b, level=1 - p)
        assert min(abs(touching.low), abs(touching.high)) < 1e-6 or p == 1.0


def test_shared_clusters_reduce_to_the_paired_difference_when_balanced():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 10)) + 6 * rng.standard_normal(10)
    labels = np.arange(10)
    shared = comparisons.two_sample_difference(a, b, labels, labels)
    paired = comparisons.paired_difference(a, b)
    assert (shared.low, shared.high) == pytest.approx((paired.low, paired.high))
    apart = comparisons.two_sample_difference(a, b)
    assert apart.high - apart.low > 2 * (shared.high - shared.low)


@pytest.mark.parametrize("binary", [True, False])
def test_two_sample_coverage_and_size(binary):
    rng = np.random.default_rng(4)
    hits, rejections = 0, 0
    for _ in range(STUDIES):
        (a, ca), (b, cb) = (
            clustered(rng, 9, 0.4, binary=binary),
            clustered(rng, 13, 0.4, 0.5, binary),
        )
        result = comparisons.two_sample_difference(a, b, ca, cb + 100)
        hits += inside(result, 0.0)
        rejections += result.p <= 0.05
    design = f"9 and 13 clusters{' of 0/1' * binary}"
    assert covers(f"two_sample_difference: {design}", hits, STUDIES)
    assert keeps_size(f"two_sample_difference: {design}", rejections, STUDIES)


def test_shared_cluster_coverage():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(STUDIES):
        codes_a, codes_b = (np.repeat(np.arange(10), rng.integers(4, 13, 10)) for _ in range(2))
        effect = rng.standard_normal(10)
        a = effect[codes_a] + rng.standard_normal(len(codes_a)) + 0.3
        b = effect[codes_b] + rng.standard_normal(len(codes_b))
        hits += inside(comparisons.two_sample_difference(a, b, codes_a, codes_b), 0.3)
    assert covers("two_sample_difference: 10 shared clusters", hits, STUDIES)


def test_paired_coverage_and_size_with_clusters():
    rng = np.random.default_rng(6)
    hits, rejections = 0, 0
    for _ in range(STUDIES):
        a, codes = clustered(rng, 10, 0.0)
        b = a + 0.7 * rng.standard_normal(10)[codes] + rng.standard_normal(len(a))
        result = comparisons.paired_difference(a, b, codes)
        hits += inside(result, 0.0)
        rejections += result.p <= 0.05
    assert covers("paired_difference: 10 clusters", hits, STUDIES)
    assert keeps_size("paired_difference: 10 clusters", rejections, STUDIES)


@pytest.mark.parametrize("clustered_rows", [False, True])
def test_mean_of_differences_covers(clustered_rows):
    rng, total = np.random.default_rng(15), studies(1000)
    hits = rejections = false = 0
    for _ in range(total):
        if clustered_rows:
            values, codes = clustered(rng, 10, 0.3)
        else:
            values, codes = 0.3 + rng.standard_normal(12), None
        result = comparisons.mean_of_differences(values, codes, null=0.3)
        hits += inside(result, 0.3)
        rejections += result.p <= 0.05
        false += comparisons.equivalence_of_differences(values, 0.3, codes).p < 0.05
    design = "10 clusters" if clustered_rows else "12 differences"
    assert covers(f"mean_of_differences: {design}", hits, total)
    assert keeps_size(f"mean_of_differences: {design}", rejections, total)
    assert keeps_equivalence(f"equivalence_of_differences: {design}", false, total)


def test_paired_binary_coverage():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(STUDIES):
        a = (rng.random(60) < 0.7).astype(float)
        b = np.where(rng.random(60) < 0.5, a, rng.random(60) < 0.4)
        hits += inside(comparisons.paired_difference(a, b), 0.15)
    assert covers("paired_difference, 0/1: 60 pairs of answers", hits, STUDIES)


def test_all_pairs_alike():
    ones, zeros = np.ones(20), np.zeros(20)
    same = comparisons.paired_difference(ones, ones)
    assert (same.low, same.high) == pytest.approx((-0.1611, 0.1611), abs=1e-4)
    assert same.p == 1.0
    opposite = comparisons.paired_difference(zeros, ones)
    assert opposite.estimate == -1
    assert (opposite.low, opposite.high) == pytest.approx((-1.0, -0.6777), abs=1e-4)
    assert 0 < opposite.p < 1e-4
    graded = comparisons.paired_difference(ones * 0.3, ones * 0.1)
    assert graded.low == graded.high == pytest.approx(0.2)
    few = comparisons.paired_difference([0.3, 0.4], [0.1, 0.2], ["s", "s"])
    assert np.isnan(few.low)
    assert few.p is None


def test_mcnemar_by_hand():
    a = np.repeat([1, 1, 0, 0], [10, 8, 2, 5])
    b = np.repeat([1, 0, 1, 0], [10, 8, 2, 5])
    result = comparisons.mcnemar(a, b)
    assert result.estimate == pytest.approx(6 / 25)
    assert result.p == pytest.approx(2 * stats.binom.cdf(2, 10, 0.5))
    # Bonett-Price: 9/27 - 3/27 -+ 1.96 sqrt((12/27 - (6/27)^2) / 27)
    half = 1.959964 * np.sqrt((12 / 27 - (6 / 27) ** 2) / 27)
    assert (result.low, result.high) == pytest.approx((6 / 27 - half, 6 / 27 + half), abs=1e-6)
    assert comparisons.mcnemar([1, 0], [1, 0]).p == 1.0


def test_mcnemar_coverage():
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(STUDIES):
        cells = rng.choice(4, 50, p=[0.5, 0.25, 0.1, 0.15])
        hits += inside(comparisons.mcnemar(np.isin(cells, (0, 1)), np.isin(cells, (0, 2))), 0.15)
    assert covers("mcnemar: 50 pairs", hits, STUDIES)


def test_permutation_p_tends_to_the_full_enumeration():
    values = np.array([1.2, 0.3, 2.2, 1.9, 0.1, 0.4, 0.8])
    labels = np.array([1, 0, 1, 1, 0, 0, 0])
    sums = np.array([values[list(c)].sum() for c in itertools.combinations(range(7), 3)])
    exact = np.mean(sums >= values[labels == 1].sum() - 1e-12)
    result = comparisons.permutation_difference(
        values, labels, n_permutations=50_000, alternative="greater"
    )
    assert result.p == pytest.approx(exact, abs=0.004)
    assert result.estimate == pytest.approx(values[labels == 1].mean() - values[labels == 0].mean())


def test_permutation_stays_within_strata():
    strata = np.repeat([0, 1], 30)
    labels = np.concatenate([np.repeat([1, 0], [25, 5]), np.repeat([1, 0], [5, 25])])
    rng = np.random.default_rng(9)
    values = 5.0 * (strata == 0) + rng.standard_normal(60)
    naive = comparisons.permutation_difference(values, labels)
    stratified = comparisons.permutation_difference(values, labels, strata)
    assert naive.p < 0.001
    assert stratified.p > 0.05
    per_stratum = [
        values[(strata == s) & (labels == 1)].mean() - values[(strata == s) & (labels == 0)].mean()
        for s in (0, 1)
    ]
    assert stratified.estimate == pytest.approx(np.mean(per_stratum))  # equal n1 n0 / n


def test_permutation_size_and_interval_coverage():
    rng = np.random.default_rng(10)
    labels = np.tile([0, 1, 1], 10)
    strata = np.repeat(np.arange(5), 6)
    hits, p = 0, []
    for seed in range(STUDIES):
        values = rng.exponential(size=30) + strata
        null = comparisons.permutation_difference(values, labels, strata, 199, seed)
        p.append(null.p)
        shifted = comparisons.permutation_difference(values + labels, labels, strata, 199, seed)
        hits += inside(shifted, 1.0)
    what = "permutation_difference: 30 skewed values in 5 strata"
    assert keeps_size(what, sum(np.array(p) <= 0.05), STUDIES)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.035)
    assert covers(what, hits, STUDIES)


def test_permutation_directions_and_errors():
    values, labels = np.arange(10.0), np.repeat([0, 1], 5)
    p = {
        side: comparisons.permutation_difference(values, labels, alternative=side).p
        for side in ("greater", "less", "two-sided")
    }
    assert p["greater"] < p["two-sided"] < p["less"] == 1.0
    apart = comparisons.permutation_difference(np.arange(60), np.arange(60) > 29)
    assert apart.p == 1 / 10_000  # never 0
    with pytest.raises(ValueError, match="both labels"):
        comparisons.permutation_difference(values, np.ones(10))
    with pytest.raises(ValueError, match="0 or 1"):
        comparisons.permutation_difference(values, labels + 1)


def test_tost_is_statsmodels_tost():
    rng = np.random.default_rng(11)
    a, b = rng.standard_normal((2, 40)) * 0.2
    result = comparisons.equivalence_paired(a, b, 0.1)
    assert result.p == pytest.approx(ttost_paired(a, b, -0.1, 0.1)[0])
    assert result.level == pytest.approx(0.9)
    assert "margin 0.1" in result.note
    assert (result.p < 0.05) == (result.low > -0.1 and result.high < 0.1)


@pytest.mark.parametrize("kind", ["paired", "clustered", "two-sample"])
def test_false_equivalence_at_the_margin(kind):
    rng = np.random.default_rng(12)
    false = 0
    for _ in range(STUDIES):
        if kind == "two-sample":
            a, b = 0.8 + rng.standard_normal(60), rng.standard_normal(50)
            result = comparisons.equivalence_two_sample(a, b, 0.8)
        else:
            codes = np.repeat(np.arange(12), rng.integers(5, 15, 12))
            d = 0.8 + rng.standard_normal(12)[codes] * 0.6 + rng.standard_normal(len(codes))
            codes = codes if kind == "clustered" else None
            d = d if kind == "clustered" else 0.8 + rng.standard_normal(len(d))
            result = comparisons.equivalence_paired(d, np.zeros_like(d), 0.8, codes)
        false += result.p < 0.05
    assert false / STUDIES >= 0.035
    function = "equivalence_two_sample" if kind == "two-sample" else "equivalence_paired"
    design = {"paired": "many pairs", "clustered": "12 clusters", "two-sample": "60 and 50 values"}
    assert keeps_equivalence(f"{function}: {design[kind]}", false, STUDIES)


@pytest.mark.parametrize("alpha", [0.05, 0.025])
@pytest.mark.parametrize("n", [4, 12, "12 clusters"])
def test_false_noninferiority_at_the_margin(n, alpha):
    rng, total = np.random.default_rng(16), studies(1000)
    false = 0
    for _ in range(total):
        if n == "12 clusters":
            d, codes = clustered(rng, 12, -0.8, 0.6)
        else:
            d, codes = rng.standard_normal(n) - 0.8, None
        result = comparisons.noninferiority(d, np.zeros_like(d), 0.8, codes, alpha)
        false += result.p < alpha
        assert (result.p < alpha) == (result.low > -0.8)
    assert false / total >= alpha / 2
    design = f"{n} pairs" if codes is None else n
    what = f"noninferiority: {design}, alpha {alpha:g}"
    assert keeps_equivalence(what, false, total, alpha)


def test_equivalence_has_power_when_there_is_no_difference():
    rng = np.random.default_rng(13)
    found = [
        comparisons.equivalence_paired(*(0.1 * rng.standard_normal((2, 40))), 0.1).p < 0.05
        for _ in range(200)
    ]
    assert np.mean(found) > 0.95


def test_noninferiority_is_one_sided():
    rng = np.random.default_rng(14)
    b = rng.standard_normal(50)
    better = b + 1 + 0.1 * rng.standard_normal(50)
    assert comparisons.noninferiority(better, b, 0.2).p < 1e-6
    assert comparisons.equivalence_paired(better, b, 0.2).p > 0.99
    worse = comparisons.noninferiority(b - 0.5, better - 1, 0.2)
    assert worse.p > 0.99
    assert worse.high < -0.2
    reference = stats.ttest_rel(better, b + 0.9, alternative="greater")
    assert comparisons.noninferiority(better, b + 1.1, 0.2).p == pytest.approx(reference.pvalue)
    with pytest.raises(ValueError, match="margin"):
        comparisons.noninferiority(b, b, 0.0)


def test_against_one_other_it_is_the_paired_difference():
    a, b = np.random.default_rng(2).normal(0.4, 0.1, (2, 6))
    found, expected = comparisons.against_best(a, [b]), comparisons.mean_of_differences(a - b)
    assert (found.low, found.high, found.p) == pytest.approx(
        (expected.low, expected.high, expected.p)
    )
    shifted = comparisons.against_best(a, [b], null=-0.1)
    assert shifted.p == pytest.approx(stats.ttest_1samp(a - b, -0.1).pvalue)


def test_the_best_of_many_is_not_better_for_having_come_out_best():
    """Eighteen equal methods on five models: a test against the one with the highest mean calls
    the first worse several times too often."""
    draws = np.random.default_rng(7).normal(0, 1, (2000, 18, 5))
    worse = naive = 0
    for own, *others in draws:
        found = comparisons.against_best(own, others)
        worse += found.high < 0
        assert (found.p < 0.05) == (found.high < 0 or found.low > 0)
        naive += comparisons.mean_of_differences(own - max(others, key=np.mean)).high < 0
    assert naive / 2000 > 0.1
    assert worse / 2000 < 0.035


def test_a_method_that_is_best_is_shown_to_be_and_one_that_is_worse_too():
    others = np.random.default_rng(5).normal(0, 0.1, (4, 8))
    assert comparisons.against_best(others[0] + 1, others[1:]).low > 0.5
    below = comparisons.against_best(others[0] - 1, others[1:])
    assert below.high < -0.5
    assert below.p < 1e-3
