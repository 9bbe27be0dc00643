"""K networks learn a stream of tasks by one strategy, and are judged on every task after each.

What a network is shown and draws depends on its seed and the task's number alone, so no number
depends on which networks stand beside it or on how they are split into groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from palimpsest.engine.ensemble import Failure
from palimpsest.engine.ensemble_plans import Plan, current_only, epochs, generators
from palimpsest.engine.ensemble_training import accuracy, train
from palimpsest.interventions.continual._base import EXPERIENCE, PLAN, SHOWN, Strategy, Task

if TYPE_CHECKING:
    from palimpsest.engine.ensemble import Ensemble

VERSION = 1
ENGINE = ("interventions.continual._base",)

Figures = NDArray[np.float64]
#: (task, (S, K, B) current examples, generators of the networks) -> what is shown.
Experience = Callable[[Task, NDArray[np.int64], Sequence[np.random.Generator]], Plan]


@dataclass(frozen=True)
class Traced:
    """A set of examples on which networks are evaluated while they learn.

    Attributes:
        examples: (m,) for all networks or (K, m), one row a network.
        first: number of the first task during which it is evaluated.
        last: number of the last one; None: to the end of the stream.
    """

    examples: NDArray[np.int64]
    first: int = 0
    last: int | None = None

    def during(self, task: Task) -> bool:
        """Whether it is evaluated during a task."""
        return self.first <= task.number and (self.last is None or task.number <= self.last)


@dataclass(frozen=True)
class Record:
    """What a stream of T tasks did to K networks.

    Attributes:
        accuracy: (K, T, T): after task i (second axis), on the test set of task j (third); nan
            where the networks were not judged.
        loss: the same in nats.
        baseline: (K, T) accuracy of the networks before the first task.
        baseline_loss: the same in nats.
        traces: (K, T, E, J, 2) accuracy and loss during task i after each of the E steps asked
            for, on each of the J traced sets; nan where a task has fewer steps, and for sets that
            are not traced yet.
        losses: of every task the training losses (S, K).
        failures: networks whose loss was not finite; steps count from the start of the stream.
        facts: what the strategy tells of its networks at the end, name -> (K,).
    """

    accuracy: Figures
    loss: Figures
    baseline: Figures
    baseline_loss: Figures
    traces: Figures
    losses: list[NDArray[np.float32]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    facts: dict[str, Figures] = field(default_factory=dict)


def plain(task: Task, shown: NDArray[np.int64], draw: Sequence[np.random.Generator]) -> Plan:
    """The environment that brings nothing back."""
    return current_only(shown)


def learn(
    strategy: Strategy,
    tasks: Sequence[Task],
    steps: int,
    batch: int,
    experience: Experience = plain,
    at: Sequence[int] = (),
    traced: Sequence[Traced] = (),
    group: int | None = None,
    everything: bool = True,
    after: Callable[[Task], None] | None = None,
) -> Record:
    """Train a strategy's networks on one task after another.

    Args:
        strategy: with its networks, pool and seeds.
        tasks: in the order in which they are learned.
        steps: of each task.
        batch: current examples a step.
        experience: what the environment shows beside the current examples.
        at: steps within each task, counted from 1, after which the networks being trained are
            evaluated on the traced sets; 0 is before the first.
        traced: see :class:`Traced`; the test sets of all tasks, always, when empty.
        group: networks trained together; measured when None.
        everything: judge on the tests of all tasks after each one, or on those so far and the next.
        after: called after each task.

    Returns:
        All figures. A strategy that trains others than the networks it judges (GDumb) leaves
        losses without rows and traces of nan.

    Raises:
        ValueError: tasks that are not numbered in their order.
    """
    if [task.number for task in tasks] != list(range(len(tasks))):
        raise ValueError("tasks must be numbered from 0 in the order in which they are learned")
    ensemble, n = strategy.ensemble, len(tasks)
    tests = [task.test for task in tasks]
    at = sorted(set(at))
    watched = list(traced) or [Traced(one) for one in tests]
    record = Record(
        np.full((ensemble.n, n, n), np.nan),
        np.full((ensemble.n, n, n), np.nan),
        *_judged(strategy, strategy.reader(), tests),
        np.full((ensemble.n, n, len(at), len(watched), 2), np.nan),
    )

    failures = {}
    for task in tasks:
        draw = [generators(strategy.seeds, task.number, purpose) for purpose in range(3)]
        shown = epochs(task.train, batch, steps, draw[SHOWN])
        plan = strategy.plan(task, experience(task, shown, draw[EXPERIENCE]), draw[PLAN])
        strategy.begin_task(task)
        lost = np.empty((0, ensemble.n), dtype=np.float32)
        if len(plan):
            places = [place for place, one in enumerate(watched) if one.during(task)]
            sets = [watched[place].examples for place in places]
            reached = [step for step in at if step <= len(plan)] if sets else []

            def evaluate(part: Ensemble, sets: list[NDArray[np.int64]] = sets) -> Figures:
                return np.stack(_judged(strategy, part, sets), axis=-1)

            if 0 in reached:
                record.traces[:, task.number, 0, places] = evaluate(ensemble)
            lost, figures = train(
                ensemble,
                strategy.pool,
                plan,
                strategy.hooks(),
                group,
                reached,
                evaluate if reached else None,
            )
            first = int(0 in reached)
            if len(reached) > first:
                rows = slice(first, len(reached))
                record.traces[:, task.number, rows, places] = figures.transpose(2, 0, 1, 3)
        strategy.end_task(task, plan)
        record.losses.append(lost)
        judged = strategy.reader()
        known = len(tests) if everything else min(task.number + 2, len(tests))
        figures = _judged(strategy, judged, tests[:known])
        record.accuracy[:, task.number, :known], record.loss[:, task.number, :known] = figures
        for failure in [*ensemble.failures, *judged.failures]:
            failures.setdefault(failure.model, failure)
        if after:
            after(task)
    record.failures.extend(failures[model] for model in sorted(failures))
    record.facts.update({name: each.cpu().numpy() for name, each in strategy.facts().items()})
    return record


def _judged(
    strategy: Strategy, ensemble: Ensemble, sets: Sequence[NDArray[np.int64]]
) -> tuple[Figures, Figures]:
    """Accuracy and loss (K, sets) of a group of the networks, or of all."""
    models = ensemble.models if ensemble.n < strategy.ensemble.n else slice(None)
    index = {
        str(place): strategy.index(one if one.ndim == 1 else one[models])
        for place, one in enumerate(sets)
    }
    return accuracy(ensemble, strategy.pool, index)
