"""Losses of an ensemble against autograd, methods against separate networks, plans against odds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from palimpsest.engine import ensemble_losses as losses
from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import (
    Buffers,
    current_only,
    distinct,
    epochs,
    generators,
    scheduled,
)
from palimpsest.engine.ensemble_training import Hooks, ScoreMemory, train
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

K, B, C = 3, 6, 5


@pytest.fixture
def pool():
    return labelled_clouds()


def _draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def _check(call, *others):
    """The derivative that a loss returns is the slope of the loss, by central differences."""
    scores = _draw(K, B, C).double()
    others = [o.double() if o.dtype == torch.float32 else o for o in others]
    loss, delta = call(scores, *others)
    for place in range(scores.numel()):
        step = torch.zeros_like(scores)
        step.view(-1)[place] = 1e-5
        above, below = (call(scores + sign * step, *others)[0].sum() for sign in (1, -1))
        assert delta.view(-1)[place] == pytest.approx(float(above - below) / 2e-5, abs=1e-8)
    return loss.float()


def test_cross_entropy():
    labels, weights = torch.randint(C, (K, B)), torch.rand(K, B)
    loss = _check(losses.cross_entropy, labels, weights)
    each = nn.functional.cross_entropy(
        _draw(K, B, C).flatten(0, 1), labels.flatten(), reduction="none"
    )
    torch.testing.assert_close(loss, (each.view(K, B) * weights).sum(1))
    allowed = torch.ones(1, 1, C, dtype=torch.bool)
    allowed[..., 4] = False
    _check(losses.cross_entropy, labels.clamp_max(3), weights, allowed)


def test_an_example_without_weight_may_have_a_class_that_does_not_exist():
    allowed = torch.tensor([True, True, False])[None, None]
    loss, delta = losses.cross_entropy(
        torch.zeros(1, 2, 3), torch.tensor([[0, 2]]), torch.tensor([[1.0, 0.0]]), allowed
    )
    torch.testing.assert_close(loss, torch.tensor([2.0]).log())
    assert torch.isfinite(delta).all()
    assert (delta[0, 1] == 0).all()


def test_squared_error_and_distillation():
    targets, weights = torch.randn(K, B, C), torch.rand(K, B)
    _check(losses.squared_error, targets, weights)
    _check(lambda s, t, w: losses.distillation(s, t, w, 2.0), targets, weights)
    allowed = torch.ones(K, B, C, dtype=torch.bool)
    allowed[..., 0] = False
    _check(lambda s, t, w: losses.distillation(s, t, w, 2.0, allowed), targets, weights)
    same = _draw(K, B, C)
    _, delta = losses.distillation(same, same, weights, 2.0)
    torch.testing.assert_close(delta, torch.zeros(K, B, C), atol=1e-7, rtol=0)


def test_projection_by_hand():
    """Network 0: (1, -1) against (1, 2) becomes orthogonal to it. Network 1 agrees and stays."""
    gradients = [
        torch.tensor([[[1.0]], [[1.0]], [[1.0]]]),
        torch.tensor([[[-1.0]], [[2.0]], [[0.0]]]),
    ]
    reference = [
        torch.tensor([[[1.0]], [[1.0]], [[0.0]]]),
        torch.tensor([[[2.0]], [[1.0]], [[0.0]]]),
    ]
    losses.project(gradients, reference)
    torch.testing.assert_close(gradients[0].flatten(), torch.tensor([1.2, 1.0, 1.0]))
    torch.testing.assert_close(gradients[1].flatten(), torch.tensor([-0.6, 2.0, 0.0]))


def test_a_penalty_for_eachnetwork_of(pool):
    """Elastic weights: strength 0 is plain training, another equals autograd's."""
    strength = torch.tensor([0.0, 1.0, 0.3, 5.0])
    ensemble = Ensemble(SIZES, SEEDS, RATES)
    anchors = [torch.full_like(p, 0.1) for p in ensemble.parameters()]
    importance = [torch.linspace(0, 1, p[0].numel()).view(p[0].shape) for p in anchors]

    def penalty(group, gradients, batch):
        own = [a[batch.models] for a in anchors]
        loss, change = losses.quadratic_penalty(
            group.parameters(), own, importance, strength[batch.models]
        )
        torch._foreach_add_(gradients, change)
        return loss

    plan = plan_of(30)
    lost, _ = train(ensemble, pool, plan, Hooks(after_backward=penalty), group=3)

    def slow(network, scores, model):
        total = 0.0
        for p, i in zip(network.parameters(), importance, strict=True):
            weight = i.T if p.dim() == 2 else i[0]
            total = total + (weight * (p - 0.1) ** 2).sum()
        return strength[model] / 2 * total

    for model in range(4):
        network, expected = alone(pool, plan, model, OPTIMIZERS["plain"][1], slow)
        np.testing.assert_allclose(lost[:, model], expected, rtol=1e-4, atol=1e-4)
        assert_equal(ensemble, model, network, 1e-4)
    plain = Ensemble(SIZES, SEEDS, RATES)
    train(plain, pool, plan, group=4)
    for a, b in zip(plain.parameters(), ensemble.parameters(), strict=True):
        torch.testing.assert_close(a[0], b[0], atol=1e-6, rtol=1e-5)


