"""Negative preference optimisation, NPO (Zhang et al. 2024, arXiv 2404.05868, eq. 3).

Forget term: mean over examples of -(2 / beta) log sigmoid(-beta * log-ratio), the log-ratio being
log p - log p of the model as it was, summed over the answer's tokens. As beta goes to 0 its
gradient becomes that of gradient ascent on summed losses; unlike ascent it is bounded below, and an
example that is forgotten no longer pulls. With ``retain_weight`` above 0 it is NPO-RT of the paper.
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
    """Make answers less likely than they were, by a preference loss without a preferred answer."""

    beta: float = Field(default=0.1, gt=0)
    """How soon an example that has been forgotten is left alone."""


class NegativePreference(GradientMethod):
    """NPO; see the module."""

    needs_sums = True

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over examples."""
        from torch.nn.functional import logsigmoid

        # nll - nll before is minus the log-ratio.
        fallen = part.sums(part.nll) - self.sums_before(part)
        return -2 / self.settings.beta * part.over_examples(logsigmoid(self.settings.beta * fallen))


method = NegativePreference
steps = one_step
apply = applied(method)
