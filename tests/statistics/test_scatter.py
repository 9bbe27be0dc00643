"""Runs test against full enumeration; autocorrelation against its definition and its size."""

import itertools

import numpy as np
import pytest
from statsmodels.sandbox.stats.runs import runstest_1samp

from palimpsest.statistics.scatter import autocorrelation, runs_distribution, runs_test
from tests.calibration import keeps_size, studies


def count_runs(sequence):
    return 1 + sum(a != b for a, b in itertools.pairwise(sequence))


@pytest.mark.parametrize(("ones", "zeros"), [(1, 1), (1, 6), (3, 5), (4, 4)])
def test_runs_distribution_equals_enumeration(ones, zeros):
    n = ones + zeros
    runs = [
        count_runs([i in chosen for i in range(n)])
        for chosen in itertools.combinations(range(n), ones)
    ]
    counts, probability = runs_distribution(ones, zeros)
    assert probability.sum() == pytest.approx(1)
    assert probability == pytest.approx([np.mean(np.array(runs) == c) for c in counts])


def test_runs_by_hand():
    result = runs_test([0, 0, 0, 1, 1, 1], "clumped")
    assert result.p == pytest.approx(2 / 20)
    assert result.estimate == pytest.approx(2 / 4)
    assert runs_test([0, 1, 0, 1, 0, 1], "scattered").p == pytest.approx(2 / 20)
    assert runs_test([0, 1, 0, 1, 0, 1]).p == pytest.approx(4 / 20)


def test_runs_tend_to_the_normal_test_of_statsmodels():
    x = (np.random.default_rng(0).random(4000) < 0.3).astype(int)
    assert runs_test(x).p == pytest.approx(runstest_1samp(x, 0.5, False)[1], abs=0.02)


def test_runs_size_and_power():
    rng = np.random.default_rng(1)
    null = [runs_test(rng.random(60) < 0.4, "clumped").p for _ in range(2000)]
    assert keeps_size("runs_test: 60 answers", sum(np.array(null) <= 0.05), 2000)
    clumps = [runs_test(np.repeat(rng.random(15) < 0.4, 4), "clumped").p for _ in range(200)]
    assert np.nanmean(np.array(clumps, dtype=float) <= 0.05) > 0.9


def test_runs_edge_cases():
    alike = runs_test([1, 1, 1])
    assert np.isnan(alike.estimate)
    assert alike.p is None
    assert alike.note
    with pytest.raises(ValueError, match="0 and 1"):
        runs_test([0, 2])


def test_autocorrelation_by_hand():
    # mean 2.5, deviations -1.5 -.5 .5 1.5: (.75 - .25 + .75) / 5
    assert autocorrelation([1, 2, 3, 4]).estimate == pytest.approx(0.25)
    assert autocorrelation([1, 2, 3, 4], lag=2).estimate == pytest.approx(-0.3)


def test_autocorrelation_size_and_power():
    rng = np.random.default_rng(2)
    null, smooth = [], []
    n = studies(1000)
    for seed in range(n):
        x = rng.standard_normal(51)
        null.append(autocorrelation(x, n_permutations=99, seed=seed).p)
        smooth.append(autocorrelation(x[1:] + x[:-1], n_permutations=99, seed=seed).p)
    assert keeps_size("autocorrelation: 51 values", sum(np.array(null) <= 0.05), n)
    assert np.mean(np.array(null) <= 0.5) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(smooth) <= 0.05) > 0.9


def test_autocorrelation_directions_and_edge_cases():
    zigzag = np.tile([0.0, 1.0], 20)
    assert autocorrelation(zigzag).p == 1.0
    assert autocorrelation(zigzag, alternative="scattered").p == pytest.approx(0.001)
    constant = autocorrelation(np.ones(9))
    assert np.isnan(constant.estimate)
    assert constant.p is None
    with pytest.raises(ValueError, match="lag"):
        autocorrelation([1, 2], lag=2)
