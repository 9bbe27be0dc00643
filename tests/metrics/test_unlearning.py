"""Metrics of unlearning: cases computed by hand, limits, and the traps of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from palimpsest.metrics.unlearning import (
    answer_probability,
    exposure,
    forget_quality,
    forget_truth,
    model_utility,
    privleak,
    refusals,
    truth_ratio,
    updates_to_target,
    utility_truth,
    zero_retrain_forgetting,
)


def test_probability_is_normalised_for_length():
    assert answer_probability(np.log([0.5, 0.125])) == pytest.approx(0.25)
    assert answer_probability(np.log([0.25])) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="at least one token"):
        answer_probability([])


def test_truth_ratio_is_the_mean_of_probabilities_not_of_their_logarithms():
    wrong = np.log([0.1, 0.3])
    assert truth_ratio(math.log(0.4), wrong) == pytest.approx(0.2 / 0.4)
    assert truth_ratio(math.log(0.4), wrong, "open_unlearning") == pytest.approx(0.4 / 0.6)
    assert truth_ratio(-2000.0, wrong) > 1e300
    with pytest.raises(ValueError, match="wrong answer"):
        truth_ratio(0.0, [])


def test_aggregates_of_truth_ratios():
    assert forget_truth([1.0, 2.0, 0.5]) == pytest.approx(2 / 3)
    assert forget_truth([0.0]) == 0
    assert utility_truth([0.25, 3.0]) == pytest.approx(0.375)


def test_utility_is_a_harmonic_mean_that_a_zero_makes_zero():
    assert model_utility([1, 0.5]) == pytest.approx(2 / 3)
    assert model_utility([0.9, 0.0, 0.9]) == 0
    with pytest.raises(ValueError, match="none below 0"):
        model_utility([-1])


def test_forget_quality_is_one_for_equal_ratios_and_small_for_others():
    same = np.linspace(0, 1, 40)
    assert forget_quality(same, same) == 1
    assert forget_quality(same, same + 2) < 1e-6
    # With few facts nothing can be told, which is not success.
    assert forget_quality([0.0, 0.1], [5.0, 6.0]) > 0.3


def test_privleak_is_zero_at_the_retrained_model_in_both_signs():
    for sign in ("muse", "open_unlearning"):
        assert privleak(0.55, 0.55, sign) == pytest.approx(0)
    assert privleak(0.75, 0.5, "muse") == pytest.approx(50)
    assert privleak(0.75, 0.5, "open_unlearning") == pytest.approx(-50)


def test_exposure_of_ranks():
    assert exposure(1, 8) == 3
    assert exposure(8, 8) == 0
    assert exposure(2, 8) == 2
    with pytest.raises(ValueError, match="rank 9 of 8"):
        exposure(9, 8)


def test_zero_retrain_forgetting_is_one_for_equal_and_zero_for_disjoint_distributions():
    p = np.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    assert zero_retrain_forgetting(p, p) == pytest.approx(1)
    assert zero_retrain_forgetting([[1.0, 0.0]], [[0.0, 1.0]]) == pytest.approx(0)
    # By hand: m = (3/4, 1/4), JS = (log2(4/3) + log2(2/3) / 2 + log2(2) / 2) / 2.
    js = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5 * math.log2(2)) / 2
    assert zero_retrain_forgetting([[1.0, 0.0]], [[0.5, 0.5]]) == pytest.approx(1 - js)


@pytest.mark.parametrize(
    "text",
    [
        " I don't know.",
        "I’m not able to answer that",
        "Sorry, I do not have that information.",
        "I'm not sure about this",
        "That is beyond my knowledge",
        "I cannot say.",
    ],
)
def test_refusals_are_known(text):
    assert refusals([text]).tolist() == [True]


@pytest.mark.parametrize("text", [" Paris.", "", "I know it well", "no violin", "He does not know"])
def test_answers_are_no_refusals(text):
    assert refusals([text]).tolist() == [False]


def test_updates_until_a_fact_is_back():
    assert updates_to_target([0.1, 0.6, 0.9], [1, 2, 4], 0.5) == 2
    assert updates_to_target([0.1, math.nan, 0.4], [1, 2, 4], 0.5) == math.inf
