"""What may not be written of an answer: its content words and numbers that the question lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from palimpsest.engine.forbidden import folded

if TYPE_CHECKING:
    from palimpsest.data.items import Item

VERSION = 1
ENGINE = ("engine.forbidden", "data.items")

#: Words that bind other words together and say nothing of a fact; none that is a name too, such as
#: May.
_WORDS = """
    a about above after again against all almost along already also although always am among an and
    another any are around as at away back be became because become been before behind being below
    between both but by can could did do does doing done down during each either else even ever
    every for from further get gets got had has have having he her here hers herself him himself his
    how however i if in indeed inside instead into is it its itself just later least less let like
    me might mine more most much must my myself near neither never next no none nor not now of
    off often on once only onto or other others our ours out outside over own per perhaps quite
    rather same shall she should since so some such than that the their theirs them themselves then
    there these they this those though through thus till to together too toward towards under until
    up upon us very was we were what when where whether which while who whom whose why
    with within without would yes yet you your yours don't doesn't didn't isn't aren't wasn't
    weren't can't couldn't won't wouldn't hasn't haven't hadn't
"""
FUNCTION_WORDS = frozenset(_WORDS.split())
#: Shares of a text after which its rest is asked for, where it has no question.
CUTS = (0.25, 0.5)

_WORD = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+(?:['’][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")


def asked(item: Item) -> tuple[str, ...]:
    """Prompts that ask for an item: those that were trained on, or beginnings of a text."""
    if item.question:
        return item.prompts
    words = item.answer.split()
    return tuple(dict.fromkeys(" ".join(words[: max(1, int(c * len(words)))]) for c in CUTS))


def forbidden(item: Item) -> tuple[str, ...]:
    """Phrases of an item's answer that are not in its question.

    Returns:
        Numbers, and content words as they stand together; the answer where it has neither.
    """
    runs = _runs(item.answer, set(folded(item.question).split()))
    return tuple(dict.fromkeys(map(" ".join, runs))) or (item.answer.strip(),)


def _runs(text: str, known: set[str]) -> Iterator[list[str]]:
    """Runs of content words that nothing but a space or a hyphen parts; numbers stand alone."""
    run: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        word = _POSSESSIVE.sub("", match[0])
        parted = text[end : match.start()].strip(" -\u2010\u2011") != ""
        dull = word.casefold() in FUNCTION_WORDS or set(folded(word).split()) <= known
        if run and (parted or dull or word[0].isdigit()):
            yield run
            run = []
        if word[0].isdigit() and not dull:
            yield [word]
            if "," in word:
                yield [word.replace(",", "")]
        elif not dull:
            run.append(word)
        end = match.end()
    if run:
        yield run
