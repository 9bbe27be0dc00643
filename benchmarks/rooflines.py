"""How near we come to what cannot be left out: the same products and passes, and nothing else.

The share of a large matrix product says little where products are small or memory is read once. So
the products of the very shapes that a piece of work has, the reduction over the vocabulary and the
pass of the optimiser are timed by themselves, in turns with the work; the rest of our time is
attention, norms, activations, gathering and Python.
"""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from harness import Row, paired, smollm, spread, token_sentences

from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import Pool, best_group, train
from palimpsest.engine.generation import of_tokens
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.scoring import sequence_scores, token_log_likelihoods
from palimpsest.engine.training import Trainer, TrainingSettings, batches
from palimpsest.models import products

REACH = 0.75
#: Logits that are reduced at once.
CHUNK = 256


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    model = smollm()
    yield _any_address()
    yield from _libraries(model)
    yield _forward(model)
    yield _sentences(model)
    yield _fine_tuning(model)
    yield _adapters(model)
    yield _networks()


def _row(work: str, parts: str, ours: Callable[[], Any], least: Callable[[], Any]) -> Row:
    pair = paired(ours, least, 5)
    return Row(
        f"roofline: {work}",
        f"{parts}, alone",
        pair.ours,
        pair.theirs,
        pair.ratio,
        REACH,
        "at_least",
        "s",
        f"the share of our time that the limit takes; {spread(pair)}",
    )


_TIMED = """
import time, torch
size = 2048
a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
x, y, z = torch.randn(16, 784, 20), torch.randn(16, 20, 100), torch.empty(16, 784, 100)
best = [1e9, 1e9]
for _ in range(12):
    start = time.perf_counter()
    torch.mm(a, b, out=out)
    middle = time.perf_counter()
    for _ in range(200):
        z.baddbmm_(x, y, beta=1.0, alpha=1e-6)
    best = [min(best[0], middle - start), min(best[1], time.perf_counter() - middle)]
print(*best)
"""


def _any_address() -> Row:
    """What sums cost that depend neither on where arrays begin nor on threads.

    The library reads the setting once, so each side is a process of its own.
    """
    sides: list[list[tuple[float, float]]] = [[], []]
    plain = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    for number in range(5):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            env = plain | ({} if side else {"MKL_CBWR": "AUTO,STRICT"})
            done = subprocess.run(
                [sys.executable, "-c", _TIMED], env=env, check=True, capture_output=True, text=True
            )
            sides[side].append(tuple(map(float, done.stdout.split())))
    shares = [
        sorted(other[i] / own[i] for own, other in zip(*sides, strict=True)) for i in range(2)
    ]
    ours, theirs = (statistics.median(sum(each) for each in side) for side in sides)
    parts = (f"{each[0]:.2f} to {each[-1]:.2f} (median {each[2]:.2f})" for each in shares)
    return Row(
        "products whose sums do not depend on addresses or threads",
        "the same products without that promise",
        ours,
        theirs,
        min(each[2] for each in shares),
        0.95,
        "at_least",
        "s",
        "one matrix product of 2048 {}; 16 products of 784 x 20 x 100 {}; 5 pairs of "
        "processes".format(*parts),
    )


def _libraries(model: Any) -> Iterator[Row]:
    """Both libraries on every machine: does the choice of ``models.products`` fit it?"""
    rng = np.random.default_rng(3)
    ids = [rng.integers(1000, 40000, size=n).tolist() for n in rng.integers(5, 70, size=48)]
    prompts = [row[:5] for row in ids[:3]]
    for work, do in (
        ("48 single sentences", lambda: sequence_scores(model, ids, moments=False)),
        ("24 tokens written after 3 prompts", lambda: of_tokens(model, prompts, 24)),
    ):
        yield _by_either(model, work, do)


