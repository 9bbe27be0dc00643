"""Heterogeneity: a published example, an independent computation, size and coverage."""

import numpy as np
import pytest
from scipy.stats import chi2, f_oneway
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.oneway import anova_oneway

from palimpsest.statistics.heterogeneity import generalised_q, group_share, heterogeneity
from tests.calibration import covers, covers_at_least, keeps_size

#: Thirteen trials of the BCG vaccine (Colditz et al. 1994, JAMA 271, 698): cases and others among
#: the vaccinated, cases and others among the rest.
BCG = np.array([
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619),
    (33, 5036, 47, 5761), (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892),
    (29, 7470, 45, 7232), (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
])  # fmt: skip
LOG_ODDS_RATIO = np.log(BCG[:, 0] * BCG[:, 3] / (BCG[:, 1] * BCG[:, 2]))
STANDARD_ERROR = np.sqrt((1 / BCG).sum(1))


def simulated(rng, k, tau, n_studies=2000):
    """Standard errors (k,) that differ fourfold, and estimates (studies, k)."""
    se = np.geomspace(0.5, 2.0, k)
    return se, 3.0 + rng.standard_normal((n_studies, k)) * np.sqrt(tau**2 + se**2)


def test_the_published_interval_of_the_vaccine_trials():
    """metafor's Q-profile interval of tau^2 for van Houwelingen et al. (2002): 0.1302 to 1.1812."""
    tau = heterogeneity(LOG_ODDS_RATIO, STANDARD_ERROR).tau
    assert (tau.low**2, tau.high**2) == pytest.approx((0.1302, 1.1812), abs=1e-4)
    assert tau.low < tau.estimate < tau.high


def test_q_and_tau_agree_with_statsmodels():
    found = heterogeneity(LOG_ODDS_RATIO, STANDARD_ERROR)
    other = combine_effects(LOG_ODDS_RATIO, STANDARD_ERROR**2, method_re="pm", atol=1e-10)
    assert found.q == pytest.approx(other.q)
    assert found.p == pytest.approx(other.test_homogeneity().pvalue)
    assert found.tau.estimate**2 == pytest.approx(other.tau2, rel=1e-4)


def test_equal_standard_errors_have_a_closed_form():
    """tau^2 + se^2 is then a variance with its chi-squared interval."""
    y, se, k = np.array([1.0, 4.0, 2.0, 9.0, 5.5]), 0.7, 5
    found = heterogeneity(y, np.full(k, se))
    squares = np.sum((y - y.mean()) ** 2)
    assert found.q == pytest.approx(squares / se**2)
    for value, at in [
        (found.tau.estimate, k - 1),
        (found.tau.low, chi2.ppf(0.975, k - 1)),
        (found.tau.high, chi2.ppf(0.025, k - 1)),
    ]:
        assert value**2 == pytest.approx(max(0.0, squares / at - se**2))
    # with Paule and Mandel's tau and equal weights this is the usual (Q - df) / Q
    assert found.i_squared.estimate == pytest.approx((found.q - (k - 1)) / found.q)


def test_the_ends_are_where_q_meets_its_quantiles():
    tau = heterogeneity(LOG_ODDS_RATIO, STANDARD_ERROR, level=0.9).tau
    at = [generalised_q(LOG_ODDS_RATIO, STANDARD_ERROR**2, t**2) for t in (tau.low, tau.high)]
    assert at == pytest.approx([chi2.ppf(0.95, 12), chi2.ppf(0.05, 12)])


def test_alike_tasks_do_not_differ():
    found = heterogeneity([0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.1, 0.1])
    assert (found.q, found.p) == pytest.approx((0.0, 1.0))
    assert (found.tau.estimate, found.tau.low, found.tau.high) == (0.0, 0.0, 0.0)
    assert "closer together" in found.tau.note


@pytest.mark.parametrize("k", [5, 20])
@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_intervals_cover(k, tau):
    se, studies = simulated(np.random.default_rng(k), k, tau)
    found = [heterogeneity(y, se) for y in studies]
    # At 0 the cut interval errs on one side only.
    check, design = covers if tau else covers_at_least, f"{k} tasks, tau {tau:g}"
    hits = sum(f.tau.low <= tau <= f.tau.high for f in found)
    assert check(f"heterogeneity, tau: {design}", hits, len(found))
    typical = (k - 1) * np.sum(se**-2) / (np.sum(se**-2) ** 2 - np.sum(se**-4))
    share = tau**2 / (tau**2 + typical)
    hits = sum(f.i_squared.low <= share <= f.i_squared.high for f in found)
    assert check(f"heterogeneity, I squared: {design}", hits, len(found))


