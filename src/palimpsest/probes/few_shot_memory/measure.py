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

from palimpsest.data.word_frequency import mean_zipf
from palimpsest.engine.examples import batches
from palimpsest.engine.learners import learners, still_learning
from palimpsest.engine.resuming import Resume, read
from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import TrainingSettings
from palimpsest.identity import digest, seed_of
from palimpsest.metrics.text_recall import words
from palimpsest.probes.few_shot_memory.lists import StudyLists, sentence, study_lists
from palimpsest.probes.few_shot_memory.testing import Moment, Row, cut, examine

if TYPE_CHECKING:
    from pathlib import Path

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
    path = _kept_in(context, cells)
    saved = read(path) if path else {}
    if saved:
        for run, kept in zip(runs, saved["runs"], strict=True):
            run.rate, run.rows, run.updates = kept
    else:
        for run in runs:
            _begin(model, settings, run)
        _choose_rates(model, settings, runs)
    group = learners(
        model, [run.training(settings, run.rate) for run in runs], [_seed(run) for run in runs]
    )
    try:
        if saved:
            group.load_state_dict(saved["learner"])
        _learn(settings, runs, group, Resume(group, path) if path else None, saved)
    finally:
        group.close()
    for number, run in enumerate(runs):
        yield run.cell, group.failures.get(number, run.rows)


@dataclass(frozen=True)
class _Stage:
    """Some updates and the test after them.

    Attributes:
        phase: study, a type of interference, or relearning.
        number: exposure of the list, or updates on new material so far.
        begun: updates on new material before this stage.
    """

    phase: str
    number: int
    begun: int = 0


def _stages(settings: Settings) -> list[_Stage]:
    """All that happens to a list, in order: every overlay begins from the end of study."""
    found = [_Stage("study", exposure) for exposure in _exposures(settings.exposures[-1])]
    if not settings.retention_steps:
        return found
    for phase in settings.interference:
        found += [_Stage(phase, d, b) for b, d in pairwise([0, *settings.retention_steps])]
        if phase == settings.interference[0]:
            found += [
                _Stage("relearning", exposure) for exposure in _exposures(settings.relearning)
            ]
    return found


def _exposures(last: int) -> range:
    return range(1, last + 1)


def _learn(
    settings: Settings,
    runs: list[_Run],
    group: Learners,
    resume: Resume | None,
    saved: dict[str, Any],
) -> None:
    """All stages, from where an interrupted run has left off."""
    studied = saved.get("studied")
    for number, stage in list(enumerate(_stages(settings), 1))[saved.get("stages", 0) :]:
        if stage.phase in settings.interference and not stage.begun:
            studied = studied or group.remember()
            group.return_to(studied)
        pass_through = {"study": _study, "relearning": _relearn}.get(stage.phase, _overlay)
        pass_through(settings, runs, group, stage)
        if resume:
            kept = [(run.rate, run.rows, run.updates) for run in runs]
            resume.save({"stages": number, "runs": kept, "studied": studied})


def _kept_in(context: ProbeContext, cells: list[dict[str, Any]]) -> Path | None:
    """The file from which these cells go on after a kill."""
    return context.scratch and context.scratch / f"{digest(*(cell['id'] for cell in cells))}.pt"


def _begin(model: LanguageModel, settings: Settings, run: _Run) -> None:
    """What is asked, and what the model knows of it before study."""
    run.rows += _facts(model, settings, run)
    before = Moment("study", 0, 0)
    run.rows += examine(model, settings, before, run.lists.study, run.lists.foils)
    run.rows += _never(model, settings, before, run)


