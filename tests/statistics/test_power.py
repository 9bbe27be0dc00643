"""Power functions against brute force and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import power_proportions_2indep

from palimpsest.statistics import Estimate, power
from palimpsest.statistics.comparisons import paired_difference, two_sample_difference
from palimpsest.statistics.flags import flag
from palimpsest.statistics.rows import row


@pytest.mark.parametrize("n", [1, 5, 17, 40])
@pytest.mark.parametrize("chance", [0.1, 0.125, 0.5])
def test_binomial_power_equals_enumeration_of_scipys_test(n, chance):
    counts = np.arange(n + 1)
    p = [stats.binomtest(int(k), n, chance, alternative="greater").pvalue for k in counts]
    rejected = np.array(p) <= 0.05 + 1e-12
    expected = stats.binom.pmf(counts, n, 0.4)[rejected].sum()
    assert power.power_binomial_above_chance(n, 0.4, chance) == pytest.approx(expected)


def test_binomial_power_equals_simulation_and_its_size_is_at_most_alpha():
    rng = np.random.default_rng(0)
    draws = rng.binomial(60, 0.25, 100_000)
    critical = int(stats.binom.isf(0.05, 60, 0.125)) + 1
    assert power.power_binomial_above_chance(60, 0.25, 0.125) == pytest.approx(
        np.mean(draws >= critical), abs=0.006
    )
    sizes = power.power_binomial_above_chance(np.arange(1, 300), 0.125, 0.125)
    assert sizes.max() <= 0.05


def test_critical_number_at_exact_equality():
    # P(X >= 1 | n=1, chance=.05) is alpha itself: still a rejection
    assert power.power_binomial_above_chance(1, 0.7, 0.05) == pytest.approx(0.7)
    # P(X >= 5 | n=5, chance=.5) = 1/32
    assert power.power_binomial_above_chance(5, 0.9, 0.5, 1 / 32) == pytest.approx(0.9**5)


def test_minimal_detectable_rate_inverts_power():
    rate = power.minimal_detectable_rate(50, 0.125)
    assert power.power_binomial_above_chance(50, rate, 0.125) == pytest.approx(0.8)
    assert np.isnan(power.minimal_detectable_rate(3, 0.5))


def test_required_n_is_enough_from_there_on_and_not_before():
    n = power.required_n(0.25, 0.125)
    beyond = power.power_binomial_above_chance(np.arange(n, 5 * n), 0.25, 0.125)
    assert beyond.min() >= 0.8
    assert power.power_binomial_above_chance(n - 1, 0.25, 0.125) < 0.8
    with pytest.raises(ValueError, match="exceed"):
        power.required_n(0.1, 0.2)
    with pytest.raises(ValueError, match="needed"):
        power.required_n(0.1255, 0.125, max_n=2000)


def test_two_proportion_power_equals_simulation_and_its_normal_approximation():
    rng = np.random.default_rng(1)
    a, b = rng.binomial(40, 0.3, 100_000) / 40, rng.binomial(55, 0.55, 100_000) / 55
    pooled = (40 * a + 55 * b) / 95
    z = (a - b) / np.sqrt(pooled * (1 - pooled) * (1 / 40 + 1 / 55))
    exact = power.power_two_proportions(40, 55, 0.3, 0.55)
    assert exact == pytest.approx(np.mean(np.abs(z) > stats.norm.isf(0.025)), abs=0.006)
    large = power.power_two_proportions(400, 400, 0.3, 0.4)
    approximate = power_proportions_2indep(0.1, 0.3, 400).power
    assert large == pytest.approx(approximate, abs=0.01)


def test_minimal_detectable_difference_inverts_power():
    d = power.minimal_detectable_difference(80, 120, 0.2)
    assert power.power_two_proportions(80, 120, 0.2, 0.2 + d) == pytest.approx(0.8)
    assert np.isnan(power.minimal_detectable_difference(3, 3, 0.5))


@pytest.mark.parametrize("n_candidates", [8, 20, 40])
def test_minimal_flagged_share_is_what_benjamini_hochberg_needs(n_candidates):
    share = power.minimal_flagged_share(n_candidates, q=0.1)
    for first in range(1, 101):
        p = np.where(np.arange(100) < first, 1 / n_candidates, 1.0)
        assert flag(p, 0.1).any() == (first / 100 >= share - 1e-12)


@pytest.mark.parametrize("direction", ["above", "below", "within"])
def test_what_is_detectable_is_found_as_often_as_promised(direction):
    """Means of 60 normal values, judged as claims are."""
    rng = np.random.default_rng(11)
    n, studies = 60, 4000
    se = 1 / np.sqrt(n)
    z = 1.645 if direction == "within" else 1.96
    level = 0.9 if direction == "within" else 0.95
    one = Estimate(0.0, -z * se, z * se, n, "items", "normal", level)
    size = power.detectable(one, direction)
    truth = {"above": size, "below": -size, "within": 0.0}[direction]
    means = rng.normal(truth, se, studies)
    found = {
        "above": means - z * se > 0,
        "below": means + z * se < 0,
        "within": np.abs(means) + z * se < size,
    }[direction]
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_of_an_uneven_interval_the_side_that_decides_counts():
    """80% beyond a threshold take 1.43 of the half that faces it; equivalence takes the longer."""
    uneven = Estimate(0.5, 0.4, 0.8, 60, "items", "exact", 0.95)
    reach = 1 + 0.841621 / 1.959964
    assert power.detectable(uneven, "above") == pytest.approx(0.1 * reach, rel=1e-5)
    assert power.detectable(uneven, "below") == pytest.approx(0.3 * reach, rel=1e-5)
    both = Estimate(0.5, 0.4, 0.8, 60, "items", "exact", 0.9)
    within = 0.3 * (1 + 1.281552 / 1.644854)
    assert power.detectable(both, "within") == pytest.approx(within, rel=1e-5)


def test_nothing_is_said_of_the_power_of_an_interval_without_width():
    assert np.isnan(power.detectable(Estimate(0.0, 0.0, 0.0, 5, "items", "exact"), "above"))
    assert np.isnan(power.detectable(Estimate(0.0, np.nan, np.nan, 5, "items", "none"), "below"))


@pytest.mark.parametrize("n", [3, 5, 12, 60])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_what_is_detectable_is_found_as_often_as_promised_by_few_units_too(n, level):
    """Paired t tests at 5% of differences of this size; the interval is that of the true error."""
    rng = np.random.default_rng(n)
    error = 1 / np.sqrt(n)
    half = stats.t.ppf((1 + level) / 2, n - 1) * error
    size = power.detectable_difference(half, level, n - 1)
    draws = rng.normal(size, 1.0, (20_000, n))
    p = stats.ttest_1samp(draws, 0.0, axis=1).pvalue
    assert np.mean(p <= 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda rng, by: paired_difference(*rng.normal([[by], [0]], 1.0, (2, 40))), 40),
        (
            lambda rng, by: two_sample_difference(rng.normal(by, 2, 30), rng.normal(0, 1, 20)),
            50,
        ),
        (
            lambda rng, by: two_sample_difference(
                rng.binomial(1, 0.4 + by, 120), rng.binomial(1, 0.4, 120)
            ),
            240,
        ),
    ],
    ids=["paired", "Welch", "two shares"],
)
def test_differences_of_studies_are_found_as_often_as_their_rows_promise(make, size):
    """Each study states what it could find; studies with a true difference of that size do."""
    rng = np.random.default_rng(7)
    stated = [row("difference", "m", make(rng, 0.0)) for _ in range(50)]
    assert stated[0]["n"] == size
    promised = np.mean([each["detectable"] for each in stated])
    found = [make(rng, promised) for _ in range(600)]
    share = np.mean([not each.low <= 0 <= each.high for each in found])
    assert share == pytest.approx(0.8, abs=0.045)


def test_equivalence_is_shown_as_often_as_promised_by_few_units_too():
    rng = np.random.default_rng(3)
    n, studies = 6, 20_000
    half = stats.t.ppf(0.95, n - 1) / np.sqrt(n)
    margin = power.detectable(Estimate(0.0, -half, half, n, "models", "t", 0.9, dof=5.0), "within")
    draws = rng.normal(0.0, 1.0, (studies, n))
    means, errors = draws.mean(axis=1), draws.std(axis=1, ddof=1) / np.sqrt(n)
    inside = np.abs(means) + stats.t.ppf(0.95, n - 1) * errors < margin
    assert inside.mean() == pytest.approx(0.8, abs=0.02)


def test_an_interval_cut_to_possible_values_does_not_promise_more():
    whole = Estimate(0.9, 0.5, 1.3, 5, "models", "t", dof=4.0)
    for direction in ("either", "above", "below"):
        cut = power.detectable(whole.within(0, 1), direction)
        assert cut == pytest.approx(power.detectable(whole, direction))


def test_a_row_states_what_it_could_find_and_none_without_an_interval():
    one = Estimate(0.2, 0.1, 0.3, 400, "facts", "t", dof=399.0)
    assert row("a", "m", one)["detectable"] == pytest.approx(0.1 * 2.8086 / 1.9659, rel=1e-3)
    same = Estimate(0.2, 0.1, 0.3, 400, "facts", "TOST", 0.9, dof=399.0)
    assert row("a", "m", same)["detectable"] == pytest.approx(0.1 * 2.8086 / 1.6487, rel=1e-3)
    assert row("a", "m", Estimate(0.2, np.nan, np.nan, 1, "facts", "none"))["detectable"] is None
    assert row("a", "m", Estimate(0.2, 0.2, 0.2, 9, "facts", "t"))["detectable"] is None
    assert row("a", "m", Estimate(0.2, -np.inf, 0.3, 9, "facts", "t"))["detectable"] is None
