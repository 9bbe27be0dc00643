"""Selective synaptic dampening, SSD (Foster et al. 2024, arXiv 2308.07707, eq. 6 and 7).

No training: weights with I_F > alpha * I_D are multiplied by min(lambda * I_D / I_F, 1), in one go.
With alpha infinite nothing changes. See ``_dampening`` for what importance is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._dampening import Dampening, DampeningSettings, Importance

if TYPE_CHECKING:
    import torch

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._dampening",)
#: Nothing is drawn.
STOCHASTIC = False


class Settings(DampeningSettings):
    """Make weights smaller that matter to the forget set more than to all data."""

    alpha: float = Field(default=10.0, ge=0, allow_inf_nan=True)
    """How much more a weight must matter to the forget set; infinitely: nothing is changed."""
    fisher: Literal["batch", "sample"] = "batch"
    """Importance from batches, as released, or from single examples: the Fisher information."""


class SelectiveDampening(Dampening):
    """SSD; see the module."""

    def importance(self) -> Importance:
        """Which importance is used."""
        return self.settings.fisher

    def threshold(self, forget: dict[str, torch.Tensor], all_: dict[str, torch.Tensor]) -> float:
        """That of the settings."""
        return self.settings.alpha


method = SelectiveDampening
steps = one_step
apply = applied(method)
