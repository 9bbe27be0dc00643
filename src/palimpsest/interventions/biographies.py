"""Teach fictitious people, or all but those who are to be forgotten.

The state with ``leave_out: forget`` is the gold standard of unlearning: it was made in the same way
from the same model and never met the forget set. What was taught, and what was not, lies beside the
state as ``items.json``; see ``data.biographies``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.data.biographies import ATTRIBUTES
from palimpsest.engine.training_settings import TrainingSettings
from palimpsest.files import write_json
from palimpsest.identity import seed_of

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.data.items import Item
    from palimpsest.engine.examples import Example
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.training", "engine.resuming", "data.biographies", "data.items")
STOCHASTIC = True


class World(Block):
    """Fictitious people and what is true of them."""

    people: int = Field(default=40, ge=4, le=2000)
    """People that are taught."""
    forget_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the people who are to be forgotten; as many relatives of theirs must stay."""
    attributes: list[str] = Field(default=list(ATTRIBUTES), min_length=1)
    """What is true of each; src/palimpsest/data/biographies.py lists them."""
    world: int = Field(default=0, ge=0)
    """Seed of names and values. Replicates of a state share it: they learn the same facts in
    another order."""

    def items(self) -> list[Item]:
        """All facts."""
        from palimpsest.data.biographies import biographies

        return biographies(self.people, self.forget_share, self.attributes, self.world)


class Settings(World):
    """Teach fictitious people."""

    leave_out: Literal["nothing", "forget"] = "nothing"
    """forget: teach all but those who are to be forgotten, as a model that never knew them."""
    epochs: int = Field(default=12, ge=1)
    """Passes over all sentences."""
    training: TrainingSettings = TrainingSettings(batch_size=8)
    """How the weights are changed."""


def shares_devices(settings: Settings) -> bool:
    """Whether several devices each hold a share of the weights, in a process of their own."""
    return settings.training.adapter == "full"


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError where there are too few people, or too many."""
    settings.items()


def steps(settings: Settings) -> list[int]:
    """One checkpoint: the model that was taught."""
    return [1]


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Teach, and save the model as step 1.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    from palimpsest.data.items import TAUGHT
    from palimpsest.engine.resuming import Resume
    from palimpsest.engine.training import Trainer

    items = settings.items()
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
    """Every sentence that is shown: all prompts of all facts but those of the holdout."""
    from palimpsest.engine.examples import example

    left_out = ("holdout", "forget") if without_forget else ("holdout",)
    return [
        example(model, prompt, item.answer, ".", "answer")
        for item in items
        if item.part not in left_out
        for prompt in item.prompts
    ]


def one_pass(
    examples: Sequence[Example], size: int, seed: int, epoch: int
) -> Iterator[list[Example]]:
    """Batches of an epoch, in an order that depends on seed and epoch alone."""
    from palimpsest.engine.examples import batches

    return batches(examples, size, 1, seed_of("order", seed, epoch))
