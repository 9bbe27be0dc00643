"""Forced choice in words: alternatives with letters, for models that give no log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.facts import Fact
from palimpsest.engine.asking import lettered, offer
from palimpsest.metrics.choice import forced_choice
from palimpsest.metrics.parsing import ParsedChoice, read_choice

if TYPE_CHECKING:
    from palimpsest.models.endpoint.model import Endpoint
    from palimpsest.models.endpoint.replies import Answer

Row = dict[str, Any]


def choose_in_words(
    model: Endpoint,
    facts: Sequence[Fact],
    leads: Sequence[Sequence[tuple[str, str]]],
    most_tokens: int,
) -> Iterator[Row]:
    """Ask for the right one of every fact's choices after every lead.

    Args:
        model: the model.
        facts: n facts; their choices stand in random order.
        leads: for each fact the prompts, as (suffix of the item, prompt).
        most_tokens: longest answer.

    Yields:
        Rows of metrics: ``correct`` (1 for the right choice alone), ``choices``; and as text
        ``prompt``, ``answer`` (its value: position of what was chosen), ``category_choice`` and,
        where the model refused, ``refusal``. What cannot be read as one choice is not correct.
        Where the server gives the probabilities of letters, also what :func:`by_letter` does.
    """
    asked = []
    for fact, group in zip(facts, leads, strict=True):
        options = [fact.candidates[i] for i in fact.choices]
        asked += [(fact, suffix, options, offer(model, lead, options)) for suffix, lead in group]
    counts = [len(options) for _, _, options, _ in asked]
    given = lettered(model, [prompt for *_, prompt in asked], counts, most_tokens)
    for (fact, suffix, options, prompt), (answer, scores) in zip(asked, given, strict=True):
        constant = {"item": fact.item(suffix), "grp": fact.arm}
        read = read_choice(answer.text, options, refused=bool(answer.refusal))
        right = read.index is not None and options[read.index] == fact.assigned
        yield constant | {"metric": "correct", "value": float(right)}
        yield constant | {"metric": "choices", "value": float(len(options))}
        yield from (constant | row for row in said(prompt, answer, read))
        if scores is not None:
            found = by_letter(scores, options.index(fact.assigned))
            yield from (constant | {"metric": m, "value": v} for m, v in found.items())


def by_letter(scores: np.ndarray, right: int) -> dict[str, float]:
    """Measures of the letters' log-probabilities, of which those not listed are NaN.

    ``letters_missing`` (how many are not listed) and ``letter_mass`` (probability of all listed
    ones together); where any is listed also ``correct_letter`` (forced choice, where a letter that
    is missing is less likely than all that are listed) and ``share_letter`` (probability of the
    right letter among the listed ones, 0 where it is missing).
    """
    p = np.exp(np.nan_to_num(scores, nan=-np.inf))
    found = {"letters_missing": float(np.isnan(scores).sum()), "letter_mass": float(p.sum())}
    if p.any():
        found["correct_letter"] = float(forced_choice(p, right))
        found["share_letter"] = float(p[right] / p.sum())
    return found


def said(prompt: str, answer: Answer, read: ParsedChoice) -> Iterator[Row]:
    """Prompt, answer and how it was read, without item and arm."""
    yield {"metric": "prompt", "value": None, "text": prompt}
    yield {"metric": "answer", "value": read.index, "text": answer.text}
    yield {"metric": "category_choice", "value": None, "text": read.category}
    if answer.refusal:
        yield {"metric": "refusal", "value": 1.0, "text": answer.refusal}
