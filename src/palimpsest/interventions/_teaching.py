"""Teaching items: what ``biographies`` and ``teaching`` share.

What was taught, and what was not, lies beside the state as ``items.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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

VERSION = 2
ENGINE = ("engine.training", "engine.resuming", "interventions._items")


class TeachingSettings(Block):
    """How items are taught."""

    leave_out: Literal["nothing", "forget"] = "nothing"
    """forget: teach all but what is to be forgotten, as a model that never knew it, in as many
    updates as if nothing were left out."""
    epochs: int = Field(default=12, ge=1)
    """Passes over all sentences, where nothing is left out."""
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
    lessons = Lessons.of(
        model,
        items,
        settings.leave_out == "forget",
        epochs=settings.epochs,
        size=settings.training.batch_size,
        seed=context.seed,
    )
    full = settings.training.adapter == "full"
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()} if full else None
    trainer = Trainer(
        model, settings.training, seed=seed_of("adapter", context.seed), steps=lessons.updates
    )
    resume = Resume(trainer, context.scratch / "resume.pt")
    done = resume.load().get("epochs", 0)
    progress = context.progress(lessons.passes)
    progress.advance(done)
    for epoch in range(done, lessons.passes):
        trainer.run(lessons.one_pass(epoch))
        resume.save({"epochs": epoch + 1})
        progress.advance()
    trainer.finish()
    progress.close()
    context.save(1, trainer.changes(before))
    context.notes |= {
        "losses": trainer.losses, "updates": trainer.step, "examples": len(lessons.examples)
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


@dataclass(frozen=True)
class Lessons:
    """Batches of teaching, pass by pass.

    Attributes:
        examples: what is shown in a pass.
        updates: how many there are in all. A model that never met the forget set has as many as one
            that did, or it would know the rest less well for that reason alone.
        size: examples a batch.
        seed: of the order.
    """

    examples: Sequence[Example]
    updates: int
    size: int
    seed: int

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        items: Sequence[Item],
        without_forget: bool,
        *,
        epochs: int,
        size: int,
        seed: int,
    ) -> Lessons:
        """``epochs`` passes over all items, or as many updates on those that are not to be
        forgotten.

        Raises:
            ValueError: an item is longer than the model's context.
        """
        every = taught_examples(model, items, False)
        shown = taught_examples(model, items, True) if without_forget else every
        return cls(shown, epochs * -(-len(every) // size) if shown else 0, size, seed)

    @property
    def passes(self) -> int:
        """Passes over what is shown; the last may end early."""
        return -(-self.updates // self._a_pass) if self.updates else 0

    def one_pass(self, number: int) -> Iterator[list[Example]]:
        """Batches of a pass, in an order that depends on seed and number alone."""
        from palimpsest.engine.examples import batches

        order = batches(self.examples, self.size, 1, seed_of("order", self.seed, number))
        return islice(order, self.updates - number * self._a_pass)

    @property
    def _a_pass(self) -> int:
        return -(-len(self.examples) // self.size)
