"""The loop of an ensemble: batches by plan, methods by hooks, evaluation for every network.

Networks are trained in groups whose weights stay in the cache through a whole plan; the best size
of a group is measured, and halved where memory runs out. Groups change no number: every product is
one network's own.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from palimpsest.engine.ensemble import Ensemble, Tensors
from palimpsest.engine.ensemble_losses import Loss, cross_entropy
from palimpsest.engine.ensemble_plans import Plan, current_only
from palimpsest.engine.scoring import out_of_memory

VERSION = 2
ENGINE = ("engine.ensemble", "engine.ensemble_losses", "engine.ensemble_plans")

_TRIED_STEPS, _ROUNDS = 12, 3
# Beyond, no cache holds the weights and larger groups gain nothing.
_LARGEST_ON_CPU = 256


@dataclass(frozen=True)
class Pool:
    """All examples of a study, in memory.

    Attributes:
        inputs: (N, in) float32, or uint8 that is divided by 255.
        labels: (N,) classes.
        allowed: boolean (N, C): the classes that exist for an example; None: all.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    allowed: torch.Tensor | None = None

    def rows(self, index: torch.Tensor, into: torch.Tensor | None = None) -> torch.Tensor:
        """Inputs (..., in) of the examples at (...) places, float32.

        Args:
            index: (...) places.
            into: buffer of the pool's type that is used again and again.
        """
        rows = torch.index_select(self.inputs, 0, index.flatten(), out=into)
        rows = rows.unflatten(0, index.shape)
        return rows if rows.dtype == torch.float32 else rows.float().div_(255)

    def classes(self, index: torch.Tensor) -> torch.Tensor | None:
        """Boolean (..., C): the classes that exist for the examples at (...) places."""
        return None if self.allowed is None else self.allowed[index]


@dataclass(frozen=True)
class Batch:
    """What a step sees of one group of networks; K is the size of the group.

    Attributes:
        models: which networks of the ensemble the group is.
        step: number of the step within the plan.
        examples: (K, B) indices into the pool.
        labels: (K, B) classes.
        weights: (K, B) weights in the loss.
        allowed: boolean (K, B, C) or None.
        slots: (K, B) slot of the buffer that an example comes from, or -1.
        writes: (K, B) slot that an example is stored in after the step, or -1.
    """

    models: slice
    step: int
    examples: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    allowed: torch.Tensor | None
    slots: torch.Tensor
    writes: torch.Tensor


@dataclass
class Hooks:
    """What a method may change; every hook empty is plain training on the plan.

    Where memory runs out in the first step of a group, the step is taken again by two halves of
    the group: hooks that come before the update must then do again what they have done.

    Attributes:
        before_step: (group, batch); may change weights before the forward pass.
        loss: (group, scores, batch) -> loss (K,) and derivative (K, B, C), instead of the
            weighted cross-entropy.
        extra_loss: the same, added to it.
        watch: (group, gradients, batch); sees the gradients of these losses and leaves them as
            they are, so that the update is to the bit what it is unwatched.
        penalty: (group, batch) -> penalty on the weights (K,) and its gradients. Where they are
            zero, the update is to the bit what it is without.
        after_backward: (group, gradients, batch) -> term to add to the losses, or None; may change
            gradients in place.
        after_step: (group, scores, batch).
    """

    before_step: Callable[[Ensemble, Batch], None] | None = None
    loss: Callable[[Ensemble, torch.Tensor, Batch], Loss] | None = None
    extra_loss: Callable[[Ensemble, torch.Tensor, Batch], Loss] | None = None
    watch: Callable[[Ensemble, Tensors, Batch], None] | None = None
    penalty: Callable[[Ensemble, Batch], tuple[torch.Tensor, Tensors]] | None = None
    after_backward: Callable[[Ensemble, Tensors, Batch], torch.Tensor | None] | None = None
    after_step: Callable[[Ensemble, torch.Tensor, Batch], None] | None = None


@dataclass
class ScoreMemory:
    """Scores that each network gave to the examples of its buffer when it stored them.

    Attributes:
        values: (K, capacity, C).
    """

    models: int
    capacity: int
    classes: int
    device: str | torch.device = "cpu"
    values: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.values = torch.zeros(self.models, self.capacity, self.classes, device=self.device)

    def read(self, batch: Batch) -> torch.Tensor:
        """(K, B, C) stored scores; of slot 0 where an example comes from none."""
        index = batch.slots.clamp_min(0)[..., None].expand(-1, -1, self.values.shape[-1])
        return self.values[batch.models].gather(1, index)

    def write(self, scores: torch.Tensor, batch: Batch) -> None:
        """Store scores (K, B, C) where the plan says; of two for one slot the later one stays."""
        writes = batch.writes
        again = (writes[:, :, None] == writes[:, None, :]).triu(1).any(-1)
        rows, places = ((writes >= 0) & ~again).nonzero(as_tuple=True)
        self.values[batch.models][rows, writes[rows, places]] = scores[rows, places]


