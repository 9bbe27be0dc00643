"""Teach tasks with choices, all at once, until they are learned.

Small models are near chance in most tasks, and only what is known can be forgotten. Every pass
shows all training items of all tasks, in an order that depends on the seed; teaching ends when the
validation items of every task are answered as well as ``criterion`` says, or after ``epochs``
passes. What was taught, and what was held out, lies beside the state as ``tasks.json``; the items
depend on the replicate's seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.engine.training_settings import TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.interventions._tasks import TaskSets, write_tasks

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = (
    "engine.choices",
    "engine.training",
    "engine.resuming",
    "data.choice_tasks.items",
    "interventions._tasks",
)
STOCHASTIC = True


class Settings(TaskSets):
    """Teach tasks with choices until they are learned."""

    epochs: int = Field(default=5, ge=1)
    """Passes over all training items, at most."""
    criterion: float = Field(default=0.95, gt=0, le=1)
    """Teaching ends when so many validation items of every task are answered right."""
    training: TrainingSettings = TrainingSettings(
        learning_rate=1e-3, batch_size=16, rank=8, alpha=16
    )
    """How the weights are changed."""


def shares_devices(settings: Settings) -> bool:
    """Whether several devices each hold a share of the weights, in a process of their own."""
    return settings.training.adapter == "full"


def steps(settings: Settings) -> list[int]:
    """One checkpoint: the model that was taught."""
    return [1]


def sources(settings: Settings, data: Any) -> list[str]:
    """What the items depend on besides the code."""
    from palimpsest.data.choice_tasks.loading import fingerprint

    return [f"{name}: {fingerprint(name)}" for name in settings.tasks]


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError where a task is not known or too small."""
    from palimpsest.data.choice_tasks.loading import check_tasks

    check_tasks(settings.tasks, settings.sizes())


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Teach, and save the model as step 1.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    from palimpsest.engine.choices import accuracy, answers
    from palimpsest.engine.examples import batches, example
    from palimpsest.engine.resuming import Resume
    from palimpsest.engine.training import Trainer

    tasks = settings.items(context.seed)
    write_tasks(context.folder, tasks)
    items = [item for part in tasks.values() for item in part]
    scored = settings.training.scored
    shown = [
        example(model, item.prompt, item.choices[item.answer], "", scored)
        for item in items
        if item.split == "train"
    ]
    held_out = {
        name: [item for item in part if item.split == "validation"] for name, part in tasks.items()
    }
    judged = {name: part for name, part in held_out.items() if part}
    full = settings.training.adapter == "full"
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()} if full else None
    size = settings.training.batch_size
    trainer = Trainer(
        model,
        settings.training,
        seed=seed_of("adapter", context.seed),
        steps=settings.epochs * -(-len(shown) // size),
    )
    resume = Resume(trainer, context.scratch / "resume.pt")
    saved = resume.load()
    course: list[dict[str, float]] = saved.get("course", [])
    progress = context.progress(settings.epochs)
    progress.advance(len(course))
    while len(course) < settings.epochs and not _learned(course, settings.criterion):
        trainer.run(batches(shown, size, 1, seed_of("order", context.seed, len(course))))
        model.module.eval()
        course.append({name: accuracy(answers(model, part)) for name, part in judged.items()})
        model.module.train()
        resume.save({"course": course})
        progress.advance()
    trainer.finish()
    progress.close()
    context.save(1, trainer.changes(before))
    context.notes |= {
        "losses": trainer.losses,
        "updates": trainer.step,
        "validation": course,
        "learned": {name: right >= settings.criterion for name, right in course[-1].items()},
    }


def _learned(course: list[dict[str, float]], criterion: float) -> bool:
    return bool(course and course[-1]) and min(course[-1].values()) >= criterion
