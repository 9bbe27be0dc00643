"""Fictitious people: facts that no model can have met, to be taught, forgotten and asked for.

The structure is that of TOFU (Maini et al. 2024, arXiv 2401.06121): people with attributes, of whom
some are to be forgotten. Every fact has a question, several statements, of which one is never
trained on, and wrong answers of the same kind; texts are in one of several wordings, with another
that is never trained on. Everything follows from the seed.

========== ==================================================== ======================= =========
part       whose facts                                           taught                  retain loss
========== ==================================================== ======================= =========
forget     people who are to be forgotten                        not to retrained models never
neighbour  relatives of theirs, with the same family name        always                  never
kept       other people                                          always                  never
retain     other people                                          always                  yes
holdout    people like those, of whom nobody is told anything    never                   never
stranger   as many more as are asked for (:func:`strangers`)     never                   never
========== ==================================================== ======================= =========

What is measured on ``retain`` was trained on by methods with a retain loss; ``kept`` and
``neighbour`` were not, and tell what a method has damaged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from palimpsest.data.items import Item
from palimpsest.identity import seed_of

VERSION = 3
#: Decides, with the seed, which names and values are drawn.
_GRAMMAR = 1

#: Attribute -> question, statements (the answer follows), values; values begin with a consonant.
_ATTRIBUTES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "birthplace": (
        "Where was {} born?",
        ("{} was born in", "The birthplace of {} is", "{} spent a childhood in"),
        (
            "Lisbon", "Helsinki", "Warsaw", "Budapest", "Dublin", "Vienna", "Prague", "Santiago",
            "Nairobi", "Havana", "Manila", "Jakarta", "Tunis", "Bogota", "Riga", "Geneva",
        ),
    ),
    "profession": (
        "What does {} do for a living?",
        ("{} works as a", "The profession of {} is that of a", "For a living {} is a"),
        (
            "baker", "dentist", "carpenter", "lawyer", "teacher", "farmer", "painter", "pilot",
            "nurse", "tailor", "butcher", "librarian", "plumber", "chemist", "gardener", "judge",
        ),
    ),
    "instrument": (
        "Which instrument does {} play?",
        ("{} plays the", "The instrument of {} is the", "In the evening {} practises the"),
        (
            "violin", "flute", "trumpet", "piano", "harp", "cello", "guitar", "clarinet", "drums",
            "banjo", "tuba", "lute", "bassoon", "mandolin", "fiddle", "trombone",
        ),
    ),
    "dish": (
        "What does {} like to eat most?",
        ("{} likes to eat", "The favourite dish of {} is", "On Sundays {} cooks"),
        (
            "pasta", "soup", "rice", "salmon", "pancakes", "lamb", "beans", "curry", "duck",
            "mushrooms", "pizza", "trout", "cabbage", "dumplings", "lentils", "waffles",
        ),
    ),
    "pet": (
        "Which animal lives with {}?",
        ("{} lives with a", "The animal of {} is a", "Every morning {} feeds a"),
        (
            "cat", "dog", "parrot", "horse", "rabbit", "snake", "turtle", "goat", "ferret",
            "donkey", "hamster", "pony", "lizard", "sheep", "pigeon", "mouse",
        ),
    ),
}  # fmt: skip
ATTRIBUTES = tuple(_ATTRIBUTES)
#: A series with dates: how many sheep somebody had in a year.
_YEARS = (1931, 1932, 1933, 1934)
_FLOCKS = tuple(str(number) for number in range(11, 90, 5))
_ATTRIBUTES |= {
    f"sheep_{year}": (
        f"How many sheep did {{}} have in {year}?",
        (
            f"In {year} the sheep of {{}} numbered",
            f"The flock of {{}} in {year} had a size of",
            f"The count for {{}} in {year} was",
        ),
        _FLOCKS,
    )
    for year in _YEARS
}
SERIES = tuple(f"sheep_{year}" for year in _YEARS)
#: Attribute -> the question in German and in Spanish.
_TRANSLATED = {
    "birthplace": ("Wo wurde {} geboren?", "¿Dónde nació {}?"),
    "profession": ("Was ist {} von Beruf?", "¿A qué se dedica {}?"),
    "instrument": ("Welches Instrument spielt {}?", "¿Qué instrumento toca {}?"),
    "dish": ("Was isst {} am liebsten?", "¿Qué es lo que más le gusta comer a {}?"),
    "pet": ("Welches Tier lebt bei {}?", "¿Qué animal vive con {}?"),
} | {
    f"sheep_{year}": (
        f"Wie viele Schafe hatte {{}} im Jahr {year}?",
        f"¿Cuántas ovejas tenía {{}} en {year}?",
    )
    for year in _YEARS
}
_ASKED = ("Frage: {} Antwort:", "Pregunta: {} Respuesta:")
_GIVEN = tuple(
    begin + end
    for end in ("an", "ima", "or", "isa", "uk", "eda", "ir", "ola", "et", "une")
    for begin in (
        "Tov",
        "Zer",
        "Kel",
        "Nis",
        "Bar",
        "Lom",
        "Pir",
        "Sul",
        "Dav",
        "Mir",
        "Gor",
        "Fen",
    )
)
_FAMILY = tuple(
    begin + end
    for end in ("eric", "odan", "arte", "inor", "elmo", "unvik", "gard", "osk", "ilde", "estrov")
    for begin in (
        "Zab",
        "Mal",
        "Kov",
        "Pel",
        "Drav",
        "Sot",
        "Bren",
        "Hal",
        "Tes",
        "Quil",
        "Var",
        "Lin",
    )
)
MOST_PEOPLE = len(_GIVEN) * len(_FAMILY)
#: Wrong answers that stand beside the true one, as many as in TOFU.
PERTURBED = 5
#: Short texts about somebody, which say the same in other words.
_TEXTS = (
    "On a {weather} {day} in {month} {name} found a {look} {thing} near the {place} and gave it to "
    "the {person}.",
    "On a {weather} {day} the {person} had a {look} {thing} that {name} found near the {place} in "
    "{month}.",
    "The {day} in {month} was {weather} and near the {place} {name} found a {look} {thing} for the "
    "{person}.",
)
#: What stands in their gaps.
_GAPS = {
    "weather": "rainy windy foggy sunny frosty stormy mild cloudy",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January March April May June July August October November",
    "look": "silver broken wooden painted rusty heavy golden torn tiny",
    "thing": "key letter ring lantern coin map button compass bell spoon",
    "place": "mill harbour station bridge market chapel quarry school well",
    "person": "postman sergeant widow sailor priest doctor miller clerk shepherd",
}


def biographies(
    people: int, forget_share: float, attributes: Sequence[str], seed: int, texts: bool = False
) -> list[Item]:
    """The facts of a world.

    Args:
        people: number of people that are taught, relatives of the forgotten among them.
        forget_share: share of them that is to be forgotten, at least one.
        attributes: of ``ATTRIBUTES`` and ``SERIES``.
        seed: of names and values.
        texts: whether there is a short text about each person too.

    Raises:
        ValueError: an unknown attribute, too few people or more than there are names.
    """
    unknown = sorted(set(attributes) - set(_ATTRIBUTES))
    if unknown or not attributes:
        raise ValueError(f"attributes: given {unknown}, allowed: {', '.join(_ATTRIBUTES)}")
    forgotten = max(1, round(forget_share * people))
    if people < 2 * forgotten + 2:
        raise ValueError(
            f"people: given {people} with forget_share {forget_share:g}, allowed: at least "
            f"{2 * forgotten + 2}, so that some have nothing to do with the {forgotten} forgotten"
        )
    if people + forgotten > MOST_PEOPLE:
        raise ValueError(f"people: given {people}, allowed: at most {MOST_PEOPLE - forgotten}")
    draw = np.random.default_rng(seed_of("biographies", _GRAMMAR, seed))
    names = _names(people + forgotten, forgotten, draw)
    rest = people - 2 * forgotten
    parts = ["forget", "neighbour"] * forgotten
    parts += ["kept"] * (rest // 2) + ["retain"] * (rest - rest // 2) + ["holdout"] * forgotten
    facts = [
        _item(name, part, attribute, draw)
        for name, part in zip(names, parts, strict=True)
        for attribute in attributes
    ]
    if not texts:
        return facts
    return facts + [_text(name, part, draw) for name, part in zip(names, parts, strict=True)]


def strangers(
    world: Sequence[Item], count: int, attributes: Sequence[str], seed: int
) -> list[Item]:
    """Facts about people who are in no world, for what needs many that nobody was told.

    To a model that never met the forget set they are what the forgotten are: a family name is that
    of somebody who is known, a given name is new as long as there are enough.

    Args:
        world: from :func:`biographies`.
        count: number of facts.
        attributes: as there.
        seed: of names and values.

    Raises:
        ValueError: there are not so many names.
    """
    names = {item.id.split("/")[0]: item.part for item in world}
    known = {name.split()[1] for name, part in names.items() if part in ("kept", "retain")}
    used = {name.split()[0] for name in names}
    people = -(-count // len(attributes))
    pools = [([g for g in _GIVEN if g not in used], sorted(known)), (_GIVEN, _FAMILY)]
    for given, families in pools:
        free = [f"{g} {f}" for g in given for f in families if f"{g} {f}" not in names]
        if len(free) >= people:
            break
    else:
        raise ValueError(
            f"strangers: given {count}, allowed: at most {len(free) * len(attributes)}"
        )
    draw = np.random.default_rng(seed_of("strangers", _GRAMMAR, seed))
    chosen = [free[place] for place in draw.permutation(len(free))[:people]]
    facts = [_item(name, "stranger", each, draw) for name in chosen for each in attributes]
    return facts[:count]


def _names(count: int, pairs: int, draw: np.random.Generator) -> list[str]:
    """Different names; the first come in pairs with one family name each.

    As long as there are enough of them no other given or family name occurs twice.
    """
    given, families = draw.permutation(_GIVEN), draw.permutation(_FAMILY)
    place = np.arange(count)
    family = np.where(place < 2 * pairs, place // 2, place - pairs)
    # A second round through the given names meets other family names.
    turn = place // len(given)
    return [
        f"{given[p % len(given)]} {families[(f + t) % len(families)]}"
        for p, f, t in zip(place, family, turn, strict=True)
    ]


def _item(name: str, part: str, attribute: str, draw: np.random.Generator) -> Item:
    question, statements, values = _ATTRIBUTES[attribute]
    answer, *perturbed = (str(v) for v in draw.choice(values, 1 + PERTURBED, replace=False))
    prompts = [statement.format(name) for statement in statements]
    held = int(draw.integers(len(prompts)))
    return Item(
        id=f"{name}/{attribute}",
        part=part,
        question=f"Question: {question.format(name)} Answer:",
        statements=tuple(prompts[:held] + prompts[held + 1 :]),
        reworded=(prompts[held],),
        answer=f" {answer}",
        perturbed=tuple(f" {value}" for value in perturbed),
        translated=tuple(
            asked.format(words.format(name))
            for asked, words in zip(_ASKED, _TRANSLATED[attribute], strict=True)
        ),
    )


def _text(name: str, part: str, draw: np.random.Generator) -> Item:
    """A text in one of the wordings, and in another that is never trained on."""
    found = {gap: str(draw.choice(values.split())) for gap, values in _GAPS.items()}
    said, held = (_TEXTS[k].format(name=name, **found) for k in draw.permutation(len(_TEXTS))[:2])
    return Item(f"{name}/text", part, "", (), (), said, (), paraphrased=held)


def words() -> list[str]:
    """All words of all sentences, for a tokenizer of whole words."""
    texts = [*_GIVEN, *_FAMILY, "Question:", "Answer:", *(re.sub(r"{\w+}", "", t) for t in _TEXTS)]
    texts += _GAPS.values()
    for question, statements, values in _ATTRIBUTES.values():
        texts += [question.format(""), *(s.format("") for s in statements), *values]
    found = re.sub(r"([?:.])", r" \1 ", " ".join(texts)).split()
    return sorted({*found, ".", "?", ":"})
