"""Learning without forgetting (Li & Hoiem 2016, arXiv 1606.09282, eq. 2).

Loss: cross-entropy + alpha * cross-entropy between the softened answers that the network gave
before the task, to the examples that are shown now, and those that it gives now. The answers are
those over the classes of past tasks: of all of them together, or, where classes exist for some
examples only (separate heads), of each past head alone, averaged over heads as van de Ven does.

The square of the temperature is not multiplied in, as in the paper and in Mammoth; van de Ven's
and much other code does it, so their alpha is ours divided by temperature^2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_losses import Loss
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._base",)


class Settings(Block):
    """Stay near the answers that the network gave before the task."""

    alpha: float = Field(default=0.5, ge=0)
    """Weight of the old answers (Mammoth: 0.5)."""
    temperature: float = Field(default=2.0, gt=0)
    """Scores of both sides are divided by it."""


class LearningWithoutForgetting(Strategy):
    """Learning without forgetting; see the module.

    Attributes:
        old: the networks as they were before the task; None in the first.
        heads: boolean (K, C) sets of classes whose answers are kept.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.alpha, self.temperature = self.each("alpha"), self.common("temperature")
        self.old: Ensemble | None = None
        self.heads: list[torch.Tensor] = []
        self._parts: dict[tuple[int, int], Ensemble] = {}

    def hooks(self) -> Hooks:
        """The old answers, from the second task on."""
        from palimpsest.engine.ensemble_training import Hooks

        return Hooks() if self.old is None else Hooks(extra_loss=self.distil)

    def end_task(self, task: Task, plan: Plan) -> None:
        """Keep the networks and the classes of the task."""
        import torch

        self.old, self._parts = self.ensemble.copy(), {}
        examples = self.index(task.train)
        models, classes = self.ensemble.n, self.ensemble.sizes[-1]
        if self.pool.allowed is not None:
            head = self.pool.allowed[examples].any(-2).expand(models, -1)
            if not any(torch.equal(head, known) for known in self.heads):
                self.heads.append(head)
            return
        seen = torch.zeros(models, classes, dtype=torch.bool, device=self.device)
        seen.scatter_(1, self.pool.labels[examples].expand(models, -1), True)
        self.heads = [self.heads[0] | seen if self.heads else seen]

    def distil(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> Loss:
        """Alpha times the cross-entropy of old and new answers (K,), in nats."""
        from palimpsest.engine.ensemble_losses import distillation

        key = batch.models.start, batch.models.stop
        if key not in self._parts:
            self._parts[key] = self.old.view(batch.models)
        wanted = self._parts[key].forward(self.pool.rows(batch.examples))[-1]
        weights = self.alpha[batch.models, None] / len(self.heads) * batch.weights
        found = [
            distillation(scores, wanted, weights, self.temperature, head[batch.models, None])
            for head in self.heads
        ]
        return sum(loss for loss, _ in found), sum(delta for _, delta in found)


strategy = LearningWithoutForgetting
