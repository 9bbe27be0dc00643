"""KL minimisation (Maini et al. 2024, arXiv 2401.06121, section 3).

Gradient ascent on the forget set beside the divergence of the model from itself as it was, on the
retain set. GradDiff with the other retain term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Raise the loss on what is to be forgotten, and stay near the old model elsewhere."""

    retain_loss: Literal["nll", "kl"] = "kl"
    """Retain term: negative log-likelihood, or divergence from the model as it was."""


class DivergenceMinimisation(GradientMethod):
    """KL minimisation; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Minus the mean loss of a token."""
        return -part.over_tokens(part.nll)


method = DivergenceMinimisation
steps = one_step
apply = applied(method)
