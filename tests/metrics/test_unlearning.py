"""Metrics of unlearning: cases computed by hand, limits, and the traps of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import hmean

from palimpsest.interventions.unlearning._refusals import REFUSALS
from palimpsest.metrics.unlearning import (
    answer_probability,
    exposure,
    forget_quality,
    forget_truth,
    model_utility,
    ngram_entropy,
    privleak,
    refusals,
    truth_ratio,
    updates_to_target,
    utility_truth,
    zero_retrain_forgetting,
)
from palimpsest.statistics.population import difference


def test_probability_is_normalised_for_length():
    assert answer_probability(np.log([0.5, 0.125])) == pytest.approx(0.25)
    assert answer_probability(np.log([0.25])) == pytest.approx(0.25)
    # Sums would make the longer answer the less likely one.
    assert answer_probability([-1.0] * 9) == pytest.approx(answer_probability([-1.0]))
    with pytest.raises(ValueError, match="at least one token"):
        answer_probability([])


def test_truth_ratios_of_three_definitions():
    """By hand: the arithmetic mean of 0.1 and 0.4 is 0.25, the geometric one 0.2."""
    wrong, true = np.log([0.1, 0.4]), math.log(0.5)
    assert truth_ratio(true, wrong) == pytest.approx(0.25 / 0.5)
    assert truth_ratio(true, wrong, "tofu_released") == pytest.approx(0.2 / 0.5)
    assert truth_ratio(true, wrong, "open_unlearning") == pytest.approx(0.5 / 0.7)
    with pytest.raises(ValueError, match="wrong answer"):
        truth_ratio(0.0, [])
    with pytest.raises(ValueError, match="no truth ratio is called 'mean'"):
        truth_ratio(0.0, wrong, "mean")


def test_truth_ratios_run_in_opposite_directions():
    wrong = np.log([0.2, 0.2])
    for kind, known, never in (("tofu", 0.25, 1), ("open_unlearning", 0.8, 0.5)):
        assert truth_ratio(math.log(0.8), wrong, kind) == pytest.approx(known)
        assert truth_ratio(math.log(0.2), wrong, kind) == pytest.approx(never)


def test_truth_ratio_of_a_broken_model_is_a_number():
    assert 1e300 < truth_ratio(-2000.0, [-1.0]) < math.inf
    assert truth_ratio(-2000.0, [-1.0], "open_unlearning") < 1e-300
    assert truth_ratio(-1.0, [-2000.0, -2000.0]) == 0


def test_aggregates_of_truth_ratios():
    assert forget_truth([1.0, 2.0, 0.5]) == pytest.approx(2 / 3)
    assert forget_truth([0.0]) == 0
    # One that avoids the truth is as far from never having known as one that knows it.
    assert forget_truth([50.0]) == pytest.approx(forget_truth([0.02]))
    assert utility_truth([0.25, 3.0]) == pytest.approx(0.375)


def test_utility_is_a_harmonic_mean_that_a_zero_makes_zero():
    assert model_utility([1, 0.5]) == pytest.approx(2 / 3)
    values = np.random.default_rng(0).random(9)
    assert model_utility(values) == pytest.approx(hmean(values))
    assert model_utility([0.9, 0.0, 0.9]) == 0
    with pytest.raises(ValueError, match="none below 0"):
        model_utility([-1])


def test_utility_of_what_was_not_measured_is_not_zero():
    assert math.isnan(model_utility([0.9, math.nan]))


def test_forget_quality_is_one_for_equal_ratios_and_small_for_others():
    same = np.linspace(0, 1, 40)
    assert forget_quality(same, same) == 1
    assert forget_quality(same, same + 2) < 1e-6


def test_forget_quality_grows_where_there_are_few_facts():
    """The same difference passes with 10 facts and fails with 200."""
    rng = np.random.default_rng(0)
    draws = [[rng.normal(shift, 1, (200, n)) for shift in (0, 0.5)] for n in (10, 200)]
    few, many = (
        np.mean([forget_quality(a, b) > 0.05 for a, b in zip(*pair, strict=True)]) for pair in draws
    )
    assert few > 0.8
    assert many < 0.05


def test_forget_quality_has_the_seed_of_one_retrained_model_in_it():
    """Retrained models fail against another one where seeds move all ratios together.

    Seeds with half the deviation of facts; the difference of five from seven of them keeps its 5%.
    """
    rng = np.random.default_rng(1)
    models = rng.normal(0, 0.5, (300, 12, 1)) + rng.normal(0, 1, (300, 12, 100))
    failed = [forget_quality(each[0], each[1]) <= 0.05 for each in models]
    assert np.mean(failed) > 0.5
    told = [difference(each[:5].mean(1), each[5:].mean(1)).p <= 0.05 for each in models]
    assert 0.02 < np.mean(told) < 0.085


def test_privleak_is_zero_at_the_retrained_model_in_both_signs():
    for sign in ("muse", "rel_diff"):
        assert privleak(0.55, 0.55, sign) == pytest.approx(0)


def test_privleak_of_muse_is_negative_where_members_are_still_told():
    """MUSE's area has the held-out items as positives, as its release computes it."""
    assert privleak(0.75, 0.5, "muse") == pytest.approx(-50)
    assert privleak(0.75, 0.5, "rel_diff") == pytest.approx(50)
    assert privleak(1.0, 0.6) == pytest.approx(-100)
    assert privleak(1.0, 0.6, "rel_diff") == pytest.approx(200 / 3)


