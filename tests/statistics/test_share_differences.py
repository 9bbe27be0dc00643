"""Differences of 0/1 answers: known limits, and equivalence that rare differences do not fake."""

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics import comparisons
from palimpsest.statistics.cluster_robust import robust_mean
from palimpsest.statistics.share_differences import ShareDifference, exact_limits
from tests.calibration import covers, covers_at_least, keeps_equivalence, keeps_size, studies


def pairs(rng, n, more, less):
    """Answers a and b of n items: a alone is right with rate ``more``, b alone with ``less``."""
    u = rng.random(n)
    return (u < more).astype(float), (u > 1 - less).astype(float)


def clustered_pairs(rng, m, shift):
    """Answers of m clusters of 4 to 9 items; b is right 0.7 of the time, a ``shift`` less often."""
    codes = np.repeat(np.arange(m), rng.integers(4, 10, m))
    own = rng.beta(7, 3, m)[codes]
    lost = shift / 0.7 * 2 * rng.random(m)[codes]
    b = rng.random(len(codes)) < own
    return (b & (rng.random(len(codes)) >= lost)).astype(float), b.astype(float), codes


def test_exact_limits_are_clopper_pearson_where_rows_are_independent():
    values = np.repeat([1.0, 0.0], [7, 24])
    reference = stats.binomtest(7, 31).proportion_ci(method="exact")
    assert exact_limits(robust_mean(values), 31, 0.95) == pytest.approx(tuple(reference))
    alike = exact_limits(robust_mean(np.zeros(40), np.repeat(np.arange(10), 4)), 40, 0.9)
    assert alike == (0.0, pytest.approx(1 - 0.05**0.1))
    # clusters whose rows are copies have one answer each
    copies = exact_limits(robust_mean(np.repeat(values, 5), np.repeat(np.arange(31), 5)), 155, 0.95)
    assert copies[0] == pytest.approx(reference.low, abs=0.01)
    assert copies[0] < reference.low


def test_correlation_is_that_of_two_shares_of_one_sample():
    """MOVER by hand: Wilson's limits of 12 and 4 of 60, correlation -sqrt(pq / (1-p)(1-q))."""
    a, b = np.repeat([1, 0, 1], [12, 4, 44]), np.repeat([0, 1, 1], [12, 4, 44])
    p, q = 12 / 60, 4 / 60

    def wilson(share):
        n, t = 59.0, stats.t.ppf(0.975, 59)
        half = t * np.sqrt(share * (1 - share) / n + t**2 / (4 * n**2))
        return (share + t**2 / (2 * n) + np.array([-half, half])) / (1 + t**2 / n)

    shared = -np.sqrt(p * q / ((1 - p) * (1 - q)))
    down, up = p - wilson(p)[0], wilson(q)[1] - q
    low = p - q - np.sqrt(down**2 + up**2 - 2 * shared * down * up)
    result = comparisons.paired_difference(a, b)
    assert result.estimate == pytest.approx(p - q)
    assert result.low == pytest.approx(low, abs=1e-9)


def test_p_agrees_with_the_interval():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = pairs(rng, 40, 0.3, 0.1)
        p = comparisons.paired_difference(a, b).p
        touching = comparisons.paired_difference(a, b, level=1 - p)
        assert min(abs(touching.low), abs(touching.high)) < 1e-6 or p == 1.0
        for test in (comparisons.equivalence_paired, comparisons.noninferiority):
            p = test(a, b, 0.4).p
            if p >= 0.5 or p < 1e-4:  # no interval has such a level, or none so sharp a root
                continue
            low, high = (getattr(test(a, b, 0.4, alpha=p), end) for end in ("low", "high"))
            ends = [low + 0.4] if test is comparisons.noninferiority else [low + 0.4, 0.4 - high]
            assert min(ends) == pytest.approx(0, abs=1e-5)
    worse = comparisons.noninferiority(*pairs(rng, 40, 0.0, 0.9), 0.2)
    assert worse.p > 0.999


def test_answers_against_a_number_are_one_share():
    answers = np.repeat([1.0, 0.0], [2, 28])
    result = comparisons.paired_difference(answers, np.full(30, 0.125))
    wilson = stats.binomtest(2, 30).proportion_ci(method="wilson")
    assert result.low == pytest.approx(wilson.low - 0.125, abs=0.005)
    none = comparisons.equivalence_paired(np.zeros(30), np.full(30, 0.05), 0.1)
    assert (none.low, none.high) == pytest.approx((-0.05, 1 - 0.05 ** (1 / 30) - 0.05))


def test_graded_values_keep_their_t_interval():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 20))
    assert comparisons.paired_difference(a, b).method == "paired CR2 t interval"
    assert comparisons.paired_difference(a.round(), b).method == "paired CR2 t interval"


