"""A user's own tasks with choices: a JSONL file in UTF-8, one item a line.

A line such as::

    {"task": "colours", "prompt": "Grass is", "choices": ["green", "red"], "answer": "green"}

``answer`` is one of the choices or its index from 0. ``family``, ``template``, ``topic`` and ``id``
are texts and optional. ``split`` is one of train, validation, test, template, topic and near (see
``choice_tasks.items``), given in all rows of a task or in none; without it rows are divided by the
seed. A ``near`` item names its item of training in ``of`` and its ``change``: edited or
paraphrased.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from palimpsest.data.choice_tasks.dividing import divided
from palimpsest.data.choice_tasks.items import SPLITS, ChoiceItem, Sizes, Split
from palimpsest.data.errors import DataError
from palimpsest.data.json_lines import content, decoded, shown, storable, validated
from palimpsest.identity import seed_of

VERSION = 1
ENGINE = ("data.choice_tasks.items",)

MAX_LINE = 100_000  # characters; longer lines are not items but another kind of file
MOST_CHOICES = 100

_ALLOWED = {
    "task": "text of at least one character, no slash in it",
    "prompt": "text of at least one character",
    "choices": f"a list of 2 to {MOST_CHOICES} different texts",
    "answer": "one of the choices, or its index from 0",
    "family": "text",
    "split": ", ".join(SPLITS),
    "template": "text",
    "topic": "text",
    "of": "id of an item of training of the same task",
    "change": "edited or paraphrased",
    "id": "text of at least one character, new in its task",
}


class _Row(BaseModel):
    """One line, before the checks that involve other keys and lines."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    prompt: str
    choices: list[str]
    answer: int | str
    family: str = ""
    split: Split | None = None
    template: str = ""
    topic: str = ""
    of: str | None = None
    change: Literal["edited", "paraphrased"] | None = None
    id: str | None = None


Numbered = tuple[int, _Row]


def read_tasks(path: str | Path) -> dict[str, list[Numbered]]:
    """Checked rows of a file with the numbers of their lines, by task.

    Raises:
        DataError: every bad row with its line number, or the file as a whole: missing, empty, or a
            task without items of training or of a test.
    """
    tasks: dict[str, list[Numbered]] = defaultdict(list)
    problems: list[tuple[int, str]] = []
    for number, row in _rows(path):
        found = row if isinstance(row, list) else _problems(row)
        problems += [(number, problem) for problem in found]
        if isinstance(row, _Row) and not found:
            tasks[row.task].append((number, row))
    for rows in tasks.values():
        problems += _across(rows)
    if not problems and not tasks:
        problems = [(0, "holds no item; allowed: at least one line")]
    problems += [] if problems else _lacking(tasks)
    if problems:
        raise DataError(path, sorted(problems))
    return dict(tasks)


def own_tasks(path: str | Path, seed: int, sizes: Sizes) -> dict[str, list[ChoiceItem]]:
    """Items of every task of a file: at most so many, drawn and, where need be, divided by a seed.

    Args:
        path: the file.
        seed: of what is drawn.
        sizes: how many items of every split at most.

    Raises:
        DataError: the file cannot be used.
    """
    return {task: _drawn(task, rows, seed, sizes) for task, rows in read_tasks(path).items()}


