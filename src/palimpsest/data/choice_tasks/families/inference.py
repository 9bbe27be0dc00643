"""Inference: what follows from one or two sentences."""

from __future__ import annotations

from itertools import product

from palimpsest.data.choice_tasks.contents import YES_NO, Content, Task, table

_NOUNS = (
    *("cat", "dog", "horse", "cow", "bird", "duck", "pig", "goat"),
    *("cup", "door", "car", "boat", "book", "chair", "flower", "shirt"),
)
_COLORS = ("red", "blue", "green", "black", "white")
_NAMES = (
    *("Tom", "Max", "Sam", "Rex", "Ben", "Bob", "Jim", "Dan"),
    *("Leo", "Tim", "Jack", "John", "Paul", "Mark", "Adam", "Peter"),
)
_OPPOSITES = table(
    """
    body: awake asleep, alive dead, hungry full, sick healthy
    mood: happy sad, calm angry, brave afraid, kind cruel
    place: here away, inside outside, near far, home abroad
    means: rich poor, strong weak, famous unknown, busy idle
    age: young old, tall short, fat thin, slow fast
    right: right wrong, early late, guilty innocent, first last
    """
)


def _entailment() -> list[Content]:
    return [
        Content(
            topic=noun,
            fill=(noun, color, name, asked),
            right="yes" if asked == color else "no",
            key=f"{noun} {color} {name}",
        )
        for noun, color, name, asked in product(_NOUNS, _COLORS, _NAMES, _COLORS)
    ]


def _negation() -> list[Content]:
    contents = []
    for topic, pairs in _OPPOSITES.items():
        for pair, name, verb in product(pairs, _NAMES, ("is", "is not")):
            for said, asked in product(pair, pair):
                if verb == "is not" and said != asked:
                    continue  # who is not old need not be young
                contents.append(
                    Content(
                        topic=topic,
                        fill=(name, verb, said, asked),
                        right="yes" if said == asked and verb == "is" else "no",
                        key=f"{name} {pair[0]}",
                    )
                )
    return contents


TASKS = {
    "entailment": Task(
        family="inference",
        summary="whether a property of a kind is that of one of the kind",
        templates=(
            "{0}s are {1}. {2} is a {0}. Is {2} {3}?",
            "{2} is a {0}. {0}s are {1}. Is {2} {3}?",
            "Every {0} is {1}. {2} is a {0}. {2} is {3}:",
        ),
        held_out=(
            "All {0}s are {1}, so is the {0} {2} {3}?",
            "If {0}s are {1}, is my {0} {2} {3}?",
            "{2}, a {0} like all the {1} {0}s, is {3}?",
        ),
        contents=_entailment,
        labels=YES_NO,
    ),
    "negation": Task(
        family="inference",
        summary="whether somebody has a property, after a sentence with it, its opposite or a not",
        templates=(
            "{0} {1} {2}. Is {0} {3}?",
            "We know that {0} {1} {2}. Is {0} {3}?",
            "{0} {1} {2}. So is he {3}?",
        ),
        held_out=(
            "Is {0} {3} if {0} {1} {2}?",
            "They say {0} {1} {2}. {0} must be {3}:",
            "My friend {0} {1} {2}. Is my friend {3}?",
        ),
        contents=_negation,
        labels=YES_NO,
    ),
}
