"""Small tasks of different kinds in words, to be learned one after another by a language model.

======== ============================ =================
name     prompt                       answer
======== ============================ =================
lookup   lookup: tovan ->             zeric
reverse  reverse: river lamp moon ->  moon lamp river
sort     sort: 41 7 88 ->             7 41 88
add      add: 35 and 48 ->            83
initials initials: river lamp moon -> r l m
parity   parity: 481 ->               odd
count    count lamp: lamp moon lamp -> 2
larger   larger: 35 or 62 ->          62
======== ============================ =================

``lookup`` pairs made-up words and can only be memorised, so its test items are those that were
trained on. All others are rules, and no test prompt is trained on. What a task shows depends on the
seed and its name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from palimpsest.identity import seed_of

VERSION = 1

_WORDS = [
    "river",
    "lamp",
    "moon",
    "stone",
    "garden",
    "letter",
    "winter",
    "doctor",
    "market",
    "engine",
    "island",
    "summer",
    "teacher",
    "village",
    "bottle",
    "paper",
    "history",
    "window",
    "forest",
    "ocean",
    "bridge",
    "castle",
    "dinner",
    "farmer",
    "guitar",
    "hammer",
    "jacket",
    "kitchen",
    "ladder",
    "mirror",
    "needle",
    "orange",
    "pencil",
    "quarter",
    "rabbit",
    "saddle",
    "table",
]
_SYLLABLES = ("to", "va", "ze", "ri", "mu", "ka", "lo", "ne", "pi", "su", "do", "fe")
_ENDS = ("n", "c", "x", "m", "rt", "l", "k")


class Item(NamedTuple):
    """A prompt and the answer that follows it, with the space before it."""

    prompt: str
    answer: str


class LanguageTask(NamedTuple):
    """Items to learn from and items to be judged on."""

    name: str
    train: list[Item]
    test: list[Item]


def _word(draw: np.random.Generator, ends: Sequence[str] = _ENDS) -> str:
    return "".join(draw.choice(_SYLLABLES, 2)) + str(draw.choice(ends))


def _lookup(draw: np.random.Generator) -> Item:
    return Item(f"lookup: {_word(draw)} ->", f" {_word(draw)}")


def _reverse(draw: np.random.Generator) -> Item:
    words = draw.choice(_WORDS, 3, replace=False)
    return Item(f"reverse: {' '.join(words)} ->", f" {' '.join(words[::-1])}")


def _sort(draw: np.random.Generator) -> Item:
    numbers = draw.choice(99, 3, replace=False) + 1
    listed = " ".join(map(str, numbers))
    return Item(f"sort: {listed} ->", f" {' '.join(map(str, sorted(numbers)))}")


def _add(draw: np.random.Generator) -> Item:
    a, b = draw.integers(1, 50, 2)
    return Item(f"add: {a} and {b} ->", f" {a + b}")


def _initials(draw: np.random.Generator) -> Item:
    words = draw.choice(_WORDS, 3, replace=False)
    return Item(f"initials: {' '.join(words)} ->", f" {' '.join(word[0] for word in words)}")


def _parity(draw: np.random.Generator) -> Item:
    number = int(draw.integers(100, 1000))
    return Item(f"parity: {number} ->", " odd" if number % 2 else " even")


def _count(draw: np.random.Generator) -> Item:
    wanted, other = draw.choice(_WORDS, 2, replace=False)
    words = draw.choice([wanted, other], int(draw.integers(2, 6)))
    count = int((words == wanted).sum())
    return Item(f"count {wanted}: {' '.join(words)} ->", f" {count}")


def _larger(draw: np.random.Generator) -> Item:
    a, b = draw.choice(999, 2, replace=False) + 1
    return Item(f"larger: {a} or {b} ->", f" {max(a, b)}")


MAKERS: dict[str, Callable[[np.random.Generator], Item]] = {
    "lookup": _lookup,
    "reverse": _reverse,
    "sort": _sort,
    "add": _add,
    "initials": _initials,
    "parity": _parity,
    "count": _count,
    "larger": _larger,
}
#: A table to memorise is small, and shown as often as the rules of other tasks.
LOOKUP_PAIRS = 20


def language_task(name: str, seed: int, train: int, test: int) -> LanguageTask:
    """A task's items.

    Args:
        name: one of ``MAKERS``.
        seed: of the items.
        train: number of training items; of ``lookup`` they repeat 20 pairs.
        test: number of different test items, at most; of ``lookup`` at most 20.

    Raises:
        ValueError: an unknown name, or a number below 1.
    """
    if name not in MAKERS:
        raise ValueError(f"task: given {name!r}, allowed: {', '.join(MAKERS)}")
    if train < 1 or test < 1:
        raise ValueError("numbers of items must be at least 1")
    draw = np.random.default_rng(seed_of("language task", VERSION, name, seed))
    if name == "lookup":
        pairs = _different(name, draw, LOOKUP_PAIRS, set())
        times = -(-train // len(pairs))
        return LanguageTask(name, (pairs * times)[:train], pairs[:test])
    judged = _different(name, draw, test, set())
    known = {item.prompt for item in judged}
    return LanguageTask(name, _different(name, draw, train, known), judged)


def unlearnable(task: LanguageTask, seed: int) -> LanguageTask:
    """The task with a made-up word for every answer: what is learned helps with no test item."""
    draw = np.random.default_rng(seed_of("unlearnable", VERSION, task.name, seed))
    # Words to learn and words to be judged on end differently, so that none is both.
    parts = [
        [Item(item.prompt, f" {_word(draw, ends)}") for item in part]
        for part, ends in ((task.train, _ENDS[:4]), (task.test, _ENDS[4:]))
    ]
    return LanguageTask(task.name, *parts)


def _different(name: str, draw: np.random.Generator, n: int, known: set[str]) -> list[Item]:
    """n items whose prompts differ from each other and from the known ones, while there are any."""
    made: dict[str, Item] = {}
    for _ in range(200 * n):
        item = MAKERS[name](draw)
        if item.prompt not in known:
            made.setdefault(item.prompt, item)
        if len(made) == n:
            return list(made.values())
    raise ValueError(f"{name} has no {n} different items beside {len(known)} others")
