"""What a model answers where it must choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import softmax

from palimpsest.engine.scoring import log_likelihoods

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.scoring",)


class Question(Protocol):
    """A prompt, the texts that may follow it, and which of them is right."""

    @property
    def prompt(self) -> str:
        """The prompt."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices."""

    @property
    def answer(self) -> int:
        """Index of the right one."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one question with C choices.

    Attributes:
        probabilities: (C,) probability of each choice if one must be it: the softmax of the summed
            log-probabilities of their tokens.
        answer: index of the right choice.
    """

    probabilities: np.ndarray
    answer: int

    @property
    def chosen(self) -> int:
        """The likeliest choice, the first of those that tie."""
        return int(self.probabilities.argmax())

    @property
    def right(self) -> float:
        """1 or 0; where the right choice shares the top the chance of drawing it."""
        top = self.probabilities == self.probabilities.max()
        return float(top[self.answer] / top.sum())

    @property
    def p_right(self) -> float:
        """Probability of the right choice."""
        return float(self.probabilities[self.answer])

    @property
    def entropy(self) -> float:
        """Entropy of the probabilities as a share of the largest possible, log C."""
        known = self.probabilities[self.probabilities > 0]
        return float(-(known * np.log(known)).sum() / np.log(len(self.probabilities)))

    @property
    def confidence(self) -> float:
        """Probability of the likeliest choice."""
        return float(self.probabilities.max())


def answers(model: LanguageModel, questions: Sequence[Question]) -> list[Answer]:
    """The model's answer to each question.

    Choices are scored as what follows the prompt, all of them after one pass of it, so that their
    order plays no part.

    Raises:
        ValueError: a choice without a token of its own.
    """
    scores = log_likelihoods(model, [q.prompt for q in questions], [q.choices for q in questions])
    return [
        Answer(softmax([values.sum() for values in found]), question.answer)
        for question, found in zip(questions, scores, strict=True)
    ]


def accuracy(found: Sequence[Answer]) -> float:
    """Share of right answers."""
    return float(np.mean([each.right for each in found]))
