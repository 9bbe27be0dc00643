"""SimNPO (Fan et al. 2024, arXiv 2410.07163): NPO without a reference model.

Forget term: mean over examples of -(2 / beta) log sigmoid(beta * (mean loss of a token - delta)).
Normalising for length replaces the reference: how strongly an example pulls depends on how likely
it is now, not on how likely it was, and long answers weigh no more than short ones.
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
    """Make answers less likely, the more so the likelier they still are."""

    beta: float = Field(default=4.5, gt=0)
    """How soon an example that has become unlikely is left alone."""
    delta: float = Field(default=0.0, ge=0)
    """Loss of a token, in nats, that is wanted anyway: gamma of the authors' code, gamma / beta of
    their paper."""
    forget_weight: float = Field(default=0.125, ge=0)
    """Weight of the forget term (gamma)."""


class SimpleNegativePreference(GradientMethod):
    """SimNPO; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over examples."""
        from torch.nn.functional import logsigmoid

        beta, delta = self.settings.beta, self.settings.delta
        return -2 / beta * part.over_examples(logsigmoid(beta * (part.means(part.nll) - delta)))


method = SimpleNegativePreference
steps = one_step
apply = applied(method)
