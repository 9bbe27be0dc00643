"""Loss-free selective synaptic dampening, LFSSD (Foster et al. 2024, arXiv 2402.19308).

SSD with an importance that needs no labels: mean size of the gradient of the squared norm of the
scores of all words. See ``_dampening``. The words of an answer are no labels here, but what a
language model has read when it says the next one is an input: the last word of an answer matters in
no way, the others do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """SSD with an importance that does not ask whether the model is right."""

    alpha: float = Field(default=10.0, ge=0, allow_inf_nan=True)
    """How much more a weight must matter to the forget set; infinitely: nothing is changed."""


class LabelFreeDampening(Dampening):
    """LFSSD; see the module."""

    def importance(self) -> Importance:
        """Which importance is used."""
        return "label_free"

    def threshold(self, forget: dict[str, torch.Tensor], all_: dict[str, torch.Tensor]) -> float:
        """That of the settings."""
        return self.settings.alpha


method = LabelFreeDampening
steps = one_step
apply = applied(method)
