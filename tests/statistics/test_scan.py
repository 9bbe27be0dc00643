"""The cutoff scan: power, size, coverage of the date, and the statistic by brute force."""

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics.scan import cutoff_scan
from tests.calibration import covers_at_least, keeps_size, studies


def planted(rng, n=100, change=60, before=0.7, after=0.15):
    return (rng.random(n) < np.where(np.arange(n) < change, before, after)).astype(float)


def test_statistic_equals_brute_force_likelihood_ratio():
    rng = np.random.default_rng(0)
    values = planted(rng, 40, 22, 0.7, 0.3)
    whole = stats.bernoulli.logpmf(values, values.mean()).sum()
    ratios = []
    for k in range(5, 36):
        first, second = values[:k], values[k:]
        split = stats.bernoulli.logpmf(first, first.mean()).sum()
        split += stats.bernoulli.logpmf(second, second.mean()).sum()
        ratios.append(2 * (split - whole) if first.mean() > second.mean() else 0)
    scan = cutoff_scan(np.arange(40), values, n_permutations=19)
    assert scan.statistic == pytest.approx(max(ratios))
    assert scan.date_index == 5 + int(np.argmax(ratios))
    assert scan.rate_before == pytest.approx(values[: scan.date_index].mean())
    assert scan.rate_after == pytest.approx(values[scan.date_index :].mean())


def test_graded_statistic_equals_brute_force():
    values = np.random.default_rng(1).standard_normal(30) - 0.05 * np.arange(30)
    ratios = [
        30 * np.log(values.var() * 30 / (values[:k].var() * k + values[k:].var() * (30 - k)))
        for k in range(5, 26)
        if values[:k].mean() > values[k:].mean()
    ]
    scan = cutoff_scan(np.arange(30), values, n_permutations=19)
    assert scan.statistic == pytest.approx(max(ratios))


@pytest.mark.parametrize("graded", [False, True])
def test_planted_date_is_found_and_covered(graded):
    """Cautious: dates are whole, and an interval that reaches one covers all of it."""
    rng = np.random.default_rng(2)
    found, covered, error = 0, 0, []
    for seed in range(2000):
        values = planted(rng)
        if graded:
            values = rng.standard_normal(100) + 1.2 * (np.arange(100) < 60)
        scan = cutoff_scan(np.arange(100), values, n_permutations=99, n_bootstrap=199, seed=seed)
        found += scan.found
        covered += scan.low <= 59 <= scan.high
        error.append(abs(scan.date - 59))
    assert found / 2000 > 0.9
    what = f"cutoff_scan: 100 {'graded values' if graded else 'answers'}, date of a fall"
    assert covers_at_least(what, covered, found)
    assert np.median(error) <= 2


@pytest.mark.parametrize("graded", [False, True])
def test_nothing_is_found_on_permuted_dates(graded):
    rng = np.random.default_rng(3)
    p = []
    n = studies(1500)
    for seed in range(n):
        values = rng.permutation(planted(rng))
        values = rng.exponential(size=100) if graded else values
        p.append(cutoff_scan(np.arange(100), values, n_permutations=99, seed=seed).p)
    p = np.array(p)
    what = f"cutoff_scan: 100 {'graded values' if graded else 'answers'} without a date"
    assert keeps_size(what, sum(p <= 0.05), n)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_only_a_fall_counts():
    rising = np.repeat([0.0, 1.0], 20)
    scan = cutoff_scan(np.arange(40), rising)
    assert (scan.statistic, scan.p, scan.found) == (0.0, 1.0, False)
    assert np.isnan([scan.low, scan.high]).all()
    assert cutoff_scan(np.arange(40), rising[::-1]).date == 19


def test_order_of_rows_does_not_matter_and_dates_are_not_split():
    rng = np.random.default_rng(4)
    dates = np.repeat(np.arange(730_000, 730_020), 5)
    values = planted(rng, 100, 50)
    order = rng.permutation(100)
    one = cutoff_scan(dates, values)
    two = cutoff_scan(dates[order], values[order])
    assert (one.date, one.statistic) == (two.date, pytest.approx(two.statistic))
    assert one.date_index % 5 == 0
    assert one.low <= one.date <= one.high


def test_constant_outcomes_and_impossible_scans():
    scan = cutoff_scan(np.arange(30), np.ones(30))
    assert (scan.statistic, scan.p) == (0.0, 1.0)
    assert cutoff_scan(np.arange(30), np.full(30, 0.4)).p == 1.0
    with pytest.raises(ValueError, match="each side"):
        cutoff_scan(np.arange(9), np.ones(9), min_segment=5)
    with pytest.raises(ValueError, match="each side"):
        cutoff_scan(np.zeros(40), np.ones(40))
    with pytest.raises(ValueError, match="per date"):
        cutoff_scan(np.arange(9), np.ones(8))
    with pytest.raises(ValueError, match="finite"):
        cutoff_scan(np.arange(30), np.full(30, np.nan))


def test_shares_of_two_answers_are_covered_too():
    """Nearly all right before and few after: normal errors of one size would cover 84%."""
    rng = np.random.default_rng(5)
    found, covered = 0, 0
    n = studies(800)
    for seed in range(n):
        rate = np.where(np.arange(36) < 14, 1.0, 0.14)
        first = rng.random(36) < rate
        second = np.where(rng.random(36) < 0.6, first, rng.random(36) < rate)
        scan = cutoff_scan(
            np.arange(36), (first + second) / 2, n_permutations=99, n_bootstrap=199, seed=seed
        )
        found += scan.found
        covered += scan.low <= 13 <= scan.high
    assert found > 0.98 * n
    assert covers_at_least("cutoff_scan: 36 shares of two answers", covered, found)
