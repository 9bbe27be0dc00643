"""What a continual-learning strategy may do while K small networks learn one task after another.

A strategy changes the plan of a task (what is shown beside what the environment shows), the loss,
the gradient or the weights, through the hooks of the one loop. The base class changes nothing: it
is plain sequential training, and every strategy has a setting in which it equals the base class to
the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palimpsest.engine.ensemble_training import Hooks

if TYPE_CHECKING:
    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Pool


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        number: place in the stream, from 0.
        train: (n,) indices of its training examples in the pool.
        test: (m,) indices of the examples on which it is judged.
    """

    number: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]


class Strategy:
    """Plain sequential training of K networks; strategies override what they change.

    Args:
        settings: one block a network. What may differ between networks (strengths) is a tensor
            over networks inside a strategy; what may not is checked by :meth:`common`.
        ensemble: the networks.
        pool: all examples.
        seeds: one a network: seeds of whatever the strategy draws itself.
    """

    def __init__(
        self, settings: Sequence[Any], ensemble: Ensemble, pool: Pool, seeds: Sequence[int]
    ) -> None:
        self.settings, self.ensemble, self.pool, self.seeds = settings, ensemble, pool, seeds

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """The plan of a task from what the environment shows; S steps for K networks.

        Args:
            task: the task that begins.
            experience: current examples and those that the environment brings back.
            draw: generators of the networks for this task.
        """
        return experience

    def hooks(self) -> Hooks:
        """What changes inside the loop of the next task."""
        return Hooks()

    def begin_task(self, task: Task) -> None:
        """Before the first step of a task, after :meth:`plan`."""

    def end_task(self, task: Task, plan: Plan) -> None:
        """After the last step of a task."""

    def reader(self) -> Ensemble:
        """The networks that are judged after a task; others than those trained for GDumb."""
        return self.ensemble

    def common(self, field: str) -> Any:
        """The value of a setting that all networks must share.

        Raises:
            ValueError: networks with different values.
        """
        values = [getattr(block, field) for block in self.settings]
        if any(value != values[0] for value in values):
            raise ValueError(f"{field} must be the same for networks that learn together: {values}")
        return values[0]

    def each(self, field: str) -> Any:
        """(K,) float32 tensor of a setting, on the networks' device."""
        import torch

        values = [float(getattr(block, field)) for block in self.settings]
        return torch.tensor(values, device=self.ensemble.weights[0].device)


Maker = Callable[[Sequence[Any], "Ensemble", "Pool", Sequence[int]], Strategy]
