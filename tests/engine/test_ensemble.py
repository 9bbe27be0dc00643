"""An ensemble equals its networks trained one by one with autograd and torch.optim."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from palimpsest.engine import ensemble_losses as losses
from palimpsest.engine import ensemble_training
from palimpsest.engine.ensemble import Ensemble, Failure
from palimpsest.engine.ensemble_plans import Plan
from palimpsest.engine.ensemble_training import Hooks, Pool, accuracy, best_group, train
from tests.engine.separate_networks import (
    OPTIMIZERS,
    RATES,
    SEEDS,
    SIZES,
    alone,
    assert_equal,
    labelled_clouds,
    network_of,
    plan_of,
)


@pytest.fixture
def pool():
    return labelled_clouds()


def test_initial_values_are_those_of_linear_layers():
    ensemble = Ensemble(SIZES, SEEDS)
    for model, seed in enumerate(SEEDS):
        assert_equal(ensemble, model, network_of(seed), tolerance=0)
    before = torch.get_rng_state()
    Ensemble(SIZES, SEEDS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(11, 12, 10), (7, 5, 3), (64, 31, 17)], ids=str)
def test_a_sum_does_not_depend_on_where_arrays_begin(shape):
    """To the bit at every offset of a float from an aligned address."""
    examples, width, out = shape
    generator = torch.Generator().manual_seed(0)
    inputs, weight, bias, delta = (
        torch.randn(size, generator=generator)
        for size in ((2, examples, width), (2, width, out), (2, 1, out), (2, examples, out))
    )

    def at(offset, values):
        held = torch.empty(values.numel() + 16)[offset : offset + values.numel()]
        return held.view(values.shape).copy_(values)

    found = []
    for offset in range(16):
        moved = [at(offset, part) for part in (inputs, weight, bias, delta)]
        update = moved[1].baddbmm_(moved[0].mT, moved[3], alpha=-0.1)
        scores = at(offset, moved[2].expand_as(delta)).baddbmm_(moved[0], weight)
        below = at(offset, inputs).baddbmm_(moved[3], weight.mT, beta=0)
        found.append((update, scores, below))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("group", [1, 3, 4])
def test_equals_separate_networks(pool, name, group):
    settings, make = OPTIMIZERS[name]
    slower = 10 if name in ("momentum", "adam") else 1
    ensemble = Ensemble(SIZES, SEEDS, [rate / slower for rate in RATES], **settings)
    plan = plan_of()
    lost, _ = train(ensemble, pool, plan, group=group)
    for model in range(len(SEEDS)):
        network, expected = alone(pool, plan, model, make)
        np.testing.assert_allclose(lost[:, model], expected, atol=2e-5, rtol=1e-4)
        assert_equal(ensemble, model, network)


@pytest.mark.parametrize("sizes", [(20, 5), (20, 8, 5), (20, 9, 8, 7, 5)])
def test_any_depth(pool, sizes):
    ensemble = Ensemble(sizes, SEEDS[:2], 0.1)
    plan = plan_of(20, seeds=SEEDS[:2])
    train(ensemble, pool, plan, group=2)
    network = network_of(SEEDS[1], sizes)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(20):
        index = torch.from_numpy(plan.examples[step, 1])
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pool.inputs[index]), pool.labels[index]).backward()
        optimizer.step()
    assert_equal(ensemble, 1, network)


def test_stored_gradients_and_the_fused_update_agree(pool):
    plan = plan_of()
    fused = Ensemble(SIZES, SEEDS, RATES)
    stored = Ensemble(SIZES, SEEDS, RATES)
    train(fused, pool, plan, group=4)
    train(stored, pool, plan, Hooks(after_backward=lambda *_: None), group=4)
    for a, b in zip(fused.parameters(), stored.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [8, 10])
def test_a_network_does_not_depend_on_its_neighbours(threads, batch):
    """To the bit: alone, beside others, and in groups of any size."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    sizes = (200, 100, 10)
    generator = torch.Generator().manual_seed(0)
    wide = Pool(torch.rand(300, 200, generator=generator), torch.arange(300) % 10)
    plan = plan_of(batch=batch)
    whole = Ensemble(sizes, SEEDS, RATES)
    train(whole, wide, plan, group=4)
    for group in (1, 2, 3):
        other = Ensemble(sizes, SEEDS, RATES)
        train(other, wide, plan, group=group)
        for a, b in zip(whole.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
    alone_now = Ensemble(sizes, SEEDS[2:3], RATES[2:3])
    train(alone_now, wide, plan.of(slice(2, 3)))
    for a, b in zip(whole.parameters(), alone_now.parameters(), strict=True):
        assert torch.equal(a[2:3], b)
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumes_to_the_same_bits(pool, name, tmp_path):
    plan = plan_of()
    first_half, second_half = (
        Plan(*(part[half] for part in plan._parts())) for half in (slice(0, 25), slice(25, 60))
    )
    whole, cut = (Ensemble(SIZES, SEEDS, RATES, **OPTIMIZERS[name][0]) for _ in range(2))
    train(whole, pool, plan, group=2)
    train(cut, pool, first_half, group=2)
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    resumed = Ensemble(SIZES, [0] * 4, 0.5, **OPTIMIZERS[name][0])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(resumed, pool, second_half, group=2)
    assert resumed.steps == 60
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("group", [2, 4])
def test_a_network_that_fails_is_frozen_and_the_others_go_on(pool, hooked, group):
    """Network 2 diverges at once; its weights stay finite and the others keep every bit."""
    plan = plan_of()
    hooks = Hooks(after_backward=lambda *_: None) if hooked else None
    good = Ensemble(SIZES, SEEDS, RATES, weight_decay=0.01)
    bad = Ensemble(SIZES, SEEDS, (*RATES[:2], 1e30, RATES[3]), weight_decay=0.01)
    expected, _ = train(good, pool, plan, hooks, group=group)
    lost, _ = train(bad, pool, plan, hooks, group=group)
    (failure,) = bad.failures
    assert failure == Failure(2, failure.step, pytest.approx(lost[failure.step - 1, 2]))
    assert not math.isfinite(lost[failure.step, 2])
    for a, b in zip(good.parameters(), bad.parameters(), strict=True):
        assert torch.equal(a[[0, 1, 3]], b[[0, 1, 3]])
    np.testing.assert_array_equal(np.delete(lost, 2, 1), np.delete(expected, 2, 1))
    frozen = [p[2].clone() for p in bad.parameters()]
    train(bad, pool, plan, hooks, group=group)
    assert len(bad.failures) == 1
    assert all(torch.equal(p[2], f) for p, f in zip(bad.parameters(), frozen, strict=True))


def test_squared_gradients_equal_autograd_example_by_example(pool):
    ensemble = Ensemble(SIZES, SEEDS)
    index = torch.arange(6).expand(4, 6)
    layers = ensemble.forward(pool.rows(index))
    _, delta = losses.cross_entropy(layers[-1], pool.labels[index], torch.ones(4, 6))
    found = ensemble.squared_gradients(layers, delta)
    for model, seed in enumerate(SEEDS):
        network = network_of(seed)
        sums = [torch.zeros_like(p) for p in network.parameters()]
        for place in range(6):
            network.zero_grad()
            scores = network(pool.inputs[place : place + 1])
            nn.functional.cross_entropy(scores, pool.labels[place : place + 1]).backward()
            for total, p in zip(sums, network.parameters(), strict=True):
                total += p.grad**2
        for ours, theirs in zip(found, sums, strict=True):
            wanted = theirs.T if theirs.dim() == 2 else theirs[None]
            torch.testing.assert_close(ours[model], wanted, atol=1e-6, rtol=1e-4)


def test_figures_of_every_network_at_the_steps_asked_for(pool):
    sets = {"first": torch.arange(100), "rest": torch.arange(100, 300)}
    ensemble = Ensemble(SIZES, SEEDS, RATES)

    def evaluate(group):
        return accuracy(group, pool, sets, chunk=37)[0]

    _, figures = train(ensemble, pool, plan_of(), group=3, at=(1, 30, 60), evaluate=evaluate)
    assert figures.shape == (4, 3, 2)
    right, loss = accuracy(ensemble, pool, sets)
    np.testing.assert_allclose(figures[:, -1], right)
    assert (figures[0, -1] > 0.9).all()
    network, _ = alone(pool, plan_of(), 0, OPTIMIZERS["plain"][1])
    with torch.no_grad():
        scores = network(pool.inputs[100:])
    expected = nn.functional.cross_entropy(scores, pool.labels[100:])
    assert loss[0, 1] == pytest.approx(float(expected), rel=1e-3)
    assert right[0, 1] == pytest.approx(
        float((scores.argmax(1) == pool.labels[100:]).float().mean())
    )


def test_classes_that_do_not_exist_for_an_example(pool):
    """Split heads: a class that is not allowed gets no gradient and is never answered."""
    allowed = torch.zeros(300, 5, dtype=torch.bool)
    allowed[:, :3] = True
    split = Pool(pool.inputs, pool.labels.clamp_max(2), allowed)
    ensemble = Ensemble(SIZES, SEEDS, RATES)
    before = ensemble.weights[-1].clone()
    train(ensemble, split, plan_of())
    assert torch.equal(ensemble.weights[-1][..., 3:], before[..., 3:])
    assert not torch.equal(ensemble.weights[-1][..., :3], before[..., :3])
    right, _ = accuracy(ensemble, split, {"all": torch.arange(300)})
    assert right[0, 0] > 0.8


def test_bytes_are_divided_by_255():
    index = torch.tensor([[0, 1]])
    stored = Pool(torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8), torch.zeros(2).long())
    torch.testing.assert_close(stored.rows(index), torch.tensor([[[0.0, 1.0], [0.2, 0.4]]]))


