"""A model whose layers lie on several devices gives the numbers of one that lies on one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from palimpsest.engine.generation import continuations
from palimpsest.engine.plain import packs
from palimpsest.engine.scoring import hidden_states, log_likelihoods, sequence_scores
from palimpsest.engine.training import Trainer, TrainingSettings, example
from palimpsest.models import spreading
from palimpsest.models.loading import load
from palimpsest.models.states import StateReader, save_step, write_state
from tests.models.far_device import FAR, FarTensor, TwoDevices, put_far

PROMPTS = ["The rate in 1994 was", "The rate in 1995 was", "Gold", "It"]
ANSWERS = [[" 5.3 percent", " 5.9", " 6"], [" 4", " nothing at all"], [" rose."], [" is", " was"]]
FIRST = ["model.embed_tokens", "lm_head", "model.layers.0"]
SECOND = ["model.layers.1", "model.norm", "model.rotary_emb"]


@pytest.fixture
def folder(tiny_manifest):
    return tiny_manifest.parent


@pytest.fixture
def hooked(tiny, tmp_path):
    """Layers with accelerate's hooks; some weights come from disk whenever they are needed."""
    from accelerate import dispatch_model

    places = dict.fromkeys(FIRST, "cpu") | dict.fromkeys(SECOND, "disk")
    twin = copy.deepcopy(tiny)
    dispatch_model(
        twin.module, places, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )
    assert any(p.is_meta for p in twin.module.parameters())
    return twin


