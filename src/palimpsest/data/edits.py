"""Sentences edited by rule: paraphrases, single synonyms, random words and scrambled letters.

The rules were written for this project and are packaged as data. ``thesaurus.json`` holds groups
of synonyms of one part of speech, each word with all its inflected forms in a fixed order (verbs:
base, third person, past, participle, -ing; nouns: singular, plural; adjectives: positive,
comparative, superlative; an empty form is not used). Of a group, ``words`` are exchanged for each
other; ``targets`` replace but are never replaced, because they have other meanings too;
``not_before`` and ``not_after`` are neighbours that forbid a replacement, ``only_after`` ones that
it needs. ``edit_rules.json`` holds phrases with what they become, and patterns of adverbials that
may move between the beginning and the end of a sentence.

There is no parser here, so rules are cautious: one that cannot be sure does nothing, and editing
returns None where too little changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from palimpsest.data.novel import article
from palimpsest.identity import digest, file_sha256
from palimpsest.metrics.text_recall import common_subsequence

VERSION = 1

#: A paraphrase changes at least this share of the words (see :func:`change`), and keeps at least
#: that share of the different content words; synonyms stand in for at most that share of words.
LEAST_CHANGE, LEAST_KEPT, MOST_REPLACED = 0.2, 0.5, 0.3
#: Words of a string of random words, as in Orhan (2023), arXiv 2303.17557, experiment 4.
RANDOM_WORDS = 25


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILES = ("thesaurus.json", "edit_rules.json")
_WORD = re.compile(r"(?<![\w'-])[A-Za-z]+(?:-[a-z]+)*(?![\w'-])")
_BEFORE_BASE = _set(
    "to can could will would may might must should shall cannot not do does did we you they i "
    "let don't doesn't didn't can't won't please"
)
_BEFORE_VERB = _set("to can could will would may might must we you they i let please")
_BEFORE_NOUN_ONLY = _set(
    "a an the this that these those its their his her our your my no any some each every of in "
    "on at by for from with without into between multiple several many two three all other more "
    "most such only both different same new"
)
_FUNCTION_WORDS = _set(
    "about above after again all also although and any are because been before being below but "
    "cannot could does doing down during each every few for from had has have having here how "
    "if into its itself may might more most must nor not off only other our out over own same "
    "should since some such than that the their them then there these they this those through "
    "too under until very was were what when where whether which while who whom why will with "
    "would you your instance like relative owing whenever"
)
_STARTERS = _set(
    "a an the this that these those it they we you all each every any some no if when in on at "
    "by for use note there its their such one two three both most many several"
)
_CLAUSE = "When|If|Because|Although|Unless|Whenever|While|Since|After|Before"
_FRONT_CLAUSE = re.compile(rf"({_CLAUSE}) ([^,;]+), (?:then )?([^,;]+)\.")
_BACK_CLAUSE = re.compile(r"([^,;]+?),? (when|if|because|although|unless|whenever) ([^,;]+)\.")
_FRONT_PURPOSE = re.compile(r"(?:In order to|To) ([^,;]+), ([^,;]+)\.")
_BACK_PURPOSE = re.compile(r"([^,;]+?),? in order to ([^,;]+)\.")
_OPEN_ENDED = _set(
    "only as even check checks see determine determines tell decide know test tests indicate "
    "indicates verify and or but than except especially particularly just not that is are of "
    "what used ask asks find out wonder exactly"
)
# An adverbial behind such a part may belong to it alone.
_SEVERAL_CLAUSES = re.compile(
    rf"\b({_CLAUSE}|that|but|why|and|until|neither|instead|according)\b", re.IGNORECASE
)
# Such a main clause points back to the clause before it.
_BACKWARD = re.compile(r"(it|they|its|their|this|these|such)\b", re.IGNORECASE)
_SUBORDINATE = re.compile(r"\b(that|which|who|whose|where|when|if|whether|because|so)\b", re.I)


@dataclass(frozen=True)
class _Sense:
    """A form in the thesaurus: what may replace it, and where."""

    pos: str
    places: frozenset[int]
    others: tuple[str, ...]
    not_before: frozenset[str]
    not_after: frozenset[str]
    only_after: frozenset[str]


def fingerprint() -> str:
    """What the edits depend on beside this code: a hash of the packaged rules."""
    folder = resources.files("palimpsest.data")
    hashes = []
    for name in _FILES:
        with resources.as_file(folder / name) as path:
            hashes.append(file_sha256(path))
    return digest(hashes)


def paraphrase(text: str, generator: np.random.Generator) -> str | None:
    """The sentence in other words, or None if the rules do not change it enough.

    Fixed phrases are exchanged, a clause or adverbial changes places with the rest if that is
    safe, and synonyms stand in for some of the other words. The result differs in at least
    :data:`LEAST_CHANGE` of its words and keeps :data:`LEAST_KEPT` of the content words.
    """
    edited = _reordered(_rephrased(text))
    places = list(_choices(edited))
    most = max(1, int(MOST_REPLACED * len(edited.split())))
    picked = sorted(int(i) for i in generator.permutation(len(places))[:most])
    for match, others in (places[i] for i in reversed(picked)):  # from behind: places stay valid
        edited = _put(edited, match, str(generator.choice(others)))
    if change(text, edited) < LEAST_CHANGE or kept(text, edited) < LEAST_KEPT:
        return None
    return edited


def one_word_synonym(text: str, generator: np.random.Generator) -> str | None:
    """The sentence with exactly one word exchanged, or None if no word of it can be.

    The new word has the same part of speech and inflection, and suits an article before it.
    """
    fitting = []
    for match, others in _choices(text):
        before = _neighbour(text, match.start(), -1)
        if before in ("a", "an"):
            others = [other for other in others if article(other) == before]
        if others:
            fitting.append((match, others))
    if not fitting:
        return None
    match, others = fitting[generator.integers(len(fitting))]
    return _put(text, match, str(generator.choice(others)))


def random_words(
    generator: np.random.Generator, n: int, vocabulary: Sequence[str], length: int = RANDOM_WORDS
) -> list[str]:
    """``n`` strings of ``length`` words drawn independently and evenly from the vocabulary."""
    drawn = generator.integers(len(vocabulary), size=(n, length))
    return [" ".join(vocabulary[i] for i in row) for row in drawn]


def vocabulary(texts: Sequence[str], least: int = 3) -> tuple[str, ...]:
    """The different lower-case words of ``least`` letters or more, in alphabetical order."""
    pattern = re.compile(rf"(?<![\w'-])[a-z]{{{least},}}(?![\w'-])")
    return tuple(sorted({word for text in texts for word in pattern.findall(text)}))


def scramble(text: str, generator: np.random.Generator) -> str:
    """The letters of each word shuffled, then the words, as in Orhan (2023), experiment 6.

    A word is what stands between spaces; marks move with their word and keep their place in it.
    """
    shuffled = []
    for word in text.split():
        places = [i for i, character in enumerate(word) if character.isalpha()]
        made = list(word)
        for place, source in zip(places, generator.permutation(places), strict=True):
            made[place] = word[int(source)]
        shuffled.append("".join(made))
    return " ".join(shuffled[i] for i in generator.permutation(len(shuffled)))


def change(before: str, after: str) -> float:
    """Share of the words of the longer text outside the longest common subsequence of both.

    Case and punctuation do not count; 0 for the same words in the same order, 1 for none in common.
    """
    left, right = _words(before), _words(after)
    longest = max(len(left), len(right))
    return 1 - common_subsequence(left, right) / longest if longest else 0.0


def kept(before: str, after: str) -> float:
    """Share of the different content words of ``before`` that ``after`` has too; 1 if none."""
    content = {w for w in _words(before) if len(w) > 2 and w not in _FUNCTION_WORDS}
    return len(content & set(_words(after))) / len(content) if content else 1.0


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


# Synonyms.


def _choices(text: str) -> list[tuple[re.Match[str], list[str]]]:
    """The words of the text that can be exchanged, each with what can stand in for it."""
    found = []
    for match in _WORD.finditer(text):
        word = match.group()
        sense = _thesaurus().get(word.lower())
        if sense is None or (word != word.lower() and match.start() > 0):
            continue  # a capital inside the sentence is a name
        before, after = _neighbour(text, match.start(), -1), _neighbour(text, match.end(), 1)
        if _fits(sense, before, after):
            found.append((match, list(sense.others)))
    return found


def _fits(sense: _Sense, before: str, after: str) -> bool:
    """Whether the word has the part of speech of the sense, as far as its neighbours tell."""
    if before in sense.not_after or after in sense.not_before:
        return False
    if sense.only_after and before not in sense.only_after:
        return False
    if sense.pos == "verb":
        if 0 in sense.places:
            return before in _BEFORE_BASE
        if 1 in sense.places or 4 in sense.places:
            return before not in _BEFORE_NOUN_ONLY and after != "of"
    if sense.pos == "noun":
        return before not in _BEFORE_BASE and before != "which"
    if sense.pos == "adjective":
        return before not in _BEFORE_VERB
    return True


@cache
def _thesaurus() -> dict[str, _Sense]:
    """Form -> its sense. A form belongs to one group only, which a test of the table keeps."""
    senses = {}
    for group in _read("thesaurus.json"):
        every = [*group["words"], *group.get("targets", [])]
        for forms in group["words"]:
            for form in set(forms) - {""}:
                places = [i for i, other in enumerate(forms) if other == form]
                # Where one form has several functions, the other word must have one too.
                same = [{other[i] for i in places} for other in every]
                others = [options.pop() for options in same if len(options) == 1]
                senses[form] = _Sense(
                    pos=group["pos"],
                    places=frozenset(places),
                    others=tuple(other for other in others if other not in ("", form)),
                    **{
                        key: frozenset(group.get(key, ()))
                        for key in ("not_before", "not_after", "only_after")
                    },
                )
    return {form: sense for form, sense in senses.items() if sense.others}


def _put(text: str, match: re.Match[str], word: str) -> str:
    """``word`` in the place of the match, with its capital, and the article before it set right."""
    if match.group()[0].isupper():
        word = _capital(word)
    head = re.sub(
        r"\b([Aa])n? $", lambda found: found[1] + article(word)[1:] + " ", text[: match.start()]
    )
    return head + word + text[match.end() :]


def _neighbour(text: str, place: int, side: int) -> str:
    """The next word in lower case, or the mark that stands between; empty at either end."""
    if side < 0:
        found = re.search(r"([\w'-]+) $|(\S) ?$", text[:place])
    else:
        found = re.match(r" ([\w'-]+)| ?(\S)", text[place:])
    return (found[1] or found[2]).lower() if found else ""


# Phrases and order.


def _rephrased(text: str) -> str:
    """The text with every phrase of the table replaced, longest first, each place once."""

    def put(match: re.Match[str]) -> str:
        made = _phrases()[match.group().lower()]
        return _capital(made) if match.group()[0].isupper() else made

    return _phrase_pattern().sub(put, text)


def _reordered(text: str) -> str:
    """The sentence with a clause or adverbial moved to its other end, if that is safe."""
    if found := _FRONT_CLAUSE.fullmatch(text):
        word, clause, main = found.groups()
        if _movable(main) and _whole(clause) and not _BACKWARD.match(main):
            comma = "," if word in ("Although", "While", "Since") else ""
            return f"{_capital(main)}{comma} {word.lower()} {clause}."
    if found := _FRONT_PURPOSE.fullmatch(text):
        purpose, main = found.groups()
        if _movable(main) and _lower(main) is not None:
            return f"{_capital(main)} in order to {purpose}."
    for pattern, opening in ((_BACK_CLAUSE, None), (_BACK_PURPOSE, "In order to")):
        if found := pattern.fullmatch(text):
            main, *word, clause = found.groups()
            start = _lower(main)
            open_ended = main.rsplit(" ", 1)[-1].lower() in _OPEN_ENDED
            if start and not open_ended and _movable(main) and _whole(clause):
                return f"{opening or _capital(word[0])} {clause}, {start}."
    return _adverbial_moved(text)


def _adverbial_moved(text: str) -> str:
    """A time or circumstance at the end moved to the front, or from the front to the end."""
    adverbial = "|".join(_read("edit_rules.json")["movable"])
    if found := re.fullmatch(rf"([^;]+?) ({adverbial})\.", text):
        start = _lower(found[1])
        if start is not None and not _SEVERAL_CLAUSES.search(found[1]):
            return f"{_capital(found[2])}, {start}."
    if found := re.fullmatch(rf"({adverbial}), ([^,;]+)\.", text, re.IGNORECASE):
        return f"{_capital(found[2])} {found[1][0].lower()}{found[1][1:]}."
    return text


def _movable(main: str) -> bool:
    """Whether the main clause is long enough and has no clause of its own to be mistaken for."""
    return len(main.split()) >= 3 and not _SUBORDINATE.search(main)


def _whole(clause: str) -> bool:
    """Whether a clause is more than a noun, as *a list* is: three words, or a constant."""
    if " then " in clause:
        return False
    return len(clause.split()) >= 3 or clause in ("True", "False", "None")


def _lower(start: str) -> str | None:
    """The text with a small first letter unless it begins with a name; None if that is unclear."""
    first, _, rest = start.partition(" ")
    if first.lower() in _STARTERS or not first[:1].isupper():
        return start[0].lower() + start[1:]
    return start if rest[:1].isupper() else None  # a given name and a surname


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


@cache
def _phrases() -> dict[str, str]:
    return dict(_read("edit_rules.json")["phrases"])


@cache
def _phrase_pattern() -> re.Pattern[str]:
    longest_first = sorted(_phrases(), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(
        rf"(?<![\w'-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w'-])", re.IGNORECASE
    )


@cache
def _read(name: str) -> Any:
    return json.loads((resources.files("palimpsest.data") / name).read_text(encoding="utf-8"))
