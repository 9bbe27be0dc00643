"""The diagonal of the Fisher information of each network, in the variants that are in use.

They are not the same number (van de Ven 2025, arXiv 2502.11756): the Fisher information is an
expectation over the network's own answers of squared gradients of *single* examples; code that
squares the gradient of a batch's mean gets something smaller by about the size of the batch, and
code that uses the labels gets something that vanishes where the network is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_training import Pool

VERSION = 1
ENGINE = ("engine.ensemble_training",)

Kind = Literal["exact", "sample", "empirical", "batched", "confident"]
_CHUNK = 256


def diagonal(
    ensemble: Ensemble,
    pool: Pool,
    examples: torch.Tensor,
    kind: Kind,
    draw: Sequence[np.random.Generator] = (),
    batch: int = 1,
) -> Tensors:
    """Mean over examples of squared derivatives of log p(y | x), of each parameter's shape.

    Args:
        ensemble: the networks.
        pool: all examples.
        examples: (n,) indices for all networks or (K, n) for each.
        kind: which y, and squares of what:
            ``exact``: all classes, by their probability;
            ``sample``: one class, drawn by its probability;
            ``empirical``: the label;
            ``confident``: the label, weighted by its probability (Mammoth's online EWC);
            ``batched``: the label, and the mean gradient of a batch is squared (Avalanche).
        draw: generators of the networks, for ``sample``.
        batch: size of a batch, for ``batched``; with 1 it is ``empirical``.

    Returns:
        Squared gradients in nats squared, weights (K, in, out) and biases (K, 1, out).
    """
    import torch

    found = [torch.zeros_like(p) for p in ensemble.parameters()]
    size = batch if kind == "batched" else _CHUNK
    parts = list(examples.split(size, -1))
    for part in parts:
        # The first layer of a forward pass is the input itself and nothing changes it.
        layers = ensemble.forward(pool.rows(part))
        allowed = pool.classes(part)
        scores = layers[-1] if allowed is None else layers[-1].masked_fill(~allowed, -torch.inf)
        p = torch.softmax(scores, -1)
        labels = pool.labels[part].expand(p.shape[:-1])
        if kind == "batched":
            gradients = ensemble.gradients(layers, _away(p, labels) / part.shape[-1])
            torch._foreach_mul_(gradients, gradients)
            torch._foreach_add_(found, gradients)
            continue
        squares = ensemble.squared_gradients(layers, *_deltas(p, labels, kind, draw))
        torch._foreach_add_(found, squares)
    torch._foreach_div_(found, len(parts) if kind == "batched" else examples.shape[-1])
    return found


def _away(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Derivative of -log p(label) by the scores."""
    delta = p.clone()
    return delta.scatter_add_(-1, labels[..., None], delta.new_full((*labels.shape, 1), -1.0))


def _deltas(
    p: torch.Tensor, labels: torch.Tensor, kind: Kind, draw: Sequence[np.random.Generator]
) -> Iterator[torch.Tensor]:
    """Derivatives whose squares add up to the wanted expectation."""
    import torch

    if kind == "exact":
        for label in range(p.shape[-1]):
            own = torch.full_like(labels, label)
            yield _away(p, own) * p[..., label, None].sqrt()
        return
    if kind == "sample":
        points = np.stack([generator.random(labels.shape[-1]) for generator in draw])
        points = torch.from_numpy(points).to(p.device)[..., None]
        sums = p.double().cumsum(-1)
        # Below the last sum, and never a class of probability zero behind it.
        labels = (sums <= points * sums[..., -1:]).sum(-1)
    delta = _away(p, labels)
    if kind == "confident":
        delta = delta * p.gather(-1, labels[..., None]).sqrt()
    yield delta