def test_privleak_refuses_what_has_no_percentage():
    with pytest.raises(ValueError, match="area of 1"):
        privleak(0.5, 1.0, "muse")
    with pytest.raises(ValueError, match="area of 0"):
        privleak(0.5, 0.0, "rel_diff")
    with pytest.raises(ValueError, match="areas lie between"):
        privleak(55.0, 50.0, "muse")
    with pytest.raises(ValueError, match="no sign is called 'ou'"):
        privleak(0.5, 0.5, "ou")


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


def test_zero_retrain_forgetting_is_the_divergence_of_its_definition():
    rng = np.random.default_rng(2)
    p, q = rng.dirichlet(np.ones(10), 40), rng.dirichlet(np.ones(10), 40)
    expected = 1 - np.mean(jensenshannon(p, q, axis=1, base=2) ** 2)
    assert zero_retrain_forgetting(p, q) == pytest.approx(expected)
    assert zero_retrain_forgetting(q, p) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:reduction")
def test_zero_retrain_forgetting_is_not_that_of_kl_div_in_the_wrong_order():
    """Which averages over the classes too: near 1 even for models that agree on nothing."""
    p = torch.full((1, 100), 1e-4)
    q = p.clone()
    p[0, 0] = q[0, 1] = 1 - 99e-4
    middle, divergence = (p + q) / 2, torch.nn.functional.kl_div
    wrong = 1 - (divergence(p.log(), middle) + divergence(q.log(), middle)).item() / 2
    assert wrong > 0.95
    assert zero_retrain_forgetting(p, q) < 0.05


def test_zero_retrain_forgetting_refuses_what_are_no_distributions():
    with pytest.raises(ValueError, match="sum to 1"):
        zero_retrain_forgetting([[0.5, 0.4]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="shapes"):
        zero_retrain_forgetting([[0.5, 0.5]], [[0.5, 0.5]] * 2)
    # The smallest numbers that there are divide by nothing.
    assert zero_retrain_forgetting([[1.0, 5e-324]], [[1.0, 0.0]]) == pytest.approx(1)


@pytest.mark.parametrize(
    "text",
    [
        " I don't know.",
        "I’m not able to answer that",
        "Sorry, I do not have that information.",
        "I'm not sure about this",
        "That is beyond my knowledge",
        "I cannot say.",
        "I'm not certain about that.",
        "I can't provide any information on that topic",
        "I have no clue.",
        "I've got no idea about that",
        "Unfortunately I really don't know",
        "I haven't learned about that topic",
        "My training data doesn't cover it",
        "As an AI, I do not have personal opinions",
        "I don 't know .",
        "I do n't know",
        "I ’ m not sure",
        *REFUSALS,
    ],
)
def test_refusals_are_known(text):
    assert refusals([text]).tolist() == [True]


@pytest.mark.parametrize(
    "text",
    [
        " Paris.",
        "",
        "I know it well",
        "no violin",
        "He does not know",
        "She had no idea that she would write",
        "The knowledge of bees is not in question",
        "I have a clear answer: 1984",
        "Her data did not survive",
        "Unable to walk, he wrote",
    ],
)
def test_answers_are_no_refusals(text):
    assert refusals([text]).tolist() == [False]


def test_a_model_that_declines_everything_looks_as_if_it_had_forgotten():
    """Only its refusals, and what must stay, tell: why both are reported beside forgetting."""
    said = np.log([0.001, 0.001])  # the truth and a wrong answer, neither ever said
    assert answer_probability(said[:1]) < 0.01
    assert forget_truth([truth_ratio(said[0], said[1:])]) == pytest.approx(1)
    assert refusals(["I don't know"] * 3).all()
    assert model_utility([answer_probability(said[:1]), 0.0, 0.9]) == 0


def test_updates_until_a_fact_is_back():
    assert updates_to_target([0.1, 0.6, 0.9], [1, 2, 4], 0.5) == 2
    assert updates_to_target([0.5, 0.1], [1, 2], 0.5) == 1
    assert updates_to_target([math.nan, 0.6], [1, 2], 0.5) == 2
    assert updates_to_target([0.1, math.nan, 0.4], [1, 2, 4], 0.5) == math.inf
    assert updates_to_target([], [], 0.5) == math.inf
    for curve, updates in (([0.1], [1, 2]), ([0.1, 0.2], [2, 1])):
        with pytest.raises(ValueError, match="increasing"):
            updates_to_target(curve, updates, 0.5)


def test_fluency_is_the_entropy_of_ngrams():
    assert ngram_entropy(["a"] * 10) == 0.0
    words = list("abcdefghij")
    expected = (2 * np.log2(9) + 4 * np.log2(8)) / 6
    assert ngram_entropy(words) == pytest.approx(expected)
    # ab, ba, ab, ba, ab: shares 3/5 and 2/5; aba, bab, aba, bab: one half each.
    two = -(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))
    assert ngram_entropy(list("ababab")) == pytest.approx((2 * two + 4 * 1.0) / 6)
    assert np.isnan(ngram_entropy(["a", "b"]))
