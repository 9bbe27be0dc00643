"""Few-shot memory: lists are studied, tested, overlaid by new material and studied again.

Lists with low-rank changes learn in one pass of the model; each has its own order, optimiser and
learning rate, and is read alone. All tests of a list come from one run of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.examples import batches
from palimpsest.engine.learners import learners
from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.probes.few_shot_memory.lists import StudyLists, sentence, study_lists
from palimpsest.probes.few_shot_memory.testing import Moment, Row, cut, examine

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.engine.learners import Learners
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.few_shot_memory.settings import Settings

ENGINE = (
    "engine.learners",
    "engine.scoring",
    "engine.generation",
    "data.stimuli",
    "models.states",
)


@dataclass
class _Run:
    """A cell while it is measured."""

    cell: dict[str, Any]
    lists: StudyLists
    rate: float
    rows: list[Row] = field(default_factory=list)
    updates: int = 0

    @property
    def name(self) -> tuple[Any, ...]:
        """What the order of its sentences depends on: the list, not the other factors."""
        return (self.cell["experiment"], self.cell["parameters"]["list"])

    def training(self, settings: Settings, rate: float) -> TrainingSettings:
        """How this run's weights are changed."""
        factors = self.cell["parameters"]
        return TrainingSettings(
            learning_rate=rate,
            batch_size=factors["batch_size"],
            adapter=factors["adapter"],
            optimizer=factors["optimizer"],
            rank=settings.rank,
            alpha=2 * settings.rank,
            clip=settings.clip,
            scored="sentence",
        )

    def study(self, exposure: int) -> list[list[Any]]:
        """The list once, in batches, in an order of its own."""
        shown = [sentence(ids) for ids in self.lists.study]
        seed = seed_of("study", *self.name, exposure)
        return list(batches(shown, self.cell["parameters"]["batch_size"], 1, seed))


