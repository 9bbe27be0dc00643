"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796, eq. 3), and online EWC.

Penalty: strength / 2 * sum of F * (weight - anchor)^2, F being the diagonal of the Fisher
information after each task.

- ``separate``: one quadratic a past task, as in the paper. Quadratics add up to one quadratic and
  a constant, so memory does not grow with the number of tasks.
- ``online`` (Schwarz et al. 2018, arXiv 1805.06370; Huszár 2018): F becomes
  decay * F + F of the task, around the latest weights.

Peers leave out the half: Mammoth's lambda 0.7 for permuted digits and Avalanche's lambda 1 are
strengths of 1.4 and 2 here. They also differ in the Fisher information, see ``_fisher``: a
strength that was tuned for one variant is off by orders of magnitude for another. Plain descent
diverges where learning rate * strength * F is above 2 for any weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual import _fisher
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._base", "interventions.continual._fisher")


class Settings(Block):
    """Hold weights near where they were, by how much past tasks depend on them."""

    strength: float = Field(default=1.4, ge=0)
    """Lambda of the paper, before the half."""
    mode: Literal["separate", "online"] = "online"
    """One quadratic a past task, or a running one."""
    decay: float = Field(default=1.0, ge=0, le=1)
    """Share of the past information that stays at each task (gamma); online only."""
    fisher: Literal["exact", "sample", "empirical", "batched"] = "exact"
    """Over all answers by their probability, one drawn answer, the label, or squares of means."""
    fisher_examples: int | None = Field(default=None, ge=1)
    """Examples of a task that the information is computed on, drawn at random; None: all."""
    fisher_batch: int = Field(default=10, ge=1)
    """Examples whose gradients are averaged before they are squared; batched only."""


class ElasticWeights(Strategy):
    """EWC; see the module.

    Attributes:
        importance: sum of informations, of each parameter's shape; None before the first task ends.
        anchors: minimum of the sum of quadratics.
        constant: (K,) value of the sum there, before strength / 2.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import torch

        self.strength, self.decay = self.each("strength"), self.each("decay")[:, None, None]
        self.mode, self.kind = self.common("mode"), self.common("fisher")
        self.examples, self.batch = self.common("fisher_examples"), self.common("fisher_batch")
        self.importance: Tensors | None = None
        self.anchors: Tensors = []
        self.constant = torch.zeros(self.ensemble.n, device=self.device)

    def hooks(self) -> Hooks:
        """The penalty."""
        from palimpsest.engine.ensemble_training import Hooks

        return Hooks() if self.importance is None else Hooks(penalty=self.penalty)

    def penalty(self, group: Ensemble, batch: Batch) -> tuple[torch.Tensor, Tensors]:
        """The penalty (K,) and its gradients."""
        from palimpsest.engine.ensemble_losses import quadratic_penalty

        models, strength = batch.models, self.strength[batch.models]
        value, gradients = quadratic_penalty(
            group.parameters(),
            [anchor[models] for anchor in self.anchors],
            [importance[models] for importance in self.importance],
            strength,
        )
        return value + strength / 2 * self.constant[models], gradients

    def end_task(self, task: Task, plan: Plan) -> None:
        """Information on the task at the weights where it ended."""
        self.consolidate(self.information(task))

    def information(self, task: Task) -> Tensors:
        """Diagonal of the Fisher information on a task's training examples."""
        import numpy as np

        from palimpsest.engine.ensemble_plans import of_network

        draw = self.draw(task)
        examples = task.train
        if self.examples is not None and self.examples < examples.shape[-1]:
            examples = np.stack(
                [
                    one.choice(of_network(examples, model), self.examples, replace=False)
                    for model, one in enumerate(draw)
                ]
            )
        return _fisher.diagonal(
            self.ensemble, self.pool, self.index(examples), self.kind, draw, self.batch
        )

    def consolidate(self, information: Tensors) -> None:
        """Add the quadratic around the present weights to those that are there.

        a (w - u)^2 + b (w - v)^2 = (a + b) (w - m)^2 + a b / (a + b) (u - v)^2, with m their
        weighted mean.
        """
        import torch

        weights = [p.clone() for p in self.ensemble.parameters()]
        if self.importance is None:
            self.importance, self.anchors = information, weights
            return
        if self.mode == "online":
            self.importance = [
                self.decay * old + new
                for old, new in zip(self.importance, information, strict=True)
            ]
            self.anchors = weights
            return
        for index, (new, weight) in enumerate(zip(information, weights, strict=True)):
            old, anchor = self.importance[index], self.anchors[index]
            both, away = old + new, weight - anchor
            share = torch.where(both > 0, new / both, 1.0)
            self.constant += (old * share * away.square()).sum(2).sum(1)
            self.anchors[index] = anchor + share * away
            self.importance[index] = both


strategy = ElasticWeights
