"""Gradient difference (Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121).

Gradient ascent on the forget set beside plain descent on the retain set; ascent alone where
``retain_weight`` is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Raise the loss on what is to be forgotten, and lower it on what must stay."""


class GradientDifference(GradientMethod):
    """Gradient difference; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Minus the mean loss of a token."""
        return -part.over_tokens(part.nll)


method = GradientDifference
steps = one_step
apply = applied(method)
