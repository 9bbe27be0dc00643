"""The training loop: plain fine-tuning, resumed to the same bits, and clear about bad losses."""

from __future__ import annotations

import copy

import pytest
import torch

from palimpsest.engine.training import (
    Example,
    Hooks,
    NonFiniteLossError,
    Trainer,
    TrainingSettings,
    example,
)

FULL = TrainingSettings(adapter="full", learning_rate=1e-3, batch_size=2)
LORA = TrainingSettings(adapter="lora", rank=4, learning_rate=1e-2)


def _batches(model, n=6):
    made = [example(model, f"The number of {i} is", f" {i * 7}", ".", "sentence") for i in range(8)]
    return [[made[(2 * k) % 8], made[(2 * k + 1) % 8]] for k in range(n)]


def test_equals_a_plain_padded_loop(tiny):
    """With empty hooks: the same losses and weights as textbook fine-tuning with padding."""
    twin = copy.deepcopy(tiny)
    batches = _batches(tiny)
    trainer = Trainer(tiny, FULL)
    trainer.run(batches)

    twin.module.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(twin.module.parameters(), lr=1e-3, weight_decay=0.0)
    losses = []
    for batch in batches:
        width = max(len(e.ids) for e in batch)
        ids = torch.tensor([list(e.ids) + [0] * (width - len(e.ids)) for e in batch])
        seen = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in batch])
        labels = ids.masked_fill(seen == 0, -100)
        loss = twin.module(input_ids=ids, attention_mask=seen, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert trainer.losses == pytest.approx(losses, abs=1e-4)
    for ours, theirs in zip(tiny.module.parameters(), twin.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize("settings", [FULL, LORA], ids=["full", "lora"])
def test_resumes_to_the_same_bits(tiny, settings, tmp_path):
    twin = copy.deepcopy(tiny)
    batches = _batches(tiny)
    whole = Trainer(tiny, settings, seed=5)
    whole.run(batches)

    first = Trainer(copy.deepcopy(twin), settings, seed=5)
    first.run(batches[:3])
    torch.save(first.state_dict(), tmp_path / "resume.pt")
    second = Trainer(twin, settings, seed=99)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    second.run(batches[3:])
    assert second.losses == whole.losses
    for name, value in whole.parameters.items():
        assert torch.equal(value, second.parameters[name]), name


@pytest.mark.parametrize(("settings", "share"), [(FULL, 0.7), (LORA, 0.95)], ids=["full", "lora"])
def test_loss_falls(tiny, settings, share):
    """A frozen random model leaves an adapter little to work with, but it does learn."""
    trainer = Trainer(tiny, settings)
    trainer.run(_batches(tiny, 40))
    assert sum(trainer.losses[-4:]) < share * sum(trainer.losses[:4])


def test_a_vanishing_learning_rate_changes_nothing(tiny):
    """Weights that are exactly zero move by the learning rate itself, the others not by a bit."""
    before = {n: p.detach().clone() for n, p in tiny.module.named_parameters()}
    trainer = Trainer(tiny, FULL.model_copy(update={"learning_rate": 1e-30}))
    trainer.run(_batches(tiny, 2))
    for name, parameter in tiny.module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], atol=1e-28, rtol=0)
    unmoved = {n for n, value in before.items() if (value != 0).all()}
    assert unmoved
    assert not unmoved & set(trainer.changes(before))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tiny):
    hooks = Hooks(extra_loss=lambda model, batch: torch.tensor(float("nan")))
    trainer = Trainer(tiny, FULL, hooks)
    before = {n: p.detach().clone() for n, p in tiny.module.named_parameters()}
    with pytest.raises(NonFiniteLossError, match="step 0"):
        trainer.run(_batches(tiny, 1))
    assert all(torch.equal(p, before[n]) for n, p in tiny.module.named_parameters())


def test_hooks_are_called_and_empty_hooks_change_no_bit(tiny):
    twin = copy.deepcopy(tiny)
    calls = []
    hooks = Hooks(
        extra_loss=lambda model, batch: torch.zeros(()),
        after_backward=lambda model, step: calls.append(("backward", step)),
        after_step=lambda model, step: calls.append(("step", step)),
        end_of_task=lambda model: calls.append(("end", None)),
    )
    hooked, plain = Trainer(tiny, FULL, hooks), Trainer(twin, FULL)
    for trainer in (hooked, plain):
        trainer.run(_batches(tiny, 2))
        trainer.finish()
    assert hooked.losses == plain.losses
    assert calls == [("backward", 0), ("step", 1), ("backward", 1), ("step", 2), ("end", None)]


def test_loss_begins_at_the_answer(tiny):
    made = example(tiny, "The rate was", " 5.3", " percent.", "answer")
    scored = [token for token, s in zip(made.ids, made.scored, strict=True) if s]
    assert tiny.decode(scored) == " 5.3 percent."
    whole = example(tiny, "The rate was", " 5.3", " percent.", "sentence")
    assert tiny.decode(list(whole.ids)) == "The rate was 5.3 percent."
    assert whole.scored == (False,) + (True,) * (len(whole.ids) - 1)


def test_sentences_of_a_batch_do_not_see_each_other(tiny):
    alone = Trainer(copy.deepcopy(tiny), FULL)
    together = Trainer(copy.deepcopy(tiny), FULL)
    a = Example((5, 6, 7), (False, True, True))
    b = Example((9, 8), (False, True))
    expected = (2 * alone._loss([a]) + alone._loss([b])) / 3
    torch.testing.assert_close(together._loss([a, b]), expected, atol=1e-6, rtol=0)
