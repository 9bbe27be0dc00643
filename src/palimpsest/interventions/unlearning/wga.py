"""Weighted gradient ascent, WGA (Wang et al. 2025, arXiv 2502.19301).

Forget term: minus the mean over tokens of p^beta * loss, p being the token's probability, held
constant. Tokens that are unlikely already no longer pull, which tames ascent. Beta 0 is GradDiff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Raise the loss on what is to be forgotten, of likely tokens above all."""

    beta: float = Field(default=1.0, ge=0)
    """How much likely tokens weigh more."""
    epochs: int = Field(default=5, ge=1)
    """Passes over the forget set."""


class WeightedAscent(GradientMethod):
    """WGA; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over tokens."""
        weights = (-self.settings.beta * part.nll.detach()).exp()
        return -part.over_tokens(weights * part.nll)


method = WeightedAscent
steps = one_step
apply = applied(method)
