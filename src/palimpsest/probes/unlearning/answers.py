"""Written answers judged: how much of the truth is in them, whoever wrote them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.identity import seed_of
from palimpsest.metrics import text_recall, unlearning

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.endpoint.replies import Answer

Row = dict[str, Any]

#: Where an answer ends that goes on as running text; see :func:`ends`.
STOP = ("\n", ".")
#: So many other truths an answer is held against, at most: what is in it by chance.
OTHERS = 20


def row(grp: str, item: str, metric: str, value: float, text: str | None = None) -> Row:
    """One observation."""
    return {"grp": grp, "item": item, "metric": metric, "value": float(value), "text": text}


def facts(items: Sequence[Item]) -> Iterator[Row]:
    """Question and true answer, for whoever looks at what a model said.

    Files number their items by lines, so that the part is needed to tell them apart.
    """
    for item in items:
        place = f"{item.part}/{item.id}"
        yield row("fact", place, "question", 1.0, item.question or item.answer)
        yield row("fact", place, "truth", 1.0, item.answer)


def ends(item: Item) -> tuple[str, ...]:
    """Where an answer to an item ends that goes on as running text: at no mark that the truth goes
    on after, as one of several sentences, or with a title or a number in it, does."""
    within = item.answer.strip()[:-1]
    return tuple(mark for mark in STOP if mark not in within)


def asked_each(
    items: Sequence[Item], ask: Callable[[list[int], tuple[str, ...]], list[Answer]]
) -> list[Answer]:
    """Answers to n items, asked together where they end at the same marks.

    Args:
        items: n items.
        ask: from places of items, and marks, to answers.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(ends(item), []).append(place)
    found = {}
    for marks, places in groups.items():
        found |= dict(zip(places, ask(places, marks), strict=True))
    return [found[place] for place in range(len(items))]


def judged(items: Sequence[Item], given: Sequence[Answer], beside_chance: bool) -> Iterator[Row]:
    """Rows of answers to questions.

    Args:
        items: n items.
        given: n answers.
        beside_chance: also what little a guess can do without.

    Yields:
        ``rouge_l``, recall of the truth with the answer as text, and ``refusal``, 1 where the
        answer declines by its phrase or the server marks it as such, which is the text then;
        beside chance ``exact_match``, 1 for the words of the truth and no others, and
        ``rouge_l_by_chance``, the mean recall of other truths of the same part in this answer. A
        truth without a word that ``text_recall.words`` knows gives nan.
    """
    phrases = unlearning.refusals([answer.text for answer in given])
    truths = [text_recall.words(item.answer) for item in items]
    for place, (item, answer) in enumerate(zip(items, given, strict=True)):
        said, truth = text_recall.words(answer.text), truths[place]
        recall = text_recall.rouge_l(said, truth).recall
        yield row(item.part, item.id, "rouge_l", recall, answer.text)
        refused = bool(phrases[place]) or answer.refusal is not None
        yield row(item.part, item.id, "refusal", float(refused), answer.refusal)
        if not beside_chance:
            continue
        right = float(text_recall.exact_match(said, truth)) if truth else math.nan
        yield row(item.part, item.id, "exact_match", right)
        others = [truths[k] for k in _others(items, place) if truths[k]]
        if others and truth:
            recalls = [text_recall.rouge_l(said, other).recall for other in others]
            yield row(item.part, item.id, "rouge_l_by_chance", np.mean(recalls))


def _others(items: Sequence[Item], place: int) -> list[int]:
    """Places of other items of the same part, drawn by the item's own seed."""
    own = items[place]
    same = [k for k, item in enumerate(items) if item.part == own.part and k != place]
    draw = np.random.default_rng(seed_of("other truths", own.part, own.id))
    return [same[k] for k in draw.permutation(len(same))[:OTHERS]]


def judged_prompts(
    asked: Sequence[tuple[Item, str, str]], given: Sequence[Answer]
) -> Iterator[Row]:
    """Rows of answers to other prompts.

    Args:
        asked: n prompts, as (item, how it was asked, prompt).
        given: n answers.

    Yields:
        ``<how>_rouge_l`` of each item, the mean over its prompts, with the answer as text that
        holds most of the truth.
    """
    groups: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for (item, how, _), answer in zip(asked, given, strict=True):
        said, truth = text_recall.words(answer.text), text_recall.words(item.answer)
        recall = text_recall.rouge_l(said, truth).recall
        place = (item.part, item.id, f"{how}_rouge_l")
        groups.setdefault(place, []).append((recall, answer.text))
    for place, each in groups.items():
        best = max(each, key=lambda one: one[0])[1]
        yield row(*place, np.mean([recall for recall, _ in each]), best)