def _rows(path: str | Path) -> Iterator[tuple[int, _Row | list[str]]]:
    """Line numbers, with the row or with what is wrong with it."""
    for number, line in enumerate(content(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, validated(decoded(line, MAX_LINE), _Row, _ALLOWED)
        except ValueError as error:
            yield number, [str(error)]


def _problems(row: _Row) -> list[str]:
    """What is wrong with a row alone."""
    wrong = [
        f"{key}: given {shown(value)}; allowed: text that a column can hold"
        for key, value in row.model_dump().items()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str) and not storable(text)
    ]
    for key in ("task", "prompt", "id"):
        value = getattr(row, key)
        if value is not None and (not value.strip() or (key == "task" and "/" in value)):
            wrong.append(f"{key}: given {shown(value)}; allowed: {_ALLOWED[key]}")
    choices = _choices(row)
    if not 2 <= len(choices) <= MOST_CHOICES or len(set(choices)) < len(choices) or "" in choices:
        wrong.append(f"choices: given {shown(row.choices)}; allowed: {_ALLOWED['choices']}")
    elif _answer(row) is None:
        wrong.append(
            f"answer: given {shown(row.answer)}; allowed: 0 to {len(choices) - 1}, or one of "
            f"{shown(choices)}"
        )
    for key in ("of", "change"):
        if (getattr(row, key) is not None) != (row.split == "near"):
            wrong.append(f"{key}: needed with split near, and allowed with it alone")
    return wrong


def _choices(row: _Row) -> list[str]:
    return [choice.strip() for choice in row.choices]


def _answer(row: _Row) -> int | None:
    """Index of the right choice; None if there is none."""
    choices = _choices(row)
    if isinstance(row.answer, int):
        return row.answer if 0 <= row.answer < len(choices) else None
    answer = row.answer.strip()
    return choices.index(answer) if answer in choices else None


def _across(rows: list[Numbered]) -> list[tuple[int, str]]:
    """What is wrong with a row of a task because of others."""
    problems: list[tuple[int, str]] = []
    first, (number_of_first, _) = rows[0][1], rows[0]
    seen: dict[tuple[str, str], int] = {}
    trained = {_id(number, row) for number, row in rows if row.split == "train"}
    for number, row in rows:
        for key, value in (("id", _id(number, row)), ("prompt", row.prompt.strip())):
            earlier = seen.setdefault((key, value), number)
            if earlier != number:
                problems.append(
                    (number, f"{key}: given {shown(value)}, already on line {earlier}; allowed: "
                     "a new one")
                )  # fmt: skip
        if (row.split is None) != (first.split is None):
            problems.append(
                (number, f"split: given {shown(row.split)}, but {shown(first.split)} on line "
                 f"{number_of_first}; allowed: in all rows of a task or in none")
            )  # fmt: skip
        if row.of is not None and row.of not in trained:
            problems.append((number, f"of: given {shown(row.of)}; allowed: {_ALLOWED['of']}"))
    return problems


def _lacking(tasks: dict[str, list[Numbered]]) -> list[tuple[int, str]]:
    """Tasks that cannot be taught and tested."""
    problems = []
    for task, rows in tasks.items():
        splits = {row.split for _, row in rows}
        if splits == {None}:
            if len(rows) < 3:
                problems.append((0, f"{task}: has {len(rows)} rows; allowed: at least 3"))
        elif not {"train", "test"} <= splits:
            problems.append((0, f"{task}: allowed: items of split train and of split test"))
    return problems


def _drawn(task: str, rows: list[Numbered], seed: int, sizes: Sizes) -> list[ChoiceItem]:
    seed = seed_of("choice_tasks", task, seed)
    if rows[0][1].split is None:
        shares = {"train": sizes.train, "validation": sizes.validation, "test": sizes.test}
        parts = divided(rows, shares, seed)
    else:
        parts = _chosen(rows, seed, sizes)
    return [_item(task, split, *each) for split in SPLITS for each in parts.get(split, ())]


def _chosen(rows: list[Numbered], seed: int, sizes: Sizes) -> dict[str, list[Numbered]]:
    """Rows of every split; neighbours with their items of training, which are taken first."""
    by_split: dict[str, list[Numbered]] = defaultdict(list)
    for number, row in rows:
        by_split[str(row.split)].append((number, row))
    wanted = {row.of for _, row in by_split["near"]}
    sources = [each for each in by_split["train"] if _id(*each) in wanted]
    with_near = divided(sources, {"train": min(sizes.near, sizes.train)}, seed)["train"]
    near_of = {_id(*each) for each in with_near}
    others = [each for each in by_split["train"] if _id(*each) not in near_of]
    rest = divided(others, {"train": sizes.train - len(with_near)}, seed)["train"]
    counts = dict.fromkeys(("test", "template", "topic"), sizes.test)
    parts = {
        split: divided(by_split[split], {split: count}, seed)[split]
        for split, count in (counts | {"validation": sizes.validation}).items()
    }
    near = [each for each in by_split["near"] if each[1].of in near_of]
    return parts | {"train": with_near + rest, "near": near}


def _id(number: int, row: _Row) -> str:
    return row.id or f"row-{number}"


def _item(task: str, split: Split, number: int, row: _Row) -> ChoiceItem:
    answer = _answer(row)
    assert answer is not None, "rows are checked"
    return ChoiceItem(
        id=f"{task}/{split}/{_id(number, row)}",
        task=task,
        family=row.family,
        split=split,
        template=row.template,
        topic=row.topic,
        prompt=row.prompt.rstrip(),
        choices=tuple(f" {choice}" for choice in _choices(row)),
        answer=answer,
        of=f"{task}/train/{row.of}" if row.of else "",
        change=row.change or "",
    )