def test_stored_scores_come_back_as_they_were(pool):
    """Dark experience replay against one network with a dictionary for a buffer."""
    alpha = torch.tensor([0.5, 0.0, 1.0, 2.0])
    capacity, rehearsed = 20, 4
    shown = epochs(np.arange(300), 8, 40, generators(SEEDS, 1))
    plan = Buffers(4, capacity).plan(shown, rehearsed, generators(SEEDS, 2))
    memory = ScoreMemory(4, capacity, 5)

    def current(batch):
        return (batch.slots < 0) / 8 * (torch.arange(12) < 8)

    def loss(group, scores, batch):
        return losses.cross_entropy(scores, batch.labels, current(batch))

    def dark(group, scores, batch):
        there = (batch.slots >= 0).float()
        weights = alpha[batch.models, None] * there / there.sum(1, keepdim=True).clamp_min(1)
        return losses.squared_error(scores, memory.read(batch), weights)

    def store(group, scores, batch):
        memory.write(scores, batch)

    ensemble = Ensemble(SIZES, SEEDS, RATES)
    hooks = Hooks(loss=loss, extra_loss=dark, after_step=store)
    lost, _ = train(ensemble, pool, plan, hooks, group=2)

    for model in range(4):
        torch.manual_seed(SEEDS[model])
        network, stored = network_of(SEEDS[model]), {}
        optimizer = torch.optim.SGD(network.parameters(), RATES[model])
        for step in range(40):
            index = torch.from_numpy(plan.examples[step, model])
            slots = plan.slots[step, model]
            scores = network(pool.inputs[index])
            total = nn.functional.cross_entropy(scores[:8], pool.labels[index[:8]])
            past = [place for place in range(8, 12) if slots[place] >= 0]
            if past:
                wanted = torch.stack([stored[slots[place]][1] for place in past])
                held = [stored[slots[place]][0] for place in past]
                assert held == index[past].tolist()
                total = total + alpha[model] * nn.functional.mse_loss(scores[past], wanted)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            assert lost[step, model] == pytest.approx(float(total.detach()), rel=1e-3, abs=1e-4)
            for place, slot in enumerate(plan.writes[step, model]):
                if slot >= 0:
                    stored[slot] = (int(index[place]), scores[place].detach())


def test_epochs_show_everything_once():
    shown = epochs(np.arange(100, 160), 8, 14, generators((1, 2), 0))
    assert shown.shape == (14, 2, 8)
    for model in range(2):
        for start in (0, 7):
            seen = shown[start : start + 7, model].ravel()
            assert len(set(seen)) == 56
            assert set(seen) <= set(range(100, 160))
    assert (shown[:, 0] != shown[:, 1]).any()
    assert (epochs(np.arange(100, 160), 8, 14, generators((2,), 0))[:, 0] == shown[:, 1]).all()
    with pytest.raises(ValueError, match="fewer than a batch"):
        epochs(np.arange(3), 8, 1, generators((1,), 0))


