"""Tasks with choices that are made here by rules, without network or further packages.

A task goes into ``TASKS`` of the file of its family in ``choice_tasks/families/``; a new family is
a new file there. Files are found by themselves. Whoever changes what items are raises ``VERSION``.
"""

from __future__ import annotations

import pkgutil
from dataclasses import asdict
from functools import cache
from importlib import import_module

from palimpsest.data.choice_tasks import families
from palimpsest.data.choice_tasks.contents import Task
from palimpsest.data.choice_tasks.drawing import draw
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes

VERSION = 2
ENGINE = ("data.choice_tasks.items",)


def _found() -> dict[str, Task]:
    found: dict[str, Task] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(families.__path__)):
        found |= import_module(f"{families.__name__}.{module}").TASKS
    return found


#: name -> task; ``family``, ``choices`` and ``summary`` are for tables of the documentation.
TASKS: dict[str, Task] = _found()


def check(name: str, sizes: Sizes) -> None:
    """Raise ValueError unless there is such a task and it yields so many items, whatever the seed.

    Args:
        name: of an embedded task.
        sizes: how many items are wanted.
    """
    if name not in TASKS:
        raise ValueError(f"{name}: unknown task; allowed: {', '.join(TASKS)}")
    most = asdict(TASKS[name].most)
    for key, value in asdict(sizes).items():
        if not 0 <= value <= most[key]:
            raise ValueError(f"{name}: {key}: given {value}; allowed: 0 to {most[key]}")
    if sizes.near > sizes.train // 2:
        raise ValueError(
            f"{name}: near: given {sizes.near}; allowed: 0 to {sizes.train // 2}, half of train"
        )


@cache
def _drawn(name: str, seed: int, sizes: Sizes) -> tuple[ChoiceItem, ...]:
    return tuple(draw(name, TASKS[name], seed, sizes))


def choice_task(name: str, seed: int, sizes: Sizes) -> list[ChoiceItem]:
    """Items of an embedded task, which depend on the arguments alone.

    Args:
        name: one of :data:`TASKS`.
        seed: of what is drawn and what is held out.
        sizes: how many items of every split; near items are twice ``near``.

    Raises:
        ValueError: no such task, or it yields fewer items.
    """
    check(name, sizes)
    return list(_drawn(name, seed, sizes))
