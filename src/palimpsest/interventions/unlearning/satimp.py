"""SatImp (Yang et al. 2025, arXiv 2505.11953): ascent weighted by saturation and by importance.

Forget term: minus the mean over tokens of p^beta1 * (1 - p)^beta2 * loss, p being the token's
probability, held constant. The first factor leaves alone what is forgotten, the second what is
known best. Both 0: GradDiff; beta2 0: WGA. Defaults are those of OpenUnlearning; the authors' own
code has beta2 = 0.1 and the weights of the terms the other way round, 1 and 0.1.
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
    """Raise the loss on what is to be forgotten, weighted token by token."""

    beta1: float = Field(default=5.0, ge=0)
    """Weight of saturation."""
    beta2: float = Field(default=1.0, ge=0)
    """Weight of importance."""
    epochs: int = Field(default=5, ge=1)
    """Passes over the forget set."""
    forget_weight: float = Field(default=0.1, ge=0)
    """Weight of the forget term (gamma)."""


class SaturationImportance(GradientMethod):
    """SatImp; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over tokens."""
        p = (-part.nll.detach()).exp()
        weights = p**self.settings.beta1 * (1 - p).clamp_min(0) ** self.settings.beta2
        return -part.over_tokens(weights * part.nll)


method = SaturationImportance
steps = one_step
apply = applied(method)
