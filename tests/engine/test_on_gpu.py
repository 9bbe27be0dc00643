"""On a GPU: the same numbers as on the CPU, and the same bits again. Skipped where none is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from palimpsest.engine import devices
from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_training import Pool, accuracy, train
from palimpsest.engine.generation import generate
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.plain import plain_scores
from palimpsest.engine.scoring import log_likelihoods, sequence_scores
from palimpsest.engine.training import Example, Trainer, TrainingSettings
from palimpsest.models.loading import load
from tests.engine.separate_networks import RATES, SEEDS, SIZES, labelled_clouds, plan_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")

PROMPTS = ["The rate in May was", "The rate in June was", "Oil", "The rate in May was"]
CONTINUATIONS = [[" 5.3", " 5.4", " 12.75 percent"], [" 5.3"], [" fell", " rose", "s"], [" 7"]]
SETTINGS = {
    "full": TrainingSettings(adapter="full", learning_rate=1e-3, batch_size=4),
    "lora": TrainingSettings(adapter="lora", rank=4, alpha=8, learning_rate=1e-2, batch_size=4),
    "bfloat16": TrainingSettings(
        adapter="full", learning_rate=1e-3, batch_size=4, autocast="bfloat16"
    ),
}


@pytest.fixture
def on_gpu(tiny_manifest):
    """The tiny model on the first GPU."""
    return load(tiny_manifest, "cuda:0")


def _batches(steps, size, seed=0):
    rng = np.random.default_rng(seed)
    made = [
        tuple(rng.integers(3, 250, size=length).tolist())
        for length in rng.integers(3, 16, size=steps * size)
    ]
    examples = [Example(ids, (False,) + (True,) * (len(ids) - 1)) for ids in made]
    return [examples[size * step : size * (step + 1)] for step in range(steps)]


def test_a_job_leases_the_gpu():
    with devices.device(1, 1) as device:
        assert device == "cuda:0"
        assert torch.cuda.get_device_name(0) == devices.describe(device)


@pytest.mark.parametrize("budget", [8, 4096, None])
def test_scores(tiny, on_gpu, budget):
    got = log_likelihoods(on_gpu, PROMPTS, CONTINUATIONS, token_budget=budget)
    assert on_gpu.packs is True
    expected = log_likelihoods(tiny, PROMPTS, CONTINUATIONS)
    for prompt, texts, row, row_expected in zip(PROMPTS, CONTINUATIONS, got, expected, strict=True):
        for text, values, others in zip(texts, row, row_expected, strict=True):
            plain = plain_scores(on_gpu, *on_gpu.encode_pair(prompt, text)).log_p
            np.testing.assert_allclose(values, plain, atol=1e-4)
            np.testing.assert_allclose(values, others, atol=1e-4)


def test_moments_and_likeliest_words(tiny, on_gpu):
    sequences = [on_gpu.encode(text) for text in ("The rate in May was low", "Oil fell", "a b c")]
    for own, other in zip(
        sequence_scores(on_gpu, sequences), sequence_scores(tiny, sequences), strict=True
    ):
        np.testing.assert_allclose(own.mean, other.mean, atol=1e-4)
        np.testing.assert_allclose(own.deviation, other.deviation, atol=1e-4)


def test_texts(tiny, on_gpu):
    prompts = [*PROMPTS, "xyz"]
    assert generate(on_gpu, prompts, 12, stop=()) == generate(tiny, prompts, 12, stop=())


@pytest.mark.parametrize("name", SETTINGS)
def test_training(tiny, on_gpu, name, tmp_path):
    settings, batches = SETTINGS[name], _batches(8, 4)
    twin, third = copy.deepcopy(on_gpu), copy.deepcopy(on_gpu)
    whole = Trainer(on_gpu, settings, seed=5)
    whole.run(batches)
    slow = Trainer(tiny, settings, seed=5)
    slow.run(batches)
    tolerance = 0.05 if settings.autocast == "bfloat16" else 1e-3
    assert whole.losses == pytest.approx(slow.losses, abs=tolerance)

    first = Trainer(twin, settings, seed=5)
    first.run(batches[:3])
    torch.save(first.state_dict(), tmp_path / "resume.pt")
    second = Trainer(third, settings, seed=99)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    second.run(batches[3:])
    assert second.losses == whole.losses
    for key, value in whole.parameters.items():
        assert torch.equal(value, second.parameters[key]), key


def test_many_adapters(on_gpu):
    settings = SETTINGS["lora"]
    streams = [_batches(5, size, seed) for seed, size in enumerate((1, 4, 2))]
    twins = [copy.deepcopy(on_gpu) for _ in streams]
    many = ManyAdapters(on_gpu, settings, range(3))
    many.run(streams)
    for run, (twin, stream) in enumerate(zip(twins, streams, strict=True)):
        alone = Trainer(twin, settings, seed=run)
        alone.run(stream)
        assert many.losses[run] == pytest.approx(alone.losses, abs=1e-4)
        expected = alone.changes()
        for name, value in many.changes(run).items():
            torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    "settings",
    [{}, {"weight_decay": 0.01}, {"momentum": 0.9}, {"optimizer": "adam"}],
    ids=["plain", "decay", "momentum", "adam"],
)
def test_ensembles(settings):
    pool, plan = labelled_clouds(), plan_of()
    there = Pool(pool.inputs.cuda(), pool.labels.cuda())
    rates = [rate / 10 for rate in RATES] if settings else RATES
    own = Ensemble(SIZES, SEEDS, rates, **settings, device="cuda:0")
    other = Ensemble(SIZES, SEEDS, rates, **settings)
    lost, _ = train(own, there, plan)
    expected, _ = train(other, pool, plan)
    np.testing.assert_allclose(lost, expected, atol=1e-3)
    for a, b in zip(own.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=1e-3, rtol=1e-2)
    index = torch.arange(len(pool.labels))
    here, _ = accuracy(other, pool, {"all": index})
    gpu, _ = accuracy(own, there, {"all": index.cuda()})
    np.testing.assert_allclose(gpu, here, atol=0.02)

    again = Ensemble(SIZES, SEEDS, rates, **settings, device="cuda:0")
    train(again, there, plan)
    for a, b in zip(own.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_that_fails_on_a_gpu_leaves_the_others_alone():
    pool, plan = labelled_clouds(), plan_of()
    there = Pool(pool.inputs.cuda(), pool.labels.cuda())
    own = Ensemble(SIZES, SEEDS, [0.1, 1e20, 0.1, 0.1], device="cuda:0")
    train(own, there, plan)
    assert [failure.model for failure in own.failures] == [1]
    calm = Ensemble(SIZES, SEEDS, 0.1, device="cuda:0")
    train(calm, there, plan)
    for a, b in zip(own.parameters(), calm.parameters(), strict=True):
        for model in (0, 2, 3):
            torch.testing.assert_close(a[model], b[model], atol=1e-5, rtol=1e-4)
