"""Per-item detection: valid p-values, valid combination, error rates of the flags."""

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics import flags
from tests.calibration import keeps_size, studies


def test_worst_rank_counts_ties_against_the_item():
    others = np.array([[1.0, 2.0, 2.0], [5.0, 6.0, 7.0], [0.0, 0.0, 0.0]])
    assert flags.worst_rank([2.0, 5.5, 1.0], others).tolist() == [3, 3, 1]


def test_rank_p_value_is_uniform_without_memory_and_valid_with_ties():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20_000, 10))
    p = flags.rank_p_value(flags.worst_rank(scores[:, 0], scores[:, 1:]), 10)
    for level in (0.1, 0.3, 0.7):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.012)
    coarse = np.round(scores)
    p = flags.rank_p_value(flags.worst_rank(coarse[:, 0], coarse[:, 1:]), 10)
    assert all(np.mean(p <= level) <= level + 0.005 for level in (0.1, 0.3, 0.7))


def test_rank_p_value_refuses_impossible_ranks():
    with pytest.raises(ValueError, match="ranks"):
        flags.rank_p_value([0, 3], 10)
    with pytest.raises(ValueError, match="ranks"):
        flags.rank_p_value(11, 10)


def test_cauchy_by_hand_and_fisher_by_scipy():
    p = np.array([[0.01, 0.2, 0.5], [0.03, 0.03, 0.03]])
    statistic = np.mean(np.tan(np.pi * (0.5 - p[0])))
    expected = [stats.cauchy.sf(statistic), 0.03]  # equal p-values combine to themselves
    assert flags.combine_p(p) == pytest.approx(expected)
    fisher = [stats.combine_pvalues(row, method="fisher").pvalue for row in p]
    assert flags.combine_p(p, "fisher") == pytest.approx(fisher)


def test_combination_of_extreme_and_missing_p_values():
    assert flags.combine_p([1e-20, 1e-20]) == pytest.approx(1e-20, rel=1e-6)
    assert flags.combine_p([0.02, np.nan]) == pytest.approx(0.02)
    assert np.isnan(flags.combine_p([np.nan, np.nan]))
    assert flags.combine_p([1e-6, 1.0]) < 1e-5  # one failed template does not silence the other
    assert flags.combine_p([1.0, 1.0]) == pytest.approx(0.99)
    with pytest.raises(ValueError, match="p-values"):
        flags.combine_p([0.2, -0.1])
    with pytest.raises(ValueError, match="method"):
        flags.combine_p([0.2, 0.1], "stouffer")


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_cauchy_keeps_its_size_under_dependence_where_fisher_does_not(rho):
    rng = np.random.default_rng(1)
    shared = np.sqrt(rho) * rng.standard_normal((20_000, 1))
    z = shared + np.sqrt(1 - rho) * rng.standard_normal((20_000, 4))
    p = stats.norm.sf(z)
    rejected = sum(flags.combine_p(p) <= 0.05)
    assert keeps_size(f"combine_p, Cauchy: 4 tests, correlation {rho:g}", rejected, 20_000)
    assert np.mean(flags.combine_p(p) <= 0.005) <= 0.0075
    if rho > 0:
        assert np.mean(flags.combine_p(p, "fisher") <= 0.05) > 0.09


def test_flags_control_the_false_discovery_rate():
    rng = np.random.default_rng(2)
    truth = np.arange(100) < 30
    proportions, power = [], []
    for _ in range(studies(1000)):
        p = np.where(truth, rng.beta(0.15, 6, 100), rng.random(100))
        found = flags.flag(p, q=0.1)
        proportions.append(flags.false_discovery_proportion(found, truth).estimate)
        power.append(flags.detection_power(found, truth).estimate)
    assert np.mean(proportions) == pytest.approx(0.07, abs=0.01)  # q times the share of nulls
    assert np.mean(power) > 0.6


def test_flag_never_finds_a_missing_p_value():
    assert flags.flag([0.001, np.nan, 0.9]).tolist() == [True, False, False]


def test_rates_by_hand():
    found = [True, True, False, True, False, False]
    truth = [True, True, True, False, False, False]
    power = flags.detection_power(found, truth)
    assert (power.estimate, power.n) == (pytest.approx(2 / 3), 3)
    assert flags.false_positive_rate(found, truth).estimate == pytest.approx(1 / 3)
    discovery = flags.false_discovery_proportion(found, truth)
    assert (discovery.estimate, discovery.n) == (pytest.approx(1 / 3), 3)
    nothing = flags.false_discovery_proportion([False] * 6, truth)
    assert nothing.estimate == 0
    assert np.isnan(nothing.low)
    assert "nothing flagged" in nothing.note
    with pytest.raises(ValueError, match="shape"):
        flags.detection_power([True], truth)
