"""Which example each network of an ensemble sees at each step, drawn before training begins.

Nothing that decides a batch depends on weights, so a whole task is drawn at once: the current
examples in shuffled epochs, and rehearsed ones from a buffer or from past tasks by their odds.
Every network draws from a generator of its own (its seed and the task), so its plan does not
depend on which networks stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

VERSION = 2


@dataclass(frozen=True)
class Plan:
    """Batches of S steps for K networks, B examples each.

    Attributes:
        examples: (S, K, B) indices into the pool.
        weights: (S, K, B) weight of each example in the loss; zero where there is none.
        slots: (S, K, B) slot of the buffer that an example comes from, -1 where from none.
        writes: (S, K, B) slot that an example is stored in after the step, -1 for none.
        current: how many examples of a batch, its first, are the current task's; the others have
            been brought back. None: all.
    """

    examples: NDArray[np.int64]
    weights: NDArray[np.float32]
    slots: NDArray[np.int64]
    writes: NDArray[np.int64]
    current: int | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def of(self, models: slice) -> Plan:
        """The plan of some of the networks."""
        return Plan(*(part[:, models] for part in self._parts()), self.current)

    def between(self, start: int, stop: int) -> Plan:
        """Some of the steps."""
        return Plan(*(part[start:stop] for part in self._parts()), self.current)

    @property
    def shown(self) -> NDArray[np.int64]:
        """(S, K, current) examples of the current task."""
        return self.examples[..., : self.current]

    def _parts(self) -> tuple[NDArray, ...]:
        return self.examples, self.weights, self.slots, self.writes


def generators(seeds: Sequence[int], *stream: int) -> list[np.random.Generator]:
    """One generator a network, for one purpose named by integers such as the task's number."""
    return [np.random.default_rng([seed % (1 << 63), *stream]) for seed in seeds]


def epochs(
    examples: NDArray[np.int64], batch: int, steps: int, draw: Sequence[np.random.Generator]
) -> NDArray[np.int64]:
    """(steps, K, batch) examples of a task in shuffled epochs; an incomplete batch is left out.

    Args:
        examples: (n,) for all networks or (K, n), one row a network.
        batch: examples a step.
        steps: as many epochs as they need.
        draw: generators of the networks.

    Raises:
        ValueError: fewer examples than a batch.
    """
    whole = examples.shape[-1] // batch
    if not whole:
        raise ValueError(f"{examples.shape[-1]} examples are fewer than a batch of {batch}")
    shown = np.empty((steps, len(draw), batch), dtype=np.int64)
    for model, generator in enumerate(draw):
        for start in range(0, steps, whole):
            order = generator.permutation(of_network(examples, model))
            order = order[: whole * batch].reshape(whole, batch)
            shown[start : start + whole, model] = order[: steps - start]
    return shown


def of_network(examples: NDArray[np.int64], model: int) -> NDArray[np.int64]:
    """(n,) examples of one network, where all share them or each has a row of its own."""
    return examples if examples.ndim == 1 else examples[model]


def current_only(shown: NDArray[np.int64]) -> Plan:
    """A plan without rehearsal: the mean loss over each batch."""
    nothing = np.full(shown.shape, -1, dtype=np.int64)
    weights = np.full(shown.shape, 1 / shown.shape[-1], dtype=np.float32)
    return Plan(shown, weights, nothing, nothing)


def scheduled(
    shown: NDArray[np.int64],
    past: Sequence[NDArray[np.int64]],
    odds: NDArray[np.float64],
    rehearsed: int,
    draw: Sequence[np.random.Generator],
) -> Plan:
    """Batches in which past tasks return with given odds.

    Args:
        shown: (S, K, B) current examples.
        past: examples of each past task, (n,) for all networks or (K, n), one row a network.
        odds: (K, tasks) or (tasks,) odds of each past task; they need not add up to one. A network
            whose odds are all zero rehearses nothing.
        rehearsed: examples a batch that come from the past, beside the current ones.
        draw: generators of the networks.

    Raises:
        ValueError: odds for another number of tasks, or negative ones.
    """
    steps, models, _ = shown.shape
    odds = np.broadcast_to(odds, (models, len(past)))
    if (odds < 0).any():
        raise ValueError("odds of past tasks must not be negative")
    if not past or not rehearsed:
        return current_only(shown)
    sizes = np.array([examples.shape[-1] for examples in past])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    returned = np.empty((steps, models, rehearsed), dtype=np.int64)
    used = odds.sum(1) > 0
    for model, generator in enumerate(draw):
        joined = np.concatenate([of_network(examples, model) for examples in past])
        if not used[model]:
            returned[:, model] = joined[0]
            continue
        tasks = generator.choice(
            len(past), size=(steps, rehearsed), p=odds[model] / odds[model].sum()
        )
        place = starts[tasks] + generator.integers(0, sizes[tasks])
        returned[:, model] = joined[place]
    slots = np.full(returned.shape, -1, dtype=np.int64)
    there = np.broadcast_to(used[None, :, None], returned.shape)
    return _joined(current_only(shown), returned, there, slots)


