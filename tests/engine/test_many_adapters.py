"""Many adapters at once equal the same runs one after another by the trainer."""

from __future__ import annotations

import copy
import gc
import math

import numpy as np
import pytest
import torch

from palimpsest.engine import many_adapters
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.scoring import log_likelihoods
from palimpsest.engine.segments import Segments
from palimpsest.engine.training import Example, Hooks, Trainer, TrainingSettings

SETTINGS = TrainingSettings(rank=4, alpha=8, learning_rate=1e-2)


def _streams(lengths, sizes, steps, seed=0):
    """For each run its own batches: sentences of given lengths, so many a batch."""
    rng = np.random.default_rng(seed)

    def sentence(length):
        ids = tuple(rng.integers(3, 250, size=length).tolist())
        first = int(rng.integers(1, length))
        return Example(ids, tuple(place >= first for place in range(length)))

    return [
        [[sentence(rng.choice(lengths)) for _ in range(size)] for _ in range(n)]
        for size, n in zip(sizes, steps, strict=True)
    ]


def _alone(model, settings, seed, stream, steps=None):
    trainer = Trainer(copy.deepcopy(model), settings, seed=seed, steps=steps)
    trainer.run(stream)
    return trainer


def _assert_equal(many, run, trainer, tolerance=2e-5):
    assert many.losses[run] == pytest.approx(trainer.losses, abs=tolerance)
    expected = trainer.changes()
    got = many.changes(run)
    assert set(got) == set(expected)
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=1e-3)


CASES = {
    "equal lengths": ([9], [2, 2, 2], [5, 5, 5], 4096),
    "mixed lengths": ([3, 8, 15], [1, 4, 2], [5, 5, 5], 4096),
    "rows of few runs": ([3, 8, 15], [1, 4, 2], [5, 5, 5], 20),
    "runs that end": ([5, 9], [2, 1, 3], [2, 6, 4], 4096),
}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("case", CASES)
def test_equals_runs_one_after_another(tiny, case, optimizer):
    lengths, sizes, steps, budget = CASES[case]
    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "momentum": 0.5})
    streams = _streams(lengths, sizes, steps)
    expected = [
        _alone(tiny, settings, seed, stream)
        for seed, stream in zip((5, 6, 7), streams, strict=True)
    ]
    many = ManyAdapters(tiny, settings, (5, 6, 7), token_budget=budget)
    many.run(streams)
    for run, trainer in enumerate(expected):
        _assert_equal(many, run, trainer)


def test_every_run_has_settings_of_its_own(tiny):
    changed = [
        {},
        {"learning_rate": 1e-3, "alpha": 32},
        {"weight_decay": 0.1, "clip": 0.01},
        {"schedule": "linear", "warmup": 0.4},
    ]
    settings = [SETTINGS.model_copy(update=change) for change in changed]
    streams = _streams([4, 11], [2] * 4, [5] * 4)
    expected = [
        _alone(tiny, s, seed, stream, steps=5)
        for seed, (s, stream) in enumerate(zip(settings, streams, strict=True))
    ]
    many = ManyAdapters(tiny, settings, range(4), steps=5)
    many.run(streams)
    for run, trainer in enumerate(expected):
        _assert_equal(many, run, trainer)


def test_lower_precision_is_that_of_the_trainer(tiny):
    """bfloat16 keeps 8 bits: losses agree to that, and by far not with float32."""
    settings = SETTINGS.model_copy(update={"autocast": "bfloat16"})
    streams = _streams([3, 8, 15], [1, 4, 2], [5, 5, 5])
    alone = [_alone(tiny, settings, seed, each).losses for seed, each in enumerate(streams)]
    exact = [_alone(tiny, SETTINGS, seed, each).losses for seed, each in enumerate(streams)]
    many = ManyAdapters(tiny, settings, range(3), token_budget=20)
    many.run(streams)
    np.testing.assert_allclose(many.losses, alone, atol=2e-2)
    away = np.abs(np.array(exact) - alone).max()
    assert np.abs(np.array(many.losses) - exact).max() > away / 4 > 1e-5


def test_some_layers_only(tiny):
    settings = SETTINGS.model_copy(update={"only": ("*.self_attn.*",)})
    streams = _streams([6], [2], [4])
    expected = _alone(tiny, settings, 3, streams[0])
    many = ManyAdapters(tiny, settings, [3])
    many.run(streams)
    _assert_equal(many, 0, expected)
    assert all("self_attn" in name for name in many.layers)


def test_one_run_is_read_as_if_it_were_alone(tiny):
    untouched = copy.deepcopy(tiny)
    streams = _streams([7], [2, 2], [6, 6])
    many = ManyAdapters(tiny, SETTINGS, (1, 2))
    many.run(streams)
    texts = ["abc", "xy"], [[" de", " fg"], [" h"]]
    before = log_likelihoods(untouched, *texts)
    read = []
    for run, seed in enumerate((1, 2)):
        trainer = _alone(untouched, SETTINGS, seed, streams[run])
        trainer.finish()
        expected = log_likelihoods(trainer.model, *texts)
        with many.only(run) as model:
            read.append(log_likelihoods(model, *texts))
        for got, wanted in zip(read[run], expected, strict=True):
            for a, b in zip(got, wanted, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4)
    assert abs(read[0][0][0] - read[1][0][0]).max() > 1e-3
    with torch.no_grad():
        many.close()
    for got, wanted in zip(log_likelihoods(tiny, *texts), before, strict=True):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert str(tiny.module) == str(untouched.module)
    for name, value in untouched.module.state_dict().items():
        assert torch.equal(value, tiny.module.state_dict()[name])


