"""What a stated claim says of its test, and how its row comes about."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics import Estimate
from palimpsest.statistics.claims import Claim, corrected, judged
from palimpsest.statistics.comparisons import (
    equivalence_of_differences,
    noninferiority,
    paired_difference,
    two_sample_difference,
)
from palimpsest.statistics.intervals import clustered_mean, exact_proportion

TESTS = {
    "above": ("recall: 95% interval above 0.2", 0.95),
    "below": ("recall: 95% interval below 0.2", 0.95),
    "within": ("recall: 90% interval within plus or minus 0.2", 0.9),
}


@pytest.mark.parametrize("direction", TESTS)
def test_direction_decides_the_level_and_the_words_of_the_test(direction):
    claim = Claim("one", "paper", "statement", direction, 0.2, "recall")
    (row,) = judged([claim], {})
    words, level = TESTS[direction]
    assert (row["test"], row["level"], row["direction"]) == (words, level, direction)
    assert row["verdict"] == "not tested"
    assert row["note"] == "this run has no data for it"


def test_a_claim_with_evidence_has_its_numbers_and_a_verdict():
    claim = Claim("one", "paper", "statement", "above", 0.2, "recall")
    (row,) = judged([claim], {"one": Estimate(0.5, 0.4, 0.7, 30, "facts", "exact")})
    assert [row[key] for key in ("estimate", "low", "high", "n", "unit", "verdict")] == [
        0.5, 0.4, 0.7, 30, "facts", "supported",
    ]  # fmt: skip
    assert 0.1 < row["detectable"] < 0.2


def test_the_margin_of_equivalence_is_the_smallest_effect_that_matters():
    within = Claim("one", "paper", "statement", "within", 0.1, "change", matters=0.3)
    above = Claim("two", "paper", "statement", "above", 0.5, "recall", matters=0.3)
    unstated = Claim("three", "paper", "statement", "above", 0.5, "recall")
    rows = judged([within, above, unstated], {})
    assert [(row["threshold"], row["smallest"]) for row in rows] == [
        (0.1, 0.1), (0.5, 0.3), (0.5, None),
    ]  # fmt: skip


VALUES = np.random.default_rng(3).normal(0.3, 0.1, 8)


def _claim(direction, threshold):
    return Claim("one", "paper", "statement", direction, threshold, "recall")


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.28, 0.5])
def test_p_is_that_of_the_threshold_and_not_of_zero(threshold):
    """A difference far below what is claimed of it says nothing for the claim by being above 0."""
    found = paired_difference(VALUES, 0 * VALUES)
    assert found.p < 0.01
    expected = stats.ttest_1samp(VALUES, threshold).pvalue
    for direction in ("above", "below"):
        assert _claim(direction, threshold).p(found) == pytest.approx(expected, rel=1e-6)
    # An interval at 95% leaves the threshold out just where p is below 5%.
    outside = not found.low <= threshold <= found.high
    assert outside == (expected < 0.05)


def test_p_follows_from_the_interval_where_the_estimate_has_none():
    mean = clustered_mean(VALUES)
    assert mean.p is None
    expected = stats.ttest_1samp(VALUES, 0.2).pvalue
    assert _claim("above", 0.2).p(mean) == pytest.approx(expected, rel=1e-6)
    # Cutting an interval to possible values takes nothing from the test.
    assert _claim("above", 0.2).p(mean.within(0.25, 0.32)) == pytest.approx(expected, rel=1e-6)
    other = two_sample_difference(VALUES, VALUES[:5] - 0.3)
    welch = stats.ttest_ind(VALUES - 0.2, VALUES[:5] - 0.3, equal_var=False).pvalue
    assert _claim("above", 0.2).p(other) == pytest.approx(welch, rel=1e-6)
    tost = equivalence_of_differences(VALUES, 0.35)
    assert _claim("within", 0.35).p(replace(tost, p=None)) == pytest.approx(tost.p, rel=1e-6)


def test_no_p_is_made_up_where_an_interval_is_none_of_t():
    for found in (
        exact_proportion(9, 10),
        clustered_mean([1.0, 0, 1, 1, 1, 0, 1, 1]),
        clustered_mean([0.3, 0.3, 0.3, 0.3, 0.3, 0.3]),
        Estimate(0.5, 0.4, 0.7, 30, "facts", "exact", dof=29.0),
    ):
        assert _claim("above", 0.2).p(found) is None


def test_what_is_contradicted_has_the_p_of_that():
    """Tests of equivalence and of being no worse are one-sided: their own p is then near 1."""
    tost = equivalence_of_differences(VALUES, 0.1)
    assert tost.p > 0.99
    assert _claim("within", 0.1).p(tost) == pytest.approx(1 - tost.p)
    worse = noninferiority(-VALUES, 0 * VALUES, 0.1)
    assert worse.p > 0.99
    # Two-sided, as all p of "above" and "below" are: at 5% it is the 95% interval that decides.
    assert _claim("above", -0.1).p(worse) == pytest.approx(2 * (1 - worse.p))
    better = noninferiority(VALUES, 0 * VALUES, 0.1)
    assert _claim("above", -0.1).p(better) == pytest.approx(2 * better.p)


def test_all_that_is_decided_is_corrected():
    """Supported or contradicted: by Holm over all claims of a study that have a p."""

    def row(verdict, p, note=None):
        return {"verdict": verdict, "p": p, "note": note}

    rows = corrected(
        [
            row("supported", 0.001),
            row("contradicted", 0.03, "margin 0.1"),
            row("inconclusive", 0.4),
            row("supported", None),
        ]
    )
    assert [each["p_adjusted"] for each in rows] == pytest.approx([0.003, 0.06, 0.4, None])
    assert [each["verdict"] for each in rows] == [
        "supported", "inconclusive", "inconclusive", "supported",
    ]  # fmt: skip
    assert rows[1]["note"] == (
        "margin 0.1; contradicted by its interval alone, not after Holm's correction"
    )
