"""View-batch model (Kang et al. 2025, arXiv 2503.18371): fewer examples, each in several views.

Every current example is shown V times in a row, as V views, before the next one comes, so that a
batch of B holds B / V examples, an example returns V times later than it would, and the number of
forward passes stays. Views lie in the pool at fixed distances behind their examples. Beside the
loss of the strategy below on all views, alpha * the mean over examples and views 2 to V of
KL(p1 || pj) pulls the other views' answers to those of the first, which are not moved by it.

The authors' code recognises views by equal neighbouring labels, which merges neighbours of one
class, and its mean divides by the number of classes as well; both are not done here. What the
environment brings back is left as it is. With one view this is the strategy below to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._over import Over, OverReplay

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_losses import Loss
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._over",)


class Settings(OverReplay):
    """Show each example in several views at once, and at longer intervals."""

    offsets: list[int] = [0, 0, 0]
    """How far behind an example its second and further views lie in the pool; 0: it is repeated as
    it is (the paper's V is 4)."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the agreement between views."""


class ViewBatch(Over):
    """View-batch model; see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.alpha = self.each("alpha")
        self.offsets = np.array([0, *self.common("offsets")])
        self.width = 0

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """The first S * B / V current examples, each V times in a row.

        Raises:
            ValueError: a batch that is no multiple of the number of views, or views that lie
                outside the pool or have another label than their example.
        """
        steps, models, self.width = experience.shown.shape
        views = len(self.offsets)
        if self.width % views:
            raise ValueError(f"a batch of {self.width} cannot hold each example in {views} views")
        order = experience.shown.transpose(1, 0, 2).reshape(models, -1)
        seen = order[:, : steps * self.width // views, None] + self.offsets
        if seen.max() >= len(self.pool.labels) or seen.min() < 0:
            raise ValueError(f"views at {self.offsets[1:].tolist()} lie outside the pool")
        labels = self.pool.labels[self.index(seen)]
        if (labels != labels[..., :1]).any():
            raise ValueError(f"views at {self.offsets[1:].tolist()} have other labels")
        examples = experience.examples.copy()
        examples[..., : self.width] = seen.reshape(models, steps, self.width).transpose(1, 0, 2)
        return super().plan(task, replace(experience, examples=examples), draw)

    def hooks(self) -> Hooks:
        """The agreement between views, beside the strategy below."""
        hooks = super().hooks()
        if len(self.offsets) == 1:
            return hooks

        def extra_loss(group: Ensemble, scores: torch.Tensor, batch: Batch) -> Loss:
            loss, delta = self.agreement(scores, batch)
            if hooks.extra_loss:
                more, change = hooks.extra_loss(group, scores, batch)
                loss, delta = loss + more, delta + change
            return loss, delta

        return replace(hooks, extra_loss=extra_loss)

    def agreement(self, scores: torch.Tensor, batch: Batch) -> Loss:
        """alpha * mean of KL(p1 || pj) over examples and their further views (K,), in nats."""
        import torch

        views, width = len(self.offsets), self.width
        own = scores[:, :width].unflatten(1, (-1, views))
        if batch.allowed is not None:
            exist = batch.allowed[:, :width].unflatten(1, (-1, views))[:, :, :1]
            own = own.masked_fill(~exist, -torch.inf)
        log_p = torch.log_softmax(own, -1)
        first, other = log_p[:, :, :1], log_p[:, :, 1:]
        wanted = first.exp()
        weight = self.alpha[batch.models, None, None, None] / (width // views * (views - 1))
        apart = torch.where(wanted > 0, wanted * (first - other), 0.0)
        change = torch.zeros_like(log_p)
        change[:, :, 1:] = weight * (other.exp() - wanted)
        delta = torch.zeros_like(scores)
        delta[:, :width] = change.flatten(1, 2)
        return (weight * apart).sum(3).sum(2).sum(1), delta


strategy = ViewBatch
