"""Synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200, eqs. 3 to 5).

During a task, omega of a weight adds up -(gradient of the task's loss) * (change of the weight):
its share of the decrease of the loss along the path. At the task's end, importance grows by
omega / ((change over the task)^2 + damping), and the penalty is strength * sum of importance *
(weight - weight at the end of the last task)^2, without a half.

Peers differ: Mammoth adds up learning rate * (gradient with the penalty's part)^2; here the
gradient is the task's alone and the change is the optimiser's, whatever it is. A negative
importance would be rewarded without bound, so omega below zero counts as zero. Avalanche cuts
importance off at 0.001, which is not done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._base",)


class Settings(Block):
    """Hold weights near where they were, by how much they have lowered past losses."""

    strength: float = Field(default=0.5, ge=0)
    """c of the paper, without a half (Mammoth: 0.5 for permuted digits)."""
    damping: float = Field(default=1.0, gt=0)
    """Xi of the paper: keeps the quotient finite (Mammoth: 1.0 for permuted digits)."""


class SynapticIntelligence(Strategy):
    """Synaptic intelligence; see the module.

    Attributes:
        omega: path integral of the task, of each parameter's shape.
        importance: what past tasks add up to.
        anchors: weights at the end of the last task.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import torch

        self.strength, self.damping = self.each("strength"), self.each("damping")[:, None, None]
        parameters = self.ensemble.parameters()
        self.omega = [torch.zeros_like(p) for p in parameters]
        self.importance = [torch.zeros_like(p) for p in parameters]
        self.anchors = [p.clone() for p in parameters]
        self.before = [p.clone() for p in parameters]
        self.gradients: Tensors = []
        self.past = 0

    def begin_task(self, task: Task) -> None:
        """The path begins."""
        for omega in self.omega:
            omega.zero_()

    def hooks(self) -> Hooks:
        """The path integral, and from the second task on the penalty."""
        from palimpsest.engine.ensemble_training import Hooks

        penalty = self.penalty if self.past else None
        return Hooks(watch=self._remember, penalty=penalty, after_step=self._add)

    def penalty(self, group: Ensemble, batch: Batch) -> tuple[torch.Tensor, Tensors]:
        """The penalty (K,) and its gradients."""
        from palimpsest.engine.ensemble_losses import quadratic_penalty

        return quadratic_penalty(
            group.parameters(),
            [anchor[batch.models] for anchor in self.anchors],
            [importance[batch.models] for importance in self.importance],
            2 * self.strength[batch.models],
        )

    def end_task(self, task: Task, plan: Plan) -> None:
        """Importance grows by what the path has told."""
        parameters = self.ensemble.parameters()
        for total, omega, anchor, weight in zip(
            self.importance, self.omega, self.anchors, parameters, strict=True
        ):
            total += omega.clamp_min(0) / ((weight - anchor).square() + self.damping)
            anchor.copy_(weight)
        self.past += 1

    def _remember(self, group: Ensemble, gradients: Tensors, batch: Batch) -> None:
        self.gradients = gradients
        for before, weight in zip(self.before, group.parameters(), strict=True):
            before[batch.models] = weight

    def _add(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> None:
        for omega, gradient, before, weight in zip(
            self.omega, self.gradients, self.before, group.parameters(), strict=True
        ):
            omega[batch.models].addcmul_(gradient, weight - before[batch.models], value=-1)


strategy = SynapticIntelligence
