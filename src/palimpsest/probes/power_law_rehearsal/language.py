"""The language stream: a causal model learns tasks of different kinds one after another.

Learners are low-rank changes of one model that are trained in one pass; what an environment brings
back is drawn as for networks, example by example. Accuracy is the share of test items whose answer
is written word for word by greedy decoding, loss is nats a token of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.language_tasks import LanguageTask, language_task, unlearnable
from palimpsest.engine.examples import Example, example
from palimpsest.engine.learners import learners, still_learning
from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.interventions.continual._environments import odds_by_lag
from palimpsest.interventions.continual._learning import Record
from palimpsest.probes.power_law_rehearsal.conditions import resolved, schedule, strategy_of
from palimpsest.probes.power_law_rehearsal.records import Row, Schedule, rows_of

if TYPE_CHECKING:
    from palimpsest.engine.learners import Learners
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.power_law_rehearsal.settings import Settings

Cells = list[dict[str, Any]]


@dataclass
class _Learner:
    """One learner: its tasks in their order, and what has been read of it."""

    cell: dict[str, Any]
    tasks: list[LanguageTask]
    train: list[list[Example]]
    test: list[list[Example]]
    odds: np.ndarray
    lags: np.ndarray
    joint: bool
    record: Record
    drawn: np.ndarray

    @property
    def seed(self) -> int:
        return self.cell["parameters"]["network_seed"]


def language_groups(settings: Settings, cells: Cells) -> list[Cells]:
    """Cells whose learners are trained together: those with the same course of updates."""
    found: dict[str, Cells] = {}
    for cell in sorted(cells, key=lambda c: (c["parameters"]["network_seed"], c["id"])):
        found.setdefault(str(_course(settings, cell)), []).append(cell)
    size = settings.language.together
    return [
        members[start : start + size]
        for members in found.values()
        for start in range(0, len(members), size)
    ]


def measure_language(
    model: LanguageModel, settings: Settings, cells: Cells
) -> Iterator[tuple[dict[str, Any], list[Row] | Exception]]:
    """Train the learners of a group; each cell with its rows, or with what stopped its learner."""
    course = _course(settings, cells[0])
    count = len(course)
    used = settings.language
    step = used.trace_every
    at = sorted({*range(0, course[0][0] + 1, step), *(updates for updates, _, _ in course)})
    watched = sorted({0, (count - 2) // 2})
    runs = [_learner(model, settings, cell, len(at)) for cell in cells]
    plans = [Schedule(course, at, watched, [len(part) for part in run.test]) for run in runs]
    training = TrainingSettings(
        learning_rate=used.learning_rate,
        batch_size=used.batch,
        rank=used.rank,
        alpha=2 * used.rank,
        adapter="lora",
    )
    group = learners(model, [training] * len(runs), [seed_of("learner", run.seed) for run in runs])
    try:
        for run, reader in still_learning(runs, group):
            run.record.baseline[:], run.record.baseline_loss[:] = _judged(reader, run.test)
        for task, (updates, _, _) in enumerate(course):
            streams = [_stream(settings, run, task, course) for run in runs]
            _trace(settings, runs, group, plans[0], task, 0)
            done = 0
            for stop in [place for place in at if 0 < place <= updates]:
                group.train([stream[done:stop] for stream in streams])
                done = stop
                _trace(settings, runs, group, plans[0], task, stop)
            for run, reader in still_learning(runs, group):
                known = min(task + 2, count)
                right, loss = _judged(reader, run.test[:known])
                run.record.accuracy[task, :known], run.record.loss[task, :known] = right, loss
    finally:
        group.close()
    for number, run in enumerate(runs):
        failure = group.failures.get(number)
        yield (
            run.cell,
            failure or rows_of(settings, run.record, plans[number], run.odds, run.lags, run.drawn),
        )


def _course(settings: Settings, cell: dict[str, Any]) -> list[tuple[int, int, int]]:
    used, factors = settings.language, cell["parameters"]
    environment = resolved(settings.conditions, factors["condition"], factors["tasks"])
    steps = used.epochs * used.train_per_task // used.batch
    return schedule(environment, factors["tasks"], used.batch, steps, factors["compute"])


def _learner(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], evaluations: int
) -> _Learner:
    factors = cell["parameters"]
    seed = factors["network_seed"]
    tasks = _tasks(settings, cell["experiment"], seed)
    n = len(tasks)
    environment = resolved(settings.conditions, factors["condition"], n)
    odds, lags = odds_by_lag(environment, n)
    name, _ = strategy_of(settings.conditions[factors["condition"]])
    nan = np.full((n, n), np.nan)
    record = Record(
        nan.copy(),
        nan.copy(),
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.full((n, evaluations, n, 2), np.nan),
    )
    train, test = (
        [
            [example(model, item.prompt, item.answer, "\n", "answer") for item in part]
            for part in parts
        ]
        for parts in ([t.train for t in tasks], [t.test for t in tasks])
    )
    drawn = np.zeros((n, n), dtype=np.int64)
    return _Learner(cell, tasks, train, test, odds, lags, name == "joint", record, drawn)


def _tasks(settings: Settings, benchmark: str, seed: int) -> list[LanguageTask]:
    """The tasks in their order; of the controls one again and again, or ones without a rule."""
    used = settings.language
    order = np.random.default_rng(seed_of("order of tasks", seed)).permutation(len(used.tasks))
    if benchmark == "identical":
        order[:] = order[0]
    tasks = [
        language_task(used.tasks[place], seed, used.train_per_task, used.test_per_task)
        for place in order
    ]
    return [unlearnable(task, seed) for task in tasks] if benchmark == "shuffled" else tasks


def _stream(
    settings: Settings, run: _Learner, task: int, course: list[tuple[int, int, int]]
) -> list[list[Example]]:
    """The batches of a task: new items in shuffled passes, and what the environment brings back."""
    used = settings.language
    updates, new, rehearsed = course[task]
    draw = np.random.default_rng(seed_of("stream", run.seed, task))
    back = np.random.default_rng(seed_of("return", run.seed, task))
    if run.joint:
        every = [item for part in run.train[: task + 1] for item in part]
        return _passes(every, used.batch, updates, draw)
    if not task or not rehearsed:
        return _passes(run.train[task], new, updates, draw)
    found = []
    for batch in _passes(run.train[task], new, updates, draw):
        tasks = back.choice(task, size=rehearsed, p=run.odds[task, :task])
        np.add.at(run.drawn[task], tasks, 1)
        past = [run.train[t][back.integers(len(run.train[t]))] for t in tasks]
        found.append([*batch, *past])
    return found


def _passes(
    items: Sequence[Example], size: int, updates: int, draw: np.random.Generator
) -> list[list[Example]]:
    order = np.concatenate(
        [draw.permutation(len(items)) for _ in range(-(-updates * size // len(items)))]
    )
    return [[items[i] for i in order[k * size : (k + 1) * size]] for k in range(updates)]


def _trace(
    settings: Settings, runs: list[_Learner], group: Learners, plans: Schedule, task: int, step: int
) -> None:
    """Accuracy and loss on the task that is learned and on traced old ones."""
    place = plans.at.index(step)
    sets = sorted({task, *(old for old in plans.watched if old < task)})
    for run, reader in still_learning(runs, group):
        chosen = [run.test[t][: settings.language.traced_examples] for t in sets]
        right, loss = _judged(reader, chosen)
        run.record.traces[task, place, sets, 0] = right
        run.record.traces[task, place, sets, 1] = loss


def _judged(
    model: LanguageModel, sets: Sequence[Sequence[Example]]
) -> tuple[np.ndarray, np.ndarray]:
    """(sets,) share of answers that greedy decoding writes, and mean loss of answers' tokens."""
    items = [item for part in sets for item in part]
    scores = sequence_scores(model, [item.ids for item in items], moments=False, top=True)
    right, loss = [], []
    for item, score in zip(items, scores, strict=True):
        answer = np.array(item.scored[1:])
        tokens = np.array(item.ids[1:])
        right.append(bool((score.top[answer] == tokens[answer]).all()))
        loss.append(float(-score.log_p[answer].mean()))
    begins = np.cumsum([0, *(len(part) for part in sets[:-1])])
    sizes = np.array([len(part) for part in sets])
    return tuple(np.add.reduceat(np.array(v, dtype=float), begins) / sizes for v in (right, loss))
