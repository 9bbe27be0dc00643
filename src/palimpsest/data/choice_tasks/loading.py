"""Tasks by name: embedded ones, benchmarks of the hub, and files of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from palimpsest.data.choice_tasks import embedded, hub, own
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes
from palimpsest.identity import file_sha256

VERSION = 1
ENGINE = (
    "data.choice_tasks.embedded",
    "data.choice_tasks.hub",
    "data.choice_tasks.own",
)


def load_tasks(names: Sequence[str], seed: int, sizes: Sizes) -> dict[str, list[ChoiceItem]]:
    """Items of tasks by name, in the order of the names; benchmarks are fetched if need be.

    Args:
        names: embedded tasks (``embedded.TASKS``), benchmarks such as ``hub:arc-easy``
            (``hub.BENCHMARKS``), and paths of JSONL files (``own``), which may hold several tasks.
        seed: of what is drawn.
        sizes: how many items of every split; benchmarks and files may have fewer.

    Raises:
        ValueError: an unknown name, a task that yields fewer items, one name for two tasks.
        DataError: a file that cannot be used.
    """
    _check_names(names)
    tasks: dict[str, list[ChoiceItem]] = {}
    for name in names:
        if hub.is_hub(name):
            found = {name: hub.hub_task(name, seed, sizes)}
        elif name in embedded.TASKS:
            found = {name: embedded.choice_task(name, seed, sizes)}
        else:
            found = own.own_tasks(name, seed, sizes)
        _only_new(name, found, tasks)
        tasks |= found
    return tasks


def check_tasks(names: Sequence[str], sizes: Sizes) -> None:
    """Raise ValueError where :func:`load_tasks` would, whatever the seed; nothing is fetched."""
    _check_names(names)
    known: set[str] = set()
    for name in names:
        if hub.is_hub(name):
            hub.check_name(name)
            found = {name}
        elif name in embedded.TASKS:
            embedded.check(name, sizes)
            found = {name}
        else:
            found = set(own.read_tasks(name))
        _only_new(name, found, known)
        known |= found


def task_names(names: Sequence[str]) -> list[str]:
    """Names of the tasks that :func:`load_tasks` gives; nothing is fetched.

    Raises:
        ValueError: an unknown name.
        DataError: a file that cannot be used.
    """
    _check_names(names)
    found: list[str] = []
    for name in names:
        made_here = hub.is_hub(name) or name in embedded.TASKS
        found += [name] if made_here else own.read_tasks(name)
    return found


def fingerprint(name: str) -> str:
    """What the items of a name depend on besides code, seed and sizes.

    Args:
        name: as of :func:`load_tasks`.

    Returns:
        A version, the name with its commit, or the SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    if hub.is_hub(name):
        return name
    if name in embedded.TASKS:
        return f"embedded {embedded.VERSION}"
    return file_sha256(name)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ValueError("no task is named; allowed: at least one")
    for name in names:
        known = hub.is_hub(name) or name in embedded.TASKS
        if not known and not name.endswith(".jsonl") and not Path(name).is_file():
            raise ValueError(
                f"{name}: unknown task; allowed: {', '.join(embedded.TASKS)}, a benchmark such as "
                "hub:arc-easy, or the path of a JSONL file"
            )


def _only_new(name: str, found: Iterable[str], known: Iterable[str]) -> None:
    taken = set(known) | (set(embedded.TASKS) - {name})
    for task in found:
        if task in taken:
            raise ValueError(f"{name}: {task} is the name of another task; allowed: a new name")
