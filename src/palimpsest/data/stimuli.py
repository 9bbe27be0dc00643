"""Lists of sentences to study, of foils to tell them apart from, and of interfering material.

The experiments are those of Orhan (2023), arXiv 2303.17557, and two more:

================== =========================== ===================================== ============
kind               study items                 foils                                 exchangeable
================== =========================== ===================================== ============
natural            sentences of the source     other sentences of the source         yes
paraphrase         sentences of the source     paraphrases of them, by rule          no
synonym            sentences of the source     the same with one word exchanged      no
random_words       strings of random words     other such strings                    yes
random_vs_natural  strings of random words     sentences of the source               no
scrambled          scrambled sentences         the sentences that they were made of  no
novel              sentences of a grammar      other sentences of the grammar        yes
own                texts of the user's file    foils of the file, or other texts     if no foils
================== =========================== ===================================== ============

Where study item and foil are independent, a pair is two items of matching length, and a coin
decides which of them is studied. So whatever a model prefers, one that studied nothing is right
with probability one half in each pair: the floor is 0.5 by design, which it is not elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from palimpsest.data import edits, novel, own_sentences, prose
from palimpsest.data.own_sentences import plain
from palimpsest.identity import digest, seed_of

VERSION = 1

KINDS = (
    "natural",
    "paraphrase",
    "synonym",
    "random_words",
    "random_vs_natural",
    "scrambled",
    "novel",
    "own",
)
#: Kinds whose study items and foils are drawn from one population.
INDEPENDENT = ("natural", "random_words", "novel")
#: Texts of different pairs, and of interference and lists, share no longer run of words.
MOST_SHARED_RUN = 5
#: Items of an independent pair differ by at most this share of the longer one, in words and in
#: characters, but one word and three characters are always allowed.
TOLERANCE = 0.05
#: Items that are made at a time where the source is a generator.
BATCH = 4_000


@dataclass(frozen=True)
class LengthMatch:
    """How alike study items and foils are in length.

    ``most_characters`` and ``most_words`` are the largest differences within a pair;
    ``smd_characters`` and ``smd_words`` are standardised mean differences, study minus foil over
    the root of the mean of both variances (0 where neither list varies and the means agree).
    """

    most_characters: int
    most_words: int
    smd_characters: float
    smd_words: float


@dataclass(frozen=True)
class Lists:
    """Study items with their foils: pair i is ``study[i]`` and ``foils[i]``.

    Attributes:
        kind: one of :data:`KINDS`.
        seed: the seed that the lists were drawn with.
        study: items that are studied.
        foils: items that are not, one for each.
        validation: further pairs (study item, foil), for choosing a learning rate.
        exchangeable: whether a coin decided for each pair which item is studied.
        rejected: reason -> number of items or pairs that were drawn and not taken.
    """

    kind: str
    seed: int
    study: tuple[str, ...]
    foils: tuple[str, ...]
    validation: tuple[tuple[str, str], ...]
    exchangeable: bool
    rejected: dict[str, int]

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that is shown or asked: study items, foils, and validation pairs."""
        return (*self.study, *self.foils, *(text for pair in self.validation for text in pair))

    @property
    def lengths(self) -> LengthMatch:
        """How alike study items and foils are in length."""
        return length_match(self.study, self.foils)


@dataclass(frozen=True)
class Material:
    """Texts that interfere in the retention phase, and how many of which kind were rejected."""

    texts: tuple[str, ...]
    rejected: dict[str, int]


