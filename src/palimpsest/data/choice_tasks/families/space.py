"""Space: where things are to each other."""

from __future__ import annotations

from itertools import permutations

from palimpsest.data.choice_tasks.contents import Content, Task, table

_THINGS = table(
    """
    kitchen: cup, plate, bowl, spoon, pot, knife
    garden: tree, bush, bench, fence, pond, rose
    desk: pen, book, lamp, clock, phone, map
    shapes: circle, square, star, line, triangle, dot
    toys: ball, doll, kite, robot, drum, puzzle
    street: car, bus, sign, shop, house, bank
    animals: cat, dog, bird, cow, duck, pig
    clothes: hat, coat, shoe, sock, shirt, belt
    """
)
_OTHER = {"left": "right", "right": "left", "above": "below", "below": "above"}
_SAID = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


def _spatial() -> list[Content]:
    return [
        Content(
            topic=topic,
            fill=(one, _SAID[relation], other),
            right=_OTHER[relation],
            key=f"{one} {other}",
            slots=(one, relation, other),
        )
        for topic, rows in _THINGS.items()
        for one, other in permutations([word for (word,) in rows], 2)
        for relation in _OTHER
    ]


TASKS = {
    "spatial": Task(
        family="space",
        summary="where the second of two things is if the first is left, right, above or below",
        templates=(
            "The {0} is {1} the {2}. The {2} is",
            "If the {0} is {1} the {2}, the {2} is",
            "{0} {1} {2}, so {2} is",
        ),
        held_out=(
            "I see the {0} {1} the {2}, so the {2} is",
            "Where is the {2} if the {0} is {1} it?",
            "My {0} lies {1} my {2}. My {2} lies",
        ),
        contents=_spatial,
        labels=tuple(_OTHER),
    ),
}
