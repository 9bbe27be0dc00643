"""Strategies with a buffer: what is rehearsed, by what weights, and what the buffer takes up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import Plan, current_only, epochs, generators
from palimpsest.engine.ensemble_training import ScoreMemory, train
from palimpsest.interventions.continual._learning import learn, plain
from palimpsest.interventions.continual.gdumb import GreedyBuffer
from tests.interventions.continual.streams import (
    BATCH,
    RATES,
    SEEDS,
    SIZES,
    STEPS,
    batch_of,
    clouds,
    kept_plans,
    learned,
    made,
    networks,
    past_returns,
    same,
    tasks,
)


def _plans(name, block, experience=past_returns, **options):
    strategy = made(name, block)
    plans = kept_plans(strategy)
    learn(strategy, tasks(), STEPS, BATCH, experience, **options)
    return strategy, plans


def test_the_buffer_stands_beside_what_the_environment_brings_back():
    strategy, plans = _plans("er", {"buffer": 20, "rehearsed": 5})
    assert [plan.examples.shape[2] for plan in plans] == [8 + 5, 8 + 3 + 5, 8 + 3 + 5]
    last = plans[-1]
    assert last.current == 8
    np.testing.assert_array_equal(last.shown, last.examples[..., :8])
    assert np.isin(last.shown, tasks()[2].train).all()
    assert (last.examples[..., 8:11] < 120).all()
    np.testing.assert_allclose(last.weights, 1 / 16, rtol=1e-6)
    # Only current examples are offered, so that odds are buffer / n.
    assert strategy.buffers.seen == 3 * STEPS * BATCH
    assert (last.writes[..., 8:] == -1).all()
    assert (last.slots[..., :11] == -1).all()
    assert (last.slots[..., 11:] >= 0).all()


def test_every_current_example_stays_with_equal_odds():
    seeds = range(150)
    strategy = made("er", {"buffer": 18}, seeds=seeds, ensemble=networks(seeds, 0.1))
    for task in tasks():
        shown = epochs(task.train, 10, 6, generators(seeds, task.number, 0))
        experience = past_returns(task, shown, generators(seeds, task.number, 1))
        strategy.plan(task, experience, generators(seeds, task.number, 2))
    counts = np.bincount(strategy.buffers.held.ravel(), minlength=180)
    # A tenth of 180 examples each in 150 buffers, drawn without replacement.
    statistic = ((counts - 15) ** 2 / (150 * 0.1 * 0.9)).sum()
    assert 130 < statistic < 235


def test_the_sum_of_two_means():
    _, means = _plans("er", {"buffer": 20, "rehearsed": 4})
    _, sums = _plans("er", {"buffer": 20, "rehearsed": 4, "weighting": "sum"})
    for mean, both in zip(means, sums, strict=True):
        np.testing.assert_array_equal(mean.examples, both.examples)
    np.testing.assert_allclose(sums[2].weights[..., :11], 1 / 11, rtol=1e-6)
    np.testing.assert_allclose(sums[2].weights[..., 11:], 1 / 4, rtol=1e-6)
    assert (sums[0].weights[0, :, 8:] == 0).all()


def test_der_with_labels_draws_twice():
    _, plans = _plans("derpp", {"buffer": 20, "rehearsed": 4, "beta": 0.5})
    last = plans[-1]
    dark, labelled = last.slots[..., 11:15], last.slots[..., 15:]
    assert (dark != labelled).any()
    np.testing.assert_allclose(last.weights[..., :11], 1 / 11, rtol=1e-6)
    assert (last.weights[..., 11:15] == 0).all()
    np.testing.assert_allclose(last.weights[..., 15:], 0.5 / 4, rtol=1e-6)


def test_without_scores_it_is_replay_with_the_sum_of_two_means():
    """DER++ with alpha 0 against plain training on the second samples, weighted as ER's sum."""
    block = {"buffer": 20, "rehearsed": 4, "alpha": 0, "beta": 1}
    strategy, plans = _plans("derpp", block, plain)
    ensemble = networks()
    for plan in plans:
        parts = [np.delete(part, slice(8, 12), axis=2) for part in plan._parts()]
        there = parts[2] >= 0
        parts[1] = np.full(there.shape, 1 / 8, dtype=np.float32)
        parts[1][..., 8:] = there[..., 8:] / np.maximum(there.sum(-1, keepdims=True), 1)
        train(ensemble, clouds(), Plan(*parts))
    for a, b in zip(strategy.ensemble.parameters(), ensemble.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_without_scores_and_labels_it_is_plain_training():
    expected, _ = learned("naive")
    for name, block in (("der", {"alpha": 0}), ("derpp", {"alpha": 0, "beta": 0})):
        found, _ = learned(name, block | {"buffer": 20})
        for a, b in zip(expected.ensemble.parameters(), found.ensemble.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_scores_are_those_at_storing():
    """Each stored score is that of the network before the step in which it was stored."""
    strategy = made("der", {"buffer": 15, "alpha": 0.5})
    plans, hooks = kept_plans(strategy), strategy.hooks()
    stored = {}
    after_step = hooks.after_step

    def keep(group, scores, batch):
        for model, place in (batch.writes >= 0).nonzero().tolist():
            stored[batch.models.start + model, int(batch.writes[model, place])] = scores[
                model, place
            ].clone()
        after_step(group, scores, batch)

    hooks.after_step = keep
    strategy.hooks = lambda: hooks
    learn(strategy, tasks(), STEPS, BATCH, plain, group=2)
    assert len(stored) == 3 * 15
    assert len(plans) == 3
    for (model, slot), scores in stored.items():
        assert torch.equal(strategy.memory.values[model, slot], scores)


def test_of_two_writes_to_a_slot_the_later_stays():
    memory = ScoreMemory(2, 3, 1)
    pool = clouds()
    batch = batch_of(torch.zeros(2, 4, dtype=torch.long), pool)
    batch.writes[0] = torch.tensor([1, -1, 1, 2])
    batch.writes[1] = torch.tensor([-1, -1, 0, -1])
    memory.write(torch.arange(8.0).view(2, 4, 1), batch)
    assert memory.values[..., 0].tolist() == [[0, 2, 3], [6, 0, 0]]


def test_a_greedy_buffer_is_balanced():
    draw = np.random.default_rng(0)
    buffer = GreedyBuffer(12)
    for example in range(50):
        buffer.offer(example, 7, draw)
    assert buffer.held().tolist() == list(range(12))
    for example in range(50, 60):
        buffer.offer(example, 3, draw)
    assert [len(own) for own in buffer.of.values()] == [6, 6]
    for example in range(60, 90):
        buffer.offer(example, example % 3, draw)
    assert sum(len(own) for own in buffer.of.values()) == 12
    # Classes 7, 3, 0, 1, 2 of 12 slots: two or three each.
    assert {len(own) for own in buffer.of.values()} <= {2, 3}
    held = buffer.held().tolist()
    buffer.offer(held[0], 7, draw)
    assert sorted(held) == sorted(buffer.held().tolist())
    assert len(set(held)) == 12


def test_removal_is_at_random_from_the_largest_class():
    removed = []
    for seed in range(300):
        buffer = GreedyBuffer(5)
        for example in range(5):
            buffer.offer(example, 0, np.random.default_rng(1))
        buffer.offer(9, 1, np.random.default_rng(seed))
        (gone,) = set(range(5)) - set(buffer.held().tolist())
        removed.append(gone)
    assert min(np.bincount(removed)) > 35


def test_gdumb_trains_new_networks_on_the_buffer_alone():
    strategy, record = learned("gdumb", {"buffer": 21, "epochs": 3, "batch": 5})
    assert same(strategy.ensemble, networks())
    for buffer in strategy.buffers:
        sizes = [len(own) for own in buffer.of.values()]
        assert sum(sizes) == 21
        assert max(sizes) - min(sizes) <= 1
    shown = strategy.epochs(strategy.draw(tasks()[2]))
    assert shown.shape == (15, 3, 5)
    for model, buffer in enumerate(strategy.buffers):
        held = set(buffer.held().tolist())
        assert set(shown[:, model].ravel()[:21].tolist()) == held
    again = Ensemble(SIZES, SEEDS, RATES)
    train(again, clouds(), current_only(shown))
    assert same(again, strategy.reader())
    assert np.isfinite(record.accuracy).all()


def test_a_greedy_buffer_that_is_full_learns_no_later_task_of_the_same_classes():
    """Unless it is a reservoir within each class."""
    block = {"buffer": 56, "epochs": 40, "batch": 4}
    options = {"steps": 7, "experience": plain}
    strategy, record = learned("gdumb", block, **options)
    assert all((buffer.held() < 120).all() for buffer in strategy.buffers)
    assert (record.accuracy[:, -1, 0] > 0.9).all()
    strategy, record = learned("gdumb", block | {"full": "reservoir"}, **options)
    for buffer in strategy.buffers:
        held = buffer.held()
        assert len(set(held.tolist())) == len(held) <= 56
        assert np.bincount(held // 60, minlength=3).min() >= 10
    assert (record.accuracy[:, -1].mean(1) > 0.5).all()


def _views(offsets, steps=21, batch=8, alpha=1.0):
    strategy = made("view_batch", {"offsets": offsets, "alpha": alpha})
    shown = epochs(tasks()[0].train, batch, steps, generators(SEEDS, 0, 0))
    return strategy, shown, strategy.plan(tasks()[0], current_only(shown), [])


def test_over_v_epochs_every_example_is_shown_v_times():
    """56 of 60 examples fill an epoch of 7 batches of 8; over 4 epochs each is shown 4 times."""
    strategy, shown, plan = _views([0, 0, 0], steps=28)
    for model in range(3):
        counts = np.bincount(plan.examples[:, model].ravel(), minlength=60)
        assert sorted(set(counts.tolist())) == [0, 4]
        assert (counts > 0).sum() == 56
        assert set(plan.examples[:, model].ravel()) == set(shown[:7, model].ravel())
    assert len(strategy.offsets) == 4


def test_an_example_returns_v_times_later():
    _, shown, plan = _views([180], steps=28)

    def interval(examples):
        places = {}
        for place, example in enumerate(examples.ravel() % 180):
            places.setdefault(int(example), []).append(place)
        gaps = [np.diff(at)[np.diff(at) > 1] for at in places.values()]
        return np.concatenate(gaps).mean()

    assert interval(plan.examples[:, 0]) == pytest.approx(2 * interval(shown[:, 0]), rel=0.15)


def test_views_stand_beside_their_example():
    _, shown, plan = _views([180])
    np.testing.assert_array_equal(plan.examples[..., 1::2], plan.examples[..., ::2] + 180)
    np.testing.assert_array_equal(plan.examples[0, :, ::2], shown[0, :, :4])
    np.testing.assert_array_equal(plan.examples[1, :, ::2], shown[0, :, 4:])


@pytest.mark.parametrize(
    ("offsets", "message"),
    [([0, 0], "in 3 views"), ([400], "outside the pool"), ([-100], "outside"), ([1], "labels")],
)
def test_views_that_cannot_be(offsets, message):
    with pytest.raises(ValueError, match=message):
        _views(offsets)


def test_equal_views_agree():
    strategy, _, plan = _views([0, 0, 0])
    batch = batch_of(plan.examples[0], clouds())
    scores = networks().forward(clouds().rows(batch.examples))[-1]
    loss, delta = strategy.agreement(scores, batch)
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(delta, torch.zeros_like(delta), atol=1e-6, rtol=0)


def test_agreement_by_hand():
    """p1 = (3/4, 1/4) and p2 = (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2; one pair of two agrees."""
    strategy, _, plan = _views([180], batch=4, alpha=3.0)
    batch = batch_of(plan.examples[0], clouds())
    scores = torch.tensor([[3.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]).log().expand(3, 4, 2)
    loss, delta = strategy.agreement(scores, batch)
    kl = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    torch.testing.assert_close(loss, torch.full((3,), 3 * kl / 2, dtype=torch.float32))
    expected = torch.zeros(4, 2)
    expected[1] = 3 / 2 * torch.tensor([-0.25, 0.25])
    torch.testing.assert_close(delta[0], expected)


def test_agreement_is_differentiated_by_all_views_but_the_first():
    strategy, _, plan = _views([180, 180, 180])
    batch = batch_of(plan.examples[0], clouds())
    scores = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss, delta = strategy.agreement(scores, batch)
    log_p = torch.log_softmax(scores, -1).view(3, 2, 4, 4)
    first = log_p[:, :, :1].detach()
    kl = (first.exp() * (first - log_p[:, :, 1:])).sum(-1).mean((1, 2))
    torch.testing.assert_close(loss, kl.detach())
    kl.sum().backward()
    torch.testing.assert_close(delta.detach(), scores.grad, atol=1e-6, rtol=1e-4)


def test_views_over_replay_fill_its_buffer():
    strategy, _ = learned("view_batch", {"base": "er", "er": {"buffer": 20}, "offsets": [180]})
    assert strategy.below.buffers.seen == 3 * STEPS * BATCH
    assert (strategy.below.buffers.held >= 180).any()
