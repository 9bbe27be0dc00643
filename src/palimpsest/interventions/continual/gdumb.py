"""Greedy sampler and dumb learner, GDumb (Prabhu et al. 2020, ECCV).

While the stream is shown nothing is learned: a buffer takes up examples greedily so that classes
stay balanced. Whenever the networks are judged, new ones are trained from the initial values of
their seeds on the buffer alone. What the environment brings back is not offered.

The authors' sampler takes nothing more of a class that has its share. Where every task has the
same classes (domain-incremental streams), a full buffer therefore holds the first tasks alone, and
later ones are never learned. With ``full: reservoir``, as in Avalanche, the examples of a class
are a reservoir over all that were shown of it.

Like Avalanche's, the training is plain and at a constant rate; the authors' and Mammoth's anneals
the rate and mixes images (CutMix). An example that is held is not taken up again, so that several
epochs of a task do not fill the buffer with copies. With an empty buffer nothing is learned: this
strategy alone is then not plain training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_plans import Plan

VERSION = 1
ENGINE = ("interventions.continual._base",)


class Settings(Block):
    """Keep a balanced buffer and train new networks on it."""

    buffer: int = Field(default=4400, ge=0)
    """Examples in the buffer (Avalanche: 4400 for split digits)."""
    full: Literal["stay", "reservoir"] = "stay"
    """Whether a class that has its share stays as it is, or takes further examples at random."""
    epochs: int = Field(default=10, ge=1)
    """Passes over a full buffer; a buffer that is not full is passed over more often."""
    batch: int = Field(default=10, ge=1)
    """Examples a step."""


class GreedyBuffer:
    """Balanced buffer of one network.

    An example is taken up if its class has fewer than capacity / (classes seen) examples; where
    the buffer is full, one of the largest class, drawn at random, makes room.

    Args:
        capacity: examples at most.
        reservoir: whether an example of a class that has its share replaces one of them, drawn at
            random, with odds of their number by the number of examples of the class so far.
    """

    def __init__(self, capacity: int, reservoir: bool = False) -> None:
        self.capacity, self.reservoir = capacity, reservoir
        self.of: dict[int, list[int]] = {}
        self._known: set[int] = set()
        self._seen: dict[int, int] = {}

    def offer(self, example: int, label: int, draw: np.random.Generator) -> None:
        """Take up an example, or not."""
        own = self.of.setdefault(label, [])
        self._seen[label] = self._seen.get(label, 0) + 1
        if example in self._known:
            return
        if len(own) * len(self.of) >= self.capacity:
            place = draw.integers(self._seen[label]) if self.reservoir else len(own)
            if place < len(own):
                self._known.remove(own[place])
                self._known.add(example)
                own[place] = example
            return
        if len(self._known) >= self.capacity:
            largest = max(self.of.values(), key=len)
            self._known.remove(largest.pop(draw.integers(len(largest))))
        own.append(example)
        self._known.add(example)

    def held(self) -> NDArray[np.int64]:
        """All examples, class by class in the order in which classes came."""
        return np.array([one for own in self.of.values() for one in own], dtype=np.int64)


class GreedySampler(Strategy):
    """GDumb; see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        capacity = self.common("buffer")
        self.buffers = [
            GreedyBuffer(capacity, self.common("full") == "reservoir") for _ in self.seeds
        ]
        self.fresh = self._initial()

    def _initial(self) -> Ensemble:
        from palimpsest.engine.ensemble import Ensemble

        like = self.ensemble
        return Ensemble(
            like.sizes,
            self.seeds,
            like.learning_rate.flatten().tolist(),
            like.optimizer,
            like.momentum,
            like.weight_decay,
            self.device,
        )

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """No steps; the buffer takes up what is shown."""
        labels = self.pool.labels.cpu().numpy()
        for model, (buffer, one) in enumerate(zip(self.buffers, draw, strict=True)):
            shown = experience.shown[:, model].ravel()
            for example, label in zip(shown.tolist(), labels[shown].tolist(), strict=True):
                buffer.offer(example, label, one)
        return experience.between(0, 0)

    def end_task(self, task: Task, plan: Plan) -> None:
        """Train new networks on the buffer."""
        from palimpsest.engine.ensemble_plans import current_only
        from palimpsest.engine.ensemble_training import train

        self.fresh = self._initial()
        shown = self.epochs(self.draw(task))
        if shown.size:
            train(self.fresh, self.pool, current_only(shown))

    def epochs(self, draw: Sequence[np.random.Generator]) -> NDArray[np.int64]:
        """(S, K, batch) shuffled epochs over each network's buffer, one running into the next.

        The number of steps is that of a full buffer, so that it is the same for all networks.
        """
        batch, capacity = self.common("batch"), self.common("buffer")
        steps = self.common("epochs") * -(-capacity // batch)
        shown = np.empty((steps, len(draw), batch), dtype=np.int64)
        for model, (buffer, one) in enumerate(zip(self.buffers, draw, strict=True)):
            held = buffer.held()
            passes = -(-steps * batch // max(len(held), 1))
            order = np.concatenate([one.permutation(held) for _ in range(passes)] or [held])
            shown[:, model] = order[: steps * batch].reshape(steps, batch)
        return shown

    def reader(self) -> Ensemble:
        """The networks that were trained on the buffer."""
        return self.fresh


strategy = GreedySampler
