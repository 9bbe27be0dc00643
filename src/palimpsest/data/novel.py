"""Sentences that no model can have seen: made from a grammar, with invented people and towns.

The grammar ``novel_grammar.json`` was written for this project. It maps the name of a part to its
alternatives; ``shape`` is the whole sentence. In an alternative stand

=========== ==============================================================================
{part}      an alternative of the part, drawn anew at each place
{a part}    the same with *a* or *an* before it
{part:1}    of verbs, which are lists of four forms: 0 infinitive, 1 past, 2 participle, 3 -ing
{part*}     the form that was asked for one level higher
=========== ==============================================================================

``given``, ``surname`` and ``town`` are a first half and a second half, joined. Fixed pieces are
short, so that two sentences share little wording even if they have their shape in common.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from importlib import resources

import numpy as np

from palimpsest.identity import file_sha256, seed_of

VERSION = 1
LEAST_CHARACTERS, MOST_CHARACTERS = 60, 200

_HALVES = ("given", "surname", "town")
_SLOT = re.compile(r"\{(a )?(\w+)(?::(\d)|(\*))?\}")


def novel_sentences(n: int, seed: int) -> list[str]:
    """``n`` different sentences of 60 to 200 characters; the first ones do not depend on ``n``.

    Raises:
        ValueError: ``n`` is negative.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    return list(_sentences(n, seed))


@lru_cache(maxsize=8)
def _sentences(n: int, seed: int) -> tuple[str, ...]:
    generator = np.random.default_rng(seed_of("novel", VERSION, seed))
    made: dict[str, None] = {}
    while len(made) < n:
        sentence = _expand("{shape}", 0, generator)
        sentence = sentence[0].upper() + sentence[1:]
        if LEAST_CHARACTERS <= len(sentence) <= MOST_CHARACTERS:
            made.setdefault(sentence)
    return tuple(made)


def fingerprint() -> str:
    """SHA-256 of the grammar; the sentences depend on it, this code and the seed alone."""
    with resources.as_file(resources.files("palimpsest.data") / "novel_grammar.json") as path:
        return file_sha256(path)


def article(word: str) -> str:
    """*a* or *an*, by the sound with which ``word`` begins."""
    start = word.lower()
    if start.startswith(("hour", "honest", "heir", "honour")):
        return "an"
    if start.startswith(("uni", "use", "usu", "utili", "euro", "one", "once", "ewe")):
        return "an" if start.startswith(("unim", "unin", "unid")) else "a"
    return "an" if start[:1] in tuple("aeiou") else "a"


@cache
def _grammar() -> dict[str, list]:
    source = resources.files("palimpsest.data") / "novel_grammar.json"
    return json.loads(source.read_text(encoding="utf-8"))


def _expand(pattern: str, form: int, generator: np.random.Generator) -> str:
    """``pattern`` with every slot filled; ``form`` is what a star stands for."""

    def fill(slot: re.Match[str]) -> str:
        with_article, part, own, inherited = slot.groups()
        asked = form if inherited else int(own or 0)
        alternatives = _grammar()[part]
        if part in _HALVES:
            text = "".join(half[generator.integers(len(half))] for half in alternatives)
        else:
            chosen = alternatives[generator.integers(len(alternatives))]
            text = chosen[asked] if isinstance(chosen, list) else _expand(chosen, asked, generator)
        return f"{article(text)} {text}" if with_article else text

    return _SLOT.sub(fill, pattern)
