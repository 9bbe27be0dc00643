"""Signal detection: direct computations, known areas, coverage by simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from palimpsest.statistics import recognition
from tests.calibration import covers, keeps_size, studies

STUDIES = 2000


def by_pairs(positive, negative):
    """Placements by comparing every positive with every negative, O(mn)."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("values", [9, 10**9], ids=["many ties", "no ties"])
def test_delong_equals_the_direct_computation(values):
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, values, 37) + values // 5, rng.integers(0, values, 52)
    v10, v01 = by_pairs(positive, negative)
    fast10, fast01 = recognition.placements(positive, negative)
    assert np.max(np.abs(fast10 - v10)) < 1e-12
    assert np.max(np.abs(fast01 - v01)) < 1e-12
    area = v10.mean()
    error = np.sqrt(v10.var(ddof=1) / 37 + v01.var(ddof=1) / 52)
    result = recognition.auc(positive, negative)
    ends = [
        1 / (1 + (1 - area) / area * np.exp(sign * 1.959963985 * error / (area * (1 - area))))
        for sign in (1, -1)
    ]
    assert result.estimate == pytest.approx(area, abs=1e-12)
    assert (result.low, result.high) == pytest.approx(tuple(ends), abs=1e-9)


def test_auc_is_the_mann_whitney_statistic_and_blind_to_monotone_changes():
    rng = np.random.default_rng(2)
    positive, negative = rng.normal(1, 1, 30), rng.normal(0, 2, 20)
    result = recognition.auc(positive, negative)
    u = stats.mannwhitneyu(positive, negative).statistic
    assert result.estimate == pytest.approx(u / 600)
    assert recognition.auc(np.exp(positive), np.exp(negative)) == result
    swapped = recognition.auc(negative, positive)
    assert (swapped.low, swapped.high) == pytest.approx((1 - result.high, 1 - result.low))


@pytest.mark.parametrize(("area", "m", "n"), [(0.5, 40, 40), (0.8, 30, 60), (0.95, 40, 40)])
def test_auc_coverage(area, m, n):
    rng, total = np.random.default_rng(3), studies(800)
    shift = np.sqrt(2) * stats.norm.ppf(area)
    hits = 0
    for _ in range(total):
        result = recognition.auc(rng.normal(shift, 1, m), rng.normal(0, 1, n))
        hits += result.low <= area <= result.high
    assert covers(f"auc: {m} and {n} items, area {area:g}", hits, total)


def test_perfect_separation_has_a_width_and_covers():
    result = recognition.auc([3, 4, 5, 6, 7], [0, 1, 2])
    assert result.estimate == result.high == 1
    assert result.low == pytest.approx(0.025 ** (1 / 3))
    assert "exact bound" in result.note
    assert recognition.auc([0, 1, 2], [3, 4]).high == pytest.approx(1 - 0.025**0.5)
    tied = recognition.auc([1, 1, 1], [1, 1, 1])
    assert (tied.low, tied.high) == pytest.approx((0.025 ** (1 / 3) / 2, 1 - 0.025 ** (1 / 3) / 2))
    rng = np.random.default_rng(4)
    shift, perfect, covered = np.sqrt(2) * stats.norm.ppf(0.99), 0, 0
    for _ in range(STUDIES):
        result = recognition.auc(rng.normal(shift, 1, 12), rng.normal(0, 1, 12))
        perfect += result.estimate == 1
        covered += result.estimate == 1 and result.low <= 0.99 <= result.high
    assert perfect > STUDIES / 4
    assert covered == perfect


def test_too_few_or_infinite_scores():
    assert np.isnan(recognition.auc([1.0], [0.0, 0.5]).low)
    with pytest.raises(ValueError, match="finite"):
        recognition.auc([np.inf, 1.0], [0.0, 0.5])
    with pytest.raises(ValueError, match="no values"):
        recognition.auc([], [0.0, 0.5])


def test_difference_equals_the_covariance_form_of_delong():
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 1, (2, 45)) + 0.8 * rng.normal(0, 1, 45)
    positive, negative = scores[:, :20] + [[1.0], [0.6]], scores[:, 20:]
    (a10, a01), (b10, b01) = (by_pairs(positive[i], negative[i]) for i in (0, 1))
    covariance = np.cov(a10, b10) / 20 + np.cov(a01, b01) / 25
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    result = recognition.auc_difference(positive[0], negative[0], positive[1], negative[1])
    assert result.estimate == pytest.approx(a10.mean() - b10.mean(), abs=1e-12)
    one, two = (recognition.auc(positive[i], negative[i]) for i in (0, 1))
    below, above = one.estimate - one.low, two.high - two.estimate
    arm = np.sqrt(below**2 + above**2 - 2 * correlation * below * above)
    assert result.estimate - result.low == pytest.approx(arm, abs=1e-9)
    at_p = recognition.auc_difference(
        positive[0], negative[0], positive[1], negative[1], level=1 - result.p
    )
    assert min(abs(at_p.low), abs(at_p.high)) < 1e-6


