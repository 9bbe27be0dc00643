"""Strategies that change gradients or steps: A-GEM, refresh learning, prioritized finetuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare

from palimpsest.engine.ensemble_losses import cross_entropy
from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import train
from palimpsest.interventions.continual import _fisher
from palimpsest.interventions.continual._learning import learn
from palimpsest.interventions.continual.fpf import change
from tests.interventions.continual.streams import (
    BATCH,
    RATES,
    SEEDS,
    STEPS,
    batch_of,
    clouds,
    learned,
    made,
    networks,
    past_returns,
    same,
    tasks,
)


def _gradients(ensemble, pool, index):
    """Of the mean loss on (K, B) examples."""
    layers = ensemble.forward(pool.rows(index))
    weights = torch.full(index.shape, 1 / index.shape[1])
    _, delta = cross_entropy(layers[-1], pool.labels[index], weights)
    return ensemble.gradients(layers, delta)


def _dot(one, other):
    return sum((a * b).sum((1, 2)) for a, b in zip(one, other, strict=True))


def test_no_step_is_taken_against_the_memory():
    """Where g . r < 0 the new g is orthogonal to r; elsewhere it keeps every bit."""
    seeds = range(40)
    ensemble = networks(seeds, 0.05)
    strategy, _ = learned(
        "agem", {"per_task": 20, "sample": 16}, seeds=seeds, ensemble=ensemble, number=2, steps=20
    )
    pool = strategy.pool
    index = torch.from_numpy(epochs(tasks()[1].train, 8, 1, generators(seeds, 0, 9))[0])
    batch = batch_of(index, pool)
    gradients = _gradients(ensemble, pool, index)
    before = [g.clone() for g in gradients]
    strategy.project(ensemble, gradients, batch)
    reference = _gradients(ensemble, pool, strategy.reference[0])
    agreed = _dot(before, reference) >= 0
    assert 3 < agreed.sum() < 37
    scale = (_dot(before, before) * _dot(reference, reference)).sqrt()
    assert (_dot(gradients, reference)[~agreed] / scale[~agreed]).abs().max() < 1e-5
    for new, old in zip(gradients, before, strict=True):
        assert torch.equal(new[agreed], old[agreed])
    assert (_dot(gradients, before)[~agreed] > 0).all()


def test_the_memory_is_drawn_from_whole_tasks():
    """And the reference from the whole memory: 80 networks keep 15 of 60 examples of each task."""
    seeds = range(80)
    strategy = made(
        "agem", {"per_task": 15, "sample": 10}, seeds=seeds, ensemble=networks(seeds, 0.1)
    )
    for task in tasks():
        shown = epochs(task.train, 5, 40, generators(seeds, task.number, 0))
        plan = strategy.plan(task, current_only(shown), generators(seeds, task.number, 2))
        if task.number < 2:
            strategy.end_task(task, plan)
    assert strategy.held.shape == (80, 30)
    assert all(len(set(held)) == 30 for held in strategy.held)
    counts = np.bincount(strategy.held.ravel(), minlength=120)
    # Drawn without replacement, so that the variance is three quarters.
    assert chisquare(counts).statistic / 0.75 < 165
    reference = strategy.reference.numpy()
    assert reference.shape == (40, 80, 10)
    for model in range(80):
        assert set(reference[:, model].ravel()) == set(strategy.held[model])
        assert all(len(set(row)) == 10 for row in reference[:, model])


def test_a_small_memory_is_used_whole():
    strategy, _ = learned("agem", {"per_task": 6, "sample": 100})
    assert strategy.reference.shape == (STEPS, 3, 12)


def _refreshed(block):
    blocks = [{"base": "none"} | one for one in (block if isinstance(block, list) else [block] * 3)]
    strategy = made("refresh", blocks)
    shown = epochs(tasks()[0].train, 8, 2, generators(SEEDS, 0, 0))
    strategy.plan(tasks()[0], current_only(shown), [])
    strategy.begin_task(tasks()[0])
    before = [p.clone() for p in strategy.ensemble.parameters()]
    batch = batch_of(shown[0], strategy.pool)
    gradients = _gradients(strategy.ensemble, strategy.pool, batch.examples)
    strategy.unlearn(strategy.ensemble, batch)
    moved = [p - b for p, b in zip(strategy.ensemble.parameters(), before, strict=True)]
    return strategy, before, gradients, moved


def test_unlearning_goes_uphill_by_a_share_of_the_weights_norm():
    deltas = (0.1, 0.01, 0.05)
    _, before, gradients, moved = _refreshed([{"delta": d, "noise": 0, "scale": 0} for d in deltas])
    for step, weight, gradient in zip(moved, before, gradients, strict=True):
        step, weight, gradient = (part.flatten(1) for part in (step, weight, gradient))
        length = torch.tensor(deltas) * weight.norm(dim=1)
        torch.testing.assert_close(step.norm(dim=1), length, rtol=1e-4, atol=1e-6)
        cosine = torch.cosine_similarity(step, gradient, dim=1)
        torch.testing.assert_close(cosine, torch.ones(3), rtol=1e-5, atol=1e-5)


def test_the_noise_of_unlearning():
    _, _, _, quiet = _refreshed({"delta": 0.1, "noise": 0, "scale": 0})
    _, _, _, noisy = _refreshed({"delta": 0.1, "noise": 2, "scale": 0})
    for one, other in zip(quiet[::2], noisy[::2], strict=True):
        noise = ((other - one) / 0.2).flatten(1)
        assert (noise.mean(1).abs() < 0.45).all()
        assert ((noise.std(1) - 1).abs() < 0.35).all()
        assert not torch.equal(noise[0], noise[1])


def test_information_shortens_unlearning():
    strategy, before, _, plain = _refreshed({"delta": 0.1, "noise": 0, "scale": 3})
    strategy.end_task(tasks()[0], None)
    for own, value in zip(strategy.ensemble.parameters(), before, strict=True):
        own.copy_(value)
    batch = batch_of(epochs(tasks()[0].train, 8, 2, generators(SEEDS, 0, 0))[0], strategy.pool)
    strategy.unlearn(strategy.ensemble, batch)
    for own, old, step, information in zip(
        strategy.ensemble.parameters(), before, plain, strategy.information, strict=True
    ):
        assert information.max() > 1e-4
        torch.testing.assert_close(own - old, step / (1 + 3 * information), atol=1e-6, rtol=1e-3)


def test_information_decays_as_the_code_has_it():
    strategy, _, _, _ = _refreshed({"decay": 0.25})
    pool, ensemble = strategy.pool, strategy.ensemble
    strategy.end_task(tasks()[0], None)
    strategy.end_task(tasks()[1], None)
    first, second = (
        _fisher.diagonal(ensemble, pool, torch.from_numpy(task.train), "confident")
        for task in tasks()[:2]
    )
    for found, one, two in zip(strategy.information, first, second, strict=True):
        torch.testing.assert_close(found, 0.25 * one + two)


def test_unlearning_and_relearning_in_one_step():
    """w - rate * gradient(w + delta * u): two updates of the loop by hand."""
    strategy, before, gradients, _ = _refreshed({"delta": 0.05, "noise": 0, "scale": 0})
    for own, value in zip(strategy.ensemble.parameters(), before, strict=True):
        own.copy_(value)
    shown = epochs(tasks()[0].train, 8, 2, generators(SEEDS, 0, 0))
    twin = networks()
    for weight, gradient in zip(twin.parameters(), gradients, strict=True):
        for model in range(3):
            size = 0.05 * weight[model].norm() / gradient[model].norm()
            weight[model] += size * gradient[model]
    plan = current_only(shown[:1])
    train(twin, strategy.pool, plan, group=3)
    train(strategy.ensemble, strategy.pool, plan, strategy.hooks(), group=3)
    for one, other in zip(twin.parameters(), strategy.ensemble.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_without_length_it_is_the_strategy_below():
    inner = {"buffer": 20, "alpha": 0.5}
    below, expected = learned("derpp", inner)
    over, found = learned("refresh", {"derpp": inner, "delta": 0})
    assert same(below.ensemble, over.ensemble)
    np.testing.assert_array_equal(expected.loss, found.loss)
    moved, _ = learned("refresh", {"derpp": inner, "delta": 1e-3})
    assert not same(below.ensemble, moved.ensemble)


FPF = {"steps": 4, "buffer": 20, "batch": 6, "rate": 0.1}


@pytest.mark.parametrize("layers", ["first", "last", "all", "sensitive"])
def test_only_the_selected_layers_are_tuned(layers):
    strategy, _ = learned("fpf", FPF | {"layers": layers})
    plain, _ = learned("naive")
    assert same(strategy.ensemble, plain.ensemble)
    selected = strategy.selected().repeat_interleave(2, dim=1)
    tuned = strategy.reader()
    for place, (own, old) in enumerate(
        zip(tuned.parameters(), plain.ensemble.parameters(), strict=True)
    ):
        for model in range(3):
            assert torch.equal(own[model], old[model]) == (not selected[model, place])
    assert selected.sum() == (18 if layers == "all" else 6)


def test_tuning_is_descent_on_samples_of_the_buffer():
    """With all layers it is plain training on these samples."""
    strategy, _ = learned("fpf", FPF | {"layers": "all", "rate": None}, number=1)
    (samples,) = strategy.samples.values()
    assert samples.shape == (4, 3, 6)
    for model in range(3):
        assert np.isin(samples[:, model].numpy(), strategy.buffers.held[model]).all()
    twin = strategy.ensemble.copy()
    train(twin, strategy.pool, current_only(samples.numpy()), group=3)
    for one, other in zip(twin.parameters(), strategy.reader().parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_buffer_of_the_strategy_below_is_used():
    inner = {"buffer": 15}
    below, _ = learned("er", inner)
    strategy, _ = learned("fpf", FPF | {"base": "er", "er": inner})
    assert same(below.ensemble, strategy.ensemble)
    assert strategy.buffers is strategy.below.buffers
    np.testing.assert_array_equal(below.buffers.held, strategy.buffers.held)
    assert not same(strategy.ensemble, strategy.reader())


def test_tuning_in_place_happens_k_times():
    strategy, record = learned("fpf", FPF | {"mode": "kfpf", "k": 3}, at=(3, 4, 8, 12))
    assert sorted(strategy.samples) == [4, 8, 12]
    assert strategy.reader() is strategy.ensemble
    plain, expected = learned("naive", at=(3, 4, 8, 12))
    np.testing.assert_array_equal(record.traces[:, 0, 0], expected.traces[:, 0, 0])
    assert (record.traces[:, 0, 1] != expected.traces[:, 0, 1]).any()
    none, _ = learned("fpf", FPF | {"mode": "kfpf", "k": 0})
    assert same(none.ensemble, plain.ensemble)
    with pytest.raises(ValidationError, match="base must be none"):
        made("fpf", {"mode": "kfpf", "base": "er"})


def test_the_change_of_one_step_is_rate_times_mean_gradient():
    pool, ensemble = clouds(), networks()
    before = [p.clone() for p in ensemble.parameters()]
    index = torch.arange(24).view(3, 8)
    gradients = _gradients(ensemble, pool, index)
    train(ensemble, pool, current_only(index[None].numpy()), group=3)
    found = change(before, ensemble.parameters())
    rates = torch.tensor(RATES)
    for layer in range(3):
        parts = [g.flatten(1) for g in gradients[2 * layer : 2 * layer + 2]]
        expected = rates * torch.cat(parts, 1).abs().mean(1)
        torch.testing.assert_close(found[:, layer], expected, rtol=1e-3, atol=1e-7)
    assert (change(before, before) == 0).all()


def test_sensitivity_is_change_at_the_switch_by_usual_change():
    strategy = made("fpf", FPF | {"count": 2})
    strategy.ends = [2, 4, 6, 8]
    for number, first in ((0, 99.0), (1, 4.0), (2, 8.0)):
        strategy.changes = {
            2: torch.tensor([[first, 1, 6]] * 3),
            4: torch.tensor([[2.0, 1, 1]] * 3),
            6: torch.tensor([[1.0, 1, 2]] * 3),
            8: torch.tensor([[7.0, 1, 3]] * 3),
        }
        strategy.end_task(tasks()[number], current_only(np.zeros((8, 3, 1), dtype=np.int64)))
        if not number:
            assert strategy.selected().tolist() == [[False, False, True]] * 3
    torch.testing.assert_close(strategy.sensitivity, torch.tensor([[3.0, 1, 3]] * 3))
    assert strategy.selected().tolist() == [[True, False, True]] * 3


def test_stretches_are_measured_within_the_task():
    strategy = made("fpf", FPF)
    sizes = []
    original = strategy.hooks

    def hooks():
        found = original()

        def measured(group, scores, batch):
            found.after_step(group, scores, batch)
            sizes.append(batch.step)

        return replace(found, after_step=measured)

    strategy.hooks = hooks
    learn(strategy, tasks(), STEPS, BATCH, past_returns, group=3)
    assert strategy.ends == [1, 2, 3, 4, 6, 7, 8, 9, 10, 12]
    assert len(sizes) == 3 * STEPS
    assert all((moved > 0).all() for moved in strategy.changes.values())
    assert strategy.switches == 2
