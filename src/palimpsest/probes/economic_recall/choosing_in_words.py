"""Forced choice in words: alternatives with letters, for models that give no log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.data.facts import Fact
from palimpsest.engine.asking import answers
from palimpsest.metrics.parsing import parse_choice
from palimpsest.metrics.parsing.choices import ParsedChoice

if TYPE_CHECKING:
    from palimpsest.models.endpoint.model import Endpoint
    from palimpsest.models.endpoint.replies import Answer

Row = dict[str, Any]

#: How alternatives are put after a prompt, by the model's format.
_OFFER = {
    "plain": "{prompt} ... Choices: {choices}. The letter of the right choice is",
    "chat": "{prompt}\nChoices: {choices}. Answer with the letter of the right choice alone.",
}


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
        asked += [(fact, suffix, options, _offer(model, lead, options)) for suffix, lead in group]
    given = answers(model, [prompt for *_, prompt in asked], most_tokens)
    for (fact, suffix, options, prompt), answer in zip(asked, given, strict=True):
        constant = {"item": fact.item(suffix), "grp": fact.arm}
        read = read_choice(answer, options)
        right = read.index is not None and options[read.index] == fact.assigned
        yield constant | {"metric": "correct", "value": float(right)}
        yield constant | {"metric": "choices", "value": float(len(options))}
        yield from (constant | row for row in said(prompt, answer, read))


def read_choice(answer: Answer, options: Sequence[str]) -> ParsedChoice:
    """Which option an answer names; what the server calls a refusal names none."""
    return ParsedChoice(None, "refusal") if answer.refusal else parse_choice(answer.text, options)


def said(prompt: str, answer: Answer, read: ParsedChoice) -> Iterator[Row]:
    """Prompt, answer and how it was read, without item and arm."""
    yield {"metric": "prompt", "value": None, "text": prompt}
    yield {"metric": "answer", "value": read.index, "text": answer.text}
    yield {"metric": "category_choice", "value": None, "text": read.category}
    if answer.refusal:
        yield {"metric": "refusal", "value": 1.0, "text": answer.refusal}


def _offer(model: Endpoint, prompt: str, options: Sequence[str]) -> str:
    choices = "; ".join(f"{chr(ord('A') + i)}: {option}" for i, option in enumerate(options))
    return _OFFER[model.format].format(prompt=prompt, choices=choices)