@pytest.fixture
def far(tiny):
    """The second layer and the last norm on another device, with accelerate's hooks."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    twin = copy.deepcopy(tiny)
    decoder = twin.module.get_decoder()
    near, away = [decoder.layers[0], twin.module.lm_head], [decoder.layers[1], decoder.norm]
    for part in away:
        put_far(part)
    for parts, device in ((near, "cpu"), (away, FAR)):
        for part in parts:
            add_hook_to_module(part, AlignDevicesHook(execution_device=device))
    return twin


def _same_numbers(one, other):
    """Scoring, moments, hidden states and text, on the packed path."""
    assert packs(one)
    assert packs(other)
    for a, b in zip(
        log_likelihoods(one, PROMPTS, ANSWERS),
        log_likelihoods(other, PROMPTS, ANSWERS),
        strict=True,
    ):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)
    ids = [one.encode(text) for text in PROMPTS]
    for a, b in zip(sequence_scores(one, ids), sequence_scores(other, ids), strict=True):
        np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-5)
        np.testing.assert_allclose(a.deviation, b.deviation, atol=1e-5)
    for pooling in ("last", "mean"):
        np.testing.assert_allclose(
            hidden_states(one, PROMPTS, [0, -1], pooling),
            hidden_states(other, PROMPTS, [0, -1], pooling),
            atol=1e-5,
        )
    texts = [continuations(m, PROMPTS, 6, stop=(), batch_size=3) for m in (one, other)]
    for (a,), (b,) in zip(*texts, strict=True):
        assert a.ids == b.ids
        assert a.log_p == pytest.approx(b.log_p, abs=1e-5)


def _lora_step(model):
    made = [example(model, p, a[0], ".", "sentence") for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    trainer = Trainer(model, TrainingSettings(adapter="lora", rank=4, learning_rate=1e-3), seed=1)
    trainer.run([made[:3], made[2:]])
    return trainer


def _same_training(one, other):
    assert one.losses == pytest.approx(other.losses, abs=1e-5)
    changed = other.changes()
    for name, value in one.changes().items():
        torch.testing.assert_close(torch.as_tensor(changed[name]), value, atol=1e-5, rtol=0)


def test_hooks_of_accelerate_change_no_number(tiny, hooked):
    assert hooked.device == tiny.device
    _same_numbers(tiny, hooked)


def test_layers_on_two_devices_get_all_that_they_need(tiny, far):
    """Masks, indices, kept keys and hidden states are moved; whatever is not would raise."""
    with TwoDevices() as devices:
        assert far.device == torch.device("cpu")
        _same_numbers(tiny, far)
    assert devices.met > 1000


def test_windows_of_attention_are_moved_too(tiny, far):
    for model in (tiny, far):
        for layer in model.module.get_decoder().layers:
            layer.self_attn.sliding_window = 3
    with TwoDevices():
        one, other = (
            log_likelihoods(_packed(model), ["The rate of 1994"], [[" was", " is 5"]])
            for model in (tiny, far)
        )
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_adapters_learn_the_same_on_two_devices(tiny, far, monkeypatch):
    from torch.optim import optimizer

    monkeypatch.setattr(
        optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", FAR.type]
    )
    expected = _lora_step(tiny)
    with TwoDevices():
        trained = _lora_step(far)
        assert sum(isinstance(p, FarTensor) for p in trained.parameters.values()) == 14
        changes = {name: value.to("cpu") for name, value in trained.changes().items()}
    assert trained.losses == pytest.approx(expected.losses, abs=1e-5)
    for name, value in expected.changes().items():
        torch.testing.assert_close(changes[name], value, atol=1e-5, rtol=0)


def _packed(model):
    model.packs = True
    return model


def test_the_slow_twin_gives_the_same_through_hooks(tiny, hooked):
    hooked.packs = tiny.packs = False
    for a, b in zip(
        log_likelihoods(tiny, PROMPTS, ANSWERS),
        log_likelihoods(hooked, PROMPTS, ANSWERS),
        strict=True,
    ):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)


def test_embeddings_that_wait_on_disk_have_the_device_where_they_compute(tiny, tmp_path):
    from accelerate import dispatch_model

    twin = copy.deepcopy(tiny)
    places = dict.fromkeys(FIRST, "disk") | dict.fromkeys(SECOND, "cpu")
    dispatch_model(twin.module, places, "cpu", offload_dir=tmp_path)
    assert next(twin.module.parameters()).is_meta
    assert twin.device == torch.device("cpu")


def test_adapters_learn_the_same_through_hooks(tiny):
    from accelerate import dispatch_model

    twin = copy.deepcopy(tiny)
    places = dict.fromkeys(FIRST + SECOND, "cpu")
    dispatch_model(twin.module, places, main_device="cpu", force_hooks=True)
    assert hasattr(twin.module.get_decoder().layers[1], "_hf_hook")
    _same_training(_lora_step(copy.deepcopy(tiny)), _lora_step(twin))


def test_layers_are_spread_evenly_and_whole(folder):
    found = spreading.place(folder, torch.float32, {0: 10**9, 1: 10**9})
    assert set(found.values()) == {0, 1}
    assert found["model.embed_tokens"] == found["lm_head"], "they are one tensor"
    little = spreading.place(folder, torch.float32, {0: 10**9, 3: 400_000})
    assert set(little.values()) <= {0, 3}
    assert not any(".mlp" in name or ".self_attn" in name for name in {**found, **little})


def test_what_fits_nowhere_is_told(folder):
    with pytest.raises(MemoryError, match=r"do not fit .* raise compute\.gpu"):
        spreading.place(folder, torch.float32, {0: 100_000, 1: 100_000})


def test_a_model_without_weights_has_their_names(tiny, tiny_manifest):
    bare = StateReader(tiny_manifest, "meta").at(0)
    assert all(p.is_meta for p in bare.module.parameters())
    assert [n for n, _ in bare.module.named_parameters()] == [
        n for n, _ in tiny.module.named_parameters()
    ]
    assert bare.encode("The rate") == tiny.encode("The rate")


def test_a_device_named_twice_is_one(tiny, tiny_manifest):
    model = load(tiny_manifest, "cpu,cpu")
    assert all(
        torch.equal(p, q)
        for p, q in zip(tiny.module.parameters(), model.module.parameters(), strict=True)
    )


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_states_are_read_onto_several_devices(tiny, tiny_manifest, tmp_path, adapter):
    settings = TrainingSettings(adapter=adapter, rank=2)
    trainer = Trainer(tiny, settings)
    trainer.run([[example(tiny, "The rate was", " 5.3", ".", "answer")]])
    hashes = {1: save_step(tmp_path, 1, trainer.changes())}
    write_state(tmp_path / "state.json", str(tiny_manifest), hashes, {"state": "s"})
    one, several = (StateReader(tmp_path / "state.json", d).at(1) for d in ("cpu", "cpu,cpu"))
    for p, q in zip(one.module.parameters(), several.module.parameters(), strict=True):
        assert torch.equal(p, q)