@pytest.mark.parametrize("budget", [10, 4096])
def test_a_run_that_fails_is_frozen_and_the_others_go_on(tiny, budget):
    """Run 1 overflows after its first step; runs 0 and 2, and one that has ended, do not notice."""
    lengths = [8, 9]
    streams = _streams(lengths, [2, 2, 2, 1], [6, 6, 6, 1])
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "optimizer": "sgd", "clip": 1e30})
    settings = [SETTINGS, wild, SETTINGS, SETTINGS]
    expected = {run: _alone(tiny, SETTINGS, run, streams[run]) for run in (0, 2, 3)}
    many = ManyAdapters(tiny, settings, range(4), token_budget=budget)
    many.run(streams)
    (failure,) = many.failures.items()
    assert failure[0] == 1
    assert failure[1].step == len(many.losses[1])
    assert failure[1].last == many.losses[1][-1]
    assert all(math.isfinite(loss) for loss in many.losses[1])
    for run, trainer in expected.items():
        _assert_equal(many, run, trainer)
        assert all(torch.isfinite(value).all() for value in many.changes(run).values())


def test_resumes_to_the_same_bits(tiny, tmp_path):
    twin = copy.deepcopy(tiny)
    streams = _streams([4, 9], [2, 1, 3], [6, 6, 6])
    whole = ManyAdapters(tiny, SETTINGS, (1, 2, 3))
    whole.run(streams)
    first = ManyAdapters(copy.deepcopy(twin), SETTINGS, (1, 2, 3))
    first.run([stream[:3] for stream in streams])
    torch.save(first.state_dict(), tmp_path / "resume.pt")
    second = ManyAdapters(twin, SETTINGS, (9, 9, 9))
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    second.run([stream[3:] for stream in streams])
    assert second.losses == whole.losses
    for run in range(3):
        for name, value in whole.changes(run).items():
            assert torch.equal(value, second.changes(run)[name])


def test_initial_values_are_those_of_the_trainer(tiny):
    trainer = Trainer(copy.deepcopy(tiny), SETTINGS, Hooks(), seed=4)
    many = ManyAdapters(tiny, SETTINGS, (3, 4))
    for name, value in trainer.changes().items():
        assert torch.equal(value, many.changes(1)[name])


def test_settings_that_cannot_go_together_are_refused(tiny):
    with pytest.raises(ValueError, match="2 settings for 3"):
        ManyAdapters(tiny, [SETTINGS] * 2, range(3))
    full = SETTINGS.model_copy(update={"adapter": "full"})
    with pytest.raises(ValueError, match="adapter: lora"):
        ManyAdapters(tiny, full, [0])
    other = SETTINGS.model_copy(update={"rank": 2})
    with pytest.raises(ValueError, match="rank must be the same"):
        ManyAdapters(tiny, [SETTINGS, other], range(2))
    for ignored in ({"compile": True}, {"checkpointing": "always"}):
        with pytest.raises(ValueError, match="neither compile nor checkpointing"):
            ManyAdapters(tiny, SETTINGS.model_copy(update=ignored), [0])
    many = ManyAdapters(tiny, SETTINGS, [0])
    with pytest.raises(ValueError, match="scored"):
        many.step([[Example((1, 2), (False, False))]])


@pytest.mark.model
def test_two_runs_of_the_135m_model(smollm):
    rng = np.random.default_rng(0)
    streams = []
    for size in (12, 20):
        ids = [tuple(rng.integers(1000, 40000, size=size).tolist()) for _ in range(2)]
        streams.append([[Example(i, (False,) + (True,) * (size - 1))] for i in ids])
    settings = TrainingSettings(rank=4, learning_rate=1e-3)
    many = ManyAdapters(smollm, settings, (1, 2))
    many.run(streams)
    many.close()
    trainer = _alone(smollm, settings, 2, streams[1])
    # Adam's first steps are signs of gradients, so rounding may turn single weights.
    assert many.losses[1] == pytest.approx(trainer.losses, abs=1e-3)


def test_nothing_of_a_step_stays_in_memory(tiny):
    """Rows that layers share hang on the graph that hangs on them: one step would keep it all."""
    many = ManyAdapters(tiny, SETTINGS, range(3), token_budget=20)
    many.run(_streams([3, 8, 15], [1, 4, 2], [2, 2, 2]))
    gc.collect()
    assert not [kept for kept in gc.get_objects() if type(kept) is Segments]


def test_when_memory_runs_out_fewer_tokens_are_put_through_at_once(tiny, monkeypatch):
    streams = _streams([3, 8, 15], [1, 4, 2], [3, 3, 3])
    twin = copy.deepcopy(tiny)
    calm = ManyAdapters(twin, SETTINGS, range(3))
    calm.run(streams)

    whole = many_adapters.token_losses

    def greedy(model, sentences):
        if sum(len(item.ids) for item in sentences) > 30:
            raise torch.OutOfMemoryError("no more")
        return whole(model, sentences)

    monkeypatch.setattr(many_adapters, "token_losses", greedy)
    monkeypatch.setattr(many_adapters, "LEAST_BUDGET", 16)
    many = ManyAdapters(tiny, SETTINGS, range(3), token_budget=128)
    many.run(streams)
    assert many.token_budget < 64
    for run in range(3):
        assert many.losses[run] == pytest.approx(calm.losses[run], abs=2e-5)

    monkeypatch.setattr(many_adapters, "LEAST_BUDGET", 64)
    small = ManyAdapters(copy.deepcopy(twin), SETTINGS, range(3), token_budget=128)
    with pytest.raises(MemoryError, match="even with"):
        small.run(streams)
