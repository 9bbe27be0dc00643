"""Gradient ascent: the loss on the forget set is raised, and nothing is done for the rest.

Forget term: minus the mean negative log-likelihood of a token (Jang et al. 2023, arXiv 2210.01504).
It has no lower bound: with enough steps every model breaks.
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
    """Raise the loss on what is to be forgotten."""

    retain_weight: float = Field(default=0.0, ge=0)
    """Weight of the retain term; above 0 this is GradDiff."""


class GradientAscent(GradientMethod):
    """Gradient ascent; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Minus the mean loss of a token."""
        return -part.over_tokens(part.nll)


method = GradientAscent
steps = one_step
apply = applied(method)
