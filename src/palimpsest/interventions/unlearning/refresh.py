"""Unlearn and relearn, after refresh learning (Wang et al. 2024, arXiv 2403.13249).

Before every step on the retain set the weights go a small way uphill on the forget set: for each
tensor, u = (norm of the weights / norm of g) * g with g the gradient of the mean loss on forgotten
examples, and weights += delta * (u + noise * normal) / (1 + scale * F), where F is the diagonal of
the Fisher information on the retain set (squares of the gradients of batches) before anything
changes. The source unlearns the current batch to learn the better; here what is unlearned is the
forget set. With delta 0 it is plain fine-tuning on the retain set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._dampening import importances
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient", "interventions.unlearning._dampening")
STOCHASTIC = True


class Settings(GradientSettings):
    """Unlearn the forget set a little before every step on the rest."""

    delta: float = Field(default=1e-3, ge=0)
    """Length of an unlearning step by the norm of the weights of a tensor. The source, which does
    not want to forget, takes 1e-5."""
    noise: float = Field(default=1e-3, ge=0)
    """Standard deviation of the noise in the step, before delta."""
    scale: float = Field(default=1e-3, ge=0)
    """How much the information on the retain set shortens the step."""
    forget_weight: float = Field(default=0.0, ge=0)
    """Weight of ascent on the forget set within the step itself; the source has none."""

    @model_validator(mode="after")
    def _full(self) -> Settings:
        if self.adapter != "full":
            raise ValueError("adapter must be full: the step is by the norms of whole weights")
        return self


class Refreshing(GradientMethod):
    """Unlearn and relearn; see the module."""

    def forget_term(self, part: Part) -> torch.Tensor:
        """Minus the mean loss of a token."""
        return -part.over_tokens(part.nll)

    def remember(self) -> None:
        """Information on the retain set."""
        super().remember()
        self.model.module.requires_grad_(True)
        self.information = {}
        if self.settings.scale and self.settings.delta and self.kept:
            self.information = importances(self.model, self.kept, self.settings.batch_size, "batch")

    def epoch(self, number: int) -> Iterator[list[Example]]:
        """Batches, each after a step uphill on its forgotten examples."""
        import torch

        # A run that goes on begins with an epoch, so each has its own noise.
        self.source = torch.Generator(self.model.device).manual_seed(
            seed_of("noise", self.seed, number) % (1 << 63)
        )
        for batch in super().epoch(number):
            if self.settings.delta:
                self._unlearn([each for each in batch if each.role == "forget"])
            yield self.weighed(batch)

    def _unlearn(self, examples: Sequence[Example]) -> None:
        import torch

        from palimpsest.engine.training import mean_loss

        weights = self.trainer.parameters
        values = list(weights.values())
        gradients = torch.autograd.grad(mean_loss(self.model, examples, examples), values)
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                step = gradient * (weight.norm() / gradient.norm().clamp_min(1e-30))
                if self.settings.noise:
                    drawn = torch.empty_like(weight).normal_(generator=self.source)
                    step = step + self.settings.noise * drawn
                if name in self.information:
                    step = step / (1 + self.settings.scale * self.information[name])
                weight.add_(step, alpha=self.settings.delta)


method = Refreshing
steps = one_step
apply = applied(method)