@dataclass
class Buffers:
    """Reservoirs of K networks (Vitter 1985, algorithm R): each example seen is equally likely in.

    Attributes:
        capacity: slots of each.
        held: (K, capacity) examples.
        seen: how many have been offered to each.
    """

    models: int
    capacity: int
    seen: int = 0
    held: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.held = np.full((self.models, self.capacity), -1, dtype=np.int64)

    def plan(
        self,
        experience: Plan | NDArray[np.int64],
        rehearsed: int,
        draw: Sequence[np.random.Generator],
        draws: int = 1,
    ) -> Plan:
        """Batches with examples drawn from the buffer, which takes up the current ones after.

        What an experience brings back is not offered to the buffer, so that every current example
        stays with odds of capacity by the number of current ones.

        Args:
            experience: what is shown in any case, or (S, K, B) current examples.
            rehearsed: examples a batch that come from the buffer, without repetition; fewer while
                it holds fewer.
            draw: generators of the networks.
            draws: how many such samples a batch, each drawn anew.

        Raises:
            ValueError: a capacity of zero.
        """
        if not self.capacity:
            raise ValueError("a buffer needs at least one slot")
        if not isinstance(experience, Plan):
            experience = current_only(experience)
        shown = experience.shown
        steps, _, batch = shown.shape
        offered = self.seen + np.arange(steps * batch).reshape(steps, batch)
        filled = np.minimum(offered[:, 0], self.capacity)
        writes = np.empty(shown.shape, dtype=np.int64)
        slots = np.empty((steps, self.models, draws * rehearsed), dtype=np.int64)
        for model, generator in enumerate(draw):
            place = generator.integers(0, offered + 1)
            writes[:, model] = np.where(offered < self.capacity, offered, place)
            samples = [distinct(filled, rehearsed, generator) for _ in range(draws)]
            slots[:, model] = np.concatenate(samples, axis=1)
        writes[writes >= self.capacity] = -1
        returned = np.empty_like(slots)
        rows = np.arange(self.models)[:, None]
        # Slot -1 writes into a column that is not kept; of two writes the later one stays.
        wide = np.concatenate([self.held, self.held[:, :1]], axis=1)
        for step in range(steps):
            returned[step] = wide[rows, slots[step]]
            wide[rows, writes[step]] = shown[step]
        self.held = wide[:, :-1]
        self.seen += steps * batch
        there = slots >= 0
        returned[~there] = shown[:, :, :1].repeat(slots.shape[2], axis=2)[~there]
        return _joined(experience, returned, there, slots, writes)


def distinct(
    filled: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """For each row ``size`` different integers below ``filled``, -1 where there are not so many.

    Floyd's algorithm, for all rows at once.
    """
    chosen = np.full((len(filled), size), -1, dtype=np.int64)
    for column in range(size):
        last = filled - size + column
        place = generator.integers(0, np.maximum(last, 0) + 1)
        taken = (chosen == place[:, None]).any(1)
        chosen[:, column] = np.where(last < 0, -1, np.where(taken, last, place))
    return chosen


def _joined(
    experience: Plan,
    returned: NDArray[np.int64],
    there: NDArray[np.bool_],
    slots: NDArray[np.int64],
    writes: NDArray[np.int64] | None = None,
) -> Plan:
    """An experience and rehearsed examples in one batch, and the mean over both as in replay.

    A method that wants other shares changes the weights.
    """
    width = experience.shown.shape[-1]
    before = (experience.weights > 0).sum(-1, keepdims=True)
    after = np.maximum(before + there.sum(-1, keepdims=True), 1)
    weights = np.concatenate([experience.weights * (before / after), there / after], axis=-1)
    own = experience.writes.copy()
    if writes is not None:
        own[..., :width] = writes
    return Plan(
        np.concatenate([experience.examples, returned], axis=-1),
        weights.astype(np.float32),
        np.concatenate([experience.slots, np.where(there, slots, -1)], axis=-1),
        np.concatenate([own, np.full(slots.shape, -1)], axis=-1),
        width,
    )
