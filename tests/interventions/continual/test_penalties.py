"""Strategies that pull: informations, quadratics, path integrals, old answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from palimpsest.engine.ensemble_losses import squared_error
from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import Pool, accuracy, train
from palimpsest.interventions.continual import _fisher
from tests.interventions.continual.streams import (
    RATES,
    SEEDS,
    batch_of,
    clouds,
    learned,
    made,
    networks,
    same,
    tasks,
)

LINEAR = (12, 4)


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_information_of_logistic_regression():
    """Mean of p (1 - p) x x^T, its diagonal."""
    pool = Pool(_draw(50, 6), torch.randint(2, (50,)))
    ensemble = networks(sizes=(6, 2))
    weight, bias = _fisher.diagonal(ensemble, pool, torch.arange(50), "exact")
    p = torch.softmax(ensemble.forward(pool.inputs)[-1], -1)[..., 0]
    expected = torch.einsum("kn,ni->ki", p * (1 - p), pool.inputs.square()) / 50
    for label in range(2):
        torch.testing.assert_close(weight[..., label], expected)
        torch.testing.assert_close(bias[:, 0, label], (p * (1 - p)).mean(1))


def test_informations_against_autograd():
    pool, examples = clouds(), torch.arange(9)
    ensemble = networks()
    found = {
        kind: _fisher.diagonal(ensemble, pool, examples, kind, batch=4)
        for kind in ("exact", "empirical", "confident", "batched")
    }
    for model in range(3):
        own = [p[model].clone().requires_grad_() for p in ensemble.parameters()]

        def log_p(index, own=own):
            hidden = pool.inputs[index]
            for place in range(0, len(own), 2):
                hidden = hidden @ own[place] + own[place + 1][0]
                hidden = hidden.relu() if place + 2 < len(own) else hidden
            return torch.log_softmax(hidden, -1)

        sums = {kind: [torch.zeros_like(p) for p in own] for kind in found}

        def add(kind, value, share, own=own, sums=sums):
            gradients = torch.autograd.grad(value, own, retain_graph=True)
            for total, gradient in zip(sums[kind], gradients, strict=True):
                total += share * gradient.square()

        for example in range(9):
            each = log_p([example])[0]
            label = int(pool.labels[example])
            for answer in range(4):
                add("exact", each[answer], float(each[answer].detach().exp()) / 9)
            add("empirical", each[label], 1 / 9)
            add("confident", each[label], float(each[label].detach().exp()) / 9)
        for part in (range(4), range(4, 8), range(8, 9)):
            labels = pool.labels[list(part)]
            add("batched", log_p(list(part)).gather(1, labels[:, None]).mean(), 1 / 3)
        for kind, values in found.items():
            for ours, theirs in zip(values, sums[kind], strict=True):
                torch.testing.assert_close(ours[model], theirs, atol=1e-7, rtol=1e-4)


def test_where_informations_agree_and_where_not():
    pool, ensemble = clouds(), networks()
    examples = torch.arange(120)
    exact = _fisher.diagonal(ensemble, pool, examples, "exact")
    empirical = _fisher.diagonal(ensemble, pool, examples, "empirical")
    single = _fisher.diagonal(ensemble, pool, examples, "batched", batch=1)
    means = _fisher.diagonal(ensemble, pool, examples, "batched", batch=20)
    again = _fisher.diagonal(ensemble, pool, torch.zeros(40).long(), "batched", batch=20)
    one = _fisher.diagonal(ensemble, pool, torch.zeros(1).long(), "empirical")
    draw = generators(SEEDS, 0, 9)
    drawn = [_fisher.diagonal(ensemble, pool, examples, "sample", draw) for _ in range(60)]
    for place in range(len(exact)):
        torch.testing.assert_close(single[place], empirical[place], rtol=1e-4, atol=1e-8)
        # The gradient of a mean of equal examples is that of one.
        torch.testing.assert_close(again[place], one[place], rtol=1e-4, atol=1e-8)
        # Otherwise squares of means are smaller, which is the trap.
        assert means[place].sum() < empirical[place].sum() / 2
        mean = torch.stack([one[place] for one in drawn]).mean(0)
        assert float((mean - exact[place]).norm() / exact[place].norm()) < 0.05
        assert not torch.allclose(exact[place], empirical[place], rtol=0.05)


def test_what_is_learned_has_no_empirical_information():
    pool = clouds()
    ensemble = networks(rates=(0.2, 0.2, 0.2))
    shown = epochs(np.arange(60), 10, 900, generators(SEEDS, 0, 0))
    train(ensemble, pool, current_only(shown))
    examples = torch.arange(60)
    exact = _fisher.diagonal(ensemble, pool, examples, "exact")
    empirical = _fisher.diagonal(ensemble, pool, examples, "empirical")
    # p (1 - p) against (1 - p)^2 where p of the label is nearly 1.
    assert all(e.sum() > 5 * m.sum() for e, m in zip(exact, empirical, strict=True))


def _with_weights(strategy, values):
    for own, value in zip(strategy.ensemble.parameters(), values, strict=True):
        own.copy_(value)


@pytest.mark.parametrize("count", [2, 3])
def test_separate_quadratics_add_up(count):
    """Value and gradient of one merged quadratic are those of the sum, wherever the weights are."""
    strategy = made("ewc", {"strength": 3, "mode": "separate"}, ensemble=networks(sizes=LINEAR))
    shapes = [p.shape for p in strategy.ensemble.parameters()]
    minima = [[_draw(*shape, seed=10 * t) for shape in shapes] for t in range(count)]
    curves = [[_draw(*shape, seed=50 + t).square() for shape in shapes] for t in range(count)]
    curves[0][0][:, :3] = 0
    curves[1][0][:, 2:4] = 0
    for minimum, curve in zip(minima, curves, strict=True):
        _with_weights(strategy, minimum)
        strategy.consolidate([c.clone() for c in curve])
    weights = [_draw(*shape, seed=99) for shape in shapes]
    _with_weights(strategy, weights)
    batch = batch_of(torch.zeros(3, 1).long(), clouds())
    value, gradients = strategy.penalty(strategy.ensemble, batch)
    expected = torch.zeros(3)
    for place, weight in enumerate(weights):
        slope = torch.zeros_like(weight)
        for minimum, curve in zip(minima, curves, strict=True):
            away = weight - minimum[place]
            expected += 3 / 2 * (curve[place] * away.square()).sum((1, 2))
            slope += 3 * curve[place] * away
        torch.testing.assert_close(gradients[place], slope, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-4)


def test_two_quadratics_end_at_their_joint_minimum():
    """(H1 + H2)^-1 (H1 w1 + H2 w2), by descent on the second loss and the penalty."""
    strategy = made("ewc", {"strength": 1, "mode": "separate"}, ensemble=networks(sizes=LINEAR))
    ensemble = strategy.ensemble
    first = [p.clone() for p in ensemble.parameters()]
    one = [_draw(*p.shape, seed=1).square() + 0.1 for p in first]
    two = [_draw(*p.shape, seed=2).square() + 0.1 for p in first]
    second = [_draw(*p.shape, seed=3) for p in first]
    strategy.consolidate([h.clone() for h in one])
    batch = batch_of(torch.zeros(3, 1).long(), clouds())
    for _ in range(2000):
        _, pull = strategy.penalty(ensemble, batch)
        own = [h * (p - w) for h, p, w in zip(two, ensemble.parameters(), second, strict=True)]
        for p, g, q in zip(ensemble.parameters(), own, pull, strict=True):
            p.sub_(0.05 * (g + q))
    for p, h1, h2, w1, w2 in zip(ensemble.parameters(), one, two, first, second, strict=True):
        torch.testing.assert_close(p, (h1 * w1 + h2 * w2) / (h1 + h2), atol=1e-4, rtol=1e-4)


def test_online_equals_separate_after_one_task():
    online, first = learned("ewc", {"strength": 5, "mode": "online"}, number=2)
    separate, second = learned("ewc", {"strength": 5, "mode": "separate"}, number=2)
    assert same(online.ensemble, separate.ensemble)
    np.testing.assert_array_equal(first.losses[1], second.losses[1])
    third, _ = learned("ewc", {"strength": 5, "mode": "separate"})
    other, _ = learned("ewc", {"strength": 5, "mode": "online"})
    assert not same(third.ensemble, other.ensemble)


def test_the_past_decays():
    strategy = made("ewc", [{"decay": 0.5}, {"decay": 0}, {"decay": 1}])
    ones = [torch.ones_like(p) for p in strategy.ensemble.parameters()]
    strategy.consolidate([o.clone() for o in ones])
    strategy.consolidate([2 * o for o in ones])
    assert [float(strategy.importance[0][model].mean()) for model in range(3)] == [2.5, 2, 3]


def test_a_strong_pull_holds_weights():
    free, _ = learned("naive")
    held, _ = learned("ewc", {"strength": 10, "mode": "separate"})
    one, _ = learned("naive", number=1)

    def moved(strategy):
        pairs = zip(strategy.ensemble.parameters(), one.ensemble.parameters(), strict=True)
        return sum((a - b).square().sum((1, 2)) for a, b in pairs)

    assert (moved(held) < 0.85 * moved(free)).all()


def test_the_path_integral_is_the_decrease_of_the_loss():
    """On a quadratic, under small steps of full batches; the error shrinks with the step."""
    errors = []
    for rate, steps in ((0.02, 50), (0.002, 500)):
        pool = clouds()
        strategy = made("si", {}, ensemble=networks(rates=rate, sizes=LINEAR))
        targets = _draw(60, 4, seed=5).expand(3, 60, 4)

        def quadratic(group, scores, batch, targets=targets):
            return squared_error(scores, targets[: group.n], batch.weights)

        shown = np.broadcast_to(np.arange(60), (steps + 1, 3, 60))
        hooks = replace(strategy.hooks(), loss=quadratic)
        whole = current_only(shown)
        strategy.begin_task(tasks()[0])
        lost, _ = train(strategy.ensemble, pool, whole.between(0, steps), hooks, group=3)
        path = sum(omega.sum((1, 2)) for omega in strategy.omega)
        after, _ = train(strategy.ensemble, pool, whole.between(steps, steps + 1), hooks, group=3)
        decrease = torch.from_numpy(lost[0] - after[0])
        errors.append((path / decrease - 1).abs().max())
    assert errors[1] < 0.005
    assert errors[1] < errors[0] / 5


def test_the_path_integral_is_the_decrease_of_cross_entropy():
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


def test_the_path_integral_knows_no_penalty():
    """One step under a strong penalty: omega is -(task's gradient) * (whole change)."""
    pool = clouds()
    strategy = made("si", {"strength": 3})
    strategy.end_task(tasks()[0], None)
    for place, importance in enumerate(strategy.importance):
        importance.copy_(_draw(*importance.shape, seed=place).square())
        strategy.anchors[place] += 0.1
    before = [p.clone() for p in strategy.ensemble.parameters()]
    examples = np.arange(24).reshape(1, 3, 8)
    batch = batch_of(examples[0], pool)
    layers = strategy.ensemble.forward(pool.rows(batch.examples))
    delta = torch.softmax(layers[-1], -1)
    delta.scatter_add_(-1, batch.labels[..., None], -torch.ones(3, 8, 1))
    task = strategy.ensemble.gradients(layers, delta / 8)
    strategy.begin_task(tasks()[1])
    train(strategy.ensemble, pool, current_only(examples), strategy.hooks(), group=2)
    rate = torch.tensor(RATES)[:, None, None]
    for place, (old, new) in enumerate(zip(before, strategy.ensemble.parameters(), strict=True)):
        pull = 2 * 3 * strategy.importance[place] * (old - strategy.anchors[place])
        torch.testing.assert_close(new, old - rate * (task[place] + pull), atol=1e-6, rtol=1e-5)
        expected = -task[place] * (new - old)
        torch.testing.assert_close(strategy.omega[place], expected, atol=1e-8, rtol=1e-4)
        assert pull.abs().max() > task[place].abs().max()


def test_importance_by_hand():
    strategy = made("si", [{"damping": 0.5}, {"damping": 1}, {"damping": 2}])
    for omega, weight in zip(strategy.omega, strategy.ensemble.parameters(), strict=True):
        omega.fill_(3.0)
        weight += 0.5
    strategy.omega[0][:, 0] = -1
    strategy.end_task(tasks()[0], None)
    assert (strategy.importance[0][:, 0] == 0).all()
    for model, damping in enumerate((0.5, 1, 2)):
        torch.testing.assert_close(
            strategy.importance[1][model], torch.full((1, 10), 3 / (0.25 + damping))
        )
    assert same(strategy.ensemble, strategy.ensemble.copy())
    assert all(
        torch.equal(a, w)
        for a, w in zip(strategy.anchors, strategy.ensemble.parameters(), strict=True)
    )


def _distilled(block, allowed=None, number=1):
    strategy, _ = learned("lwf", block, number=number, pool=clouds(allowed))
    pool = strategy.pool
    batch = batch_of(np.arange(24).reshape(3, 8), pool)
    return strategy, batch, strategy.ensemble.forward(pool.rows(batch.examples))[-1]


def test_old_answers_that_are_present_ones_pull_nowhere():
    strategy, batch, scores = _distilled({"alpha": 2})
    _, delta = strategy.distil(strategy.ensemble, scores, batch)
    torch.testing.assert_close(delta, torch.zeros_like(delta), atol=1e-7, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_old_answers_are_softened(temperature):
    strategy, batch, old = _distilled(
        [{"alpha": a, "temperature": temperature} for a in (0.5, 1, 2)]
    )
    scores = (old + _draw(3, 8, 4)).requires_grad_()
    loss, delta = strategy.distil(strategy.ensemble, scores, batch)
    wanted = torch.softmax(old / temperature, -1)
    each = -(wanted * torch.log_softmax(scores / temperature, -1)).sum(-1).mean(1)
    expected = torch.tensor([0.5, 1.0, 2.0]) * each
    torch.testing.assert_close(loss, expected)
    expected.sum().backward()
    torch.testing.assert_close(delta.detach(), scores.grad, atol=1e-7, rtol=1e-4)


def test_old_answers_are_those_over_past_classes():
    """Class 3 is not in the tasks so far: nothing is asked of it."""
    strategy = made("lwf", {"alpha": 1})
    pool = strategy.pool
    object.__setattr__(pool, "labels", pool.labels.clamp_max(2))
    strategy.end_task(tasks()[0], None)
    assert strategy.heads[0].tolist() == [[True, True, True, False]] * 3
    batch = batch_of(np.arange(24).reshape(3, 8), pool)
    scores = strategy.ensemble.forward(pool.rows(batch.examples))[-1] + _draw(3, 8, 4)
    _, delta = strategy.distil(strategy.ensemble, scores, batch)
    assert (delta[..., 3] == 0).all()
    assert (delta[..., :3].abs().sum(-1) > 0).all()
    pool.labels[60:120] = 3
    strategy.end_task(tasks()[1], None)
    assert strategy.heads[0].tolist() == [[True] * 4] * 3


def test_each_past_head_answers_alone():
    allowed = torch.zeros(360, 4, dtype=torch.bool)
    task = torch.arange(360) % 180 // 60
    allowed[task == 0, :2] = True
    allowed[task != 0, 2:] = True
    strategy = made("lwf", {"alpha": 1}, pool=clouds(allowed))
    strategy.end_task(tasks()[0], None)
    strategy.end_task(tasks()[1], None)
    strategy.end_task(tasks()[2], None)
    assert [head.tolist() for head in strategy.heads] == [[[1, 1, 0, 0]] * 3, [[0, 0, 1, 1]] * 3]
    batch = batch_of(np.arange(24).reshape(3, 8), strategy.pool)
    old = strategy.ensemble.forward(strategy.pool.rows(batch.examples))[-1]
    scores = old + _draw(3, 8, 4)
    loss, _ = strategy.distil(strategy.ensemble, scores, batch)
    each = [
        -(torch.softmax(old[..., h] / 2, -1) * torch.log_softmax(scores[..., h] / 2, -1)).sum(-1)
        for h in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(loss, (sum(each) / 2).mean(1))