def test_difference_of_areas_in_the_middle_is_that_of_delong():
    """Where areas are near 0.5 and items many, the interval is the normal one."""
    rng = np.random.default_rng(12)
    scores = rng.normal(0, 1, (2, 4000)) + rng.normal(0, 1, 4000)
    a, b = (recognition.placements(s[:2000] + 0.2, s[2000:]) for s in scores)
    variance = sum(np.var(one - two, ddof=1) / 2000 for one, two in zip(a, b, strict=True))
    result = recognition.auc_difference(
        scores[0, :2000] + 0.2, scores[0, 2000:], scores[1, :2000] + 0.2, scores[1, 2000:]
    )
    assert result.high - result.low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=0.01)
    p = 2 * stats.norm.sf(abs(result.estimate) / np.sqrt(variance))
    assert result.p == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize(
    ("one", "two", "m", "n"),
    [(0.8, 0.8, 40, 40), (0.8, 0.65, 40, 40), (0.97, 0.9, 40, 40), (0.95, 0.85, 30, 60),
     (0.97, 0.97, 30, 30)],
)  # fmt: skip
def test_difference_covers_and_holds_its_level_on_paired_scores(one, two, m, n):
    """Scores of one item correlate with 0.7. A normal interval covers 92% at 0.97 and 0.9."""
    rng, total = np.random.default_rng(16), studies(400)
    shifts = np.sqrt(2) * stats.norm.ppf([one, two])
    hits = rejected = 0
    for _ in range(total):
        scores = np.sqrt(0.7) * rng.normal(size=m + n) + np.sqrt(0.3) * rng.normal(size=(2, m + n))
        a, b = scores + shifts[:, None] * (np.arange(m + n) < m)
        found = recognition.auc_difference(a[:m], a[m:], b[:m], b[m:])
        hits += found.low <= one - two <= found.high
        rejected += found.p is not None and found.p <= 0.05
    design = f"{m} and {n} items, areas {one:g} and {two:g}"
    assert covers(f"auc_difference: {design}", hits, total)
    if one == two:
        assert keeps_size(f"auc_difference: {design}", rejected, total)


def test_difference_of_equal_scores_is_not_known_exactly():
    same = recognition.auc_difference([3, 4, 5], [0, 1, 2], [3, 4, 5], [0, 1, 2])
    assert same.estimate == 0
    assert same.low < 0 < same.high
    assert same.p is None
    with pytest.raises(ValueError, match="paired"):
        recognition.auc_difference([3, 4], [0, 1], [3, 4, 5], [0, 1])


def test_d_prime_by_hand():
    result = recognition.d_prime(40, 50, 10, 50)
    z = stats.norm.ppf(40.5 / 51)
    assert result.estimate == pytest.approx(2 * z)
    error = np.sqrt(2 * (40.5 * 10.5 / 51**2) / (50 * stats.norm.pdf(z) ** 2))
    assert result.high - result.low == pytest.approx(2 * 1.959963985 * error)
    assert result.note is None
    assert np.isfinite(recognition.d_prime(50, 50, 0, 50).estimate)
    assert "correction" in recognition.d_prime(50, 50, 0, 50).note
    assert recognition.d_prime(13, 40, 13, 40).estimate == 0
    with pytest.raises(ValueError, match="51 of 50"):
        recognition.d_prime(51, 50, 0, 50)


@pytest.mark.parametrize("truth", [0.0, 1.0, 2.0])
def test_d_prime_coverage(truth):
    rng = np.random.default_rng(7)
    hits = rng.binomial(40, stats.norm.cdf(truth / 2), STUDIES)
    false_alarms = rng.binomial(40, stats.norm.cdf(-truth / 2), STUDIES)
    results = [recognition.d_prime(h, 40, f, 40) for h, f in zip(hits, false_alarms, strict=True)]
    hit = sum(r.low <= truth <= r.high for r in results)
    assert covers(f"d_prime: 40 and 40 items, d' = {truth:g}", hit, STUDIES)


