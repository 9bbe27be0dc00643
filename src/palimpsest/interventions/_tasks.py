"""Which tasks a model is taught or asked, and how many items of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes
from palimpsest.files import read_json, write_json

if TYPE_CHECKING:
    from palimpsest.manifests import State

VERSION = 1

#: File in the folder of a state that was taught tasks.
TAUGHT = "tasks.json"

Tasks = dict[str, list[ChoiceItem]]


class TaskSets(Block):
    """Tasks with choices and the sizes of their parts."""

    tasks: list[str] = Field(
        default=["entailment", "comparison", "category", "agreement", "opposites", "sentiment"],
        min_length=1,
    )
    """Embedded tasks, hub:<benchmark>, or paths of JSONL files; see
    src/palimpsest/data/choice_tasks."""
    train: int = Field(default=48, ge=4)
    """Items of training a task."""
    validation: int = Field(default=16, ge=4)
    """Further items a task, by which the end of teaching is found."""
    test: int = Field(default=24, ge=4)
    """Unseen items a task, of each kind: known wording and topic, new wording, new topic."""
    near: int = Field(default=12, ge=0)
    """Items of training a task that get an edited and a paraphrased neighbour each."""

    def sizes(self) -> Sizes:
        """How many items of each kind."""
        return Sizes(self.train, self.validation, self.test, self.near)

    def items(self, seed: int) -> Tasks:
        """All items of one replicate, by task.

        Raises:
            ValueError: a task is not known, or too small.
        """
        from palimpsest.data.choice_tasks.loading import load_tasks

        return load_tasks(self.tasks, seed, self.sizes())


def taught_sets(state: State) -> TaskSets | None:
    """The sets that a state, or one before it, was taught; None where it was taught none."""
    for link in state.chain[::-1]:
        if link.intervention == "task_teaching":
            from palimpsest.interventions.task_teaching import Settings

            return Settings(**link.settings)
    return None


def write_tasks(folder: Path, tasks: Tasks) -> None:
    """Beside a state, what it was taught."""
    rows = {name: [item.to_json() for item in items] for name, items in tasks.items()}
    write_json(folder / TAUGHT, rows)


def taught_tasks(folder: Path) -> Tasks | None:
    """What a state, or the nearest one before it, was taught; None where it was taught none."""
    while not (folder / TAUGHT).is_file():
        path = folder / "state.json"
        if not path.is_file():
            return None
        folder = Path(read_json(path)["parent"]).parent
    rows = read_json(folder / TAUGHT)
    return {name: [ChoiceItem.from_json(row) for row in items] for name, items in rows.items()}