def test_the_best_group_is_a_size_that_can_be_had():
    ensemble = Ensemble((30, 10, 5), range(12))
    assert 1 <= best_group(ensemble.sizes, 12, 4, ensemble) <= 12


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="two sizes"):
        Ensemble((4,), (1,))
    with pytest.raises(ValueError, match="3 learning rates for 2"):
        Ensemble((4, 2), (1, 2), [0.1, 0.1, 0.1])


def test_a_group_that_memory_cannot_hold_is_not_chosen(monkeypatch):
    plainly, tried = ensemble_training.train, []

    def train(ensemble, *rest, group, **others):
        tried.append(group)
        if group > 4:
            raise torch.OutOfMemoryError
        return plainly(ensemble, *rest, group=group, **others)

    monkeypatch.setattr(ensemble_training, "train", train)
    sizes, like = (7, 5, 3), Ensemble((7, 5, 3), range(16), 0.1)
    assert ensemble_training.best_group(sizes, 16, 6, like) <= 4
    assert {tried.count(size) for size in (1, 2, 4, 8, 16)} == {ensemble_training._ROUNDS}


def running_out(monkeypatch, most: int, width: int, moment: str = "forward") -> list[int]:
    """No more than so many networks times examples go through one of an ensemble's methods."""
    refused, whole = [], getattr(Ensemble, moment)

    def limited(ensemble, *parts):
        examples = parts[0].shape[-2] if moment == "forward" else 1
        if ensemble.n * examples > most * width:
            refused.append(ensemble.n)
            if moment != "forward":  # in the middle of an update
                ensemble.weights[0].add_(1)
            raise torch.OutOfMemoryError("full")
        return whole(ensemble, *parts)

    monkeypatch.setattr(Ensemble, moment, limited)
    return refused


