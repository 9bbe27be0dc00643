"""Primal-dual unlearning: its loss, and the weight that follows the constraint step by step."""

from __future__ import annotations

import copy

import pytest
import torch

from palimpsest.interventions.unlearning import pdu
from palimpsest.interventions.unlearning.pdu import SLACK
from tests.interventions.unlearning.worlds import (
    by_hand,
    killed_and_continued,
    made,
    scores_by_hand,
    sets,
    term,
    whole,
)


def test_pdu_flattens_and_follows_the_violation(tiny):
    method = made(tiny, "pdu", dual_step=2.0, dual_warmup=0, bound=0.0, retain_weight=1.0)
    examples = method.forgotten[:4]
    squares = []
    for each in examples:
        scores, _ = scores_by_hand(tiny, each)
        squares.append((scores.amax(-1) - scores.mean(-1)).square())
    assert term(method, examples) == pytest.approx(float(torch.cat(squares).mean()), rel=1e-4)
    lost = float(method.retain_term(whole(method, method.kept[:3])).detach())
    method._follow(tiny, 1)
    assert method.weight == pytest.approx(1 + 2.0 * lost, rel=1e-5)
    method.bound = 100.0
    method._follow(tiny, 2)
    assert method.weight == 0


def test_pdu_without_a_dual_step_has_fixed_weights(tiny):
    method = made(tiny, "pdu", dual_step=0.0, dual_warmup=0, retain_weight=0.7)
    method.retain_term(whole(method, method.kept[:3]))
    method._follow(tiny, 1)
    assert method.weight == 0.7
    # Nothing follows before the warm-up is over.
    method = made(tiny, "pdu", dual_warmup=1, bound=0.0, retain_weight=1.0)
    method.retain_term(whole(method, method.kept[:3]))
    method._follow(tiny, 1)
    assert method.weight == 1.0


def retained(tiny, method):
    """Mean loss of a token on the retained examples of a batch, and the squares on the others."""
    for number in range(method.settings.epochs):
        for batch in method.epoch(number):
            losses = torch.cat([-by_hand(tiny, e) for e in batch if e.role == "retain"])
            squares = []
            for each in batch:
                if each.role == "forget":
                    scores, _ = scores_by_hand(tiny, each)
                    squares.append((scores.amax(-1) - scores.mean(-1)).square())
            yield float(losses.mean()), float(torch.cat(squares).mean())


# With so small a learning rate the model stays what it was: losses can be foretold.
RESTING = {"learning_rate": 1e-12, "batch_size": 4, "dual_step": 2.0, "retain_weight": 3.0}


def test_the_weight_follows_once_a_step_after_the_warm_up(tiny):
    settings = {**RESTING, "epochs": 3, "dual_warmup": 1, "bound": 5.0, "forget_weight": 0.5}
    expected, weight = [], 3.0
    plan = list(retained(tiny, made(tiny, "pdu", **settings)))
    assert len(plan) == 6
    for number, (lost, squares) in enumerate(plan):
        expected.append(0.5 * squares + weight * lost)
        if number >= 2:
            weight += 2.0 * (lost - 5.0)
    method = pdu.method(tiny, sets(), pdu.Settings(**settings), seed=0)
    method.run()
    assert method.notes["losses"] == pytest.approx(expected, rel=1e-4)
    assert method.notes["retain_weight"] == pytest.approx(weight, rel=1e-4)


def test_a_batch_that_memory_cannot_hold_counts_once(tiny, monkeypatch):
    settings = pdu.Settings(**RESTING, epochs=1, dual_warmup=0, bound=0.0)
    found = []
    for failing in (None, 7):
        method = pdu.method(copy.deepcopy(tiny), sets(), settings, seed=0)
        monkeypatch.setattr(method, "_token_budget", lambda: 30)
        calls = []

        def loss(model, part, batch, method=method, failing=failing, calls=calls):
            calls.append(part)
            if len(calls) == failing:
                raise torch.OutOfMemoryError
            return pdu.method.loss(method, model, part, batch)

        method.loss = loss
        method.run()
        found.append((method.notes["retain_weight"], len(calls)))
    (weight, parts), (again, more) = found
    # Memory ran out after retained examples had been put through.
    assert more == parts + 7
    assert again == pytest.approx(weight, rel=1e-6)


def test_without_a_bound_the_model_as_it_was_sets_it(tiny):
    method = made(tiny, "pdu")
    losses = torch.cat([-by_hand(tiny, each) for each in method.kept])
    assert method.bound == pytest.approx(float(losses.mean()) + SLACK, rel=1e-5)
    # The divergence from the model as it was is 0 there.
    assert made(tiny, "pdu", retain_loss="kl").bound == SLACK


def test_a_killed_run_goes_on_with_its_weight(tiny, tmp_path, monkeypatch):
    settings = pdu.Settings(epochs=3, learning_rate=1e-3, batch_size=4, dual_warmup=0, bound=0.0)
    straight, again = killed_and_continued(tiny, pdu, settings, tmp_path, monkeypatch)
    assert again.notes["retain_weight"] == straight.notes["retain_weight"]
    assert straight.notes["retain_weight"] > settings.retain_weight
    assert again.notes["losses"] == straight.notes["losses"]
    both = zip(again.model.module.parameters(), straight.model.module.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in both)
