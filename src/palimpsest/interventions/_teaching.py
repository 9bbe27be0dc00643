"""Teaching items: what ``biographies`` and ``teaching`` share.

What was taught, and what was not, lies beside the state as ``items.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.engine.training_settings import TrainingSettings
from palimpsest.files import write_json
from palimpsest.identity import seed_of
from palimpsest.interventions._items import item_examples

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.data.items import Item
    from palimpsest.engine.examples import Example
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.training", "engine.resuming", "interventions._items")


class TeachingSettings(Block):
    """How items are taught."""

    leave_out: Literal["nothing", "forget"] = "nothing"
    """forget: teach all but what is to be forgotten, as a model that never knew it."""
    epochs: int = Field(default=12, ge=1)
    """Passes over all sentences."""
    training: TrainingSettings = TrainingSettings(batch_size=8)
    """How the weights are changed."""


def shares_devices(settings: TeachingSettings) -> bool:
    """Whether several devices each hold a share of the weights, in a process of their own."""
    return settings.training.adapter == "full"


def steps(settings: TeachingSettings) -> list[int]:
    """One checkpoint: the model that was taught."""
    return [1]


def teach(
    model: LanguageModel,
    items: Sequence[Item],
    settings: TeachingSettings,
    context: InterventionContext,
) -> None:
    """Teach, and save the model as step 1.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    from palimpsest.data.items import TAUGHT
    from palimpsest.engine.resuming import Resume
    from palimpsest.engine.training import Trainer

    write_json(context.folder / TAUGHT, [item.to_json() for item in items])
    examples = taught_examples(model, items, settings.leave_out == "forget")
    full = settings.training.adapter == "full"
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()} if full else None
    size = settings.training.batch_size
    trainer = Trainer(
        model,
        settings.training,
        seed=seed_of("adapter", context.seed),
        steps=settings.epochs * -(-len(examples) // size),
    )
    resume = Resume(trainer, context.scratch / "resume.pt")
    done = resume.load().get("epochs", 0)
    progress = context.progress(settings.epochs)
    progress.advance(done)
    for epoch in range(done, settings.epochs):
        trainer.run(one_pass(examples, size, context.seed, epoch))
        resume.save({"epochs": epoch + 1})
        progress.advance()
    trainer.finish()
    progress.close()
    context.save(1, trainer.changes(before))
    context.notes |= {
        "losses": trainer.losses, "updates": trainer.step, "examples": len(examples)
    }  # fmt: skip


def taught_examples(
    model: LanguageModel, items: Sequence[Item], without_forget: bool
) -> list[Example]:
    """Every sentence that is shown: all prompts of all items that are to be taught.

    Raises:
        ValueError: an item is longer than the model's context.
    """
    left_out = ("known", "holdout", *(["forget"] if without_forget else []))
    taught = [item for item in items if item.part not in left_out]
    return [each for item in taught for each in item_examples(model, item)]


def one_pass(
    examples: Sequence[Example], size: int, seed: int, epoch: int
) -> Iterator[list[Example]]:
    """Batches of an epoch, in an order that depends on seed and epoch alone."""
    from palimpsest.engine.examples import batches

    return batches(examples, size, 1, seed_of("order", seed, epoch))
