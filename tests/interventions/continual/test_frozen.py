"""Half fine-tuning and KappaTune: what is frozen keeps every bit, whatever the optimiser does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palimpsest.interventions.continual._frozen import part_of
from palimpsest.interventions.continual._learning import learn
from palimpsest.interventions.continual.kappatune import condition
from tests.interventions.continual.streams import (
    BATCH,
    RATES,
    SIZES,
    STEPS,
    clouds,
    learned,
    made,
    networks,
    past_returns,
    same,
    tasks,
)

OPTIMIZERS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "adam", "weight_decay": 0.1},
]


def _watched(name, block, number=3, **options):
    """A stream; for each task the masks, and the weights before and after it."""
    rates = [rate / 10 for rate in RATES] if options else RATES
    strategy = made(name, block, ensemble=networks(rates=rates, **options))
    seen, begin = [], strategy.begin_task

    def begin_task(task):
        begin(task)
        frozen = strategy.frozen and [
            f.expand_as(p)
            for f, p in zip(strategy.frozen, strategy.ensemble.parameters(), strict=True)
        ]
        seen.append([frozen, [p.clone() for p in strategy.ensemble.parameters()]])

    strategy.begin_task = begin_task
    learn(
        strategy,
        tasks(number),
        STEPS,
        BATCH,
        past_returns,
        group=2,
        after=lambda task: seen[-1].append([p.clone() for p in strategy.ensemble.parameters()]),
    )
    return strategy, seen


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("hft", {}),
        ("hft", {"granularity": "layer", "whole_first": False}),
        ("kappatune", {"rows": 2, "share": 0.4}),
    ],
)
def test_frozen_weights_keep_every_bit(name, block, options):
    strategy, seen = _watched(name, block, **options)
    for number, (frozen, before, after) in enumerate(seen):
        if not number and block.get("whole_first", True):
            assert frozen is None
            continue
        assert any(f.any() for f in frozen)
        if number == len(seen) - 1:
            share = 1 - sum(int(f[0].sum()) for f in frozen) / sum(p[0].numel() for p in after)
            assert float(strategy.share_trained[0]) == pytest.approx(share)
        for still, old, new in zip(frozen, before, after, strict=True):
            assert torch.equal(old[still], new[still])
            # ReLU may leave some free weights without a gradient.
            assert still.all() or (old[~still] != new[~still]).float().mean() > 0.5
        for memory in strategy.ensemble._memory:
            for own, still in zip(memory, strategy.frozen, strict=True):
                assert (own[still.expand_as(own)] == 0).all()


def test_half_of_the_units_of_every_layer():
    strategy, seen = _watched("hft", {})
    for frozen, _, _ in seen[1:]:
        for layer, width in enumerate(SIZES[1:]):
            weight, bias = frozen[2 * layer : 2 * layer + 2]
            assert torch.equal(weight[:, :1], bias)
            assert bias.sum(2).flatten().tolist() == [width // 2] * 3
            assert (weight == weight[:, :1]).all()
    assert strategy.share_trained.tolist() == [0.5] * 3


def test_the_share_that_is_really_trained():
    """Of 12-10-8-4: 130, 88 and 36 parameters, 254 in all."""
    blocks = [{"share": share, "whole_first": False} for share in (0.3, 0, 1)]
    strategy, _ = _watched("hft", blocks, number=1)
    # 3 of 10 units with 13 parameters, 2 of 8 with 11, 1 of 4 with 9.
    assert strategy.share_trained.tolist() == pytest.approx([(39 + 22 + 9) / 254, 0, 1])
    free = {"head": "free", "whole_first": False}
    strategy, seen = _watched("hft", free, number=1)
    assert not seen[0][0][4].any()
    assert strategy.share_trained.tolist() == pytest.approx([(65 + 44 + 36) / 254] * 3)
    layers = {"granularity": "layer", "share": 1 / 3, "whole_first": False}
    strategy, _ = _watched("hft", layers, number=1)
    assert all(
        min(abs(share - size / 254) for size in (130, 88, 36)) < 1e-6
        for share in strategy.share_trained.tolist()
    )
    strategy, _ = learned("hft", number=1)
    assert strategy.share_trained.tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["hft", "kappatune"])
def test_nothing_trained_is_unchanged_and_everything_is_plain(name):
    none, _ = learned(name, {"share": 0, "whole_first": False})
    assert same(none.ensemble, networks())
    every, _ = learned(name, {"share": 1, "whole_first": False})
    plain, _ = learned("naive")
    assert same(every.ensemble, plain.ensemble)


@pytest.mark.parametrize("resample", ["task", "never"])
def test_every_task_has_its_own_half(resample):
    _, seen = _watched("hft", {"resample": resample, "whole_first": False})
    first, second, third = (torch.cat([f.flatten(1) for f in frozen], 1) for frozen, _, _ in seen)
    assert torch.equal(first, second) == (resample == "never")
    assert torch.equal(second, third) == (resample == "never")
    assert not torch.equal(first[0], first[1])


def test_over_many_tasks_every_unit_is_trained_half_the_time():
    strategy = made("hft", {"whole_first": False})
    total = 0
    for number in range(200):
        task = type(tasks()[0])(number, tasks()[0].train, tasks()[0].test)
        total = total + strategy.choose(task)[0].float()
    assert (total / 200 - 0.5).abs().max() < 0.15


def test_condition_numbers_of_known_matrices():
    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0] for _ in range(2)
    )
    diagonal = torch.diag(torch.arange(1, 7).double())
    matrices = torch.stack(
        [one, diagonal, 7 * diagonal, one @ diagonal @ other, torch.zeros(6, 6).fill_(1).double()]
    )
    found = condition(matrices)
    expected = torch.tensor([1, 6, 6, 6]).double()
    torch.testing.assert_close(found[:4], expected, rtol=1e-6, atol=0)
    assert found[4] > 1e10
    assert condition(torch.diag(torch.tensor([2.0, 0]))[None]).tolist() == [math.inf]


def test_entropy_is_largest_where_all_singular_values_are_equal():
    """The method's reason: at one norm, the sum of their logarithms falls as they differ."""
    values = torch.rand(200, 8, generator=torch.Generator().manual_seed(0)) + 0.05
    values = values / values.norm(dim=1, keepdim=True)
    assert (values.log().sum(1) <= 8 * math.log(1 / math.sqrt(8)) + 1e-6).all()


