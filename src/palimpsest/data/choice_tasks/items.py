"""Items of tasks with choices: the one form that embedded, fetched and own tasks have."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

VERSION = 1

Split = Literal["train", "validation", "test", "template", "topic", "near"]
#: What an item is to the training of its task. ``test`` has templates and topics of training and
#: other contents, ``template`` has templates that are never trained on, ``topic`` topics; ``near``
#: are neighbours of items of training, edited or paraphrased.
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class ChoiceItem:
    """One question with its possible answers.

    Attributes:
        id: such as ``entailment/train/12``, of one item alone.
        task: name of the task.
        family: what kind of knowledge or skill it asks for, such as ``inference``.
        split: see :data:`SPLITS`.
        template: name of the wording.
        topic: what the content is about, such as a noun; held-out topics share nothing with these.
        prompt: text that a choice follows, without white space at its end.
        choices: possible answers, each with the space before it; at least two, all different.
        answer: index of the right one.
        of: of a near neighbour the id of its item of training.
        change: of a near neighbour ``edited`` (one thing is another, and so may the answer be) or
            ``paraphrased`` (the same content in other words, the same answer).
    """

    id: str
    task: str
    family: str
    split: Split
    template: str
    topic: str
    prompt: str
    choices: tuple[str, ...]
    answer: int
    of: str = ""
    change: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a row of a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> ChoiceItem:
        """From :meth:`to_json`."""
        return cls(**row | {"choices": tuple(row["choices"])})


@dataclass(frozen=True)
class Sizes:
    """How many items a task has at most; ``test`` counts for test, template and topic each.

    Attributes:
        train: items of training.
        validation: items by which the end of teaching is found.
        test: unseen items of each kind.
        near: items of training that get one edited and one paraphrased neighbour each.
    """

    train: int
    validation: int
    test: int
    near: int
