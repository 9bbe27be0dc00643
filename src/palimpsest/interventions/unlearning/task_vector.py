"""Negated task vector (Ilharco et al. 2023, arXiv 2212.04089): away from the forget set.

A copy is fine-tuned on the forget set; what that changed is taken away from the model, times
``scale``: theta = theta0 - scale * (theta_F - theta0). With ``scale`` 0 it is the model.
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
    """Undo what further training on the forget set would do."""

    scale: float = Field(default=1.0, ge=0)
    """Length of the step away; the source chooses it on validation data."""
    retain_weight: float = Field(default=0.0, ge=0)
    """Weight of the retain set while the copy is fine-tuned."""


class TaskVector(GradientMethod):
    """Negated task vector; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean loss of a token: the copy learns the forget set."""
        return part.over_tokens(part.nll)

    def run(self) -> None:
        """Fine-tune, then mirror what has changed."""
        import torch

        before = {n: p.detach().clone() for n, p in self.model.module.named_parameters()}
        super().run()
        with torch.no_grad():
            if self.trainer.adapters:
                for adapter in self.trainer.adapters.values():
                    adapter.B.mul_(-self.settings.scale)
                return
            for name, weight in self.model.module.named_parameters():
                # Written so that nothing changes to the bit where the scale is 0.
                change = weight - before[name]
                weight.copy_(before[name] - self.settings.scale * change)


method = TaskVector
steps = one_step
apply = applied(method)
