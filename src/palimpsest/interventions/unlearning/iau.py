"""Influence approximation unlearning, IAU (Liu et al. 2025, arXiv 2507.23257).

To remove examples is to add others with the opposite gradient: one step down along
g = gradient of the mean loss on R - gradient of the mean loss on F, each set as one batch, whose
first part corrects what the second does to the rest. As released the step is the first one of Adam,
which is lr * sign(g) wherever g is not tiny: by direction, not by size, however little is to be
forgotten. ``sgd`` is what the theory reads.

What one plain step achieves follows from a model at the minimum of the mean loss on n examples with
Hessian H, of which F is a share f. Retraining without F moves it by f * H^-1 * (gradient of F) up
to errors of second order in f: that is the influence function. There the two gradients are
opposite, so that the correction only lengthens the step, by 1 / (1 - f). What is missing is H^-1:
where H is a multiple of the identity a step with lr = f / H is right to second order without the
correction, and with it retrains exactly if losses are quadratic with one Hessian; everywhere else
its error is of first order in f at any rate, as is what it approximates.

Left out: the source also restricts gradients while a model is *taught*, by a loss + 0.005 * norm of
its gradient, so that the step meets a flatter minimum. Here all methods begin with the same taught
models, which were made without it, and are held against models that were retrained in the same way;
a model that was taught otherwise would be another study. IAU may do better where it is granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from palimpsest.interventions.unlearning._base import (
    Method,
    UnlearningSettings,
    applied,
    check,
    one_step,
    sources,
    wide_zeros,
)

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._base", "engine.training")
#: Nothing is drawn.
STOCHASTIC = False

#: Added to the size of a gradient in Adam's step.
EPSILON = 1e-8


class Settings(UnlearningSettings):
    """Add the opposite of what is to be forgotten, in one step."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Length of the step."""
    step: Literal["adam", "sgd"] = "adam"
    """As released, or as the theory reads."""
    correction: float = Field(default=1.0, ge=0)
    """Weight of the gradient on what must stay."""
    batch_size: int = Field(default=32, ge=1)
    """Examples put through at once; the gradient is that of the whole set."""
    only: tuple[str, ...] = ()
    """Patterns (such as *.mlp.*) of the weights that are changed; none: all."""


class InfluenceApproximation(Method):
    """IAU; see the module."""

    def run(self) -> None:
        """One step."""
        import torch

        weights = list(self.chosen_weights(self.settings).values())
        self.model.module.eval()
        forget = self._gradient(weights, self.examples(self.sets.forget, "forget"))
        retain = self._gradient(weights, self.examples(self.sets.retain, "retain"))
        with torch.no_grad():
            for weight, up, down in zip(weights, forget, retain, strict=True):
                move = influence_step(up, self.settings.correction * down, self.settings.step)
                weight.copy_(weight.to(move.dtype) - self.settings.learning_rate * move)
        self.notes["updates"] = 1

    def _gradient(
        self, weights: list[torch.Tensor], examples: Sequence[Example]
    ) -> list[torch.Tensor]:
        """Of the mean loss of a token over a whole set, in float32 at least; zeros where the set is
        empty."""
        import torch

        from palimpsest.engine.training import mean_loss

        found = wide_zeros(weights)
        size = self.settings.batch_size
        for start in range(0, len(examples), size):
            loss = mean_loss(self.model, examples[start : start + size], examples)
            parts = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, part in zip(found, parts, strict=True):
                if part is not None:
                    total += part.to(total.dtype)
        return found


def influence_step(
    forget: torch.Tensor, retain: torch.Tensor, step: Literal["adam", "sgd"]
) -> torch.Tensor:
    """What is subtracted, times the rate: the gradient of the loss on R minus that on F."""
    gradient = retain - forget
    return gradient if step == "sgd" else gradient / (gradient.abs() + EPSILON)


method = InfluenceApproximation
steps = one_step
apply = applied(method)
