"""Primal-dual unlearning, PDU (Entesari et al. 2025, arXiv 2506.05314).

Forget term: mean over answer tokens of (highest score - mean score)^2, which flattens the
distribution over words. It is minimised under the constraint that the retain term stays at most
``bound``: after every step its weight rises by ``dual_step`` times the violation, or falls, and is
never below 0. With ``dual_step`` 0 the weights are fixed.

Defaults of ``retain_weight``, ``dual_step`` and ``dual_warmup`` (100, 5 and 5) are what the
authors' own script calls the final best parameters for TOFU, in the form in which they gave the
method to OpenUnlearning (arXiv 2506.12618). The class there has 1 for the step and no warm-up,
which that script overrides. Its bound of 0.3 nats is that of one model and one data set; here it
follows the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example
    from palimpsest.engine.training import Hooks
    from palimpsest.models.language_model import LanguageModel

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True

#: Nats a token by which the retain term may rise where no bound is given.
SLACK = 0.1


class Settings(GradientSettings):
    """Flatten predictions on what is to be forgotten, as far as the rest allows."""

    retain_weight: float = Field(default=100.0, ge=0)
    """Weight of the retain term at the start: the forget term is a square of scores, which are
    large (alpha)."""
    dual_step: float = Field(default=5.0, ge=0)
    """By how much the weight of the retain term follows a violation."""
    dual_warmup: int = Field(default=5, ge=0)
    """Epochs before the weight follows."""
    bound: float | None = Field(default=None, ge=0)
    """Largest retain term, in nats a token; null: that of the model as it was (a divergence is 0
    then), and a tenth of a nat."""


class PrimalDual(GradientMethod):
    """PDU; see the module."""

    needs_logits = True

    def hooks(self) -> Hooks:
        """The retain weight follows after each step."""
        hooks = super().hooks()
        hooks.after_step = self._follow
        return hooks

    def remember(self) -> None:
        """The bound, from the model as it was."""
        super().remember()
        self.weight, self._lost = self.settings.retain_weight, 0.0
        self.bound = self.settings.bound
        if self.bound is None and self.kept:
            divergence = self.settings.retain_loss == "kl"
            self.bound = SLACK + (0.0 if divergence else self.mean_loss(self.kept))

    def loss(
        self, model: LanguageModel, part: Sequence[Example], batch: Sequence[Example]
    ) -> torch.Tensor:
        """The part's share of the loss of a batch, at the weight of this step."""
        if part[0] is batch[0]:
            # Also where a batch begins anew in smaller parts because memory ran out.
            self._lost = 0.0
        return super().loss(model, part, batch)

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over tokens."""
        return part.over_tokens((part.logits.amax(-1) - part.logits.mean(-1)).square())

    def retain_term(self, part: Part) -> torch.Tensor:
        """The retain term at the weight of this step; the loop multiplies by the first weight."""
        term = super().retain_term(part)
        self._lost += float(term.detach())
        return self.weight / self.settings.retain_weight * term

    def facts(self) -> dict[str, Any]:
        """The weight, for a run that goes on."""
        return {"weight": self.weight}

    def recall(self, facts: dict[str, Any]) -> None:
        """From :meth:`facts`."""
        self.weight = facts["weight"]

    def _follow(self, model: LanguageModel, step: int) -> None:
        steps = -(-len(self.forgotten) // self.settings.batch_size)
        if self.kept and step > steps * self.settings.dual_warmup:
            self.weight += self.settings.dual_step * (self._lost - self.bound)
            self.weight = max(0.0, self.weight)
        self.notes["retain_weight"] = self.weight


method = PrimalDual
steps = one_step
apply = applied(method)
