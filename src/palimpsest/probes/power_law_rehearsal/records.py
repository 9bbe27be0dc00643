"""From the record of a network to rows of observations, by the metrics of continual learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palimpsest.metrics import continual, learning_speed, stability_gap

if TYPE_CHECKING:
    from palimpsest.interventions.continual._learning import Record
    from palimpsest.probes.power_law_rehearsal.settings import Settings

Row = dict[str, Any]
Array = NDArray[np.float64]

#: Measures of the accuracy matrix alone.
OF_MATRIX = {
    "average_accuracy": continual.average_accuracy,
    "average_incremental_accuracy": continual.average_incremental_accuracy,
    "forgetting_max": continual.forgetting_max,
    "forgetting_first": continual.forgetting_first,
    "backward_transfer": continual.backward_transfer,
}


@dataclass(frozen=True)
class Schedule:
    """What happened when.

    Attributes:
        course: updates of each task, and new and rehearsed examples an update.
        at: updates within a task after which the network is evaluated.
        watched: tasks that are traced to the end.
        tested: test examples of each task.
    """

    course: list[tuple[int, int, int]]
    at: list[int]
    watched: list[int]
    tested: list[int]


def rows_of(
    settings: Settings,
    record: Record,
    plans: Schedule,
    odds: Array,
    lags: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> list[Row]:
    """All rows of one network.

    Args:
        settings: the probe's settings.
        record: of the network, without the axis of networks: accuracy (T, T) and so on.
        plans: see :class:`Schedule`.
        odds: (T, T) odds of past tasks in each phase.
        lags: (T, T) their lags.
        drawn: (T, T) examples of each past task that came back.
    """
    return [
        *_matrix(record),
        *(_row("tested", f"{task}", "examples", n) for task, n in enumerate(plans.tested)),
        *_summary(settings, record, plans),
        *_learning(settings, record, plans),
        *_gap(record, plans),
        *_returned(plans, odds, lags, drawn),
    ]


def _row(grp: str, item: str, metric: str, value: float) -> Row:
    return {"grp": grp, "item": item, "metric": metric, "value": float(value)}


def _matrix(record: Record) -> Iterator[Row]:
    """Accuracy and loss on task j after task i; -1: before any."""
    tasks = len(record.baseline)
    for on in range(tasks):
        yield _row("matrix", f"-1/{on}", "accuracy", record.baseline[on])
        yield _row("matrix", f"-1/{on}", "loss", record.baseline_loss[on])
    for after, on in np.argwhere(np.isfinite(record.accuracy)):
        yield _row("matrix", f"{after}/{on}", "accuracy", record.accuracy[after, on])
        yield _row("matrix", f"{after}/{on}", "loss", record.loss[after, on])


def _summary(settings: Settings, record: Record, plans: Schedule) -> Iterator[Row]:
    """One number a network."""
    matrix = record.accuracy
    # Tasks that were not learned yet must not count as their best.
    seen = np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan)
    for name, measure in OF_MATRIX.items():
        yield _row("summary", "network", name, measure(seen))
    transfer = continual.forward_transfer(matrix, record.baseline)
    yield _row("summary", "network", "forward_transfer", transfer)
    yield _row("summary", "network", "oldest_accuracy", matrix[-1, 0])
    yield _row("summary", "network", "learned_accuracy", np.diagonal(matrix).mean())
    updates = [updates for updates, _, _ in plans.course]
    yield _row("summary", "network", "updates", sum(updates))
    new = sum(updates * new for updates, new, _ in plans.course)
    returned = sum(updates * old for updates, _, old in plans.course)
    yield _row("summary", "network", "new_examples", new)
    yield _row("summary", "network", "rehearsed_examples", returned)
    for name, value in record.facts.items():
        yield _row("summary", "network", name, value)
    trace, steps = _old_trace(record, plans)
    if not np.isfinite(trace).any():
        return
    ends = np.cumsum(updates)
    chosen = [*plans.watched, len(ends) - 1]
    lowest = stability_gap.min_accuracy(trace[:, chosen], steps, ends[chosen])
    now = trace[-1, -1]
    share = 1 / len(ends)
    yield _row("summary", "network", "min_accuracy", lowest)
    yield _row("summary", "network", "worst_case_accuracy", share * now + (1 - share) * lowest)
    after = stability_gap.evaluated_from(trace[:, plans.watched], steps, ends[plans.watched])
    for window in settings.windows:
        fall = stability_gap.windowed_forgetting(after, window, steps)
        rise = stability_gap.windowed_plasticity(after, window, steps)
        yield _row("summary", "network", f"windowed_forgetting_{window}", fall.mean())
        yield _row("summary", "network", f"windowed_plasticity_{window}", rise.mean())
    gap = stability_gap.stability_gap(trace, steps, ends)
    for name, values in zip(gap._fields, gap, strict=True):
        yield _row("summary", "network", f"gap_{name}", np.nanmean(values))


def _old_trace(record: Record, plans: Schedule) -> tuple[Array, Array]:
    """(E, T) accuracy over the whole stream, nan where a task is not traced, and updates made.

    The evaluation before a task's first update is that after the last one before.
    """
    parts, steps, begun = [], [], 0
    for task, (updates, _, _) in enumerate(plans.course):
        at = np.array(plans.at)
        there = (at > 0) & (at <= updates)
        parts.append(record.traces[task, there, :, 0])
        steps.append(begun + at[there])
        begun += updates
    return np.concatenate(parts), np.concatenate(steps)


def _learning(settings: Settings, record: Record, plans: Schedule) -> Iterator[Row]:
    """How fast each task is learned."""
    at = np.array(plans.at)
    for task, (updates, new, _) in enumerate(plans.course):
        there = at <= updates
        curve = record.traces[task, there, task, 0]
        if not np.isfinite(curve).all():
            continue
        needed = learning_speed.steps_to_criterion(curve, at[there], settings.criterion)
        first = min(settings.early, updates)
        yield _row("learning", f"{task}", "reached", np.isfinite(needed))
        yield _row("learning", f"{task}", "updates_to_criterion", min(needed, updates))
        examples = min(needed, updates) * new
        yield _row("learning", f"{task}", "examples_to_criterion", examples)
        area = learning_speed.early_area(curve, at[there], first)
        yield _row("learning", f"{task}", "early_area", area)


def _gap(record: Record, plans: Schedule) -> Iterator[Row]:
    """Accuracy on old tasks after a switch above that just before it, mean over both."""
    at = np.array(plans.at)
    shortest = min(updates for updates, _, _ in plans.course)
    old = [
        record.traces[task, :, on, 0] - record.traces[task, 0, on, 0]
        for task in range(1, len(plans.course))
        for on in plans.watched
        if on < task
    ]
    if not old:
        return
    mean = np.nanmean(old, axis=0) if np.isfinite(old).any() else np.full(len(at), np.nan)
    for step, value in zip(at, mean, strict=True):
        if step <= shortest and np.isfinite(value):
            yield _row("gap", f"{step}", "accuracy_change", value)


def _returned(
    plans: Schedule, odds: Array, lags: NDArray[np.int64], drawn: NDArray[np.int64]
) -> Iterator[Row]:
    """Examples that came back by lag, and how many the law would have."""
    examples = np.array([updates * old for updates, _, old in plans.course])[:, None]
    expected = odds * examples
    for lag in np.unique(lags[lags > 0]):
        yield _row("returned", f"{lag}", "drawn", drawn[lags == lag].sum())
        yield _row("returned", f"{lag}", "expected", expected[lags == lag].sum())