def groups(settings: Settings, cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cells whose lists learn together: any that change the weights by low-rank adapters."""
    ordered = sorted(cells, key=lambda c: (c["experiment"], c["parameters"]["list"], c["id"]))
    found = []
    for adapter, size in (("lora", settings.together), ("full", 1)):
        members = [cell for cell in ordered if cell["parameters"]["adapter"] == adapter]
        found += [members[start : start + size] for start in range(0, len(members), size)]
    return found


def measure_together(
    model: LanguageModel, settings: Settings, cells: list[dict[str, Any]], context: ProbeContext
) -> Iterator[tuple[dict[str, Any], list[Row] | Exception]]:
    """Measure a group of cells; each with its rows, or with what stopped its training.

    Args:
        model: the state.
        settings: the probe's settings.
        cells: as :func:`groups` gives them.
        context: study, state, data.
    """
    runs = [_Run(cell, study_lists(model, settings, cell), 0.0) for cell in cells]
    for run in runs:
        run.rows += _facts(model, settings, run)
        before = Moment("study", 0, 0)
        run.rows += examine(model, settings, before, run.lists.study, run.lists.foils)
        run.rows += _never(model, settings, before, run)
    _choose_rates(model, settings, runs)
    group = learners(
        model, [run.training(settings, run.rate) for run in runs], [_seed(run) for run in runs]
    )
    try:
        _study(settings, runs, group)
        studied = group.remember()
        for phase in settings.interference if settings.retention_steps else ():
            group.return_to(studied)
            _overlay(settings, runs, group, phase)
            if phase == settings.interference[0]:
                _relearn(settings, runs, group)
    finally:
        group.close()
    for number, run in enumerate(runs):
        yield run.cell, group.failures.get(number, run.rows)


def _facts(model: LanguageModel, settings: Settings, run: _Run) -> Iterator[Row]:
    """What is asked, once a list: cue and truth of every item, tokens, rejected draws."""
    for index, ids in enumerate(run.lists.study):
        at = cut(ids, settings.written_cue)
        for metric, part in (("cue", ids[:at]), ("truth", ids[at:])):
            yield _fact(f"{index:04d}/study", metric, len(part), model.decode(part))
    for index, ids in enumerate(run.lists.foils):
        yield _fact(f"{index:04d}/foil", "foil", len(ids), model.decode(ids))
    for reason, count in run.lists.rejected.items():
        yield _fact("list", "rejected", count, reason)


def _fact(item: str, metric: str, value: float, text: str | None = None) -> Row:
    return {"item": item, "grp": "fact", "metric": metric, "value": float(value), "text": text}


def _never(model: LanguageModel, settings: Settings, moment: Moment, run: _Run) -> Iterator[Row]:
    """The negative control: pairs of the same kind of which neither item was studied."""
    first, second = zip(*run.lists.validation, strict=True)
    names = ("never", "never_foil")
    yield from examine(model, settings, moment, first, second, names, writes=False)


def _choose_rates(model: LanguageModel, settings: Settings, runs: list[_Run]) -> None:
    """The rate of a cell, or the one at which its validation pairs are recognised best.

    One exposure; share recognised by mean loss, then the mean margin in nats. The pairs are not
    part of what is tested later, and the learners are others.
    """
    trials = []
    for run in runs:
        given = run.cell["parameters"]["learning_rate"]
        rates = settings.learning_rates if given is None else [given]
        run.rate = rates[0]
        if len(rates) > 1 or settings.rate == "each":
            trials += [(run, rate) for rate in rates]
    best: dict[int, tuple[float, float]] = {}
    size = settings.together if runs[0].cell["parameters"]["adapter"] == "lora" else 1
    for start in range(0, len(trials), size):
        part = trials[start : start + size]
        group = learners(
            model,
            [run.training(settings, rate) for run, rate in part],
            [_seed(run) for run, _ in part],
        )
        try:
            group.train([_validation(run) for run, _ in part])
            for number, (run, rate) in enumerate(part):
                if number in group.failures:
                    continue
                with group.reading(number) as reader:
                    share, margin = _recognised(reader, run.lists.validation)
                run.rows += [
                    _fact(f"rate/{rate:g}", "validation_recognition", share),
                    _fact(f"rate/{rate:g}", "validation_margin", margin),
                ]
                if (share, margin) > best.get(id(run), (-1.0, 0.0)):
                    best[id(run)], run.rate = (share, margin), rate
        finally:
            group.close()
    for run in runs:
        run.rows.append(_fact("rate/chosen", "learning_rate", run.rate))


def _validation(run: _Run) -> list[list[Any]]:
    shown = [sentence(first) for first, _ in run.lists.validation]
    seed = seed_of("validation", *run.name)
    return list(batches(shown, run.cell["parameters"]["batch_size"], 1, seed))


def _recognised(
    model: LanguageModel, pairs: Sequence[tuple[list[int], list[int]]]
) -> tuple[float, float]:
    """Share of pairs whose first item has the lower mean loss, and the mean difference."""
    scores = sequence_scores(model, [ids for pair in pairs for ids in pair], moments=False)
    loss = np.array([-each.log_p.mean() for each in scores]).reshape(-1, 2)
    margin = loss[:, 1] - loss[:, 0]
    return float((margin > 0).mean() + (margin == 0).mean() / 2), float(margin.mean())


def _study(settings: Settings, runs: list[_Run], group: Learners) -> None:
    """Show the lists again and again, and test after some exposures."""
    for exposure in range(1, settings.exposures[-1] + 1):
        shown = [run.study(exposure) for run in runs]
        group.train(shown)
        for run, stream in zip(runs, shown, strict=True):
            run.updates += len(stream)
        if exposure in settings.exposures:
            for number, run in enumerate(runs):
                if number in group.failures:
                    continue
                moment = Moment("study", exposure, run.updates)
                with group.reading(number) as model:
                    run.rows += examine(model, settings, moment, run.lists.study, run.lists.foils)
                    if exposure == settings.exposures[-1]:
                        run.rows += _never(model, settings, moment, run)


def _overlay(settings: Settings, runs: list[_Run], group: Learners, phase: str) -> None:
    """Train on new material and test the list after some updates."""
    size, last = settings.interference_batch, settings.retention_steps[-1]
    for done, delay in pairwise([0, *settings.retention_steps]):
        group.train([_new(run, phase, size, done, delay) for run in runs])
        for number, run in enumerate(runs):
            if number in group.failures:
                continue
            moment = Moment(phase, settings.exposures[-1], run.updates, delay)
            with group.reading(number) as model:
                run.rows += examine(
                    model,
                    settings,
                    moment,
                    run.lists.study,
                    run.lists.foils,
                    writes=delay == last,
                )


def _new(run: _Run, phase: str, size: int, done: int, delay: int) -> list[list[Any]]:
    sentences = run.lists.new[phase]
    return [
        [sentence(sentences[(step * size + k) % len(sentences)]) for k in range(size)]
        for step in range(done, delay)
    ]


def _relearn(settings: Settings, runs: list[_Run], group: Learners) -> None:
    """Show the lists again after retention: what is saved was not gone."""
    last, delay = settings.exposures[-1], settings.retention_steps[-1]
    for exposure in range(1, settings.relearning + 1):
        group.train([run.study(last + exposure) for run in runs])
        for number, run in enumerate(runs):
            if number in group.failures:
                continue
            moment = Moment("relearning", exposure, run.updates, delay)
            with group.reading(number) as model:
                run.rows += examine(
                    model, settings, moment, run.lists.study, run.lists.foils, writes=False
                )


def _seed(run: _Run) -> int:
    return seed_of("learner", *run.name)
