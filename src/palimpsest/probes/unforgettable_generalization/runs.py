"""Runs of forgetting: random labels until answers say nothing, and what is learned again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.choice_tasks.items import ChoiceItem
from palimpsest.engine.choices import answers
from palimpsest.engine.examples import Example, batches, example
from palimpsest.engine.learners import learners, still_learning
from palimpsest.engine.resuming import Resume
from palimpsest.engine.training_settings import TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.interventions._tasks import Tasks
from palimpsest.probes.unforgettable_generalization.reading import noise
from palimpsest.probes.unforgettable_generalization.settings import FIRST, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from palimpsest.engine.learners import Learners
    from palimpsest.models.language_model import LanguageModel

Row = dict[str, Any]


@dataclass
class Run:
    """One cell that trains, while it does.

    Attributes:
        cell: the cell.
        items: all items of its task.
        partner: of ``continued`` the run whose number of passes it has.
        rows: what was observed.
        passes: passes done.
        course: after each of them entropy, accuracy and agreement with the labels shown.
        ended: whether the answers had become uninformative.
    """

    cell: dict[str, Any]
    items: list[ChoiceItem]
    partner: Run | None = None
    rows: list[Row] = field(default_factory=list)
    passes: int = 0
    course: list[dict[str, float]] = field(default_factory=list)
    ended: bool = False

    @property
    def arm(self) -> str:
        """What is done."""
        return self.cell["parameters"]["arm"]

    @property
    def mode(self) -> str | None:
        """How labels are drawn; None: they are true."""
        return self.cell["parameters"]["mode"]

    @property
    def reference(self) -> bool:
        """Whether a state is measured that shows how things are where nothing was taught."""
        return self.cell["parameters"]["reference"]

    @property
    def name(self) -> tuple[Any, ...]:
        """What orders and labels depend on: arms of a task and replicate share both."""
        return (self.cell["experiment"], self.cell["parameters"]["replicate"])

    def of(self, *splits: str) -> list[ChoiceItem]:
        """Items of these splits."""
        return [item for item in self.items if item.split in splits]

    def goes_on(self, epoch: int, settings: Settings) -> bool:
        """Whether this run has another pass."""
        if self.arm == FIRST or epoch >= settings.epochs:
            return False
        if self.partner:
            return epoch < self.partner.passes or self.partner.goes_on(epoch, settings)
        return not self.ended

    def labels(self, epoch: int) -> np.ndarray:
        """(training items,) indices of the choices that are shown as right."""
        return noise(self.of("train"), self.name, epoch if self.mode == "resampled" else 0)

    def a_pass(self, model: LanguageModel, settings: Settings, epoch: int) -> list[list[Example]]:
        """Batches of one pass."""
        items = self.of("train")
        seed = seed_of("order", *self.name, epoch)
        if self.mode is None:
            shown = [[item.answer] for item in items]
        elif self.mode == "soft_uniform":
            shown = [list(range(len(item.choices))) for item in items]
        else:
            shown = [[label] for label in self.labels(epoch)]
        groups = [
            [example(model, item.prompt, item.choices[k], "", "answer") for k in chosen]
            for item, chosen in zip(items, shown, strict=True)
        ]
        cut = batches(groups, settings.batch_size, 1, seed)
        return [[each for group in batch for each in group] for batch in cut]

    def judge(self, model: LanguageModel, settings: Settings, epoch: int) -> None:
        """After a pass: what is left of the answers to training items?"""
        items = self.of("train")
        found = answers(model, items)
        seen = {
            "entropy": float(np.mean([each.entropy for each in found])),
            "right": float(np.mean([each.right for each in found])),
        }
        if self.mode in ("fixed_random", "resampled"):
            agreed = [each.chosen for each in found] == self.labels(epoch)
            seen["agreed"] = float(np.mean(agreed))
        self.course.append(seen)
        guessed = float(np.mean([1 / len(item.choices) for item in items]))
        no_better = settings.criterion != "entropy" and seen["right"] <= guessed
        self.ended = no_better or seen["entropy"] >= settings.uninformative


def made(cells: Sequence[dict[str, Any]], tasks: Tasks) -> list[Run]:
    """Runs of the cells that train; a continued run has the passes of the first forgetting."""
    runs = [Run(cell, tasks[cell["experiment"]]) for cell in cells]
    for run in runs:
        if run.arm == "continued":
            run.partner = next((r for r in runs if r.arm == "forget" and r.name == run.name), None)
    # A run comes after the one whose passes it counts.
    return sorted(runs, key=lambda run: run.partner is not None)


def forgotten(
    model: LanguageModel, settings: Settings, runs: Sequence[Run], path: Path | None
) -> Iterator[tuple[list[Run], Learners]]:
    """Train runs to the end of forgetting, all together or one by one.

    Yields:
        Runs that have ended with the learners that hold their weights.
    """
    alone = settings.adapter == "full"
    for number, part in enumerate([[run] for run in runs] if alone else [list(runs)]):
        training = TrainingSettings(
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            adapter=settings.adapter,
            rank=settings.rank,
            alpha=2 * settings.rank,
            clip=settings.clip,
        )
        seeds = [seed_of("adapter", *run.name) for run in part]
        group = learners(model, [training] * len(part), seeds)
        resume = Resume(group, path.with_stem(f"{path.stem}-{number}")) if path else None
        try:
            _forget(model, settings, part, group, resume)
            yield part, group
        finally:
            group.close()


def _forget(
    model: LanguageModel,
    settings: Settings,
    runs: list[Run],
    group: Learners,
    resume: Resume | None,
) -> None:
    saved = resume.load() if resume else {}
    for run, kept in zip(runs, saved.get("runs", []), strict=bool(saved)):
        run.passes, run.course, run.ended = kept
    for epoch in range(saved.get("epochs", 0), settings.epochs):
        active = [run.goes_on(epoch, settings) for run in runs]
        if not any(active):
            break
        group.train(
            [
                run.a_pass(model, settings, epoch) if on else []
                for run, on in zip(runs, active, strict=True)
            ]
        )
        for (run, on), reader in still_learning(list(zip(runs, active, strict=True)), group):
            if on and run.mode:
                run.judge(reader, settings, epoch)
        for run, on in zip(runs, active, strict=True):
            run.passes += on
        if resume:
            kept = [(run.passes, run.course, run.ended) for run in runs]
            resume.save({"epochs": epoch + 1, "runs": kept})
