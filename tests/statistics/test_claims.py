"""What a stated claim says of its test, and how its row comes about."""

import pytest

from palimpsest.statistics import Estimate
from palimpsest.statistics.claims import Claim, judged

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