def test_d_prime_of_forced_choice():
    result = recognition.d_prime_2afc(76, 100)
    assert result.estimate == pytest.approx(np.sqrt(2) * stats.norm.ppf(0.76))
    assert result.low < result.estimate < result.high
    perfect = recognition.d_prime_2afc(96, 96)
    assert np.isfinite(perfect.estimate)
    assert perfect.high == np.inf
    assert "correction" in perfect.note
    # two normal samples: forced choice and the area under the curve speak of the same d'
    rng = np.random.default_rng(8)
    old, new = rng.normal(1.3, 1, 40_000), rng.normal(0, 1, 40_000)
    assert recognition.d_prime_2afc(int(np.sum(old > new)), 40_000).estimate == pytest.approx(
        1.3, abs=0.04
    )


@pytest.mark.parametrize("n", [30, 60])
def test_d_prime_of_forced_choice_covers_on_average(n):
    """As Wilson's interval: at single d' coverage goes up and down with the counts around 95%."""
    rng, total = np.random.default_rng(13), studies(1000)
    truths = rng.uniform(0, 2.5, total)
    counts = rng.binomial(n, stats.norm.cdf(truths / np.sqrt(2)))
    hits = 0
    for count, truth in zip(counts.tolist(), truths, strict=True):
        found = recognition.d_prime_2afc(count, n)
        hits += found.low <= truth <= found.high
    assert covers(f"d_prime_2afc: {n} trials, d' from 0 to 2.5", hits, total)


def test_true_positive_rate_at_a_known_threshold():
    negative = np.arange(1000.0)
    positive = np.concatenate([np.full(30, 2000.0), np.full(70, 989.0)])
    result = recognition.true_positive_rate(positive, negative, 0.01)
    # ten of 1000 exceed 989, and a score of 989 itself does not
    assert result.estimate == 0.3
    reference = stats.binomtest(30, 100).proportion_ci(method="exact")
    assert (result.low, result.high) == pytest.approx(tuple(reference))
    assert "989" in result.note


def test_true_positive_rate_refuses_what_it_cannot_resolve():
    with pytest.raises(ValueError, match="needs 1000 negatives, not 999"):
        recognition.true_positive_rate(np.ones(9), np.zeros(999), 0.01)
    with pytest.raises(ValueError, match="needs 10000 negatives"):
        recognition.true_positive_rate(np.ones(9), np.zeros(1000), 0.001)
    with pytest.raises(ValueError, match="lies in"):
        recognition.true_positive_rate(np.ones(9), np.zeros(1000), 1.0)
    tied = recognition.true_positive_rate(np.zeros(9), np.zeros(1000), 0.05)
    assert tied.estimate == 0


@pytest.mark.parametrize("values", [5, 40, 10**9], ids=["many ties", "some ties", "no ties"])
def test_true_positive_rate_is_the_highest_of_the_curve_within_the_rate(values, monkeypatch):
    """Against all thresholds of scikit-learn's curve, few negatives included."""
    monkeypatch.setattr(recognition, "NEGATIVES_BEYOND", 0)
    rng = np.random.default_rng(10)
    for n in (3, 19, 20, 57, 400):
        negative, positive = rng.integers(0, values, n), rng.integers(values // 6, values, 30)
        for rate in (0.01, 0.05, 0.3):
            result = recognition.true_positive_rate(positive, negative, rate)
            false, true, _ = roc_curve(
                np.repeat([0, 1], [n, 30]), np.r_[negative, positive], drop_intermediate=False
            )
            assert result.estimate == pytest.approx(true[false <= rate + 1e-12].max())


def test_a_rate_of_1_percent_from_100_non_members_is_refused():
    result = recognition.true_positive_rate(np.ones(50), np.zeros(100), 0.01, few="missing")
    assert np.isnan([result.estimate, result.low, result.high]).all()
    assert "needs 1000 negatives, not 100" in result.note


def test_true_positive_rate_covers_the_rate_of_its_threshold():
    rng = np.random.default_rng(9)
    hits, n = 0, studies(500)
    for _ in range(n):
        positive, negative = rng.normal(1.5, 1, 60), rng.normal(0, 1, 200)
        result = recognition.true_positive_rate(positive, negative, 0.05)
        truth = stats.norm.sf(np.sort(negative)[189] - 1.5)
        hits += result.low <= truth <= result.high
    assert covers("true_positive_rate: 60 positives, 200 negatives, rate 5%", hits, n)
