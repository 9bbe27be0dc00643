"""Every word for every position of the interval."""

import numpy as np
import pytest

from palimpsest.statistics import Estimate
from palimpsest.statistics.verdicts import (
    contamination,
    verdict_above,
    verdict_below,
    verdict_equivalent,
)


def estimate(low, high, p=None):
    return Estimate((low + high) / 2, low, high, 30, "items", "test", p=p)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (0.6, 0.8, "supported", "contradicted"),
        (0.2, 0.4, "contradicted", "supported"),
        (0.4, 0.6, "inconclusive", "inconclusive"),
        (0.5, 0.7, "inconclusive", "inconclusive"),
        (np.nan, np.nan, "inconclusive", "inconclusive"),
    ],
)
def test_one_sided_verdicts(low, high, above, below):
    assert verdict_above(estimate(low, high), 0.5) == above
    assert verdict_below(estimate(low, high), 0.5) == below


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.08, "supported"),
        (0.02, 0.08, "supported"),
        (0.11, 0.3, "contradicted"),
        (-0.3, -0.11, "contradicted"),
        (0.05, 0.15, "inconclusive"),
        (-0.5, 0.5, "inconclusive"),
        (np.nan, np.nan, "inconclusive"),
    ],
)
def test_equivalence_verdict(low, high, verdict):
    assert verdict_equivalent(estimate(low, high), 0.1) == verdict


def test_equivalence_needs_a_margin():
    with pytest.raises(ValueError, match="margin"):
        verdict_equivalent(estimate(0, 1), 0)


@pytest.mark.parametrize(
    ("low", "high", "p", "power", "word"),
    [
        (0.2, 0.4, None, 0.1, "contaminated"),
        (0.2, 0.4, 0.01, 0.9, "contaminated"),
        (0.2, 0.4, 0.2, 0.9, "no evidence"),
        (0.2, 0.4, 0.2, 0.3, "cannot tell"),
        (0.05, 0.2, None, 0.8, "no evidence"),
        (0.05, 0.2, None, 0.79, "cannot tell"),
        (np.nan, np.nan, None, 0.99, "cannot tell"),
    ],
)
def test_contamination(low, high, p, power, word):
    assert contamination(estimate(low, high, p), 0.125, power) == word
