"""What an embedded task is made of: contents, and wordings that contents are put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from palimpsest.data.choice_tasks.items import Sizes

#: What a task of many contents yields at most, and one of a written table.
MANY = Sizes(train=256, validation=64, test=64, near=64)
TABLE = Sizes(train=96, validation=24, test=32, near=24)

YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Content:
    """What one question is about, without its wording.

    Attributes:
        topic: its subject; everything that a topic does not share with others is held out with it.
        fill: words that a template's places ``{0}``, ``{1}``, ... are filled with.
        right: the right answer, without the space before it.
        wrong: answers that are surely wrong; empty where the task has constant labels.
        key: the knowledge that is asked for; contents of one key are never in two splits, but for
            an edited neighbour and its item. The words of ``slots`` where empty.
        slots: what can be changed one at a time to give an edited neighbour; ``fill`` where empty.
    """

    topic: str
    fill: tuple[str, ...]
    right: str
    wrong: tuple[str, ...] = ()
    key: str = ""
    slots: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """What can be changed one at a time."""
        return self.slots or self.fill

    @property
    def knowledge(self) -> str:
        """What may be in one split only."""
        return self.key or "|".join(self.places)

    def prompt(self, template: str) -> str:
        """The question in a wording."""
        text = template.format(*self.fill)
        return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Task:
    """A task that is made by rules.

    Attributes:
        family: what kind of knowledge or skill it asks for.
        summary: what is asked, for a table of the documentation.
        templates: wordings of training, at least three.
        held_out: wordings that are never trained on, at least two.
        contents: makes all contents, always the same in the same order.
        labels: answers that every item has in this order; empty where choices differ.
        choices: number of choices of an item.
        most: what the task yields at most, whatever the seed.
    """

    family: str
    summary: str
    templates: tuple[str, ...]
    held_out: tuple[str, ...]
    contents: Callable[[], list[Content]]
    labels: tuple[str, ...] = ()
    choices: int = 2
    most: Sizes = MANY


def table(text: str) -> dict[str, list[list[str]]]:
    """Topics and their rows from paragraphs such as ``topic: word word, word word``.

    A paragraph goes on in lines without a colon; a word with an underscore is several words.
    """
    found: dict[str, str] = {}
    topic = ""
    for line in text.strip().splitlines():
        first, colon, rest = line.partition(":")
        topic = first.strip() if colon else topic
        found[topic] = f"{found.get(topic, '')} {rest if colon else line}"
    return {
        topic: [[word.replace("_", " ") for word in row.split()] for row in rows.split(",")]
        for topic, rows in found.items()
    }
