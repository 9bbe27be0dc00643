"""What random labels left of a task: forget gap and ratio, flips, and what answers look like now.

A model is taught a task, then trained on random labels of some of its items (Zhang, Choshen &
Andreas 2024, "Unforgettable Generalization in Language Models", COLM, arXiv 2409.02228). The same
items are asked before and after. Gap and ratio carry the paper's names; when the ratio is
undefined, and the words for the state, are our definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = 1
#: Within this many standard errors of a guesser, an accuracy is near chance.
NEAR_CHANCE = 2.0
#: Near chance, from this share of one answer on, the model answers without looking.
COLLAPSED_SHARE = 0.9

State = Literal["kept", "random", "collapsed", "reversed"]


@dataclass(frozen=True)
class Forgetting:
    """One set of items before and after.

    Attributes:
        n: items.
        taught: accuracy before.
        forgotten: accuracy after.
        chance: expected accuracy of a guesser.
        gap: taught - forgotten.
        ratio: gap / (taught - chance): 1 is all of it, 0 nothing, nan where there was nothing to
            forget (:func:`forget_ratio`).
        flip_rate: share of items with another answer than before.
        label_bias: largest share of one answer after.
        state: what the answers after are (:func:`state`).
    """

    n: int
    taught: float
    forgotten: float
    chance: float
    gap: float
    ratio: float
    flip_rate: float
    label_bias: float
    state: State


def forgetting(
    truth: ArrayLike, before: ArrayLike, after: ArrayLike, n_choices: ArrayLike
) -> Forgetting:
    """All measures of one set of items.

    Args:
        truth: (items,) right answers, as labels of any type.
        before: (items,) answers of the taught model.
        after: (items,) answers after training on random labels.
        n_choices: (items,) or one number: choices an item has, at least 2.

    Raises:
        ValueError: no items, unequal lengths, or fewer than two choices.
    """
    truth, before, after = (np.asarray(a) for a in (truth, before, after))
    if not truth.shape == before.shape == after.shape or truth.ndim != 1 or not truth.size:
        raise ValueError(f"answers of shapes {truth.shape}, {before.shape} and {after.shape}")
    taught, forgotten = float(np.mean(before == truth)), float(np.mean(after == truth))
    choices = np.broadcast_to(np.asarray(n_choices, dtype=float), truth.shape)
    bias = label_bias(after)
    return Forgetting(
        n=len(truth),
        taught=taught,
        forgotten=forgotten,
        chance=chance_level(choices),
        gap=taught - forgotten,
        ratio=forget_ratio(taught, forgotten, choices),
        flip_rate=float(np.mean(before != after)),
        label_bias=bias,
        state=state(forgotten, bias, choices),
    )


def chance_level(n_choices: ArrayLike) -> float:
    """Mean over items of 1 / number of choices; ValueError below two choices or without items."""
    return float(np.mean(_chances(n_choices)))


def guess_error(n_choices: ArrayLike) -> float:
    """Standard error of the accuracy of a model that guesses every item by itself.

    That of the taught model's own accuracy is 0 where all items are right, however few they are.
    """
    chances = _chances(n_choices)
    return float(np.sqrt(np.sum(chances * (1 - chances))) / len(chances))


def forget_ratio(taught: float, forgotten: float, n_choices: ArrayLike) -> float:
    """(taught - forgotten) / (taught - chance), accuracies on items with ``n_choices`` (items,).

    nan where taught is at most chance + 2 standard errors of a guesser: what was never learned
    cannot be forgotten, and the ratio would be noise over noise. Not cut to [0, 1]: above 1 means
    below chance afterwards.
    """
    chance = chance_level(n_choices)
    if not taught > chance + NEAR_CHANCE * guess_error(n_choices) + 1e-12:
        return np.nan
    return (taught - forgotten) / (taught - chance)


def label_bias(answers: ArrayLike) -> float:
    """Largest share of one answer: 1 for a constant answer, 1 / choices at least."""
    counts = np.unique(np.asarray(answers), return_counts=True)[1]
    return float(counts.max() / counts.sum())


def state(accuracy: float, bias: float, n_choices: ArrayLike) -> State:
    """What answers of this accuracy and label bias are: our definition.

    Near chance is within 2 standard errors of a guesser. ``kept``: above that, so that something
    of the task is left (the ratio says how much was lost). ``reversed``: below it. Near chance,
    ``collapsed`` where one answer has a share of at least 0.9, otherwise ``random``.

    Args:
        accuracy: after training on random labels.
        bias: largest share of one answer.
        n_choices: (items,).
    """
    distance = accuracy - chance_level(n_choices)
    near = NEAR_CHANCE * guess_error(n_choices) + 1e-12
    if distance > near:
        return "kept"
    if distance < -near:
        return "reversed"
    return "collapsed" if bias >= COLLAPSED_SHARE - 1e-12 else "random"


def _chances(n_choices: ArrayLike) -> NDArray[np.float64]:
    choices = np.atleast_1d(np.asarray(n_choices, dtype=float))
    if choices.ndim != 1 or not choices.size or not (choices >= 2).all():
        raise ValueError("every item needs at least 2 choices")
    return 1 / choices
