"""Holm and Benjamini-Hochberg by hand, and the error rates they promise."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from palimpsest.statistics.multiplicity import benjamini_hochberg, holm
from tests.calibration import keeps_size

P = [0.01, 0.04, np.nan, 0.03, 0.005]


def test_holm_by_hand():
    # four tests: .005*4, .01*3, .03*2, then max(.06, .04*1)
    assert holm(P) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)


def test_benjamini_hochberg_by_hand():
    # four tests: .005*4/1, .01*4/2, .03*4/3, .04*4/4, made monotone from the right
    assert benjamini_hochberg(P) == pytest.approx([0.02, 0.04, np.nan, 0.04, 0.02], nan_ok=True)


def test_nan_only_empty_and_invalid():
    assert np.isnan(holm([np.nan, np.nan])).all()
    assert benjamini_hochberg([]).size == 0
    with pytest.raises(ValueError, match="p-values"):
        holm([0.2, 1.2])


@pytest.mark.parametrize(
    ("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")], ids=["holm", "fdr"]
)
def test_adjusted_as_by_statsmodels(ours, theirs):
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 200):
        for p in (rng.random(size), rng.integers(0, 4, size) / 4):
            assert ours(p) == pytest.approx(multipletests(p, method=theirs)[1], abs=1e-15)


def test_benjamini_hochberg_controls_the_fdr_and_holm_the_fwer():
    rng = np.random.default_rng(0)
    fdp, any_false = [], []
    for _ in range(2000):
        p = rng.random(50)
        p[:10] = p[:10] ** 6  # ten true effects
        found = benjamini_hochberg(p) <= 0.1
        fdp.append(found[10:].sum() / max(found.sum(), 1))
        any_false.append((holm(p)[10:] <= 0.05).any())
    # independent tests: FDR is exactly q times the share of true nulls
    assert np.mean(fdp) == pytest.approx(0.1 * 40 / 50, abs=0.012)
    assert keeps_size("holm: 50 tests, 40 true nulls", sum(any_false), 2000)
