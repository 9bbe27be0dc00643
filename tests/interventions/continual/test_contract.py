"""What holds for every strategy: nothing of it is plain training, and networks are on their own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from palimpsest import discovery
from palimpsest.identity import code_fingerprint
from palimpsest.interventions.continual._base import Strategy
from tests.interventions.continual.streams import (
    RATES,
    SEEDS,
    clouds,
    learned,
    made,
    networks,
    past_returns,
    same,
)

#: Settings in which a strategy is plain training.
NOTHING = {
    "naive": {},
    "er": {"buffer": 0},
    "der": {"buffer": 0},
    "derpp": {"buffer": 0},
    "ewc": {"strength": 0},
    "si": {"strength": 0},
    "lwf": {"alpha": 0},
    "agem": {"per_task": 0},
    "hft": {"share": 1},
    "kappatune": {"share": 1, "rows": 2},
    "refresh": {"base": "none", "delta": 0},
    "fpf": {"steps": 0},
    "view_batch": {"offsets": [], "alpha": 0},
}

#: Settings in which it does something, within the short streams of these tests.
SOMETHING = {
    "naive": {},
    "joint": {},
    "er": {"buffer": 20},
    "der": {"buffer": 20, "alpha": 0.5},
    "derpp": {"buffer": 20, "alpha": 0.5, "beta": 0.7},
    "ewc": {"strength": 5, "mode": "separate", "fisher": "sample", "fisher_examples": 40},
    "si": {"strength": 2, "damping": 0.1},
    "lwf": {"alpha": 1},
    "agem": {"per_task": 20, "sample": 30},
    "gdumb": {"buffer": 20},
    "hft": {"whole_first": False},
    "kappatune": {"share": 0.5, "rows": 2},
    "refresh": {"base": "derpp", "derpp": {"buffer": 20}, "delta": 0.01},
    "fpf": {"mode": "kfpf", "k": 2, "buffer": 20, "steps": 3, "rate": 0.05},
    "view_batch": {"base": "er", "er": {"buffer": 20}, "offsets": [180], "alpha": 2},
}

#: Settings with the field that says how much a strategy does, where networks may differ in it.
#: Not those with a buffer: its batches are longer, so that sums are rounded otherwise.
STRENGTHS = {
    "ewc": ({}, "strength"),
    "si": ({}, "strength"),
    "lwf": ({}, "alpha"),
    "hft": ({}, "share"),
    "kappatune": ({}, "share"),
    "refresh": ({"base": "none"}, "delta"),
}
OPTIMIZERS = [
    {},
    {"weight_decay": 0.01},
    {"momentum": 0.9, "weight_decay": 0.01},
    {"optimizer": "adam"},
]


def _rates(options):
    return [rate / 10 for rate in RATES] if options.keys() & {"momentum", "optimizer"} else RATES


def test_every_strategy_is_tested_here():
    assert set(SOMETHING) == set(discovery.strategies())
    assert set(NOTHING) == set(SOMETHING) - {"joint", "gdumb"}


@pytest.mark.parametrize("name", SOMETHING)
def test_every_strategy_keeps_its_contract(name):
    module = discovery.strategy(name)
    assert module.__doc__
    assert module.Settings.__doc__
    assert isinstance(module.VERSION, int)
    assert code_fingerprint(f"interventions.continual.{name}")
    for key, field in module.Settings.model_fields.items():
        assert field.description, key
    with pytest.raises(ValidationError, match="Extra inputs"):
        module.Settings(unknown=1)
    assert isinstance(made(name, SOMETHING[name]), Strategy)
    with pytest.raises(ValueError, match="1 settings and 3 seeds for 3 networks"):
        module.strategy([module.Settings()], networks(), clouds(), SEEDS)


def test_settings_are_read_without_torch():
    modules = [f"palimpsest.interventions.continual.{name}" for name in SOMETHING]
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m).Settings()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_of_a_strategy_is_plain_training_to_the_bit(name, options):
    rates = _rates(options)
    plain, expected = learned("naive", ensemble=networks(rates=rates, **options), group=2)
    other, found = learned(name, NOTHING[name], ensemble=networks(rates=rates, **options), group=2)
    assert same(plain.ensemble, other.ensemble)
    np.testing.assert_array_equal(expected.accuracy, found.accuracy)
    np.testing.assert_allclose(np.concatenate(expected.losses), np.concatenate(found.losses))


@pytest.mark.parametrize("options", OPTIMIZERS[:3:2], ids=str)
@pytest.mark.parametrize("name", STRENGTHS)
def test_nothing_beside_networks_with_something(name, options):
    """Networks may differ in strength; one that has none keeps the bits of plain training."""
    rates = _rates(options)
    more, field = STRENGTHS[name]
    strong = SOMETHING[name] | more
    weak = strong | {field: NOTHING[name][field]}
    plain, _ = learned("naive", ensemble=networks(rates=rates, **options))
    mixed, _ = learned(name, [strong, weak, strong], ensemble=networks(rates=rates, **options))
    assert same(plain.ensemble, mixed.ensemble, slice(1, 2), slice(1, 2))
    assert not same(plain.ensemble, mixed.ensemble, slice(0, 1), slice(0, 1))


@pytest.mark.parametrize("name", sorted(set(SOMETHING) - {"naive", "gdumb"}))
def test_something_is_not_plain_training(name):
    plain, _ = learned("naive", number=2)
    other, record = learned(name, SOMETHING[name], number=2)
    assert not same(plain.ensemble, other.ensemble)
    assert np.isfinite(np.concatenate(record.losses)).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SOMETHING)
def test_a_network_does_not_depend_on_its_neighbours(name, threads):
    """To the bit: alone, beside others, and in groups of any size."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    whole, record = learned(name, SOMETHING[name], group=3, at=(1, 5))
    for group in (1, 2):
        split, other = learned(name, SOMETHING[name], group=group, at=(1, 5))
        assert same(whole.reader(), split.reader())
        np.testing.assert_array_equal(record.accuracy, other.accuracy)
        np.testing.assert_array_equal(record.loss, other.loss)
        np.testing.assert_array_equal(record.traces, other.traces)
    alone, other = learned(
        name, SOMETHING[name], seeds=SEEDS[1:2], ensemble=networks(SEEDS[1:2], RATES[1:2])
    )
    assert same(whole.reader(), alone.reader(), slice(1, 2))
    np.testing.assert_array_equal(record.accuracy[1:2], other.accuracy)
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["agem", "refresh", "ewc", "si"])
def test_neither_do_wide_ones(name, threads):
    """Where one network is large enough for a sum to be split between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    sizes, pool = (300, 150, 4), clouds(width=300)
    options = {"number": 2, "steps": 4, "pool": pool}
    whole, _ = learned(name, SOMETHING[name], ensemble=networks(sizes=sizes), **options)
    alone, _ = learned(
        name,
        SOMETHING[name],
        seeds=SEEDS[2:],
        ensemble=networks(SEEDS[2:], RATES[2:], sizes),
        **options,
    )
    assert same(whole.ensemble, alone.ensemble, slice(2, 3))
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SOMETHING)
def test_a_network_that_fails_disturbs_no_other(name):
    """Network 1 diverges at once; its weights stay finite and the others keep every bit."""
    good, expected = learned(name, SOMETHING[name], group=2)
    bad, found = learned(
        name, SOMETHING[name], group=2, ensemble=networks(rates=(RATES[0], 1e30, RATES[2]))
    )
    assert [failure.model for failure in found.failures] == [1]
    others = [0, 2]
    assert same(good.reader(), bad.reader(), others, others)
    np.testing.assert_array_equal(expected.loss[others], found.loss[others])
    for lost, other in zip(expected.losses, found.losses, strict=True):
        np.testing.assert_array_equal(lost[:, others], other[:, others])
    assert all(torch.isfinite(p).all() for p in bad.reader().parameters())


@pytest.mark.parametrize("name", SOMETHING)
def test_heads_of_their_own(name):
    """Classes that do not exist for an example: each task has two of four."""
    allowed = torch.zeros(360, 4, dtype=torch.bool)
    task = torch.arange(360) % 180 // 60
    allowed[task == 1, 2:] = True
    allowed[task != 1, :2] = True
    pool = clouds()
    labels = pool.labels % 2 + 2 * (task == 1)
    pool = type(pool)(pool.inputs, labels, allowed)
    strategy, record = learned(name, SOMETHING[name], pool=pool)
    assert np.isfinite(record.loss).all()
    assert not record.failures
    assert all(torch.isfinite(p).all() for p in strategy.reader().parameters())


def test_what_must_be_common_is_checked():
    strategy = made("er", [{"buffer": 10}, {"buffer": 10}, {"buffer": 10}])
    assert strategy.common("buffer") == 10
    with pytest.raises(ValueError, match="buffer must be the same"):
        made("er", [{"buffer": 10}, {"buffer": 10}, {"buffer": 20}])


def test_twice_the_same():
    for name in ("derpp", "refresh", "gdumb"):
        one, first = learned(name, SOMETHING[name], experience=past_returns)
        other, second = learned(name, SOMETHING[name], experience=past_returns)
        assert same(one.reader(), other.reader())
        np.testing.assert_array_equal(first.loss, second.loss)
