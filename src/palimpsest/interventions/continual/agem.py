"""Averaged gradient episodic memory, A-GEM (Chaudhry et al. 2019, arXiv 1812.00420, eq. 11).

Before each step the gradient g_ref of the mean loss on examples of past tasks is computed. Where
the gradient g of the batch would raise that loss (g . g_ref < 0), it is replaced by
g - (g . g_ref / g_ref . g_ref) g_ref.

The memory holds equally many examples of every past task, drawn from the whole task, and the
reference is drawn from the whole memory at every step. (Mammoth's memory is filled with the first
batches of a task only.) In the first task there is no memory and training is plain to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
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
    """Take no step that raises the loss on a memory of past tasks."""

    per_task: int = Field(default=250, ge=0)
    """Examples kept of each task (Avalanche: 250); 0: none."""
    sample: int = Field(default=256, ge=1)
    """Examples of the memory that the reference is computed on; all while it holds fewer."""


class AveragedGradientMemory(Strategy):
    """A-GEM; see the module.

    Attributes:
        held: (K, m) examples of past tasks.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.per_task, self.sample = self.common("per_task"), self.common("sample")
        self.held: NDArray[np.int64] = np.empty((self.ensemble.n, 0), dtype=np.int64)
        self.reference: torch.Tensor | None = None

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """What is shown anyway; the references of all steps are drawn."""
        from palimpsest.engine.ensemble_plans import distinct

        size = self.held.shape[1]
        if size:
            filled = np.full(len(experience), size)
            places = [distinct(filled, min(self.sample, size), one) for one in draw]
            chosen = [held[place] for held, place in zip(self.held, places, strict=True)]
            self.reference = self.index(np.stack(chosen, axis=1))
        return experience

    def hooks(self) -> Hooks:
        """The projection, where there is a memory."""
        from palimpsest.engine.ensemble_training import Hooks

        return Hooks() if self.reference is None else Hooks(after_backward=self.project)

    def end_task(self, task: Task, plan: Plan) -> None:
        """Keep examples of the task."""
        from palimpsest.engine.ensemble_plans import of_network

        size = min(self.per_task, task.train.shape[-1])
        kept = [
            one.choice(of_network(task.train, model), size, replace=False)
            for model, one in enumerate(self.draw(task))
        ]
        self.held = np.concatenate([self.held, np.stack(kept)], axis=1)

    def project(self, group: Ensemble, gradients: Tensors, batch: Batch) -> None:
        """Take out of the gradients what would raise the loss on the memory, in place."""
        from palimpsest.engine.ensemble_losses import cross_entropy
        from palimpsest.engine.ensemble_losses import project as projected

        index = self.reference[batch.step, batch.models]
        layers = group.forward(self.pool.rows(index))
        means = batch.weights.new_full(index.shape, 1 / index.shape[1])
        labels, allowed = self.pool.labels[index], self.pool.classes(index)
        _, delta = cross_entropy(layers[-1], labels, means, allowed)
        projected(gradients, group.gradients(layers, delta))


strategy = AveragedGradientMemory
