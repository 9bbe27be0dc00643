"""The slow twin of an ensemble: its networks one by one, with autograd and torch.optim."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import Pool

SIZES = (20, 16, 12, 5)
SEEDS = (3, 11, 7, 2)
RATES = (0.1, 0.03, 0.3, 0.01)


def labelled_clouds():
    """300 examples of five classes that a small network can tell apart."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 20, generator=generator)
    labels = torch.randint(5, (300,), generator=generator)
    return Pool(centres[labels] + 0.5 * torch.randn(300, 20, generator=generator), labels)


def plan_of(steps=60, batch=8, seeds=SEEDS):
    return current_only(epochs(np.arange(300), batch, steps, generators(seeds, 1)))


def network_of(seed, sizes=SIZES):
    torch.manual_seed(seed)
    layers = []
    for pair in itertools.pairwise(sizes):
        layers += [nn.Linear(*pair), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def alone(pool, plan, model, make, extra=None):
    """The slow twin: one network, autograd, torch.optim."""
    network = network_of(SEEDS[model])
    optimizer = make(network.parameters(), RATES[model])
    lost = []
    for step in range(len(plan)):
        index = torch.from_numpy(plan.examples[step, model])
        weights = torch.from_numpy(plan.weights[step, model])
        scores = network(pool.inputs[index])
        each = nn.functional.cross_entropy(scores, pool.labels[index], reduction="none")
        loss = (each * weights).sum()
        if extra:
            loss = loss + extra(network, scores, model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lost.append(float(loss.detach()))
    return network, lost


def assert_equal(ensemble, model, network, tolerance=2e-5):
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    for index, layer in enumerate(linear):
        torch.testing.assert_close(
            ensemble.weights[index][model].T, layer.weight.detach(), atol=tolerance, rtol=1e-4
        )
        torch.testing.assert_close(
            ensemble.biases[index][model, 0], layer.bias.detach(), atol=tolerance, rtol=1e-4
        )


OPTIMIZERS = {
    "plain": ({}, lambda p, lr: torch.optim.SGD(p, lr)),
    "decay": ({"weight_decay": 0.01}, lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.01)),
    "momentum": (
        {"momentum": 0.9, "weight_decay": 0.01},
        lambda p, lr: torch.optim.SGD(p, lr / 10, momentum=0.9, weight_decay=0.01),
    ),
    "adam": ({"optimizer": "adam"}, lambda p, lr: torch.optim.Adam(p, lr / 10)),
}
