"""Measures from log-likelihoods: hand-computed values, guessers, ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata

from palimpsest.metrics.choice import (
    exposure,
    forced_choice,
    normalised_rank,
    prior_corrected,
    probability_among,
    rank_of_target,
    surprisal_bits,
)

INF = np.inf
SCORES = np.array([[-1.0, -2.0, -3.0], [-2.0, -2.0, -3.0], [-1.0, -1.0, -1.0], [-INF, -2.0, -INF]])


def test_by_hand():
    assert_array_equal(forced_choice(SCORES, 0), [1, 1 / 2, 1 / 3, 0])
    assert_array_equal(forced_choice(SCORES, [1, 2, 2, 1]), [0, 0, 1 / 3, 1])
    assert_array_equal(rank_of_target(SCORES, 0), [1, 2, 3, 3])
    assert forced_choice([-1.0, -2.0], 0) == 1
    assert rank_of_target([-1.0, -2.0], 1) == 2
    assert_allclose(normalised_rank([1, 3, 5], 5), [0, 0.5, 1])
    assert_allclose(exposure([1, 2, 8], 8), [3, 2, 0])
    assert_allclose(surprisal_bits([0.0, np.log(0.25), -INF]), [0, 2, INF])
    assert_allclose(probability_among(np.log([[0.1, 0.3], [0.2, 0.2]])), [[0.25, 0.75], [0.5, 0.5]])
    assert_array_equal(probability_among([-INF, -5000.0]), [0, 1])


def test_prior_correction_turns_a_frequent_wrong_answer_right():
    log_p, neutral = np.log([0.2, 0.5]), np.log([0.02, 0.5])
    assert forced_choice(log_p, 0) == 0
    corrected = prior_corrected(log_p, neutral)
    assert_allclose(corrected, [np.log(10), 0])
    assert forced_choice(corrected, 0) == 1


@pytest.mark.parametrize("k", [2, 8])
def test_a_guesser_is_at_chance(k):
    n, generator = 4000, np.random.default_rng(k)
    scores, target = generator.normal(size=(n, k)), generator.integers(k, size=n)
    chance = 1 / k
    assert abs(forced_choice(scores, target).mean() - chance) < 3 * np.sqrt(
        chance * (1 - chance) / n
    )
    # rank is uniform on 1..k: sd of the normalised rank is sqrt((k + 1) / (12 (k - 1)))
    ranks = rank_of_target(scores, target)
    error = np.sqrt((k + 1) / (12 * (k - 1)) / n)
    assert abs(normalised_rank(ranks, k).mean() - 0.5) < 3 * error
    expected = np.mean(exposure(np.arange(1, k + 1), k))
    spread = np.std(exposure(np.arange(1, k + 1), k))
    assert abs(exposure(ranks, k).mean() - expected) < 3 * spread / np.sqrt(n)


def test_a_model_that_cannot_tell_is_at_chance_and_ranked_last():
    scores = np.zeros((5, 8))
    assert_allclose(forced_choice(scores, 3), 1 / 8)
    assert_array_equal(rank_of_target(scores, 3), 8)
    assert_array_equal(exposure(rank_of_target(scores, 3), 8), 0)


def test_exposure_of_a_guesser_approaches_log2_e():
    n = 100_000
    assert_allclose(exposure(np.arange(1, n + 1), n).mean(), np.log2(np.e), atol=1e-3)


scores_with_ties = arrays(float, (4, 6), elements=st.integers(-5, 0).map(float))


@given(scores_with_ties, st.integers(0, 5))
def test_rank_agrees_with_scipy(scores, target):
    expected = rankdata(-scores, method="max", axis=-1)[:, target]
    assert_array_equal(rank_of_target(scores, target), expected)


@given(scores_with_ties)
def test_over_all_targets_one_is_chosen(scores):
    assert_allclose(sum(forced_choice(scores, target) for target in range(6)), 1)


@given(scores_with_ties, st.integers(0, 5), st.floats(-10, 10))
def test_a_constant_changes_nothing(scores, target, constant):
    assert_allclose(probability_among(scores + constant), probability_among(scores), rtol=1e-9)
    assert_allclose(probability_among(scores).sum(axis=-1), 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: forced_choice([np.nan, 0.0], 0),
        lambda: forced_choice([INF, 0.0], 0),
        lambda: forced_choice([0.0, 0.0], 2),
        lambda: forced_choice([0.0, 0.0], -1),
        lambda: rank_of_target([0.0, 0.0], 0.5),
        lambda: rank_of_target([], 0),
        lambda: normalised_rank(1, 1),
        lambda: exposure(9, 8),
        lambda: exposure(0, 8),
        lambda: surprisal_bits(0.1),
        lambda: probability_among([-INF, -INF]),
        lambda: prior_corrected([0.0], [-INF]),
    ],
)
def test_input_is_checked(call):
    with pytest.raises(ValueError, match=r"\w"):
        call()
