"""Random labels (Golatkar et al. 2020, arXiv 1911.04933, as a baseline): learn wrong answers.

Forget term: mean loss of a token of an answer that is none of the item's, drawn anew in each epoch
from the item's own wrong answers or from the answers of the other items to be forgotten. Texts of
the forget set are left out: another text is no wrong answer, it would be taught.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from palimpsest.interventions.unlearning._base import applied, one_step, sources
from palimpsest.interventions.unlearning._base import check_asked as check
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import numpy as np
    import torch

    from palimpsest.data.items import Item
    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Learn wrong answers to what is to be forgotten."""

    answers: Literal["perturbed", "others"] = "perturbed"
    """Where wrong answers come from: the item's own, or the true ones of other items. An item
    without wrong answers of its own gets those of others."""


class RandomLabels(GradientMethod):
    """Random labels; see the module."""

    def forget_examples(self) -> list[Example]:
        """Every prompt with the true answer, in whose place wrong ones are learned."""
        return self.examples(self.asked(), "forget")

    def epoch(self, number: int) -> Iterator[list[Example]]:
        """Batches with wrong answers that are drawn for this epoch."""
        draw = self.draw(f"labels {number}")
        wrong = [replace(item, answer=self._wrong(item, draw)) for item in self.asked()]
        self.forgotten = self.examples(wrong, "forget")
        return super().epoch(number)

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean loss of a token."""
        return part.over_tokens(part.nll)

    def _wrong(self, item: Item, draw: np.random.Generator) -> str:
        """A wrong answer of an item.

        Raises:
            ValueError: there is none: all items have the same answer.
        """
        others = [each.answer for each in self.asked() if each.answer != item.answer]
        found = item.perturbed if self.settings.answers == "perturbed" else ()
        found = found or tuple(others)
        if not found:
            raise ValueError(f"random_labels: {item.id} has no wrong answer to learn")
        return str(found[int(draw.integers(len(found)))])


method = RandomLabels
steps = one_step
apply = applied(method)
