"""Training in which some weights of each network are frozen for a task, to the bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._base",)


class PartlyFrozen(Strategy):
    """Each task trains the weights that :meth:`choose` does not freeze.

    After every step, whatever the optimiser is, frozen weights are what they were to the bit, and
    the optimiser keeps no memory of them. Free weights keep the bits of plain training.

    Attributes:
        frozen: boolean, each of a shape that a parameter's broadcasts to; None: all are free.
        share_trained: (K,) share of the parameters that the present task trains.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import torch

        self.frozen: Tensors | None = None
        self.values: Tensors = []
        self.share_trained = torch.ones(self.ensemble.n)
        self._begun = 0

    def choose(self, task: Task) -> Tensors:
        """What is frozen in a task; see :attr:`frozen`."""
        raise NotImplementedError

    def keeps(self) -> bool:
        """Whether a task keeps the choice of the one before."""
        return False

    def begin_task(self, task: Task) -> None:
        """Choose what is frozen; in the first task nothing is, where the settings say so."""
        import torch

        if not self._begun and self.common("whole_first"):
            self.frozen = None
        elif self.frozen is None or not self.keeps():
            self.frozen = self.choose(task)
        self._begun += 1
        parameters = self.ensemble.parameters()
        if self.frozen is None:
            self.share_trained = torch.ones(self.ensemble.n)
            return
        self.values = [p.clone() for p in parameters]
        free = sum(
            (~frozen).expand_as(p).flatten(1).sum(1)
            for frozen, p in zip(self.frozen, parameters, strict=True)
        )
        self.share_trained = free.cpu() / sum(p[0].numel() for p in parameters)

    def facts(self) -> dict[str, torch.Tensor]:
        """The share of the parameters that the last task trained."""
        return {"share_trained": self.share_trained}

    def hooks(self) -> Hooks:
        """Frozen weights are put back after each step."""
        from palimpsest.engine.ensemble_training import Hooks

        return Hooks() if self.frozen is None else Hooks(after_step=self._put_back)

    def _put_back(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> None:
        models = batch.models
        group.put_back([f[models] for f in self.frozen], [v[models] for v in self.values])


def part_of(share: float, count: int) -> int:
    """The nearest whole number to a share of a count, halves up."""
    return math.floor(share * count + 0.5)
