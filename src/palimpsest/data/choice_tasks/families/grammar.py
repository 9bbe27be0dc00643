"""Grammar: agreement, tense and number."""

from __future__ import annotations

from itertools import product

from palimpsest.data.choice_tasks.contents import Content, Task, table

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
    mind: think thought, know knew, forget forgot, feel felt, believe believed, remember
    remembered
    trade: buy bought, sell sold, pay paid, lend lent, spend spent, order ordered
    house: build built, clean cleaned, break broke, sleep slept, wash washed, paint painted
    hands: take took, give gave, hold held, bring brought, carry carried, pull pulled
    music: sing sang, play played, dance danced, hear heard, listen listened, begin began
    """
)
_PEOPLE = ("they", "we", "you", "I", "people", "boys", "girls", "friends")
# singular, and plural where it is not the singular and an s
_COUNTED = table(
    """
    animals: dog, cat, horse, mouse mice, goose geese, wolf wolves, fox foxes, pig, cow, lion
    people: man men, woman women, child children, boy, girl, person people, wife wives, baby
    babies, lady ladies, uncle
    body: foot feet, tooth teeth, hand, finger, eye, ear, knee, leg, arm, lip
    food: apple, potato potatoes, loaf loaves, egg, cherry cherries, cake, tomato tomatoes,
    lemon, berry berries, peach peaches
    house: door, window, chair, shelf shelves, knife knives, lamp, brush brushes, table, key,
    box boxes
    nature: tree, leaf leaves, river, hill, bush bushes, cloud, star, sea, lake, flower
    town: street, city cities, church churches, school, shop, bus buses, car, bridge, park,
    library libraries
    school: book, story stories, pencil, class classes, teacher, lesson, page, number,
    dictionary dictionaries, map
    clothes: shirt, dress dresses, hat, coat, scarf scarves, button, pocket, sock, skirt, watch
    watches
    time: day, week, month, year, hour, century centuries, season, minute, night, party parties
    """
)
_OWNERS = ("my", "your", "his", "our", "her", "their")


def _agreement() -> list[Content]:
    """A noun, and another one between it and its verb, whose number says nothing."""
    contents = []
    for topic, nouns in _NOUNS.items():
        for (one, other), link in product(product(nouns, nouns), _LINKS):
            if one == other:
                continue
            for number, beside in product((0, 1), (0, 1)):
                contents.append(
                    Content(
                        topic=topic,
                        fill=(one[number], link, other[beside]),
                        right=("is", "are")[number],
                        key=f"{one[0]} {link} {other[0]}",
                        slots=(one[0], link, other[beside], str(number)),
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


def _number() -> list[Content]:
    contents = []
    for topic, nouns in _COUNTED.items():
        for (one, *other), owner in product(nouns, _OWNERS):
            forms = {"singular": one, "plural": other[0] if other else f"{one}s"}
            contents += [
                Content(
                    topic=topic,
                    fill=(f"{owner} {form}",),
                    right=number,
                    key=one,
                    slots=(owner, one, number),
                )
                for number, form in forms.items()
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
    "grammatical_number": Task(
        family="grammar",
        summary="whether a noun is in the singular or the plural",
        templates=(
            "{0}: the noun is",
            "Singular or plural? {0} is",
            "The form of '{0}' is",
        ),
        held_out=(
            "Look at {0}. The number is",
            "'{0}' has a noun in the",
            "When I say {0}, I use the",
        ),
        contents=_number,
        labels=("singular", "plural"),
    ),
}
