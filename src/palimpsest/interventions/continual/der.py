"""Dark experience replay (Buzzega et al. 2020, arXiv 2004.07211).

Loss: cross-entropy of what is shown + alpha * mean over a sample of the buffer of the mean squared
difference between the scores and those that were stored when the example was. Stored scores are
those of the forward pass in which the example was current, before that step's update. They are
compared over all classes, also those that do not exist for an example.

With alpha 0 this is plain training (up to rounding, because the batches are longer); with an empty
buffer it is so to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._rehearsal import BufferSettings, Rehearsal

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_losses import Loss
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._rehearsal",)


class Settings(BufferSettings):
    """Rehearse the scores that examples of a buffer had."""

    alpha: float = Field(default=1.0, ge=0)
    """Weight of the squared difference of scores (Mammoth: 1.0 for permuted digits)."""


class DarkExperienceReplay(Rehearsal):
    """Dark experience replay; see the module.

    The first sample of the buffer in a batch is compared by its scores; the labels of further
    samples count as :meth:`labelled` says.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from palimpsest.engine.ensemble_training import ScoreMemory

        self.alpha = self.each("alpha")
        self.dark = slice(0, 0)
        if self.buffers is not None:
            self.memory = ScoreMemory(
                self.ensemble.n, self.buffers.capacity, self.ensemble.sizes[-1], self.device
            )

    def labelled(self, there: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(S, K, draws * rehearsed) weights of rehearsed labels; none here."""
        return np.zeros(there.shape)

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """Batches with rehearsed examples; the weights of what is shown stay as they were."""
        plan = super().plan(task, experience, draw)
        if plan is experience:
            return plan
        width = experience.examples.shape[-1]
        self.dark = slice(width, width + self.rehearsed(experience))
        labelled = self.labelled(plan.slots[..., width:] >= 0).astype(np.float32)
        return replace(plan, weights=np.concatenate([experience.weights, labelled], axis=-1))

    def hooks(self) -> Hooks:
        """The squared difference of scores, and storing scores after each step."""
        from palimpsest.engine.ensemble_training import Hooks

        if self.buffers is None:
            return Hooks()
        return Hooks(extra_loss=self._difference, after_step=self._store)

    def _difference(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> Loss:
        from palimpsest.engine.ensemble_losses import squared_error

        there = (batch.slots[:, self.dark] >= 0).float()
        weights = self.alpha[batch.models, None] * there / there.sum(1, keepdim=True).clamp_min(1)
        every = scores.new_zeros(batch.slots.shape)
        every[:, self.dark] = weights
        return squared_error(scores, self.memory.read(batch), every)

    def _store(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> None:
        self.memory.write(scores, batch)


strategy = DarkExperienceReplay
