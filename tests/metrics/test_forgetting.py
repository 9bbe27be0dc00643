"""Forgetting of answers whose measures are known by hand, and what models of each state get."""

import numpy as np
import pytest

from palimpsest.metrics.forgetting import (
    chance_level,
    forget_ratio,
    forgetting,
    guess_error,
    label_bias,
    state,
)

TRUTH = np.tile([0, 1, 2, 3], 25)


def test_by_hand():
    truth, before, after = list("aabbaabb"), list("aabbaabb"), list("aabbbbaa")
    result = forgetting(truth, before, after, 2)
    assert (result.n, result.taught, result.forgotten, result.chance) == (8, 1.0, 0.5, 0.5)
    assert (result.gap, result.ratio, result.flip_rate) == (0.5, 1.0, 0.5)
    assert (result.label_bias, result.state) == (0.5, "random")


def test_half_of_what_was_above_chance_is_half_forgotten():
    after = np.where(np.arange(100) < 40, (TRUTH + 1) % 4, TRUTH)  # accuracy 0.6
    after[40:43] = (TRUTH[40:43] + 1) % 4  # 0.57
    result = forgetting(TRUTH, TRUTH, after, 4)
    assert result.ratio == pytest.approx((1 - 0.57) / 0.75)
    assert result.state == "kept"


def test_nothing_changed_is_nothing_forgotten():
    result = forgetting(TRUTH, TRUTH, TRUTH, 4)
    assert (result.gap, result.ratio, result.flip_rate, result.state) == (0, 0, 0, "kept")


def test_chance_is_the_mean_over_items_of_one_over_choices():
    assert chance_level([2, 4]) == pytest.approx(0.375)
    assert guess_error([2] * 100) == pytest.approx(0.05)
    # variance of a sum of unequal guesses, not that of a guess at the mean chance
    assert guess_error([2, 4]) == pytest.approx(np.sqrt(0.25 + 0.1875) / 2)


@pytest.mark.parametrize("taught", [0.3, 0.5, 0.6])
def test_what_was_never_learned_has_no_ratio(taught):
    assert np.isnan(forget_ratio(taught, 0.5, [2] * 100))  # 0.6 is chance + 2 SE exactly


def test_a_step_above_it_has_one():
    assert forget_ratio(0.61, 0.5, [2] * 100) == pytest.approx(1.0)


def test_a_few_right_answers_are_no_knowledge():
    assert np.isnan(forget_ratio(1.0, 0.0, [2] * 4))


def test_below_chance_the_ratio_exceeds_one():
    assert forget_ratio(1.0, 0.2, [2] * 100) == pytest.approx(1.6)


def test_a_constant_answer_is_a_collapse_not_a_guess():
    result = forgetting(TRUTH, TRUTH, np.zeros(100, int), 4)
    assert (result.forgotten, result.label_bias, result.state) == (0.25, 1.0, "collapsed")
    assert result.ratio == 1.0


def test_guessing_is_random():
    rng = np.random.default_rng(0)
    found = [forgetting(TRUTH, TRUTH, rng.integers(0, 4, 100), 4).state for _ in range(400)]
    assert found.count("random") / 400 > 0.93  # 2 standard errors
    assert "collapsed" not in found


def test_always_the_wrong_answer_is_reversed():
    result = forgetting(TRUTH, TRUTH, (TRUTH + 1) % 4, 4)
    assert (result.state, result.flip_rate) == ("reversed", 1.0)


@pytest.mark.parametrize(
    ("accuracy", "bias", "word"),
    [(0.61, 0.95, "kept"), (0.6, 0.5, "random"), (0.5, 0.89, "random"), (0.5, 0.9, "collapsed"),
     (0.4, 0.5, "random"), (0.39, 1.0, "reversed")],
)  # fmt: skip
def test_the_edges_of_the_states(accuracy, bias, word):
    assert state(accuracy, bias, [2] * 100) == word


def test_the_largest_share_of_one_answer():
    assert label_bias(["x", "y", "x", "z"]) == 0.5


@pytest.mark.parametrize("choices", [1, [2, 1], []])
def test_one_choice_is_no_choice(choices):
    with pytest.raises(ValueError, match="at least 2 choices"):
        chance_level(choices)


def test_answers_must_pair():
    with pytest.raises(ValueError, match="shapes"):
        forgetting([0, 1], [0, 1], [0], 2)
    with pytest.raises(ValueError, match="shapes"):
        forgetting([], [], [], 2)