@pytest.mark.parametrize("moment", ["forward", "apply"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_when_memory_runs_out_fewer_networks_are_trained_at_once(pool, monkeypatch, name, moment):
    """To the same bits, with what an optimiser remembers and what a hook keeps."""
    plan, found = plan_of(), []
    for most in (len(SEEDS), 1):
        ensemble = Ensemble(SIZES, SEEDS, RATES, **OPTIMIZERS[name][0])
        seen: list[int] = []
        hooks = Hooks(
            after_step=lambda group, scores, batch, seen=seen: seen.append(group.n),
            after_backward=(lambda group, gradients, batch: None) if moment == "apply" else None,
        )
        width = plan.examples.shape[2] if moment == "forward" else 1
        with monkeypatch.context() as patched:
            refused = running_out(patched, most, width, moment)
            losses, _ = train(ensemble, pool, plan, hooks, group=len(SEEDS))
        found.append((losses, ensemble.state_dict()))
        assert sum(seen) == len(plan) * len(SEEDS)
    assert refused == [4, 2]
    (right, kept), (ours, left) = found
    assert ours.tobytes() == right.tobytes()
    for one, other in zip(kept["parameters"], left["parameters"], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(kept["memory"], left["memory"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert left["steps"] == kept["steps"] == len(plan)
    assert torch.equal(left["last_loss"], kept["last_loss"])


def test_when_memory_runs_out_fewer_examples_are_judged_at_once(pool, monkeypatch):
    ensemble = Ensemble(SIZES, SEEDS)
    sets = {"all": torch.arange(len(pool.labels))}
    right = accuracy(ensemble, pool, sets)
    refused = running_out(monkeypatch, len(SEEDS), 8)
    for one, other in zip(accuracy(ensemble, pool, sets), right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert refused


def test_a_group_that_would_be_halved_is_not_chosen(monkeypatch):
    sizes, like = (7, 5, 4), Ensemble((7, 5, 4), range(16), 0.1)
    refused = running_out(monkeypatch, 4, 6)
    assert ensemble_training.best_group(sizes, 16, 6, like) <= 4
    assert refused == [8, 16] * ensemble_training._ROUNDS


def test_one_network_that_does_not_fit_is_an_error(pool, monkeypatch):
    running_out(monkeypatch, 0, 1)
    with pytest.raises(torch.OutOfMemoryError):
        train(Ensemble(SIZES, SEEDS), pool, plan_of(), group=len(SEEDS))