class _TooManyError(Exception):
    """Memory has run out in the first step of a group, which is as it was before."""


def train(
    ensemble: Ensemble,
    pool: Pool,
    plan: Plan,
    hooks: Hooks | None = None,
    group: int | None = None,
    at: Sequence[int] = (),
    evaluate: Callable[[Ensemble], NDArray[np.float64]] | None = None,
    shrinks: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Train all networks on their plans.

    Args:
        ensemble: changed in place.
        pool: the examples.
        plan: S steps.
        hooks: see :class:`Hooks`.
        group: networks trained together; measured when None.
        at: steps of the plan, counted from 1, after which every network is evaluated.
        evaluate: group -> (K, ...) figures.
        shrinks: groups are halved where memory runs out.

    Returns:
        Losses (S, K), and the figures (K, evaluations, ...), empty without evaluation.

    Raises:
        RuntimeError: memory runs out for a single network, or after the first step.
    """
    hooks = hooks or Hooks()
    size = group or best_group(ensemble.sizes, ensemble.n, plan.examples.shape[2], ensemble)
    losses = np.empty((len(plan), ensemble.n), dtype=np.float32)
    figures = []
    begun, start = ensemble.steps, 0
    while start < ensemble.n:
        part = ensemble.view(slice(start, min(ensemble.n, start + size)))
        steps = plan.of(part.models)
        try:
            figures.append(_train_group(part, pool, steps, hooks, losses, at, evaluate))
        except _TooManyError as error:
            if not shrinks:
                raise error.__cause__ from None
            ensemble.forget(part)
            size = part.n // 2
        else:
            start += part.n
    ensemble.steps = begun + len(plan)
    ensemble.collect()
    found = np.concatenate([np.stack(rows, axis=1) for rows in figures]) if figures[0] else []
    return losses, np.asarray(found, dtype=float)


def accuracy(
    ensemble: Ensemble, pool: Pool, sets: Mapping[str, torch.Tensor], chunk: int = 512
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and mean loss (nats) of every network on sets of examples.

    Args:
        ensemble: the networks.
        pool: the examples.
        sets: name -> indices into the pool: in all sets (m,) for all networks, or in all (K, m),
            one row a network.
        chunk: examples of a network at once, of whatever sets; fewer where memory runs out.

    Returns:
        Two arrays of shape (K, sets), in the order of ``sets``.

    Raises:
        MemoryError: memory runs out for a single example.
    """
    sizes = np.array([index.shape[-1] for index in sets.values()])
    every = torch.cat(list(sets.values()), dim=-1)
    right = np.empty((ensemble.n, every.shape[-1]))
    losses = np.empty_like(right)
    start = 0
    while start < every.shape[-1]:
        part = every[..., start : start + chunk]
        columns = slice(start, start + part.shape[-1])
        try:
            right[:, columns], losses[:, columns] = _judged(ensemble, pool, part)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if chunk == 1:
                raise MemoryError(f"out of memory with {ensemble.n} networks at once") from error
            chunk //= 2
            continue
        start = columns.stop
    begins = np.cumsum([0, *sizes[:-1]])
    means = (np.add.reduceat(each, begins, axis=1) / sizes for each in (right, losses))
    return tuple(means)


def _judged(
    ensemble: Ensemble, pool: Pool, examples: torch.Tensor
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each example (K, m) is answered rightly, and the loss."""
    scores = ensemble.forward(pool.rows(examples))[-1]
    allowed = pool.classes(examples)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    labels = pool.labels[examples].expand(ensemble.n, -1)
    own = scores.gather(-1, labels[..., None])[..., 0]
    right = (scores.argmax(-1) == labels).cpu().numpy()
    return right, (scores.logsumexp(-1) - own).double().cpu().numpy()


@functools.lru_cache
def _best_group(
    sizes: tuple[int, ...], n: int, batch: int, optimizer: str, momentum: float, device: str
) -> int:
    """Fastest group for these shapes, measured: powers of two and all at once."""
    generator = torch.Generator().manual_seed(0)
    pool = Pool(
        torch.rand(256, sizes[0], generator=generator).to(device),
        torch.randint(sizes[-1], (256,), generator=generator).to(device),
    )
    shown = torch.randint(256, (_TRIED_STEPS, n, batch), generator=generator).numpy()
    largest = n if device.startswith("cuda") else min(n, _LARGEST_ON_CPU)
    candidates = sorted({largest, *(1 << k for k in range(largest.bit_length()))})
    took = dict.fromkeys(candidates, math.inf)
    tried = Ensemble(sizes, range(n), 1e-3, optimizer, momentum, device=device)
    # In turns, and the fastest of each: a moment in which the machine is busy decides nothing.
    for size in [*candidates] * _ROUNDS:
        # A few groups tell what many would.
        models = slice(0, min(n, 2 * size))
        part = tried.view(models)
        start = time.perf_counter()
        try:
            train(part, pool, current_only(shown[:, models]), group=size, shrinks=False)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            continue
        took[size] = min(took[size], (time.perf_counter() - start) / part.n)
    return min(took, key=took.get)


def best_group(sizes: Sequence[int], n: int, batch: int, like: Ensemble) -> int:
    """How many of n networks are trained fastest together, measured once for a shape.

    Args:
        sizes: widths of the layers.
        n: networks.
        batch: examples a step.
        like: whose optimiser and device are used.
    """
    device = str(like.weights[0].device)
    return _best_group(tuple(sizes), n, batch, like.optimizer, like.momentum, device)


def _train_group(
    group: Ensemble,
    pool: Pool,
    plan: Plan,
    hooks: Hooks,
    losses: NDArray[np.float32],
    at: Sequence[int],
    evaluate: Callable[[Ensemble], NDArray[np.float64]] | None,
) -> list[NDArray[np.float64]]:
    device = pool.labels.device
    examples = torch.from_numpy(np.ascontiguousarray(plan.examples)).to(device)
    weights = torch.from_numpy(np.ascontiguousarray(plan.weights)).to(device)
    slots, writes = (
        torch.from_numpy(np.ascontiguousarray(part)).to(device)
        for part in (plan.slots, plan.writes)
    )
    labels = pool.labels[examples]
    wanted, figures = set(at), []
    lost = torch.empty(len(plan), group.n, device=device)
    before, buffer = group.state_dict(), None
    for step in range(len(plan)):
        batch = Batch(
            group.models,
            step,
            examples[step],
            labels[step],
            weights[step],
            pool.classes(examples[step]),
            slots[step],
            writes[step],
        )
        try:
            if buffer is None:
                buffer = pool.inputs.new_empty(examples[0].numel(), pool.inputs.shape[1])
            scores, loss = _step(group, pool, batch, hooks, buffer)
        except (RuntimeError, MemoryError) as error:
            if step or group.n == 1 or not out_of_memory(error):
                raise
            group.load_state_dict(before)
            raise _TooManyError from error
        before = None
        lost[step] = loss
        if hooks.after_step:
            hooks.after_step(group, scores, batch)
        if evaluate and step + 1 in wanted:
            figures.append(evaluate(group))
    losses[:, group.models] = lost.cpu().numpy()
    return figures


def _step(
    group: Ensemble, pool: Pool, batch: Batch, hooks: Hooks, buffer: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One update of a group; its scores (K, B, C) before, and its losses (K,)."""
    if hooks.before_step:
        hooks.before_step(group, batch)
    layers = group.forward(pool.rows(batch.examples, buffer))
    loss, delta = (hooks.loss or _weighted)(group, layers[-1], batch)
    if hooks.extra_loss:
        more, change = hooks.extra_loss(group, layers[-1], batch)
        loss, delta = loss + more, delta + change
    if hooks.watch:
        hooks.watch(group, group.gradients(layers, delta), batch)
    pull = None
    if hooks.penalty:
        more, pull = hooks.penalty(group, batch)
        loss = loss + more
    if hooks.after_backward:
        gradients = group.gradients(layers, delta)
        more = hooks.after_backward(group, gradients, batch)
        loss = loss if more is None else loss + more
        if pull:
            torch._foreach_add_(gradients, pull)
        group.step_with(gradients, loss)
    else:
        group.step(layers, delta, loss, pull)
    return layers[-1], loss


def _weighted(_group: Ensemble, scores: torch.Tensor, batch: Batch) -> Loss:
    return cross_entropy(scores, batch.labels, batch.weights, batch.allowed)
