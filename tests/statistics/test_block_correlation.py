"""Correlation over blocks of time: leaving out in a loop, independent dates, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from palimpsest.statistics.block_correlation import block_correlation
from tests.calibration import covers, studies


def walk(rng, n, memory, count):
    """(n, count) first-order autoregressions of variance 1."""
    noise = rng.standard_normal((n, count))
    found = noise.copy()
    for t in range(1, n):
        found[t] = memory * found[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return found


def pair(rng, n, memory, rho):
    one, other = walk(rng, n, memory, 2).T
    return one, rho * one + np.sqrt(1 - rho**2) * other


def test_equal_to_leaving_out_in_a_loop():
    a, b = pair(np.random.default_rng(0), 38, 0.4, 0.6)
    found = block_correlation(a, b)
    z = np.arctanh(np.corrcoef(a, b)[0, 1])
    blocks = np.array_split(np.arange(38), 7)
    left = []
    for block in blocks:
        rest = np.setdiff1d(np.arange(38), block)
        left.append(np.arctanh(np.corrcoef(a[rest], b[rest])[0, 1]))
    half = stats.t.ppf(0.975, 6) * np.sqrt(6 / 7 * np.sum((np.array(left) - z) ** 2))
    assert found.estimate == pytest.approx(np.tanh(z))
    assert (found.low, found.high) == pytest.approx((np.tanh(z - half), np.tanh(z + half)))
    assert (found.n, found.dof, found.unit) == (7, 6, "blocks of 5 dates")


def test_many_independent_dates_have_the_error_of_theory():
    """Of independent normal pairs Fisher's z has a standard error of 1 / sqrt(n - 3)."""
    a, b = pair(np.random.default_rng(1), 100_000, 0, 0.5)
    found = block_correlation(a, b, length=1)
    half = (np.arctanh(found.high) - np.arctanh(found.low)) / 2
    assert half == pytest.approx(1.96 / np.sqrt(100_000), rel=0.02)


@pytest.mark.parametrize(("n", "memory"), [(36, 0), (36, 0.4), (100, 0.4)])
def test_intervals_cover(n, memory):
    rng, rho, hits, many = np.random.default_rng(2), 0.5, 0, studies(2000)
    for _ in range(many):
        found = block_correlation(*pair(rng, n, memory, rho))
        hits += found.low <= rho <= found.high
    assert covers(f"correlation over blocks: {n} dates, memory {memory}", hits, many)


@pytest.mark.parametrize(
    ("a", "b", "r", "note"),
    [
        (np.ones(40), np.arange(40), np.nan, "one of the two does not vary"),
        (np.arange(19), np.arange(19)[::-1], -1, "an interval needs 4 blocks, not 3"),
        (np.arange(40), np.arange(40), 1, "the two are the same"),
    ],
)
def test_no_interval_is_made_up(a, b, r, note):
    found = block_correlation(a, b)
    assert found.estimate == pytest.approx(r, nan_ok=True)
    assert np.isnan([found.low, found.high]).all()
    assert note in found.note


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
        block_correlation(np.ones(3), np.ones(4))
