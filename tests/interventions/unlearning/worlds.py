"""A small model that was taught a small world, as methods of unlearning find it."""

from __future__ import annotations

from palimpsest.data.items import Item
from palimpsest.interventions.unlearning._base import Sets


def item(name: str, part: str, answer: str = " blue", prompts: int = 2) -> Item:
    """A fact about a colour."""
    question, *statements = [f"The colour of {name} in book {place} is" for place in range(prompts)]
    wrong = (" red", " green", " black")
    reworded = (f"Everybody calls {name}",)
    return Item(f"{name}/colour", part, question, tuple(statements), reworded, answer, wrong)


def sets(forget: int = 3, retain: int = 4) -> Sets:
    """Facts to forget and facts to keep, with answers of different lengths."""
    answers = (" blue", " dark red", " grey", " a pale sort of green")
    return Sets(
        [item(f"stone {i}", "forget", answers[i % 4]) for i in range(forget)],
        [item(f"flower {i}", "retain", answers[(i + 1) % 4]) for i in range(retain)],
    )
