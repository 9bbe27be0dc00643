"""Adaptive selective synaptic dampening, ASSD (Schoepf et al. 2024, arXiv 2402.10098).

SSD whose alpha is not set by hand: it is a percentile of the ratios I_F / I_D, which falls as the
forget set takes a larger share of all examples: 100 - ln(1 + 100 * |F| / |D|), as released. Weights
that matter to no example have no ratio and are not counted. See ``_dampening``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

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
    """SSD that finds by itself how many weights to make smaller."""

    fisher: Literal["batch", "sample"] = "batch"
    """Importance from batches, as released, or from single examples: the Fisher information."""


class AdaptiveDampening(Dampening):
    """ASSD; see the module."""

    def importance(self) -> Importance:
        """Which importance is used."""
        return self.settings.fisher

    def threshold(self, forget: dict[str, torch.Tensor], all_: dict[str, torch.Tensor]) -> float:
        """The percentile of the ratios."""
        import torch

        ratios = torch.cat([(forget[n] / all_[n])[all_[n] > 0] for n in forget])
        percentile = 100 - math.log1p(100 * self.forget_share)
        # An order statistic: torch's quantile takes no more than 16 million values.
        place = max(1, math.ceil(percentile / 100 * ratios.numel()))
        self.notes["percentile"] = percentile
        return float(ratios.kthvalue(place).values)


method = AdaptiveDampening
steps = one_step
apply = applied(method)
