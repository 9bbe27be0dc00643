"""The option chosen in a free answer to "which came first, A or B?"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from palimpsest.metrics.parsing.characters import one_form
from palimpsest.metrics.parsing.refusals import is_refusal

ChoiceCategory = Literal["choice", "refusal", "unparsable", "empty", "ambiguous"]

_LABEL = r"(?:(?:the\s+)?(?:option|answer|choice)(?:\s+is)?\s*:?\s*)?[(\[]?(?P<letter>[a-z])[)\]]?"
_LABEL_ALONE = re.compile(rf"{_LABEL}[.:]?", re.IGNORECASE | re.ASCII)
# A letter before text needs punctuation, or the article of "A fall in prices" would be a label.
_LABEL_LEADS = re.compile(rf"{_LABEL}(?:(?<=[)\]])|[.:])\s+\S", re.IGNORECASE | re.ASCII)
#: Options that :func:`parse_choice` can tell apart at once: each has a letter.
MOST_CHOICES = 26
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=\S)")


@dataclass(frozen=True)
class ParsedChoice:
    """Which option an answer names: ``index`` into the options, None unless "choice".

    ``matched`` is the name or letter that decided, in lower case.
    """

    index: int | None
    category: ChoiceCategory
    matched: str | None = None


def parse_choice(text: str, options: Sequence[str]) -> ParsedChoice:
    """Read which of ``options`` an answer chooses; case, white space, quotation marks and
    an article before an option are free.

    In this order:

    1. the answer is an option, or its letter ("b", "(B)", "Option B.", "The answer is B");
    2. the answer starts with a letter and punctuation ("B) The Gulf War"), and names no other
       option, or it is ambiguous;
    3. exactly one option stands in the answer, as whole words. An option inside a longer option
       that also stands there is not counted. Two or more are ambiguous, whatever words join them:
       "A came before B" is not interpreted.

    Args:
        text: any string; none raises.
        options: two to 26 texts that differ in more than what is free.

    Returns:
        The category is "empty" for white space, "refusal" if there is a refusing phrase and no
        choice, "unparsable" if there is neither.

    Raises:
        ValueError: fewer than 2 options, more than 26, an empty one, or two that are equal.
    """
    names = [_name(option) for option in options]
    if not 2 <= len(names) <= 26 or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"options must be 2 to 26 different texts, got {list(options)!r}")
    if not text.strip():
        return ParsedChoice(None, "empty")
    answer = _plain(text)
    if _name(text) in names:
        return ParsedChoice(names.index(_name(text)), "choice", _name(text))
    labelled = _labelled(_LABEL_ALONE.fullmatch(answer), len(names))
    if labelled is not None:
        return ParsedChoice(labelled, "choice", chr(ord("a") + labelled))
    named = _named(answer, names)
    labelled = _labelled(_LABEL_LEADS.match(answer), len(names))
    chosen = named if labelled is None else named | {labelled}
    if len(chosen) > 1:
        return ParsedChoice(None, "ambiguous")
    if not chosen:
        return ParsedChoice(None, "refusal" if is_refusal(text) else "unparsable")
    (index,) = chosen
    return ParsedChoice(index, "choice", names[index] if named else chr(ord("a") + index))


def read_choice(text: str, options: Sequence[str], refused: bool = False) -> ParsedChoice:
    """As :func:`parse_choice`; what a server marks as refused names no option, whatever it says."""
    return ParsedChoice(None, "refusal") if refused else parse_choice(text, options)


def distinct(options: Sequence[str], most: int = MOST_CHOICES) -> list[str]:
    """The first ``most`` options that :func:`parse_choice` can tell apart, in their order.

    Left out are those without a word, and those that differ from one before them by what is free
    alone.
    """
    found: dict[str, str] = {}
    for option in options:
        name = _name(option)
        if name:
            found.setdefault(name, option)
    return list(found.values())[:most]


def _plain(text: str) -> str:
    """Lower case, single spaces, no quotation marks around it and no punctuation after it."""
    words = " ".join(one_form(text).casefold().split())
    return words.strip("\"'` ").rstrip(".!?, ").strip("\"'` ")


def _name(option: str) -> str:
    """An option as it may stand in a sentence: plain, and without the article before it."""
    return _ARTICLE.sub("", _plain(option))


def _labelled(match: re.Match[str] | None, n_options: int) -> int | None:
    if match is None:
        return None
    index = ord(match["letter"].lower()) - ord("a")
    return index if index < n_options else None


def _named(answer: str, names: list[str]) -> set[int]:
    """Options that stand in ``answer``, longest first, each occurrence counted for one option."""
    found = set()
    for index in sorted(range(len(names)), key=lambda i: len(names[i]), reverse=True):
        pattern = rf"(?<!\w){re.escape(names[index])}(?!\w)"
        answer, count = re.subn(pattern, "\x00", answer)
        if count:
            found.add(index)
    return found
