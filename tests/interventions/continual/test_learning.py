"""The loop over a stream of tasks, and joint training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import accuracy, train
from palimpsest.interventions.continual._base import EXPERIENCE, SHOWN, Task
from palimpsest.interventions.continual._learning import Traced, learn, plain
from tests.interventions.continual.streams import (
    BATCH,
    SEEDS,
    STEPS,
    clouds,
    kept_plans,
    learned,
    made,
    networks,
    past_returns,
    same,
    tasks,
)


def _tested(ensemble, pool):
    sets = {str(task.number): torch.from_numpy(task.test) for task in tasks()}
    return accuracy(ensemble, pool, sets)


def test_the_matrices_are_those_of_a_loop_by_hand():
    strategy, record = learned("naive")
    pool, ensemble = clouds(), networks()
    before = _tested(ensemble, pool)
    np.testing.assert_array_equal(record.baseline, before[0])
    np.testing.assert_array_equal(record.baseline_loss, before[1])
    for task in tasks():
        shown = epochs(task.train, BATCH, STEPS, generators(SEEDS, task.number, SHOWN))
        plan = past_returns(task, shown, generators(SEEDS, task.number, EXPERIENCE))
        lost, _ = train(ensemble, pool, plan, group=3)
        right, loss = _tested(ensemble, pool)
        np.testing.assert_array_equal(record.accuracy[:, task.number], right)
        np.testing.assert_array_equal(record.loss[:, task.number], loss)
        np.testing.assert_array_equal(record.losses[task.number], lost)
    assert same(strategy.ensemble, ensemble)
    assert record.failures == []


def test_it_learns_and_forgets():
    options = {"ensemble": networks(rates=(0.2, 0.2, 0.2)), "steps": 100, "experience": plain}
    _, record = learned("naive", **options)
    own = record.accuracy[:, range(3), range(3)]
    assert (own > 0.9).all()
    assert (record.accuracy[:, 2, 0] < own[:, 0]).all()


def test_traces():
    part = tasks()[1].test[:17]
    sets = [Traced(tasks()[0].test), Traced(part)]
    _, record = learned("naive", at=(STEPS, 2, 99), traced=sets)
    assert record.traces.shape == (3, 3, 3, 2, 2)
    assert np.isnan(record.traces[:, :, 2]).all()
    assert np.isfinite(record.traces[:, :, :2]).all()
    np.testing.assert_array_equal(record.traces[:, :, 1, 0, 0], record.accuracy[:, :, 0])
    np.testing.assert_array_equal(record.traces[:, :, 1, 0, 1], record.loss[:, :, 0])
    _, other = learned("naive", at=(2,))
    assert other.traces.shape == (3, 3, 1, 3, 2)
    np.testing.assert_array_equal(other.traces[:, :, 0, 0], record.traces[:, :, 0, 0])
    _, none = learned("naive")
    assert none.traces.size == 0


def test_a_set_is_traced_during_its_tasks_and_before_their_first_step():
    sets = [Traced(tasks()[1].test, 1, 1), Traced(tasks()[0].test, 1)]
    _, record = learned("naive", at=(0, 2, STEPS), traced=sets)
    there = np.isfinite(record.traces[0, :, :, :, 0])
    assert there[1].all()
    assert not there[0].any()
    assert not there[2, :, 0].any()
    assert there[2, :, 1].all()
    np.testing.assert_array_equal(record.traces[:, 1, 0, 0, 0], record.accuracy[:, 0, 1])
    np.testing.assert_array_equal(record.traces[:, 2, 0, 1, 0], record.accuracy[:, 1, 0])


def test_networks_with_streams_of_their_own_learn_as_alone():
    """Rows of examples, one a network, in any grouping: what each would learn by itself."""
    turned = [
        Task(t.number, *(np.stack([p, p[::-1], p]) for p in (t.train, t.test))) for t in tasks()
    ]
    whole = made("naive", {})
    found = learn(whole, turned, STEPS, BATCH, past_returns, at=(0, 2), group=2)
    for model in range(3):
        own = [Task(t.number, t.train[model], t.test[model]) for t in turned]
        single = learn(made("naive", {}), own, STEPS, BATCH, past_returns, at=(0, 2), group=3)
        np.testing.assert_array_equal(found.accuracy[model], single.accuracy[model])
        np.testing.assert_array_equal(found.traces[model], single.traces[model])


def test_only_tasks_so_far_and_the_next_are_judged():
    _, whole = learned("naive")
    _, record = learned("naive", everything=False)
    assert np.isnan(record.accuracy[:, 0, 2]).all()
    known = np.isfinite(record.accuracy)
    assert known.sum() == 3 * 8
    np.testing.assert_array_equal(record.accuracy[known], whole.accuracy[known])


def test_a_strategy_that_trains_no_network_leaves_no_trace():
    _, record = learned("gdumb", {"buffer": 20}, at=(2,))
    assert np.isnan(record.traces).all()
    assert [len(lost) for lost in record.losses] == [0, 0, 0]
    np.testing.assert_array_equal(record.baseline, _tested(networks(), clouds())[0])


def test_failures_count_steps_from_the_start_of_the_stream():
    ensemble = networks(rates=(0.1, 0.05, 0.2))
    strategy = made("naive", {}, ensemble=ensemble)

    def break_one(task):
        if task.number == 0:
            ensemble.learning_rate[2] = 1e30

    record = learn(strategy, tasks(), STEPS, BATCH, after=break_one)
    (failure,) = record.failures
    assert failure.model == 2
    assert STEPS < failure.step < 2 * STEPS


def test_tasks_come_in_their_order():
    with pytest.raises(ValueError, match="numbered from 0"):
        learn(made("naive", {}), tasks()[1:], STEPS, BATCH)


def test_training_jointly_on_one_task_is_plain_training():
    plain_one, expected = learned("naive", number=1)
    joint, found = learned("joint", number=1)
    assert same(plain_one.ensemble, joint.ensemble)
    np.testing.assert_array_equal(expected.loss, found.loss)


@pytest.mark.parametrize("longer", [True, False])
def test_joint_training_shows_all_tasks_so_far_alike(longer):
    strategy = made("joint", {"as_many_epochs": longer})
    plans = kept_plans(strategy)
    learn(strategy, tasks(), 15, 4, past_returns)
    assert [len(plan) for plan in plans] == ([15, 30, 45] if longer else [15, 15, 15])
    last = plans[-1].examples[:, 1].ravel()
    counts = np.bincount(last, minlength=180)
    if longer:
        assert (counts == 1).all()
    else:
        assert len(set(last.tolist())) == 60
        assert (counts.reshape(3, 60).sum(1) > 10).all()
    assert plans[-1].examples.shape[2] == 4


def test_joint_training_forgets_less():
    _, sequential = learned("naive", steps=60, experience=plain)
    _, jointly = learned("joint", steps=60, experience=plain)
    assert (jointly.accuracy[:, -1].mean(1) > sequential.accuracy[:, -1].mean(1) + 0.1).all()


def test_environments_say_what_is_shown():
    seen = []

    def environment(task, shown, draw):
        seen.append((task.number, shown.shape, len(draw)))
        return current_only(shown)

    learned("naive", experience=environment)
    assert seen == [(number, (STEPS, 3, BATCH), 3) for number in range(3)]