def stimulus_lists(
    kind: str,
    n: int,
    seed: int,
    *,
    source: str | Path = "prose",
    validation: int = 0,
    tolerance: float = TOLERANCE,
) -> Lists:
    """Lists of ``n`` pairs, and as many further pairs as ``validation`` says.

    No text comes twice, and none shares a run of more than :data:`MOST_SHARED_RUN` words with one
    of another pair, nor with its own partner where a coin decides. The pairs of a smaller ``n``
    are the first ones of a larger, whatever ``validation`` is (beyond a quarter of :data:`BATCH`
    generated items are drawn anew); validation pairs avoid the study phase. Other seeds have no
    part in it.

    Args:
        kind: one of :data:`KINDS`.
        n: pairs of the study phase.
        seed: seed of the draw.
        source: where sentences come from: ``prose``, ``novel``, or the path of a JSONL file as
            ``data/own_sentences.py`` documents it; the kind ``novel`` takes its own source, the
            kind ``own`` needs a file. Foils in the file are used by the kind ``own`` alone.
        validation: pairs set aside for choosing hyper-parameters.
        tolerance: how much items of an independent pair may differ in length, as a share.

    Raises:
        ValueError: unknown kind or source, numbers that are no counts, a file with foils for some
            rows only, or a source that yields too few pairs (the message says why).
        palimpsest.data.errors.DataError: the user's file has bad rows.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: given {kind!r}, allowed: {', '.join(KINDS)}")
    if n < 1 or validation < 0 or not 0 <= tolerance < 1:
        raise ValueError("n must be at least 1, validation at least 0, tolerance from 0 below 1")
    if kind == "novel":
        source = "novel"
    if kind == "own" and source in ("prose", "novel"):
        raise ValueError("the kind 'own' needs source to be the path of a JSONL file")
    taken = _Taken()
    own_foils = _own_pairs(source) if kind == "own" else None
    exchangeable = kind in INDEPENDENT or (kind == "own" and not own_foils)
    drawn = []
    for part, count in (("study", n), ("validation", validation)):
        generator = np.random.default_rng(seed_of("stimuli", VERSION, kind, seed, part))
        items = _items(kind, source, seed, part, max(BATCH, 4 * count))
        items = [item for item in items if plain(item) not in taken.texts]
        if exchangeable:
            pairs = _matched(items, generator, tolerance, taken.rejected)
        elif own_foils:
            given = [pair for pair in own_foils if plain(pair[0]) not in taken.texts]
            pairs = (given[i] for i in generator.permutation(len(given)))
        else:
            pairs = _made(kind, items, generator, taken.rejected)
        drawn.append(_take(pairs, count, taken, within=exchangeable))
        if len(drawn[-1]) < count:
            raise ValueError(
                f"{kind} from {source}: only {len(drawn[-1])} of {count} pairs for {part} can be "
                f"found; rejected: {dict(taken.rejected)}"
            )
    study, foils = zip(*drawn[0], strict=True)
    return Lists(kind, seed, study, foils, tuple(drawn[1]), exchangeable, dict(taken.rejected))


def interference(
    kind: str, n: int, seed: int, exclude: Iterable[str], *, source: str | Path = "prose"
) -> Material:
    """``n`` new items of the study type of ``kind``, to be trained on after the study phase.

    They are different, share no run of more than :data:`MOST_SHARED_RUN` words with any text of
    ``exclude`` (:attr:`Lists.texts`), and the first ones do not depend on ``n``. For interference
    of another type name another kind. Among themselves they may share runs, as running text does.

    Raises:
        ValueError: as :func:`stimulus_lists`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: given {kind!r}, allowed: {', '.join(KINDS)}")
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    generator = np.random.default_rng(seed_of("interference", VERSION, kind, seed))
    kind, source = _study_type(kind, source)
    items = _items(kind, source, seed, "new", max(BATCH, 2 * n))
    shown = _Taken()
    for text in exclude:
        shown.add(text)
    rejected = shown.rejected
    texts: dict[str, str] = {}
    for i in generator.permutation(len(items)):
        if len(texts) == n:
            break
        text = edits.scramble(items[i], generator) if kind == "scrambled" else items[i]
        # A scrambled item is new only if the sentence that it was made of is new too.
        if any(shown.leaks(form) for form in {text, items[i]}):
            rejected["shares words with a list"] += 1
        elif plain(text) in texts:
            rejected["duplicate"] += 1
        else:
            texts[plain(text)] = text
    if len(texts) < n:
        raise ValueError(f"{kind}: only {len(texts)} of {n} new items; rejected: {dict(rejected)}")
    return Material(tuple(texts.values()), dict(rejected))


def fingerprint(kind: str, source: str | Path = "prose") -> str:
    """What the lists of a kind depend on beside code and seed: packages, rules, the user's file."""
    parts = [edits.fingerprint()] if kind in ("paraphrase", "synonym") else []
    if kind in ("random_words", "random_vs_natural"):
        parts.append(prose.fingerprint())  # the vocabulary
    if kind == "novel" or (source == "novel" and kind != "random_words"):
        parts.append(novel.fingerprint())
    elif kind != "random_words":
        own = source != "prose"
        parts.append(own_sentences.fingerprint(source) if own else prose.fingerprint())
    return digest(parts)


def length_match(study: Sequence[str], foils: Sequence[str]) -> LengthMatch:
    """Differences in length between two lists whose items belong together in pairs."""
    sizes = [[(len(t), len(t.split())) for t in texts] for texts in (study, foils)]
    left, right = (np.array(size, dtype=float).reshape(-1, 2) for size in sizes)
    if not len(left):
        return LengthMatch(0, 0, 0.0, 0.0)
    most = np.abs(left - right).max(axis=0)
    spread = np.sqrt((left.var(axis=0) + right.var(axis=0)) / 2)
    apart = left.mean(axis=0) - right.mean(axis=0)
    unbounded = np.where(apart == 0, 0.0, np.copysign(np.inf, apart))
    smd = np.divide(apart, spread, out=unbounded, where=spread > 0)
    return LengthMatch(int(most[0]), int(most[1]), float(smd[0]), float(smd[1]))