@pytest.mark.parametrize(
    ("n", "more", "less"), [(40, 0.3, 0.1), (60, 0.2, 0.2), (20, 0.5, 0.1), (100, 0.1, 0.05)]
)
def test_paired_coverage(n, more, less):
    rng, total = np.random.default_rng(3), studies(400)
    hits = rejections = 0
    for _ in range(total):
        result = comparisons.paired_difference(*pairs(rng, n, more, less))
        hits += result.low <= more - less <= result.high
        rejections += result.p <= 0.05
    assert covers(f"paired_difference, 0/1: {n} pairs, {more:g} and {less:g} differ", hits, total)
    if more == less:
        what = f"paired_difference, 0/1: {n} pairs, no difference"
        assert keeps_size(what, rejections, total)


@pytest.mark.parametrize(("n", "rate"), [(60, 0.05), (100, 0.05), (40, 0.1)])
def test_paired_coverage_is_cautious_where_differences_are_rare_and_discrete(n, rate):
    """Counts of 2 to 5: no interval covers 95% at every rate, and this one errs to the safe side.

    A t interval covers 88% of these with 100 pairs.
    """
    rng, total = np.random.default_rng(4), studies(400)
    results = [comparisons.paired_difference(*pairs(rng, n, 0.0, rate)) for _ in range(total)]
    hits = sum(r.low <= -rate <= r.high for r in results)
    what = f"paired_difference, 0/1: {n} pairs, {rate:g} differ, all one way"
    assert covers_at_least(what, hits, total)


def test_clustered_paired_coverage():
    rng, total = np.random.default_rng(5), studies(400)
    hits = 0
    for _ in range(total):
        a, b, codes = clustered_pairs(rng, 15, 0.2)
        result = comparisons.paired_difference(a, b, codes)
        hits += result.low <= -0.2 <= result.high
    assert covers("paired_difference, 0/1: 15 clusters of 4 to 9 pairs", hits, total)


DESIGNS = {
    "60 pairs, 0.05 differ, all one way": (60, 0.0, 0.05),
    "100 pairs, 0.1 differ, all one way": (100, 0.0, 0.1),
    "20 pairs, 0.2 differ, all one way": (20, 0.0, 0.2),
    "60 pairs, 0.3 and 0.1 differ": (60, 0.1, 0.3),
    "100 pairs, 0.5 and 0.1 differ": (100, 0.1, 0.5),
}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("test", ["equivalence_paired", "noninferiority"])
def test_no_false_equivalence_of_exact_limits_at_the_margin(test, design):
    """Cautious, as limits are exact: t tests err in 8 to 19% of the first two designs."""
    rng, total = np.random.default_rng(6), studies(400)
    n, more, less = DESIGNS[design]
    margin = less - more
    ran = (getattr(comparisons, test)(*pairs(rng, n, more, less), margin) for _ in range(total))
    false = sum(found.p < 0.05 for found in ran)
    assert keeps_equivalence(f"{test}, 0/1: {design}", false, total)


@pytest.mark.parametrize("test", ["equivalence_paired", "noninferiority"])
def test_no_false_equivalence_of_clustered_answers(test):
    rng, total = np.random.default_rng(7), studies(300)
    false = 0
    for _ in range(total):
        a, b, codes = clustered_pairs(rng, 15, 0.15)
        false += getattr(comparisons, test)(a, b, 0.15, codes).p < 0.05
    assert keeps_equivalence(f"{test}, 0/1: 15 clusters of 4 to 9 pairs", false, total)


@pytest.mark.parametrize(("one", "two"), [(0.05, 0.15), (0.0, 0.1), (0.6, 0.3)])
def test_no_false_equivalence_of_two_samples_of_answers(one, two):
    rng, total = np.random.default_rng(8), studies(400)
    false = 0
    for _ in range(total):
        a, b = (rng.random(45) < one).astype(float), (rng.random(40) < two).astype(float)
        false += comparisons.equivalence_two_sample(a, b, abs(one - two)).p < 0.05
    what = f"equivalence_two_sample, 0/1: 45 of {one:g} and 40 of {two:g}"
    assert keeps_equivalence(what, false, total)


def test_equivalence_of_answers_has_power():
    rng = np.random.default_rng(9)
    found = [comparisons.equivalence_paired(*pairs(rng, 100, 0.02, 0.02), 0.1) for _ in range(100)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.9


def test_two_shares_without_correlation_are_newcombes():
    one, two = robust_mean(np.repeat([1, 0], [900, 2100])), robust_mean(np.repeat([1, 0], 1000))
    low, high = ShareDifference(one, two, (3000, 2000)).interval(0.95)
    half = 1.96 * np.sqrt(0.21 / 3000 + 0.25 / 2000)
    assert (low, high) == pytest.approx((-0.2 - half, -0.2 + half), abs=1e-3)
