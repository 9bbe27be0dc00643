"""What a continual-learning strategy may do while K small networks learn one task after another.

A strategy changes the plan of a task (what is shown beside what the environment shows), the loss,
the gradient or the weights, through the hooks of the one loop. The base class changes nothing: it
is plain sequential training, and every strategy has a setting in which it equals the base class to
the bit.

A hook is called with a group, a view of some of the networks: whatever a strategy keeps for all K
networks is indexed by ``group.models`` there. What a strategy does for one network must not
depend on the others: no operation mixes rows, and no path is taken because of a setting that may
differ between networks.

Nothing that imports torch is imported by a strategy's module at its head, so that settings are
read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Hooks, Pool

VERSION = 1
ENGINE = ("engine.ensemble_training",)

#: Streams of draws below a network's seed and a task's number; a strategy's own come after.
SHOWN, EXPERIENCE, PLAN, OWN = range(4)


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        number: place in the stream, from 0.
        train: indices of its training examples in the pool: (n,) for all networks, or (K, n), one
            row a network, where each has a stream of its own.
        test: (m,) or (K, m) indices of the examples on which it is judged.
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
        seeds: one a network: that of its initial values and of all that is drawn for it.

    Raises:
        ValueError: settings or seeds for another number of networks.
    """

    def __init__(
        self, settings: Sequence[Any], ensemble: Ensemble, pool: Pool, seeds: Sequence[int]
    ) -> None:
        if len(settings) != ensemble.n or len(seeds) != ensemble.n:
            raise ValueError(
                f"{len(settings)} settings and {len(seeds)} seeds for {ensemble.n} networks"
            )
        self.settings, self.ensemble, self.pool, self.seeds = settings, ensemble, pool, seeds

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """The plan of a task from what the environment shows; S steps for K networks.

        Args:
            task: the task that begins.
            experience: current examples and those that the environment brings back.
            draw: generators of the networks for this task.

        Returns:
            A plan, of other length where the strategy trains longer, or of none.
        """
        return experience

    def hooks(self) -> Hooks:
        """What changes inside the loop of the next task."""
        from palimpsest.engine.ensemble_training import Hooks

        return Hooks()

    def begin_task(self, task: Task) -> None:
        """Before the first step of a task, after :meth:`plan`."""

    def end_task(self, task: Task, plan: Plan) -> None:
        """After the last step of a task."""

    def reader(self) -> Ensemble:
        """The networks that are judged after a task; others than those trained for GDumb."""
        return self.ensemble

    def facts(self) -> dict[str, torch.Tensor]:
        """What is to be known of the networks beside accuracy: name -> (K,) numbers."""
        return {}

    def common(self, field: str) -> Any:
        """The value of a setting that all networks must share.

        Raises:
            ValueError: networks with different values.
        """
        values = [getattr(block, field) for block in self.settings]
        if any(value != values[0] for value in values):
            raise ValueError(f"{field} must be the same for networks that learn together: {values}")
        return values[0]

    def each(self, field: str) -> torch.Tensor:
        """(K,) float32 tensor of a setting, on the networks' device."""
        import torch

        values = [float(getattr(block, field)) for block in self.settings]
        return torch.tensor(values, device=self.device)

    def draw(self, task: Task, purpose: int = 0) -> list[np.random.Generator]:
        """One generator a network for what the strategy draws beside the plan of a task."""
        from palimpsest.engine.ensemble_plans import generators

        return generators(self.seeds, task.number, OWN + purpose)

    def index(self, examples: NDArray[np.int64]) -> torch.Tensor:
        """Places in the pool as a tensor on its device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(examples)).to(self.pool.labels.device)

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self.ensemble.weights[0].device


def in_turn(*calls: Callable[..., None] | None) -> Callable[..., None] | None:
    """One hook without result out of several; None where there is none."""
    there = [call for call in calls if call]
    if len(there) < 2:
        return there[0] if there else None

    def both(*args: Any) -> None:
        for call in there:
            call(*args)

    return both


Maker = Callable[[Sequence[Any], "Ensemble", "Pool", Sequence[int]], Strategy]