def test_q_rejects_five_in_a_hundred_tasks_that_are_alike():
    se, studies = simulated(np.random.default_rng(3), 8, 0.0, 4000)
    rejected = sum(heterogeneity(y, se).p <= 0.05 for y in studies)
    assert rejected / 4000 > 0.04
    assert keeps_size("heterogeneity, Q: 8 tasks, known errors", rejected, 4000)


def measured(rng, k, n):
    """Means and standard errors (k,) of n values of each of k tasks that are alike."""
    values = rng.standard_normal((k, n))
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(n)


@pytest.mark.parametrize("sizes", [(4, 3, 2, 2, 2, 1, 1, 1, 1, 1), (5, 5, 5, 5)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_share_between_groups_is_covered(sizes, share):
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    hits, rejected, n = 0, 0, 6000 if share == 0 else 2000
    for _ in range(n):
        common, own = rng.standard_normal(len(sizes))[groups], rng.standard_normal(len(groups))
        found = group_share(np.sqrt(share) * common + np.sqrt(1 - share) * own, groups)
        hits += found.low <= share <= found.high
        rejected += found.p <= 0.05
    # At 0 the cut interval errs on one side only.
    design = f"groups of {', '.join(map(str, sizes))}, share {share:g}"
    assert (covers if share else covers_at_least)(f"group_share: {design}", hits, n)
    if share == 0:
        assert keeps_size(f"group_share: {design}", rejected, n)


def test_the_share_between_groups_by_hand_and_where_there_is_none():
    # Means 1 and 4 in two pairs: MSB 9, MSW 2, (9 - 2) / (9 + 2).
    found = group_share([0.0, 2.0, 3.0, 5.0], ["a", "a", "b", "b"])
    assert found.estimate == pytest.approx(7 / 11)
    assert group_share([1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1]).estimate == 1
    assert group_share([1.0, 2.0, 1.0, 2.0], [0, 0, 1, 1]).estimate == 0
    for values, groups in (([1.0, 2.0], [0, 1]), ([1.0, 2.0], [0, 0]), ([1.0] * 3, [0, 0, 1])):
        with pytest.raises(ValueError, match=r"groups|equal"):
            group_share(values, groups)


def test_the_share_between_groups_of_unequal_size_and_its_test():
    """p is that of the analysis of variance; n0 = (n - sum n_i^2 / n) / (k - 1)."""
    samples = [[0.0], [3.0, 5.0], [6.0, 7.0, 11.0]]
    values, groups = np.concatenate(samples), [0, 1, 1, 2, 2, 2]
    found = group_share(values, groups)
    reference = f_oneway(*samples)
    assert found.p == pytest.approx(reference.pvalue)
    n0 = (6 - 14 / 6) / 2
    ratio = reference.statistic
    assert found.estimate == pytest.approx((ratio - 1) / (ratio + n0 - 1))


def test_welch_holds_its_level_where_estimated_errors_inflate_q():
    rng = np.random.default_rng(1)
    studies = [measured(rng, 12, 20) for _ in range(2000)]
    assert np.mean([heterogeneity(*s).p <= 0.05 for s in studies]) > 0.08
    rejected = sum(heterogeneity(*s, dof=19).p <= 0.05 for s in studies)
    assert rejected / 2000 > 0.035
    assert keeps_size("heterogeneity, Welch: 12 tasks of 20 values", rejected, 2000)


def test_welch_agrees_with_statsmodels_and_tends_to_chi_squared():
    samples = [np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 4.0, 9.0]), np.array([2.0, 2.5, 8.0])]
    y = [s.mean() for s in samples]
    se = [s.std(ddof=1) / np.sqrt(len(s)) for s in samples]
    reference = anova_oneway(samples, use_var="unequal", welch_correction=True)
    found = heterogeneity(y, se, dof=[len(s) - 1 for s in samples])
    assert found.p == pytest.approx(reference.pvalue)
    assert heterogeneity(y, se, dof=1e9).p == pytest.approx(heterogeneity(y, se).p)


@pytest.mark.parametrize(
    ("y", "se", "match"),
    [([1.0], [1.0], "two tasks"), ([1.0, 2.0], [1.0], "two tasks"),
     ([1.0, 2.0], [1.0, 0.0], "above 0"), ([1.0, np.nan], [1.0, 1.0], "finite")],
)  # fmt: skip
def test_bad_input_is_refused(y, se, match):
    with pytest.raises(ValueError, match=match):
        heterogeneity(y, se)


def test_degrees_of_freedom_are_positive():
    with pytest.raises(ValueError, match="dof"):
        heterogeneity([1.0, 2.0], [1.0, 1.0], dof=0)