def test_past_tasks_return_with_their_odds():
    shown = epochs(np.arange(500, 600), 10, 400, generators((1, 2, 3), 0))
    past = [np.arange(0, 100), np.arange(100, 150), np.arange(150, 500)]
    odds = np.array([[1, 2, 5], [0, 0, 3], [0, 0, 0]])
    plan = scheduled(shown, past, odds, 5, generators((1, 2, 3), 1))
    returned = plan.examples[:, :, 10:]
    tasks = np.digitize(returned, [100, 150])
    counts = np.bincount(tasks[:, 0].ravel(), minlength=3)
    assert chisquare(counts, 2000 * np.array([1, 2, 5]) / 8).pvalue > 0.01
    within = np.bincount(returned[:, 0][tasks[:, 0] == 1] - 100, minlength=50)
    assert chisquare(within).pvalue > 0.01
    assert (tasks[:, 1] == 2).all()
    assert (plan.weights[:, 2, 10:] == 0).all()
    np.testing.assert_allclose(plan.weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(plan.weights[:, 0], 1 / 15, rtol=1e-6)
    with pytest.raises(ValueError, match="negative"):
        scheduled(shown, past, -odds, 5, generators((1, 2, 3), 1))
    np.testing.assert_array_equal(
        scheduled(shown, [], odds[:, :0], 5, []).examples, current_only(shown).examples
    )


def test_a_reservoir_keeps_every_example_with_equal_odds():
    """400 buffers of 20 over a stream of 200: each example stays in a tenth of them."""
    seeds = range(400)
    shown = np.broadcast_to(np.arange(200).reshape(20, 1, 10), (20, 400, 10))
    buffers = Buffers(400, 20)
    buffers.plan(shown[:12], 0, generators(seeds, 1))
    buffers.plan(shown[12:], 0, generators(seeds, 2))
    assert all(len(set(held)) == 20 for held in buffers.held)
    counts = np.bincount(buffers.held.ravel(), minlength=200)
    # Kept together, examples of a buffer exclude each other: the variance is that of a draw
    # without replacement, so the statistic is scaled.
    statistic = ((counts - 40) ** 2 / (400 * 0.1 * 0.9)).sum()
    assert 150 < statistic < 250


def test_rehearsed_examples_are_those_held_and_differ():
    shown = epochs(np.arange(300), 10, 25, generators((5, 6), 0))
    plan = Buffers(2, 15).plan(shown, 4, generators((5, 6), 1))
    held = np.full((2, 15), -1)
    for step in range(25):
        for model in range(2):
            slots = plan.slots[step, model, 10:]
            there = slots >= 0
            assert there.sum() == min(4, (held[model] >= 0).sum())
            assert len(set(slots[there])) == there.sum()
            assert (plan.examples[step, model, 10:][there] == held[model, slots[there]]).all()
            assert ((plan.weights[step, model, 10:] > 0) == there).all()
            for place, slot in enumerate(plan.writes[step, model]):
                if slot >= 0:
                    held[model, slot] = plan.examples[step, model, place]


def test_distinct_draws_are_uniform():
    drawn = distinct(np.full(6000, 6), 3, np.random.default_rng(1))
    assert (np.diff(np.sort(drawn, 1), axis=1) > 0).all()
    pairs = [tuple(row) for row in np.sort(drawn, 1)]
    counts = [pairs.count(pair) for pair in sorted(set(pairs))]
    assert len(counts) == 20
    assert chisquare(counts).pvalue > 0.01


def test_a_network_s_plan_does_not_depend_on_its_neighbours():
    shown = epochs(np.arange(300), 10, 30, generators((5, 6), 0))
    both = Buffers(2, 15).plan(shown, 4, generators((5, 6), 1))
    one = Buffers(1, 15).plan(shown[:, 1:], 4, generators((6,), 1))
    for a, b in zip(both.of(slice(1, 2))._parts(), one._parts(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_buffers_stand_behind_what_comes_back():
    shown = epochs(np.arange(100), 10, 30, generators((5, 6), 0))
    past = [np.arange(100, 200)]
    experience = scheduled(shown, past, np.ones(1), 3, generators((5, 6), 1))
    assert experience.current == 10
    buffers = Buffers(2, 15)
    plan = buffers.plan(experience, 4, generators((5, 6), 2), draws=2)
    assert plan.examples.shape == (30, 2, 21)
    np.testing.assert_array_equal(plan.examples[..., :13], experience.examples)
    np.testing.assert_array_equal(plan.shown, shown)
    assert (buffers.held < 100).all()
    assert buffers.seen == 300
    np.testing.assert_allclose(plan.weights[5:], 1 / 21, rtol=1e-6)
    np.testing.assert_allclose(plan.weights[0, :, :13], 1 / 13, rtol=1e-6)
    assert (plan.slots[5:, :, 13:17] != plan.slots[5:, :, 17:]).any()
    for part, whole in zip(plan.between(3, 7)._parts(), plan._parts(), strict=True):
        np.testing.assert_array_equal(part, whole[3:7])
    assert plan.between(3, 7).current == plan.of(slice(1, 2)).current == 10
    with pytest.raises(ValueError, match="at least one slot"):
        Buffers(2, 0).plan(shown, 4, generators((5, 6), 1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hooks_that_change_nothing_keep_every_bit(pool, name):
    rates = [rate / 10 for rate in RATES]
    plain = Ensemble(SIZES, SEEDS, rates, **OPTIMIZERS[name][0])
    hooked = Ensemble(SIZES, SEEDS, rates, **OPTIMIZERS[name][0])
    steps, seen = [], []

    def penalty(group, batch):
        return torch.zeros(group.n), [torch.zeros_like(p) for p in group.parameters()]

    hooks = Hooks(
        before_step=lambda group, batch: steps.append(batch.step),
        watch=lambda group, gradients, batch: seen.append(gradients),
        penalty=penalty,
    )
    expected, _ = train(plain, pool, plan_of(), group=2)
    found, _ = train(hooked, pool, plan_of(), hooks, group=2)
    np.testing.assert_array_equal(expected, found)
    assert steps == 2 * list(range(60))
    assert len(seen) == 120
    for a, b in zip(plain.parameters(), hooked.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_penalty_is_one_with_the_gradient(pool, name):
    """The hook ``penalty`` against the same gradients added after the backward pass."""
    rates = [rate / 10 for rate in RATES]
    one, other = (Ensemble(SIZES, SEEDS, rates, **OPTIMIZERS[name][0]) for _ in range(2))

    def penalty(group, batch):
        own = group.parameters()
        zeros = [torch.zeros_like(p) for p in own]
        ones = [torch.ones_like(p) for p in own]
        return losses.quadratic_penalty(own, zeros, ones, torch.full((group.n,), 0.3))

    def after_backward(group, gradients, batch):
        loss, change = penalty(group, batch)
        torch._foreach_add_(gradients, change)
        return loss

    first, _ = train(one, pool, plan_of(), Hooks(penalty=penalty), group=2)
    second, _ = train(other, pool, plan_of(), Hooks(after_backward=after_backward), group=2)
    np.testing.assert_allclose(first, second, rtol=1e-4)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4)


def test_a_copy_is_on_its_own(pool):
    ensemble = Ensemble(SIZES, SEEDS, RATES, momentum=0.9)
    train(ensemble, pool, plan_of(10), group=2)
    twin = ensemble.copy()
    kept = [p.clone() for p in ensemble.parameters()]
    train(twin, pool, plan_of(10), group=2)
    assert all(torch.equal(p, k) for p, k in zip(ensemble.parameters(), kept, strict=True))
    train(ensemble, pool, plan_of(10), group=2)
    for a, b in zip(ensemble.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    assert twin.steps == ensemble.steps == 20