def _by_either(model: Any, work: str, do: Callable[[], Any]) -> Row:
    chosen = products.by_onednn()

    def by(onednn: bool) -> Callable[[], Any]:
        def run() -> None:
            products.by_onednn = lambda: onednn
            do()

        return run

    try:
        products.by_onednn = lambda: True
        products.take_over(model.module)
        pair = paired(by(True), by(False), 5)
    finally:
        products.by_onednn = lambda: chosen
    return Row(
        f"{work}, linear layers by oneDNN",
        "the same by torch's own products",
        pair.ours,
        pair.theirs,
        pair.ratio,
        1.0,
        "at_least",
        "s",
        f"{'chosen' if chosen else 'not chosen'} on this processor; {spread(pair)}",
    )


class Products:
    """The matrix products of a decoder on ``tokens`` rows, with weights and results of its own.

    Args:
        model: whose shapes are taken.
        tokens: rows of the layers' products.
        scored: rows of the projection to the vocabulary.
        backward: adds the products for the gradients of inputs.
        weights: adds those for the gradients of weights.
    """

    def __init__(
        self, model: Any, tokens: int, scored: int, backward: bool = False, weights: bool = False
    ) -> None:
        layers = model.module.get_decoder().layers
        matrices = [m.weight.detach() for m in layers.modules() if hasattr(m, "in_features")]
        head = model.module.get_output_embeddings().weight.detach()
        self.todo = []
        for matrix in matrices if tokens else ():
            self._add(matrix, tokens, backward, weights)
        for start in range(0, scored, CHUNK):
            self._add(head, min(CHUNK, scored - start), backward, weights)

    def _add(self, matrix: torch.Tensor, rows: int, backward: bool, weights: bool) -> None:
        n, k = matrix.shape
        x, y = torch.randn(rows, k), torch.empty(rows, n)
        self.todo.append((x, matrix.t(), y))
        if backward:
            self.todo.append((y, matrix, torch.empty(rows, k)))
        if weights:
            self.todo.append((y.t(), x, torch.empty(n, k)))

    def __call__(self) -> None:
        with torch.inference_mode():
            for left, right, out in self.todo:
                torch.mm(left, right, out=out)


def _vocabulary(model: Any, scored: int) -> Callable[[], None]:
    """One log-sum-exp of each row of logits."""
    logits = torch.randn(min(CHUNK, scored), model.module.get_output_embeddings().weight.shape[0])

    def reduce() -> None:
        for start in range(0, scored, CHUNK):
            torch.logsumexp(logits[: min(CHUNK, scored - start)], 1)

    return reduce


