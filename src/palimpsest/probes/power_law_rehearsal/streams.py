"""The streams of several seeds in one pool, each network with its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from palimpsest.data.digits import Digits, load_digits
from palimpsest.data.task_streams import TaskStream, permuted, rotated, split
from palimpsest.engine.ensemble_training import Pool
from palimpsest.interventions.continual._base import Task

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings


@dataclass(frozen=True)
class Streams:
    """Streams of one kind and several seeds, or of several kinds, one after another in a pool.

    Attributes:
        pool: all examples.
        classes: number of classes.
        train: (streams, tasks, n) places of the training examples of each task.
        test: (streams, tasks, m) the same to test.
        task_of: (N,) the task that each example of the pool belongs to.
    """

    pool: Pool
    classes: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    task_of: NDArray[np.int64]

    def tasks(self, rows: Sequence[int]) -> list[Task]:
        """The tasks of K networks, of which ``rows`` says whose stream each one has."""
        train, test = self.train[list(rows)], self.test[list(rows)]
        return [Task(t, train[:, t], test[:, t]) for t in range(train.shape[1])]


def streams(
    settings: Settings, wanted: tuple[tuple[str, int], ...], tasks: int, device: str
) -> Streams:
    """The streams of these benchmarks and seeds; those of the last call are kept."""
    return _streams(
        settings.source,
        wanted,
        tasks,
        settings.train_per_task,
        settings.test_per_task,
        device,
    )


@lru_cache(maxsize=1)
def _streams(
    source: str,
    wanted: tuple[tuple[str, int], ...],
    tasks: int,
    train_per_task: int,
    test_per_task: int,
    device: str,
) -> Streams:
    digits = load_digits(source)
    # Pairs of classes differ in size: all streams, of any seed, have what the smallest pair has, so
    # that none depends on which stand beside it.
    if wanted[0][0].startswith("split_"):
        train_per_task = min(train_per_task, 2 * int(np.bincount(digits.train_labels).min()))
        test_per_task = min(test_per_task, 2 * int(np.bincount(digits.test_labels).min()))
    made = [
        _stream(digits, benchmark, tasks, seed, train_per_task, test_per_task)
        for benchmark, seed in wanted
    ]
    begins = np.cumsum([0, *(len(one.labels) for one in made)])
    task_of = np.empty(begins[-1], dtype=np.int64)
    places = []
    for part in range(2):
        rows = np.stack([[task[part] for task in one.tasks] for one in made])
        rows += begins[: len(made), None, None]
        task_of[rows] = np.arange(rows.shape[1])[:, None]
        places.append(rows)
    allowed = None
    if made[0].allowed is not None:
        allowed = torch.from_numpy(np.concatenate([one.allowed for one in made])).to(device)
    pool = Pool(
        torch.from_numpy(np.concatenate([one.inputs for one in made])).to(device),
        torch.from_numpy(np.concatenate([one.labels for one in made])).to(device),
        allowed,
    )
    return Streams(pool, made[0].classes, *places, task_of)


def _stream(
    digits: Digits, benchmark: str, tasks: int, seed: int, train: int, test: int
) -> TaskStream:
    sizes = {"train_per_task": train, "test_per_task": test}
    if benchmark == "rotated":
        return rotated(digits, tasks, seed, **sizes)
    if benchmark.startswith("split_"):
        scenario = benchmark.removeprefix("split_")
        return split(digits, seed, tasks=tasks, scenario=scenario, **sizes)
    return permuted(
        digits,
        tasks,
        seed,
        **sizes,
        identical=benchmark == "identical",
        shuffled_labels=benchmark == "shuffled",
    )
