"""UNDIAL (Dong et al. 2024, arXiv 2402.10052): self-distillation to adjusted logits.

Forget term: mean over answer tokens of the cross-entropy to softmax(z0 - beta * onehot(token)), z0
being the scores of the model as it was. Beta 0 is distillation of the model into itself, whose
gradient is zero at the start.
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
    """Learn one's own old predictions with the true token made less likely."""

    beta: float = Field(default=10.0, ge=0)
    """By how much the score of the true token is lowered."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of AdamW."""
    retain_weight: float = Field(default=0.0, ge=0)
    """Weight of the retain term (alpha)."""


class SelfDistillation(GradientMethod):
    """UNDIAL; see the module."""

    needs_states = ("forget",)
    needs_logits = True

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over tokens."""
        target = self.logits_before(part).clone()
        words = part.tokens.words[:, None]
        target.scatter_add_(1, words, target.new_full(words.shape, -self.settings.beta))
        return part.over_tokens(-(target.softmax(-1) * part.logits.log_softmax(-1)).sum(-1))


method = SelfDistillation
steps = one_step
apply = applied(method)