def _facts(model: LanguageModel, settings: Settings, run: _Run) -> Iterator[Row]:
    """What is asked, once a list: cue and truth of every item, how common its words are, foils,
    and rejected draws."""
    for index, ids in enumerate(run.lists.study):
        at = cut(ids, settings.written_cue)
        for metric, part in (("cue", ids[:at]), ("truth", ids[at:])):
            yield _fact(f"{index:04d}/study", metric, len(part), model.decode(part))
        yield _fact(f"{index:04d}/study", "word_frequency", mean_zipf(words(model.decode(ids))))
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
    """The rate of a cell, or the one at which its validation pairs are remembered best.

    First by the share recognised by mean loss, then by the loss of what was studied, each the mean
    of the tests after one exposure and after the last. The pairs are not part of what is tested
    later, and the learners are others.
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
        for (run, rate), found in zip(part, _tried(model, settings, part), strict=True):
            if found is None:
                continue
            share, loss = found
            run.rows += [
                _fact(f"rate/{rate:g}", "validation_recognition", share),
                _fact(f"rate/{rate:g}", "validation_loss", loss),
            ]
            if (share, -loss) > best.get(id(run), (-1.0, 0.0)):
                best[id(run)], run.rate = (share, -loss), rate
    for run in runs:
        run.rows.append(_fact("rate/chosen", "learning_rate", run.rate))


def _tried(
    model: LanguageModel, settings: Settings, trials: list[tuple[_Run, float]]
) -> list[tuple[float, float] | None]:
    """Of every trial the share recognised and the loss studied; None where training failed."""
    last = settings.validation_exposures()
    group = learners(
        model,
        [run.training(settings, rate) for run, rate in trials],
        [_seed(run) for run, _ in trials],
    )
    found: list[list[tuple[float, float]]] = [[] for _ in trials]
    try:
        for exposure in _exposures(last):
            group.train([_validation(run, exposure) for run, _ in trials])
            if exposure not in (1, last):
                continue
            for (tests, (run, _)), reader in still_learning(
                list(zip(found, trials, strict=True)), group
            ):
                tests.append(_recognised(reader, run.lists.validation))
    finally:
        group.close()
    return [
        None if number in group.failures else tuple(np.mean(tests, axis=0).tolist())
        for number, tests in enumerate(found)
    ]


def _validation(run: _Run, exposure: int) -> list[list[Any]]:
    shown = [sentence(first) for first, _ in run.lists.validation]
    seed = seed_of("validation", *run.name, exposure)
    return list(batches(shown, run.cell["parameters"]["batch_size"], 1, seed))


def _recognised(
    model: LanguageModel, pairs: Sequence[tuple[list[int], list[int]]]
) -> tuple[float, float]:
    """Share of pairs whose first item has the lower mean loss, and the mean loss of those."""
    scores = sequence_scores(model, [ids for pair in pairs for ids in pair], moments=False)
    loss = np.array([-each.log_p.mean() for each in scores]).reshape(-1, 2)
    margin = loss[:, 1] - loss[:, 0]
    return float((margin > 0).mean() + (margin == 0).mean() / 2), float(loss[:, 0].mean())


def _study(settings: Settings, runs: list[_Run], group: Learners, stage: _Stage) -> None:
    """Show the lists once more, and test after some exposures."""
    shown = [run.study(stage.number) for run in runs]
    group.train(shown)
    for run, stream in zip(runs, shown, strict=True):
        run.updates += len(stream)
    if stage.number not in settings.exposures:
        return
    for run, model in still_learning(runs, group):
        moment = Moment("study", stage.number, run.updates)
        run.rows += examine(model, settings, moment, run.lists.study, run.lists.foils)
        if stage.number == settings.exposures[-1]:
            run.rows += _never(model, settings, moment, run)


def _overlay(settings: Settings, runs: list[_Run], group: Learners, stage: _Stage) -> None:
    """Train on new material and test the list after some updates."""
    size, last = settings.interference_batch, settings.retention_steps[-1]
    group.train([_new(run, stage.phase, size, stage.begun, stage.number) for run in runs])
    for run, model in still_learning(runs, group):
        moment = Moment(stage.phase, settings.exposures[-1], run.updates, stage.number)
        lists, writes = run.lists, stage.number == last
        run.rows += examine(model, settings, moment, lists.study, lists.foils, writes=writes)


def _new(run: _Run, phase: str, size: int, done: int, delay: int) -> list[list[Any]]:
    sentences = run.lists.new[phase]
    return [
        [sentence(sentences[(step * size + k) % len(sentences)]) for k in range(size)]
        for step in range(done, delay)
    ]


def _relearn(settings: Settings, runs: list[_Run], group: Learners, stage: _Stage) -> None:
    """Show the lists again after retention: what is saved was not gone."""
    group.train([run.study(settings.exposures[-1] + stage.number) for run in runs])
    for run, model in still_learning(runs, group):
        moment = Moment("relearning", stage.number, run.updates, settings.retention_steps[-1])
        lists = run.lists
        run.rows += examine(model, settings, moment, lists.study, lists.foils, writes=False)


def _seed(run: _Run) -> int:
    return seed_of("learner", *run.name)
