"""Plain fine-tuning on what must stay: the baseline that does nothing to the forget set itself.

As many steps, on as many retained examples, as a gradient method takes; whatever is forgotten is
forgotten by the way (as in Golatkar et al. 2020, arXiv 1911.04933).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Go on learning what must stay."""

    forget_weight: float = Field(default=0.0, ge=0)
    """Above 0 the forget set is learned too."""


class RetainFinetuning(GradientMethod):
    """Fine-tuning on the retain set; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean loss of a token."""
        return part.over_tokens(part.nll)

    def epoch(self, number: int) -> Iterator[list[Example]]:
        """As many batches as the forget set has, of retained examples alone."""
        return map(self.weighed, super().epoch(number))


method = RetainFinetuning
steps = one_step
apply = applied(method)
