"""Choices scored: probabilities, ties, and an order of choices that plays no part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from palimpsest.engine.choices import Answer, accuracy, answers
from palimpsest.engine.scoring import log_likelihoods


@dataclass(frozen=True)
class Asked:
    prompt: str
    choices: tuple[str, ...]
    answer: int


def test_probabilities_are_those_of_the_choices_texts(tiny):
    question = Asked("The dog is", (" here", " over there", " a cat"), 1)
    (found,) = answers(tiny, [question])
    sums = [part.sum() for part in log_likelihoods(tiny, [question.prompt], [question.choices])[0]]
    expected = np.exp(sums) / np.exp(sums).sum()
    assert found.probabilities == pytest.approx(expected, rel=1e-6)
    assert found.p_right == pytest.approx(expected[1])
    assert found.chosen == expected.argmax()


def test_the_order_of_choices_plays_no_part(tiny):
    generator = np.random.default_rng(0)
    words = [" river", " lamp", " moon", " stone", " old letter"]
    questions = [Asked(f"Number {k} is", tuple(words), k % 5) for k in range(20)]
    plain = answers(tiny, questions)
    for _ in range(3):
        order = generator.permutation(5)
        where = np.argsort(order)
        moved = [
            Asked(q.prompt, tuple(words[k] for k in order), int(where[q.answer])) for q in questions
        ]
        again = answers(tiny, moved)
        assert [each.right for each in again] == [each.right for each in plain]
        assert [each.p_right for each in again] == pytest.approx(
            [each.p_right for each in plain], rel=1e-5
        )
        assert accuracy(again) == accuracy(plain)


def test_ties_and_certainty():
    tied = Answer(np.array([0.4, 0.4, 0.2]), 0)
    assert (tied.right, tied.confidence) == (0.5, 0.4)
    even = Answer(np.full(4, 0.25), 2)
    assert (even.right, even.entropy) == (0.25, pytest.approx(1.0))
    sure = Answer(np.array([0.0, 1.0]), 1)
    assert (sure.right, sure.entropy, sure.p_right) == (1.0, 0.0, 1.0)
    assert Answer(np.array([0.0, 1.0]), 0).right == 0.0