def _all(*parts: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for part in parts:
            part()

    return run


def _forward(model: Any) -> Row:
    ids = np.random.default_rng(0).integers(1000, 40000, size=(16, 33))
    pairs = [(row[:-1].tolist(), row[-1:].tolist()) for row in ids]
    least = Products(model, 16 * 32, 16)
    return _row(
        "forward pass, 16 x 32 tokens",
        "its matrix products",
        lambda: token_log_likelihoods(model, pairs),
        least,
    )


def _sentences(model: Any) -> Row:
    rng = np.random.default_rng(3)
    ids = [rng.integers(1000, 40000, size=n).tolist() for n in rng.integers(5, 70, size=96)]
    scored = sum(len(each) - 1 for each in ids)
    parts = [Products(model, 2048, 0)] * (scored // 2048)
    parts += [Products(model, scored % 2048, 0)]
    head = Products(model, 0, scored)
    return _row(
        "96 single sentences, every token scored",
        "its matrix products and one log-sum-exp",
        lambda: sequence_scores(model, ids, moments=False),
        _all(*parts, head, _vocabulary(model, scored)),
    )


def _fine_tuning(model: Any) -> Row:
    shown = list(batches(token_sentences(32, seed=1), 16, 1, seed=0))
    own = Trainer(
        copy.deepcopy(model),
        TrainingSettings(adapter="full", learning_rate=1e-5, batch_size=16),
    )
    values = [torch.randn_like(p, requires_grad=True) for p in model.module.parameters()]
    for value in values:
        value.grad = torch.randn_like(value)
    optimizer = torch.optim.AdamW(values, 1e-5, fused=True)
    parts: list[Callable[[], Any]] = []
    for batch in shown:
        scored = sum(sum(item.scored) for item in batch)
        tokens = sum(len(item.ids) for item in batch)
        parts += [
            Products(model, tokens, scored, backward=True, weights=True),
            _vocabulary(model, scored),
            optimizer.step,
        ]
    return _row(
        "full fine-tuning, 2 steps of 16 sentences",
        "its matrix products, one log-sum-exp and the fused AdamW",
        lambda: own.run(shown),
        _all(*parts),
    )


def _adapters(model: Any) -> Row:
    runs = 32
    streams = [[token_sentences(2, seed=1000 * run)] for run in range(runs)]
    settings = TrainingSettings(rank=16, alpha=32, learning_rate=1e-4, batch_size=2)
    many = ManyAdapters(copy.deepcopy(model), settings, range(runs))
    shapes = [
        (layer.linear.in_features, layer.linear.out_features) for layer in many.layers.values()
    ]
    shown = [item for stream in streams for batch in stream for item in batch]
    scored = sum(sum(item.scored) for item in shown)
    tokens = sum(len(item.ids) for item in shown)
    return _row(
        f"{runs} LoRA runs, a step of 2 sentences",
        "matrix products of the frozen weights and of the adapters, one log-sum-exp and the fused "
        "AdamW",
        lambda: many.run(streams),
        _all(
            Products(model, tokens, scored, backward=True),
            _low_rank(shapes, settings.rank, tokens // runs, runs),
            _vocabulary(model, scored),
        ),
    )


def _low_rank(
    shapes: list[tuple[int, int]], rank: int, tokens: int, runs: int
) -> Callable[[], None]:
    """Products of adapters forward, for their gradients and for inputs, and their optimiser."""
    values, todo = [], []
    for wide, out in shapes:
        a, b = torch.randn(runs, rank, wide), torch.randn(runs, out, rank)
        x, y, low = (torch.randn(runs, tokens, width) for width in (wide, out, rank))
        for value in (a, b):
            values.append(value.requires_grad_())
            value.grad = torch.randn_like(value)
        a, b, of_a, of_b = a.detach(), b.detach(), a.grad, b.grad
        todo += [(x, a.mT, low), (low, b.mT, y), (y.mT, low, of_b), (y, b, low)]
        todo += [(low.mT, x, of_a), (low, a, x)]
    optimizer = torch.optim.AdamW(values, 1e-4, fused=True)

    def run() -> None:
        with torch.inference_mode():
            for left, right, result in todo:
                torch.bmm(left, right, out=result)
        optimizer.step()

    return run


def _networks() -> Row:
    """Of one step of every network: products forward, to hidden states and into the weights."""
    sizes, networks, batch, steps = (784, 100, 100, 10), 64, 20, 100
    trained = Ensemble(sizes, range(networks), 0.05)
    pool = Pool(torch.rand(2000, 784), torch.randint(10, (2000,)))
    shown = epochs(np.arange(2000), batch, steps, generators(range(networks), 0))
    plan = current_only(shown)
    group = best_group(sizes, networks, batch, trained)
    todo = []
    for n, k in ((100, 784), (100, 100), (10, 100)):
        weight, x = torch.randn(group, k, n), torch.randn(group, batch, k)
        y = torch.empty(group, batch, n)
        todo.append((y, x, weight, 0.0))
        if k != 784:
            todo.append((torch.empty(group, batch, k), y, weight.transpose(1, 2), 0.0))
        todo.append((weight, x.transpose(1, 2), y, 1.0))

    def least() -> None:
        with torch.inference_mode():
            for _ in range(networks // group):
                for _ in range(steps):
                    for out, left, right, keep in todo:
                        out.baddbmm_(left, right, beta=keep, alpha=1e-6)

    return _row(
        f"{networks} MLPs 784-100-100-10, {steps} steps of batch {batch}",
        f"the batched matrix products, weights updated in place, {group} networks at once",
        lambda: train(trained, pool, plan),
        least,
    )
