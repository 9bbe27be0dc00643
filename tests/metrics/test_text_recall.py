"""Overlap of texts by hand, at its limits, and against slow versions of the same."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.metrics.text_recall import (
    common_subsequence,
    correct_prefix,
    exact_match,
    exact_memorisation,
    extraction_strength,
    rouge,
    rouge_l,
    rouge_n,
    rouge_whole,
    words,
)

TEXTS = st.lists(st.sampled_from("abcd"), max_size=12)
SOME = st.lists(st.sampled_from("abcd"), min_size=2, max_size=12)


def test_words_are_those_of_rouge_score():
    assert words("It's 2.5 times; the Log-likelihood, naïve") == [
        *["it", "s", "2", "5", "times", "the", "log", "likelihood", "na", "ve"]
    ]
    assert words("...") == []


def test_by_hand():
    # The example of Lin (2004), section 3.1: ROUGE-L tells the two candidates apart by order.
    truth = ["police", "killed", "the", "gunman"]
    first, second = ["police", "kill", "the", "gunman"], ["the", "gunman", "kill", "police"]
    assert rouge_l(first, truth) == (3 / 4, 3 / 4, 3 / 4)
    assert rouge_l(second, truth) == (2 / 4, 2 / 4, 2 / 4)
    assert rouge_n(first, truth, 2) == rouge_n(second, truth, 2) == (1 / 3, 1 / 3, 1 / 3)


def test_repeated_words_count_as_often_as_both_sides_have_them():
    assert rouge_n(["the", "the", "the", "the"], ["the", "cat", "saw", "the", "dog"], 1) == (
        pytest.approx((2 / 5, 2 / 4, 4 / 9))
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_limits(n):
    text = ["one", "two", "three", "four", "five", "six"]
    assert rouge_n(text, text, n) == (1, 1, 1)
    assert rouge_n(["a", "b", "c", "d", "e"], text, n) == (0, 0, 0)
    assert rouge_n([], text, n) == (0, 0, 0)
    assert rouge_l(text, text) == (1, 1, 1)
    assert rouge_l([], text) == (0, 0, 0)
    assert all(math.isnan(value) for value in rouge_n(text, ["one", "two"][: n - 1], n))


def test_runs_shorter_than_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        rouge_n(["a"], ["a"], 0)


def slow_subsequence(left, right):
    if not left or not right:
        return 0
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def slow_shared(left, right, n):
    """Runs in common, struck off one by one."""
    left = [left[i : i + n] for i in range(len(left) - n + 1)]
    shared = 0
    for run in [right[i : i + n] for i in range(len(right) - n + 1)]:
        if run in left:
            left.remove(run)
            shared += 1
    return shared


@given(TEXTS, TEXTS)
def test_subsequence_equals_the_slow_one(left, right):
    assert common_subsequence(left, right) == slow_subsequence(left, right)


@given(TEXTS, SOME, st.integers(1, 2))
def test_rouge_n_equals_the_slow_one(prediction, truth, n):
    found = rouge_n(prediction, truth, n)
    shared = slow_shared(prediction, truth, n)
    assert found.recall == shared / (len(truth) - n + 1)
    assert found.precision == shared / max(len(prediction) - n + 1, 1)
    if found.recall + found.precision:
        harmonic = 2 * found.recall * found.precision / (found.recall + found.precision)
        assert found.f1 == pytest.approx(harmonic)


@given(SOME, SOME)
def test_bounds_and_symmetry(left, right):
    for key, found in rouge(left, right).items():
        turned = rouge(right, left)[key]
        assert (found.recall, found.f1) == (turned.precision, turned.f1)
        assert all(0 <= value <= 1 for value in found)
    assert rouge_l(left, right).recall <= rouge_n(left, right, 1).recall
    assert correct_prefix(left, right)[0] <= common_subsequence(left, right)


def test_the_floor_of_the_whole_is_near_one_half_and_that_of_the_completion_near_nothing():
    generator = random.Random(0)
    vocabulary = [f"w{i}" for i in range(2_000)]
    whole, alone = [], []
    for _ in range(100):
        sentence, other = (generator.choices(vocabulary, k=24) for _ in range(2))
        whole.append(rouge_whole(sentence[:12], other[12:], sentence[12:])["rouge1"].recall)
        alone.append(rouge(other[12:], sentence[12:])["rouge1"].recall)
    assert np.mean(whole) == pytest.approx(0.5, abs=0.02)
    assert np.mean(alone) < 0.02


def test_the_whole_is_cue_and_completion():
    found = rouge_whole(["a", "b"], ["x", "d"], ["c", "d"])
    assert found["rouge1"].recall == 3 / 4
    assert found["rouge2"].recall == 1 / 3
    assert found["rougeL"].recall == 3 / 4


def test_exact_match_and_prefix():
    truth = [5, 6, 7, 8]
    assert exact_match((5, 6, 7, 8), truth)
    assert not exact_match([5, 6, 7], truth)
    assert not exact_match([5, 6, 7, 8, 9], truth)
    assert correct_prefix([5, 6, 9, 8], truth) == (2, 0.5)
    assert correct_prefix([9, 6, 7, 8], truth) == (0, 0)
    assert correct_prefix([5, 6, 7, 8, 9], truth) == (4, 1)
    assert correct_prefix([], truth) == (0, 0)
    assert math.isnan(correct_prefix([1], [])[1])


@pytest.mark.parametrize(
    ("right", "strength", "share"),
    [
        ([1, 1, 1, 1], 1, 1),
        ([0, 1, 1, 1], 0.75, 0.75),
        ([1, 1, 0, 1], 0.25, 0.75),
        ([1, 1, 1, 0], 0, 0.75),  # OpenUnlearning's loop gives 1/4
        ([0, 0, 0, 0], 0, 0),
        ([1, 0, 1, 0, 1, 1], 1 / 3, 2 / 3),
    ],
)
def test_extraction_strength_by_hand(right, strength, share):
    for given_as in (right, np.array(right, dtype=bool), tuple(map(bool, right))):
        assert extraction_strength(given_as) == pytest.approx(strength)
        assert exact_memorisation(given_as) == pytest.approx(share)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_extraction_strength_equals_the_definition(right):
    least = next(k for k in range(len(right) + 1) if all(right[k:]))
    assert extraction_strength(right) == 1 - least / len(right)
    assert extraction_strength(right) <= exact_memorisation(right) + 1e-12


def test_nothing_to_extract_is_no_number_and_probabilities_are_refused():
    assert math.isnan(extraction_strength([]))
    assert math.isnan(exact_memorisation(np.array([], dtype=bool)))
    with pytest.raises(ValueError, match="true or false"):
        extraction_strength([0.4, 1.0])