def test_blocks_of_nearly_equal_size():
    strategy = made("kappatune", {"rows": 3})
    assert [b.shape[2] for b in strategy.blocks(strategy.ensemble.weights[0])] == [4, 3, 3]
    assert [b.shape[2] for b in strategy.blocks(strategy.ensemble.weights[2])] == [4]


@pytest.mark.parametrize("choice", ["lowest", "highest", "random"])
def test_the_blocks_with_the_least_condition_numbers_are_trained(choice):
    """Eleven blocks of two rows: 5, 4 and 2 of the layers; three are trained."""
    strategy = made("kappatune", {"rows": 2, "share": 0.3, "choice": choice})
    frozen = strategy.choose(tasks()[0])
    assert strategy.conditions.shape == (3, 11)
    for model in range(3):
        blocks = []
        for layer, weight in enumerate(strategy.ensemble.weights):
            for place, block in enumerate(strategy.blocks(weight)):
                values = np.linalg.svd(block[model].numpy(), compute_uv=False)
                mask = frozen[2 * layer][model, 0, 2 * place : 2 * place + 2]
                assert len(set(mask.tolist())) == 1
                assert torch.equal(frozen[2 * layer + 1][model], frozen[2 * layer][model])
                blocks.append((values[0] / values[-1], not mask[0]))
        chosen = [number for number, trained in blocks if trained]
        assert len(chosen) == part_of(0.3, 11) == 3
        numbers = sorted(number for number, _ in blocks)
        if choice != "random":
            expected = numbers[:3] if choice == "lowest" else numbers[-3:]
            assert sorted(chosen) == expected


def test_blocks_are_chosen_again_by_the_weights_that_are_there():
    _, seen = _watched("kappatune", {"rows": 2, "share": 0.5, "whole_first": False})
    first, second, _ = (torch.cat([f.flatten(1) for f in frozen], 1) for frozen, _, _ in seen)
    assert not torch.equal(first, second)
    block = {"rows": 2, "share": 0.5, "whole_first": False, "again": False}
    _, seen = _watched("kappatune", block)
    first, second, _ = (torch.cat([f.flatten(1) for f in frozen], 1) for frozen, _, _ in seen)
    assert torch.equal(first, second)


def test_frozen_training_is_descent_in_the_free_units_alone():
    """A linear network against autograd and steps of its free units."""
    strategy = made("hft", {"whole_first": False}, ensemble=networks(sizes=(12, 4)))
    plans, plan = [], strategy.plan
    strategy.plan = lambda *args: plans.append(plan(*args)) or plans[-1]
    start = [p.clone() for p in strategy.ensemble.parameters()]
    learn(strategy, tasks(1), 200, BATCH, group=3)
    pool, frozen = clouds(), strategy.frozen[0]
    for model in range(3):
        weight, bias = (p[model].clone().requires_grad_() for p in start)
        free = (~frozen[model]).float()
        for step in range(200):
            index = torch.from_numpy(plans[0].examples[step, model])
            scores = pool.inputs[index] @ weight + bias
            loss = torch.nn.functional.cross_entropy(scores, pool.labels[index])
            gradients = torch.autograd.grad(loss, (weight, bias))
            with torch.no_grad():
                for p, g in zip((weight, bias), gradients, strict=True):
                    p -= RATES[model] * g * free
        torch.testing.assert_close(
            strategy.ensemble.weights[0][model], weight.detach(), atol=1e-4, rtol=1e-4
        )
