"""Grammar: agreement, tense and the order of words."""

from __future__ import annotations

from itertools import product

from palimpsest.data.choice_tasks.contents import YES_NO, Content, Task, table

# singular and plural
_NOUNS = table(
    """
    house: key keys, door doors, lamp lamps, window windows
    family: boy boys, sister sisters, friend friends, baby babies
    school: teacher teachers, student students, book books, pencil pencils
    animal: dog dogs, horse horses, bird birds, cow cows
    work: doctor doctors, lawyer lawyers, driver drivers, worker workers
    garden: tree trees, flower flowers, rose roses, apple apples
    street: car cars, bus buses, truck trucks, bike bikes
    clothes: shirt shirts, coat coats, hat hats, sock socks
    """
)
_LINKS = ("near", "behind", "with", "beside", "by")
# of a verb: base, past
_VERBS = table(
    """
    sport: run ran, swim swam, throw threw, catch caught, kick kicked, jump jumped
    kitchen: eat ate, drink drank, cook cooked, bake baked, fry fried, taste tasted
    school: write wrote, teach taught, learn learned, draw drew, count counted, study studied
    travel: go went, drive drove, fly flew, ride rode, leave left, travel traveled
    talk: say said, tell told, speak spoke, ask asked, shout shouted, answer answered
    mind: think thought, know knew, forget forgot, feel felt, believe believed, remember remembered
    trade: buy bought, sell sold, pay paid, lend lent, spend spent, order ordered
    house: build built, clean cleaned, break broke, sleep slept, wash washed, paint painted
    hands: take took, give gave, hold held, bring brought, carry carried, pull pulled
    music: sing sang, play played, dance danced, hear heard, listen listened, begin began
    """
)
_PEOPLE = ("they", "we", "you", "I")
_SUBJECTS = table(
    """
    animals: dog, cat, horse, bird
    people: boy, girl, man, woman
    things: car, train, boat, clock
    nature: river, sun, wind, tree
    work: doctor, nurse, king, judge
    house: door, chair, lamp, table
    """
)
_ADJECTIVES = ("big", "old", "small", "new")
_PREDICATES = ("is very cold", "was not here", "will be late", "has to go", "is my best")


def _agreement() -> list[Content]:
    """A noun, and one of the other number between it and its verb."""
    contents = []
    for topic, nouns in _NOUNS.items():
        for (one, other), link in product(product(nouns, nouns), _LINKS):
            if one == other:
                continue
            for number in (0, 1):
                contents.append(
                    Content(
                        topic=topic,
                        fill=(one[number], link, other[1 - number]),
                        right=("is", "are")[number],
                        key=f"{one[0]} {link} {other[0]}",
                        slots=(one[0], link, other[0], str(number)),
                    )
                )
    return contents


def _tense() -> list[Content]:
    contents = []
    for topic, verbs in _VERBS.items():
        for (base, past), who in product(verbs, _PEOPLE):
            forms = {"past": past, "present": base, "future": f"will {base}"}
            contents += [
                Content(
                    topic=topic,
                    fill=(f"{who} {form}",),
                    right=right,
                    key=f"{who} {base}",
                    slots=(who, base, right),
                )
                for right, form in forms.items()
            ]
    return contents


def _word_order() -> list[Content]:
    """A sentence, and three orders of its words that are none."""
    contents = []
    for topic, nouns in _SUBJECTS.items():
        for (noun,), adjective, predicate in product(nouns, _ADJECTIVES, _PREDICATES):
            verb, rest = predicate.split(maxsplit=1)
            orders = (
                f"the {adjective} {noun} {predicate}",
                f"the {noun} {adjective} {predicate}",
                f"{adjective} the {noun} {predicate}",
                f"the {adjective} {verb} {noun} {rest}",
            )
            contents += [
                Content(
                    topic=topic,
                    fill=(words,),
                    right="no" if order else "yes",
                    key=f"{adjective} {noun} {predicate}",
                    slots=(adjective, noun, predicate, str(order)),
                )
                for order, words in enumerate(orders)
            ]
    return contents


TASKS = {
    "agreement": Task(
        family="grammar",
        summary="is or are behind a noun and one of the other number",
        templates=(
            "The {0} {1} the {2}",
            "I know that the {0} {1} the {2}",
            "In this picture the {0} {1} the {2}",
        ),
        held_out=(
            "Today my {0} {1} your {2}",
            "Everyone knows the {0} {1} the {2}",
            "Look, our {0} {1} their {2}",
        ),
        contents=_agreement,
        labels=("is", "are"),
    ),
    "tense": Task(
        family="grammar",
        summary="tense of a short sentence",
        templates=(
            "{0}. The tense is",
            "The sentence '{0}' is in the",
            "Past, present or future? {0}:",
        ),
        held_out=(
            "'{0}' tells of the",
            "When {0}, the time is the",
            "Grammar: '{0}' has the form of the",
        ),
        contents=_tense,
        labels=("past", "present", "future"),
    ),
    "word_order": Task(
        family="grammar",
        summary="whether words are a sentence or scrambled",
        templates=(
            "{0}. Is this correct?",
            "Is this a sentence: {0}?",
            "Good English: '{0}':",
        ),
        held_out=(
            "Can you say '{0}'?",
            "'{0}' has the right order:",
            "Would a teacher accept '{0}'?",
        ),
        contents=_word_order,
        labels=YES_NO,
    ),
}