@dataclass
class _Taken:
    """Texts that are taken, by their words and by their runs of words; counts rejections."""

    texts: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        self.texts.add(plain(text))
        self.runs |= runs(text)

    def leaks(self, text: str) -> bool:
        return plain(text) in self.texts or not self.runs.isdisjoint(runs(text))


def runs(text: str, length: int = MOST_SHARED_RUN + 1) -> set[str]:
    """Runs of ``length`` words of the text, in lower case and without punctuation."""
    words = plain(text).split()
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def _take(
    pairs: Iterator[tuple[str, str]], count: int, taken: _Taken, *, within: bool
) -> list[tuple[str, str]]:
    """The first ``count`` pairs that are new, and different in themselves."""
    kept: list[tuple[str, str]] = []
    while len(kept) < count and (pair := next(pairs, None)) is not None:
        study, foil = pair
        if plain(study) == plain(foil):
            taken.rejected["identical pair"] += 1
        elif any(plain(text) in taken.texts for text in pair):
            taken.rejected["duplicate"] += 1
        elif any(taken.leaks(text) for text in pair):
            taken.rejected["shares words with another pair"] += 1
        elif within and runs(study) & runs(foil):
            taken.rejected["shares words within the pair"] += 1
        else:
            for text in pair:
                taken.add(text)
            kept.append(pair)
    return kept


def _study_type(kind: str, source: str | Path) -> tuple[str, str | Path]:
    """The kind that has the study items of ``kind`` as its population, and its source."""
    kind = "random_words" if kind == "random_vs_natural" else kind
    return kind, "novel" if kind == "novel" else source


def _items(kind: str, source: str | Path, seed: int, part: str, batch: int) -> list[str]:
    """What pairs are made of: random strings for that kind, else sentences of the source."""
    if kind == "random_words":
        generator = np.random.default_rng(seed_of("random words", VERSION, seed, part))
        return edits.random_words(generator, batch, _vocabulary())
    if source == "prose":
        return prose.load_prose()["text"].to_list()
    if source == "novel":
        return novel.novel_sentences(batch, seed_of("novel items", seed, part))
    return own_sentences.read_sentences(source)["text"].to_list()


@cache
def _vocabulary() -> tuple[str, ...]:
    return edits.vocabulary(prose.load_prose()["text"].to_list())


def _own_pairs(source: str | Path) -> list[tuple[str, str]] | None:
    """Pairs of the user's file, or None if it has no foils."""
    frame = own_sentences.read_sentences(source)
    without = frame["foil"].null_count()
    if 0 < without < frame.height:
        raise ValueError(
            f"{source}: {without} of {frame.height} rows have no foil; give all or none"
        )
    return None if without else list(frame.select("text", "foil").iter_rows())


def _matched(
    items: Sequence[str],
    generator: np.random.Generator,
    tolerance: float,
    rejected: Counter[str],
) -> Iterator[tuple[str, str]]:
    """Pairs of items of matching length, without replacement; a coin decides what is studied.

    An item takes its partner evenly from those that match it. Which of the two was first has no
    part in who is studied, so the two are exchangeable.
    """
    characters = np.array([len(item) for item in items])
    words = np.array([len(item.split()) for item in items])
    free = np.ones(len(items), dtype=bool)
    for first in generator.permutation(len(items)):
        if not free[first]:
            continue
        free[first] = False
        near = free.copy()
        for sizes, least in ((characters, 3), (words, 1)):
            bound = np.maximum(least, tolerance * np.maximum(sizes, sizes[first]))
            near &= np.abs(sizes - sizes[first]) <= bound
        candidates = np.flatnonzero(near)
        if not len(candidates):
            rejected["no partner of its length"] += 1
            continue
        second = generator.choice(candidates)
        free[second] = False
        pair = (items[first], items[second])
        yield pair if generator.random() < 0.5 else pair[::-1]


def _made(
    kind: str, items: Sequence[str], generator: np.random.Generator, rejected: Counter[str]
) -> Iterator[tuple[str, str]]:
    """Pairs of a sentence and what was made of it or for it, in random order."""
    for i in generator.permutation(len(items)):
        text = items[i]
        if kind == "scrambled":
            yield edits.scramble(text, generator), text
        elif kind == "random_vs_natural":
            yield _random_like(text, generator), text
        else:
            rule = edits.paraphrase if kind == "paraphrase" else edits.one_word_synonym
            edited = rule(text, generator)
            if edited is None:
                rejected["no edit"] += 1
            else:
                yield text, edited


def _random_like(text: str, generator: np.random.Generator) -> str:
    """Random words until the string is as long in characters as ``text``, to half a word."""
    words = edits.random_words(generator, 1, _vocabulary(), len(text.split()) + 25)[0].split()
    sizes = np.cumsum([len(word) + 1 for word in words]) - 1
    return " ".join(words[: int(np.argmin(np.abs(sizes - len(text)))) + 1])
