"""Frozen halves, condition numbers, projected gradients and unlearning steps by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.engine.ensemble_losses import cross_entropy
from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import train
from palimpsest.interventions.continual.kappatune import condition
from tests.interventions.continual.streams import (
    SEEDS,
    batch_of,
    clouds,
    made,
    networks,
    tasks,
)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["hft", "kappatune"])
def test_what_is_frozen_keeps_every_bit_and_the_rest_moves(name, optimizer):
    ensemble = networks(optimizer=optimizer, weight_decay=0.01)
    options = {"share": 0.5, "whole_first": False}
    if name == "kappatune":
        options["rows"] = 2
    strategy = made(name, options, ensemble=ensemble)
    task = tasks()[0]
    shown = epochs(task.train, 8, 12, generators(SEEDS, 0, 0))
    strategy.begin_task(task)
    before = [p.clone() for p in ensemble.parameters()]
    train(ensemble, strategy.pool, current_only(shown), strategy.hooks(), group=2)
    free = 0
    for old, new, frozen in zip(before, ensemble.parameters(), strategy.frozen, strict=True):
        still = frozen.expand_as(new)
        assert torch.equal(new[still], old[still])
        free += int((~still)[0].sum())
        assert still.any()
        assert (new != old)[~still].any()
    total = sum(p[0].numel() for p in ensemble.parameters())
    assert float(strategy.share_trained[0]) == pytest.approx(free / total)


def test_every_task_draws_another_half_and_in_the_end_all_are_trained():
    strategy = made("hft", {"share": 0.5, "whole_first": False})
    halves = []
    for task in tasks():
        strategy.begin_task(task)
        halves.append(strategy.frozen[0].clone())
        assert int((~strategy.frozen[0])[0].sum()) == 5
    assert not torch.equal(halves[0], halves[1])
    assert not torch.equal(halves[0][0], halves[0][1])


def test_condition_numbers_of_known_matrices():
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    other, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    ladder = torch.diag(torch.arange(1.0, 7.0))
    matrices = torch.stack([turn, ladder, 7 * ladder, turn @ ladder @ other])
    torch.testing.assert_close(condition(matrices), torch.tensor([1.0, 6.0, 6.0, 6.0]))
    assert torch.isinf(condition(torch.zeros(1, 3, 3) + torch.diag(torch.tensor([1.0, 1, 0]))))


def test_kappatune_trains_the_blocks_with_the_least_condition_numbers():
    strategy = made("kappatune", {"share": 0.25, "rows": 2, "whole_first": False})
    strategy.begin_task(tasks()[0])
    layers = [strategy.blocks(weight) for weight in strategy.ensemble.weights]
    kappa = torch.stack([condition(b) for layer in layers for b in layer], dim=1)
    for model in range(3):
        free = []
        for layer, frozen in zip(layers, strategy.frozen[::2], strict=True):
            place = 0
            for block in layer:
                free.append(not bool(frozen[model, 0, place]))
                place += block.shape[2]
        free = torch.tensor(free)
        assert int(free.sum()) == round(0.25 * len(free))
        assert kappa[model, free].max() <= kappa[model, ~free].min()


def _gradient(ensemble, pool, examples):
    layers = ensemble.forward(pool.rows(examples))
    means = torch.full(examples.shape, 1 / examples.shape[1])
    _, delta = cross_entropy(layers[-1], pool.labels[examples], means)
    return ensemble.gradients(layers, delta)


def _dot(one, other):
    return sum((a.double() * b.double()).sum((1, 2)) for a, b in zip(one, other, strict=True))


def test_a_gem_leaves_nothing_against_the_memory():
    """g~ . g_ref = 0 where g . g_ref < 0, and g~ = g elsewhere; the memory is all of it."""
    pool, (first, second, _) = clouds(), tasks()
    strategy = made("agem", {"per_task": 60, "sample": 60}, pool=pool)
    ensemble = strategy.ensemble
    shown = epochs(first.train, 8, 40, generators(SEEDS, 0, 0))
    train(ensemble, pool, current_only(shown), group=3)
    strategy.end_task(first, current_only(shown))
    strategy.plan(second, current_only(shown), generators(SEEDS, 1, 2))
    assert {tuple(sorted(row)) for row in strategy.reference[0].tolist()} == {tuple(first.train)}
    reference = _gradient(ensemble, pool, strategy.reference[0])
    against = _gradient(ensemble, pool, torch.from_numpy(np.stack([second.train] * 3)))
    against = [g - 3 * r for g, r in zip(against, reference, strict=True)]
    batch = batch_of(np.stack([second.train[:8]] * 3), pool)
    for gradients, projected in ((against, True), ([3 * r for r in reference], False)):
        before = [g.clone() for g in gradients]
        assert ((_dot(gradients, reference) < 0) == projected).all()
        strategy.project(ensemble, gradients, batch)
        if projected:
            size = (_dot(before, before) * _dot(reference, reference)).sqrt()
            assert (_dot(gradients, reference).abs() < 1e-6 * size).all()
        else:
            assert all(torch.equal(a, b) for a, b in zip(before, gradients, strict=True))


def test_an_unlearning_step_goes_uphill_by_a_share_of_the_weights():
    """Without noise and information: of length delta |w| in every tensor, along the gradient."""
    pool, task = clouds(), tasks()[0]
    delta = 1e-3
    strategy = made("refresh", {"base": "none", "delta": delta, "noise": 0, "scale": 0}, pool=pool)
    ensemble = strategy.ensemble
    shown = epochs(task.train, 8, 1, generators(SEEDS, 0, 0))
    strategy.plan(task, current_only(shown), [])
    strategy.begin_task(task)
    examples = torch.from_numpy(shown[0])
    before = [p.clone() for p in ensemble.parameters()]
    gradients = _gradient(ensemble, pool, examples)
    strategy.unlearn(ensemble, batch_of(examples, pool))
    for old, new, gradient in zip(before, ensemble.parameters(), gradients, strict=True):
        step = (new - old).flatten(1).double()
        length = delta * old.flatten(1).norm(dim=1).double()
        torch.testing.assert_close(step.norm(dim=1), length, rtol=1e-3, atol=1e-9)
        cosine = torch.nn.functional.cosine_similarity(step, gradient.flatten(1).double())
        torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-3, atol=1e-3)
