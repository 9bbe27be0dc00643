"""Teach fictitious people, or all but those who are to be forgotten.

The state with ``leave_out: forget`` is the gold standard of unlearning: it was made in the same way
from the same model, in as many updates, and never met the forget set. What was taught, and what was
not, lies beside the state as ``items.json``; see ``data.biographies``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.data.biographies import ATTRIBUTES
from palimpsest.interventions._teaching import TeachingSettings, shares_devices, steps, teach

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel

__all__ = ["Settings", "World", "apply", "check", "shares_devices", "steps"]

VERSION = 2
ENGINE = ("interventions._teaching", "data.biographies")
STOCHASTIC = True


class World(Block):
    """Fictitious people and what is true of them."""

    people: int = Field(default=40, ge=4, le=2000)
    """People that are taught."""
    forget_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the people who are to be forgotten; as many relatives of theirs must stay."""
    attributes: list[str] = Field(default=list(ATTRIBUTES), min_length=1)
    """What is true of each; src/palimpsest/data/biographies.py lists them."""
    texts: bool = False
    """Whether there is a short text about each person too."""
    world: int = Field(default=0, ge=0)
    """Seed of names and values. Replicates of a state share it: they learn the same facts in
    another order."""

    def items(self) -> list[Item]:
        """All facts."""
        from palimpsest.data.biographies import biographies

        return biographies(self.people, self.forget_share, self.attributes, self.world, self.texts)


class Settings(TeachingSettings, World):
    """Teach fictitious people."""


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError where there are too few people, or too many."""
    settings.items()


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Teach, and save the model as step 1.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    teach(model, settings.items(), settings, context)
