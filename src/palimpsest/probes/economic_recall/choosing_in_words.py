"""Forced choice in words: alternatives with letters, for models that give no log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.data.facts import Fact
from palimpsest.engine.asking import answers, offer
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
    """
    asked = []
    for fact, group in zip(facts, leads, strict=True):
        options = [fact.candidates[i] for i in fact.choices]
        asked += [(fact, suffix, options, offer(model, lead, options)) for suffix, lead in group]
    given = answers(model, [prompt for *_, prompt in asked], most_tokens)
    for (fact, suffix, options, prompt), answer in zip(asked, given, strict=True):
        constant = {"item": fact.item(suffix), "grp": fact.arm}
        read = read_choice(answer.text, options, refused=bool(answer.refusal))
        right = read.index is not None and options[read.index] == fact.assigned
        yield constant | {"metric": "correct", "value": float(right)}
        yield constant | {"metric": "choices", "value": float(len(options))}
        yield from (constant | row for row in said(prompt, answer, read))


def said(prompt: str, answer: Answer, read: ParsedChoice) -> Iterator[Row]:
    """Prompt, answer and how it was read, without item and arm."""
    yield {"metric": "prompt", "value": None, "text": prompt}
    yield {"metric": "answer", "value": read.index, "text": answer.text}
    yield {"metric": "category_choice", "value": None, "text": read.category}
    if answer.refusal:
        yield {"metric": "refusal", "value": 1.0, "text": answer.refusal}
