"""EWC and SI against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.engine.ensemble_plans import current_only
from palimpsest.engine.ensemble_training import accuracy, train
from palimpsest.interventions.continual._fisher import diagonal
from tests.interventions.continual.streams import batch_of, clouds, made, networks, tasks


@pytest.fixture
def logistic():
    """Two-class logistic regressions, and what they say of one task."""
    pool = clouds(classes=2)
    ensemble = networks(sizes=(12, 2))
    index = torch.from_numpy(tasks()[0].train)
    x = pool.inputs[index].double()
    scores = torch.einsum("ni,kio->kno", x, ensemble.weights[0].double())
    p = torch.softmax(scores + ensemble.biases[0].double(), -1)
    return ensemble, pool, index, x, p


def _closed(x, weights):
    """Mean over examples of weight times squared input: (K, in, 2)."""
    return torch.einsum("ni,knc->kic", x.square(), weights) / len(x)


def test_the_exact_fisher_of_logistic_regression(logistic):
    ensemble, pool, index, x, p = logistic
    weights, biases = diagonal(ensemble, pool, index, "exact")
    torch.testing.assert_close(weights.double(), _closed(x, p * (1 - p)), rtol=1e-4, atol=1e-7)
    expected = (p * (1 - p)).mean(1, keepdim=True)
    torch.testing.assert_close(biases.double(), expected, rtol=1e-4, atol=1e-7)


def test_the_empirical_and_the_batched_fisher_are_other_numbers(logistic):
    ensemble, pool, index, x, p = logistic
    away = p - torch.nn.functional.one_hot(pool.labels[index], 2)
    weights, _ = diagonal(ensemble, pool, index, "empirical")
    torch.testing.assert_close(weights.double(), _closed(x, away.square()), rtol=1e-4, atol=1e-7)
    single, _ = diagonal(ensemble, pool, index, "batched", batch=1)
    torch.testing.assert_close(single, weights, rtol=1e-4, atol=1e-7)
    whole, _ = diagonal(ensemble, pool, index, "batched", batch=len(index))
    mean = torch.einsum("ni,knc->kic", x, away) / len(x)
    torch.testing.assert_close(whole.double(), mean.square(), rtol=1e-3, atol=1e-7)
    assert (whole.sum((1, 2)) < weights.sum((1, 2)) / 2).all()


def test_drawn_answers_have_the_exact_fisher_as_their_mean(logistic):
    ensemble, pool, index, _, _ = logistic
    exact, _ = diagonal(ensemble, pool, index, "exact")
    draw = [np.random.default_rng(seed) for seed in range(ensemble.n)]
    drawn = [diagonal(ensemble, pool, index, "sample", draw)[0] for _ in range(400)]
    torch.testing.assert_close(torch.stack(drawn).mean(0), exact, rtol=0.1, atol=0.002)


def _random_like(parameters, generator):
    return [torch.rand(p.shape, generator=generator) + 0.1 for p in parameters]


def _moved_to(ensemble, values):
    for parameter, value in zip(ensemble.parameters(), values, strict=True):
        parameter.copy_(value)


def test_ewc_on_two_quadratics_has_their_joint_minimiser():
    """The minimum of both is (H1 + H2)^-1 (H1 u + H2 v), and the penalty is the sum of both."""
    generator = torch.Generator().manual_seed(5)
    strategy = made("ewc", {"mode": "separate", "strength": 2.0})
    ensemble = strategy.ensemble
    first, second, u, v, w = (_random_like(ensemble.parameters(), generator) for _ in range(5))
    for information, weights in ((first, u), (second, v)):
        _moved_to(ensemble, weights)
        strategy.consolidate([each.clone() for each in information])
    for h1, h2, a, b, anchor in zip(first, second, u, v, strategy.anchors, strict=True):
        torch.testing.assert_close(anchor, (h1 * a + h2 * b) / (h1 + h2))
    _moved_to(ensemble, w)
    value, gradients = strategy.penalty(ensemble, batch_of([[0]] * 3, clouds()))
    both = sum(
        (h1 * (c - a).square() + h2 * (c - b).square()).sum((1, 2))
        for h1, h2, a, b, c in zip(first, second, u, v, w, strict=True)
    )
    torch.testing.assert_close(value, both)
    _moved_to(ensemble, strategy.anchors)
    _, gradients = strategy.penalty(ensemble, batch_of([[0]] * 3, clouds()))
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients)


def test_online_ewc_equals_separate_after_one_task():
    generator = torch.Generator().manual_seed(6)
    found = []
    for mode in ("online", "separate"):
        strategy = made("ewc", {"mode": mode, "decay": 1.0})
        information = _random_like(strategy.ensemble.parameters(), generator.manual_seed(6))
        strategy.consolidate(information)
        found.append((strategy.importance, strategy.anchors))
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_path_integral_of_si_is_the_decrease_of_the_loss():
    """Under small steps on one and the same batch, omega adds up to what the loss has lost."""
    pool, task = clouds(), tasks()[0]
    ensemble = networks(rates=(0.003, 0.003, 0.003))
    strategy = made("si", {"strength": 0.5}, pool=pool, ensemble=ensemble)
    shown = np.broadcast_to(task.train, (300, 3, len(task.train)))
    sets = {"train": torch.from_numpy(task.train)}
    before = accuracy(ensemble, pool, sets)[1][:, 0]
    strategy.begin_task(task)
    train(ensemble, pool, current_only(np.ascontiguousarray(shown)), strategy.hooks(), group=3)
    after = accuracy(ensemble, pool, sets)[1][:, 0]
    total = sum(omega.double().sum((1, 2)) for omega in strategy.omega).numpy()
    assert (before - after > 0.05).all()
    np.testing.assert_allclose(total, before - after, rtol=0.02)
