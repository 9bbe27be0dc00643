"""Adapters: nothing before training, then exactly what PEFT computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from palimpsest.engine.adapters import add_adapters
from palimpsest.engine.training import Trainer, TrainingSettings, example

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def test_untrained_adapters_change_no_bit(tiny):
    before = tiny.module(input_ids=IDS).logits
    add_adapters(tiny.module, 4, 8.0, seed=0)
    assert torch.equal(tiny.module(input_ids=IDS).logits, before)


def test_equal_to_peft_forward_and_gradients(tiny):
    """The independent implementation, with the same factors."""
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(
        copy.deepcopy(tiny.module),
        LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", lora_dropout=0.0),
    )
    ours = add_adapters(tiny.module, 4, 12.0, seed=0)
    generator = torch.Generator().manual_seed(1)
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, adapter in ours.items():
            adapter.B.copy_(torch.randn(adapter.B.shape, generator=generator) * 0.1)
            stem = "base_model.model." + name.removesuffix(".weight")
            named[f"{stem}.lora_A.default.weight"].copy_(adapter.A)
            named[f"{stem}.lora_B.default.weight"].copy_(adapter.B)
    assert {n for n, p in named.items() if p.requires_grad} == {
        f"base_model.model.{name.removesuffix('.weight')}.lora_{f}.default.weight"
        for name in ours
        for f in "AB"
    }
    mine, other = (m(input_ids=IDS, labels=IDS).loss for m in (tiny.module, theirs))
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)
    mine.backward()
    other.backward()
    for name, adapter in ours.items():
        stem = "base_model.model." + name.removesuffix(".weight")
        expected = named[f"{stem}.lora_A.default.weight"].grad
        torch.testing.assert_close(adapter.A.grad, expected, atol=1e-6, rtol=1e-4)


def test_initial_values_have_peft_s_distribution(tiny):
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(
        copy.deepcopy(tiny.module), LoraConfig(r=64, target_modules="all-linear")
    )
    ours = add_adapters(tiny.module, 64, 64.0, seed=0)
    for name, adapter in ours.items():
        stem = "base_model.model." + name.removesuffix(".weight")
        other = dict(theirs.named_parameters())[f"{stem}.lora_A.default.weight"].detach()
        assert float(adapter.A.abs().max()) == pytest.approx(float(other.abs().max()), rel=0.05)
        assert float(adapter.A.std()) == pytest.approx(float(other.std()), rel=0.1)


def test_only_adapters_are_trained_and_the_seed_decides_them(tiny):
    first = add_adapters(copy.deepcopy(tiny.module), 2, 2.0, seed=7)
    again = add_adapters(copy.deepcopy(tiny.module), 2, 2.0, seed=7)
    other = add_adapters(tiny.module, 2, 2.0, seed=8)
    name = next(iter(first))
    assert torch.equal(first[name].A, again[name].A)
    assert not torch.equal(first[name].A, other[name].A)
    trained = [n for n, p in tiny.module.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.endswith((".A", ".B")) for n in trained)


def test_stored_change_is_the_trained_change(tiny):
    """Base plus the stored factors gives the adapted model's logits."""
    plain = copy.deepcopy(tiny)
    trainer = Trainer(tiny, TrainingSettings(rank=4, learning_rate=1e-2))
    trainer.run([[example(tiny, "a b c", " d", "", "sentence")]] * 5)
    trainer.finish()
    stored = trainer.changes()
    weights = dict(plain.module.named_parameters())
    with torch.no_grad():
        for key, b in stored.items():
            if key.endswith("::B"):
                name = key.removesuffix("::B")
                weights[name] += b @ stored[f"{name}::A"]
        torch.testing.assert_close(
            plain.module(input_ids=IDS).logits, tiny.module(input_ids=IDS).logits, atol=1e-5, rtol=0
        )


def test_a_model_without_linear_layers_is_refused():
    class Other(nn.Module):
        def get_output_embeddings(self):
            return None

    with pytest.raises(ValueError, match="adapter: full"):
        add_adapters(Other(), 4, 8.0, seed=0)
