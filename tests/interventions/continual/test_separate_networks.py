"""Strategies for an ensemble against single networks with autograd, on the same plans."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from palimpsest.interventions.continual._learning import learn
from tests.engine.separate_networks import assert_equal, network_of
from tests.interventions.continual.streams import (
    BATCH,
    RATES,
    SEEDS,
    SIZES,
    STEPS,
    clouds,
    kept_plans,
    made,
    tasks,
)

MODEL = 1


@pytest.fixture
def pool():
    return clouds()


def _learned(name, block, pool):
    """The strategy after three tasks, the plans of one network, and A-GEM's references."""
    strategy = made(name, block, pool)
    plans, references = kept_plans(strategy), []
    begin = strategy.begin_task

    def begin_task(task):
        begin(task)
        reference = getattr(strategy, "reference", None)
        references.append(None if reference is None else reference[:, MODEL])

    strategy.begin_task = begin_task
    record = learn(strategy, tasks(), STEPS, BATCH, group=2)
    losses = [lost[:, MODEL] for lost in record.losses]
    return strategy, [plan.of(slice(MODEL, MODEL + 1)) for plan in plans], losses, references


def _gradients(network, loss):
    return torch.autograd.grad(loss, list(network.parameters()))


def _descend(network, gradients):
    with torch.no_grad():
        for weight, gradient in zip(network.parameters(), gradients, strict=True):
            weight -= RATES[MODEL] * gradient


def _loss(network, pool, index):
    index = torch.as_tensor(index)
    return nn.functional.cross_entropy(network(pool.inputs[index]), pool.labels[index])


def _copies(network):
    return [p.detach().clone() for p in network.parameters()]


def test_experience_replay(pool):
    block = {"buffer": 15, "rehearsed": 4}
    strategy, plans, losses, _ = _learned("er", block, pool)
    network, held = network_of(SEEDS[MODEL], SIZES), {}
    for plan, lost in zip(plans, losses, strict=True):
        for step in range(STEPS):
            current, slots = plan.examples[step, 0, :8], plan.slots[step, 0, 8:]
            rehearsed = [held[slot] for slot in slots if slot >= 0]
            loss = _loss(network, pool, [*current.tolist(), *rehearsed])
            _descend(network, _gradients(network, loss))
            assert lost[step] == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
            for example, slot in zip(current.tolist(), plan.writes[step, 0], strict=False):
                if slot >= 0:
                    held[slot] = example
    assert_equal(strategy.ensemble, MODEL, network, 1e-5)


def _information(network, pool, examples):
    """Exact diagonal of the Fisher information, answer by answer."""
    total = [torch.zeros_like(p) for p in network.parameters()]
    for example in examples:
        log_p = torch.log_softmax(network(pool.inputs[example]), -1)
        for answer in range(len(log_p)):
            gradients = torch.autograd.grad(
                log_p[answer], list(network.parameters()), retain_graph=True
            )
            for own, gradient in zip(total, gradients, strict=True):
                own += log_p[answer].detach().exp() * gradient.square() / len(examples)
    return total


@pytest.mark.parametrize("mode", ["online", "separate"])
def test_elastic_weights(pool, mode):
    strength, decay = 6.0, 0.8
    block = {"strength": strength, "decay": decay, "mode": mode}
    strategy, plans, losses, _ = _learned("ewc", block, pool)
    network, past = network_of(SEEDS[MODEL], SIZES), []
    for plan, lost, task in zip(plans, losses, tasks(), strict=True):
        for step in range(STEPS):
            loss = _loss(network, pool, plan.examples[step, 0])
            for information, anchors in past:
                for weight, f, anchor in zip(
                    network.parameters(), information, anchors, strict=True
                ):
                    loss = loss + strength / 2 * (f * (weight - anchor).square()).sum()
            _descend(network, _gradients(network, loss))
            assert lost[step] == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
        information, anchors = _information(network, pool, task.train), _copies(network)
        if past and mode == "online":
            old = past.pop()[0]
            information = [decay * a + b for a, b in zip(old, information, strict=True)]
        past.append((information, anchors))
    assert_equal(strategy.ensemble, MODEL, network, 1e-5)


def test_synaptic_intelligence(pool):
    strength, damping = 2.0, 0.1
    block = {"strength": strength, "damping": damping}
    strategy, plans, losses, _ = _learned("si", block, pool)
    network = network_of(SEEDS[MODEL], SIZES)
    importance = [torch.zeros_like(p) for p in network.parameters()]
    anchors = _copies(network)
    for plan, lost in zip(plans, losses, strict=True):
        omega = [torch.zeros_like(p) for p in importance]
        for step in range(STEPS):
            own = _loss(network, pool, plan.examples[step, 0])
            task = _gradients(network, own)
            penalty = strength * sum(
                (i * (w - a).square()).sum()
                for i, w, a in zip(importance, network.parameters(), anchors, strict=True)
            )
            pull = _gradients(network, penalty)
            before = _copies(network)
            _descend(network, [g + p for g, p in zip(task, pull, strict=True)])
            for total, gradient, old, new in zip(
                omega, task, before, network.parameters(), strict=True
            ):
                total -= gradient * (new.detach() - old)
            loss = float((own + penalty).detach())
            assert lost[step] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        for place, new in enumerate(_copies(network)):
            moved = (new - anchors[place]).square()
            importance[place] += omega[place].clamp_min(0) / (moved + damping)
        anchors = _copies(network)
    assert_equal(strategy.ensemble, MODEL, network, 1e-5)


def test_learning_without_forgetting(pool):
    block = {"alpha": 0.7, "temperature": 3}
    strategy, plans, losses, _ = _learned("lwf", block, pool)
    network, old = network_of(SEEDS[MODEL], SIZES), None
    for plan, lost in zip(plans, losses, strict=True):
        for step in range(STEPS):
            index = torch.from_numpy(plan.examples[step, 0])
            loss = _loss(network, pool, index)
            if old is not None:
                wanted = torch.softmax(old(pool.inputs[index]) / 3, -1).detach()
                now = torch.log_softmax(network(pool.inputs[index]) / 3, -1)
                loss = loss - 0.7 * (wanted * now).sum(-1).mean()
            _descend(network, _gradients(network, loss))
            assert lost[step] == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
        old = copy.deepcopy(network)
    assert_equal(strategy.ensemble, MODEL, network, 1e-5)


def test_gradients_on_a_memory(pool):
    block = {"per_task": 12, "sample": 10}
    strategy, plans, losses, references = _learned("agem", block, pool)
    network, projected = network_of(SEEDS[MODEL], SIZES), 0
    for plan, lost, reference in zip(plans, losses, references, strict=True):
        for step in range(STEPS):
            loss = _loss(network, pool, plan.examples[step, 0])
            gradients = _gradients(network, loss)
            if reference is not None:
                own = torch.cat([g.flatten() for g in gradients])
                towards = _gradients(network, _loss(network, pool, reference[step]))
                other = torch.cat([g.flatten() for g in towards])
                if own @ other < 0:
                    projected += 1
                    factor = own @ other / (other @ other)
                    gradients = [g - factor * r for g, r in zip(gradients, towards, strict=True)]
            _descend(network, gradients)
            assert lost[step] == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
    assert projected > 3
    assert_equal(strategy.ensemble, MODEL, network, 1e-5)
