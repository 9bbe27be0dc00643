"""Power-law rehearsal: networks that learn alike are trained together, each in its own stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palimpsest import discovery
from palimpsest.engine.ensemble import Ensemble, Failure
from palimpsest.engine.ensemble_plans import Plan, current_only, generators, scheduled
from palimpsest.interventions.continual._environments import (
    Environment,
    history,
    odds_by_lag,
)
from palimpsest.interventions.continual._learning import Record, Traced, learn
from palimpsest.probes.power_law_rehearsal.conditions import resolved, schedule, strategy_of
from palimpsest.probes.power_law_rehearsal.language import language_groups, measure_language
from palimpsest.probes.power_law_rehearsal.records import Row, Schedule, rows_of
from palimpsest.probes.power_law_rehearsal.streams import Streams, streams

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.interventions.continual._base import Task
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.models.networks import Networks
    from palimpsest.probes.power_law_rehearsal.settings import Settings

ENGINE = (
    "engine.ensemble_training",
    "interventions.continual._environments",
    "interventions.continual._learning",
    "interventions.continual._matching",
    "engine.learners",
    "engine.scoring",
    "data.language_tasks",
    "data.digits",
    "data.task_streams",
    "metrics.continual",
    "metrics.stability_gap",
    "metrics.learning_speed",
)

#: Bytes of images that one group may hold; larger studies take fewer seeds at once.
MOST_BYTES = 2 << 30
#: Stream of a network's draws from which its history of visits comes.
_HISTORY = 7


class LossNotFiniteError(RuntimeError):
    """A network's loss was not finite; its step and last finite loss are in the message."""


def groups(settings: Settings, cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cells whose networks learn together: same stream, shape, strategy and course of updates."""
    if "language" in settings.benchmarks:
        return language_groups(settings, cells)
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in sorted(cells, key=lambda c: (c["parameters"]["network_seed"], c["id"])):
        factors = cell["parameters"]
        name, block = strategy_of(settings.conditions[factors["condition"]])
        key = json.dumps(
            [
                cell["step"],
                _kind_of_stream(cell["experiment"]),
                factors["tasks"],
                factors["width"],
                name,
                block.model_dump(mode="json"),
                _kept(settings, cell),
                _course(settings, factors),
            ]
        )
        found.setdefault(key, []).append(cell)
    return [part for members in found.values() for part in _within_memory(settings, members)]


def _within_memory(
    settings: Settings, members: list[dict[str, Any]]
) -> Iterator[list[dict[str, Any]]]:
    tasks = members[0]["parameters"]["tasks"]
    size = tasks * (settings.train_per_task + settings.test_per_task) * 784
    most = max(1, MOST_BYTES // size)
    wanted = list(dict.fromkeys(_stream_of(cell) for cell in members))
    for start in range(0, len(wanted), most):
        chosen = wanted[start : start + most]
        yield [cell for cell in members if _stream_of(cell) in chosen]


def _stream_of(cell: dict[str, Any]) -> tuple[str, int]:
    return cell["experiment"], cell["parameters"]["network_seed"]


def _kind_of_stream(benchmark: str) -> str:
    """Streams in which every task has all classes can lie in one pool."""
    return benchmark if benchmark.startswith("split") else "all classes"


def _kept(settings: Settings, cell: dict[str, Any]) -> int | None:
    return settings.conditions[cell["parameters"]["condition"]].kept


def _environment(settings: Settings, factors: dict[str, Any]) -> Environment:
    return resolved(settings.conditions, factors["condition"], factors["tasks"])


def _course(settings: Settings, factors: dict[str, Any]) -> list[tuple[int, int, int]]:
    """See :func:`schedule`; a task has as many updates as its examples fill batches."""
    return schedule(
        _environment(settings, factors),
        factors["tasks"],
        settings.batch,
        settings.epochs * settings.train_per_task // settings.batch,
        factors["compute"],
    )


@dataclass(frozen=True)
class _Group:
    """K networks of a group.

    Attributes:
        settings: the probe's settings.
        cells: K cells.
        streams: the streams of all of them.
        rows: K places of their streams.
        odds: (K, tasks, tasks) odds of the past tasks of each phase.
        lags: (K, tasks, tasks) lag of each past task in each phase.
        steps: updates of a task in which nothing is rehearsed.
        course: updates, new and rehearsed examples of each task.
    """

    settings: Settings
    cells: list[dict[str, Any]]
    streams: Streams
    rows: list[int]
    odds: NDArray[np.float64]
    lags: NDArray[np.int64]
    steps: int
    course: list[tuple[int, int, int]]

    @property
    def seeds(self) -> list[int]:
        """K seeds."""
        return [cell["parameters"]["network_seed"] for cell in self.cells]


def measure_together(
    model: Networks | LanguageModel,
    settings: Settings,
    cells: list[dict[str, Any]],
    context: ProbeContext,
) -> Iterator[tuple[dict[str, Any], list[Row] | Exception]]:
    """Train the networks of a group; each cell with its rows, or with what stopped its network.

    Args:
        model: where the networks are to live, or the model that learns the language stream.
        settings: the probe's settings.
        cells: as :func:`groups` gives them.
        context: study, state, data.
    """
    if "language" in settings.benchmarks:
        yield from measure_language(model, settings, cells)
        return
    group = _group(settings, cells, model.device)
    factors = cells[0]["parameters"]
    sizes = [784, *[factors["width"]] * settings.layers, group.streams.classes]
    seeds = [_network_seed(seed) for seed in group.seeds]
    ensemble = Ensemble(
        sizes,
        seeds,
        settings.learning_rate,
        settings.optimizer,
        settings.momentum,
        device=model.device,
    )
    blocks = [
        strategy_of(settings.conditions[cell["parameters"]["condition"]])[1] for cell in cells
    ]
    name, _ = strategy_of(settings.conditions[factors["condition"]])
    strategy = discovery.strategy(name).strategy(blocks, ensemble, group.streams.pool, seeds)
    tasks = group.streams.tasks(group.rows)
    drawn = np.zeros((len(cells), len(tasks), len(tasks)), dtype=np.int64)

    def experience(task: Task, shown: NDArray, draw: Sequence[np.random.Generator]) -> Plan:
        plan = _experience(group, tasks, task, shown, draw)
        _count(group, len(tasks), task, plan, drawn)
        return plan

    own = [np.ascontiguousarray(task.test[:, : settings.traced_examples]) for task in tasks]
    watched = _watched(settings, len(tasks))
    # While it is learned every task is traced, to the end of the stream some.
    traced = [Traced(examples, t, None if t in watched else t) for t, examples in enumerate(own)]
    at = _evaluations(settings, group.course)
    record = learn(
        strategy, tasks, group.steps, settings.batch, experience, at, traced, everything=False
    )
    model.tokens += sum(lost.size for lost in record.losses) * settings.batch
    failed = {failure.model: failure for failure in record.failures}
    plans = Schedule(group.course, at, watched, [task.test.shape[1] for task in tasks])
    for place, cell in enumerate(cells):
        if place in failed:
            yield cell, _not_finite(failed[place])
            continue
        yield cell, rows_of(settings, _of_network(record, place), plans, group.odds[place],
                            group.lags[place], drawn[place])  # fmt: skip


def _of_network(record: Record, place: int) -> Record:
    """The record of one network, with its axis gone."""
    return Record(
        record.accuracy[place],
        record.loss[place],
        record.baseline[place],
        record.baseline_loss[place],
        record.traces[place],
        facts={name: values[place] for name, values in record.facts.items()},
    )


def _not_finite(failure: Failure) -> LossNotFiniteError:
    return LossNotFiniteError(
        f"loss not finite at update {failure.step}; last finite loss {failure.last:.4g}; a lower "
        "learning_rate may help"
    )


def _network_seed(seed: int) -> int:
    """Initial values and draws of a network are not those of its stream."""
    from palimpsest.identity import seed_of

    return seed_of("network", seed)


def _group(settings: Settings, cells: list[dict[str, Any]], device: str) -> _Group:
    factors = cells[0]["parameters"]
    wanted = tuple(sorted({_stream_of(cell) for cell in cells}))
    found = streams(settings, wanted, factors["tasks"], device)
    odds, lags = zip(*(_odds(settings, cell["parameters"]) for cell in cells), strict=True)
    steps = settings.epochs * max(1, found.train.shape[2] // settings.batch)
    environment = _environment(settings, factors)
    course = schedule(environment, factors["tasks"], settings.batch, steps, factors["compute"])
    return _Group(
        settings,
        cells,
        found,
        [wanted.index(_stream_of(cell)) for cell in cells],
        np.stack(odds),
        np.stack(lags),
        steps,
        course,
    )


def _odds(
    settings: Settings, factors: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Odds and lags (tasks, tasks) of past tasks in each phase.

    Where an environment has visits or the clock of recency, a network draws its own history; what
    returned in a phase are then the odds by which its examples are drawn.
    """
    tasks, environment = factors["tasks"], _environment(settings, factors)
    if environment.visits is None:
        return odds_by_lag(environment, tasks)
    (draw,) = generators([_network_seed(factors["network_seed"])], 0, _HISTORY)
    made = history(environment, tasks, settings.train_per_task, draw)
    total = made.counts.sum(1, keepdims=True)
    return made.counts / np.maximum(total, 1), made.lags


def _experience(
    group: _Group,
    tasks: list[Task],
    task: Task,
    shown: NDArray[np.int64],
    draw: Sequence[np.random.Generator],
) -> Plan:
    """New examples in their order, cut into batches that leave room for what returns."""
    updates, new, rehearsed = group.course[task.number]
    order = shown.transpose(1, 0, 2).reshape(shown.shape[1], -1)
    current = order[:, : updates * new].reshape(len(order), updates, new).transpose(1, 0, 2)
    if not task.number or not rehearsed:
        return current_only(np.ascontiguousarray(current))
    past = [one.train[:, : _kept(group.settings, group.cells[0])] for one in tasks[: task.number]]
    return scheduled(current, past, group.odds[:, task.number, : task.number], rehearsed, draw)


def _count(group: _Group, tasks: int, task: Task, plan: Plan, drawn: NDArray[np.int64]) -> None:
    """How many examples of each past task a phase has brought back."""
    if plan.current is None or not task.number:
        return
    number = group.streams.task_of[plan.examples[..., plan.current :]]
    for place in range(drawn.shape[0]):
        drawn[place, task.number] = np.bincount(number[:, place].ravel(), minlength=tasks)


def _watched(settings: Settings, tasks: int) -> list[int]:
    """Past tasks that are traced to the end, spread over the stream."""
    count = min(settings.traced_tasks, tasks - 1)
    return sorted({int(t) for t in np.linspace(0, tasks - 2, count)}) if count > 1 else [0]


def _evaluations(settings: Settings, course: list[tuple[int, int, int]]) -> list[int]:
    """Updates within a task after which networks are evaluated: its end is always among them."""
    longest = max(updates for updates, _, _ in course)
    first = range(min(settings.trace_first, longest) + 1)
    later = range(0, longest + 1, settings.trace_every)
    return sorted({*first, *later, *(updates for updates, _, _ in course)})
