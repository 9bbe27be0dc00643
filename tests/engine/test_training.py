"""The training loop: plain fine-tuning, resumed to the same bits, and clear about bad losses."""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch

from palimpsest.engine import training
from palimpsest.engine.training import (
    Example,
    Hooks,
    NonFiniteLossError,
    Trainer,
    TrainingSettings,
    batches,
    example,
    token_losses,
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
    a = Example((5, 6, 7), (False, True, True))
    b = Example((9, 8), (False, True))
    together = token_losses(tiny, [a, b])
    torch.testing.assert_close(together.values[:2], token_losses(tiny, [a]).values)
    torch.testing.assert_close(together.values[2:], token_losses(tiny, [b]).values)
    assert together.owner.tolist() == [0, 0, 1]
    torch.testing.assert_close(together.sums()[0], together.values[:2].sum())
    torch.testing.assert_close(together.means()[0], together.values[:2].mean())
    with pytest.raises(ValueError, match="first token"):
        token_losses(tiny, [Example((5, 6), (True, True))])


def _trained(model, settings=FULL, hooks=None, n=3, **options):
    twin = copy.deepcopy(model)
    trainer = Trainer(twin, settings, hooks or Hooks(), **options)
    trainer.run(_batches(model, n))
    return trainer


def _assert_same(a, b, tolerance=2e-5):
    assert a.losses == pytest.approx(b.losses, abs=tolerance)
    for name, value in a.parameters.items():
        torch.testing.assert_close(value, b.parameters[name], atol=tolerance, rtol=0)


SGD = FULL.model_copy(update={"optimizer": "sgd", "learning_rate": 0.05})


@pytest.mark.parametrize(
    "changed",
    [{"checkpointing": "always"}, {"momentum": 0.0}, {"warmup": 0.0, "schedule": "constant"}],
)
def test_settings_that_change_no_number(tiny, changed):
    _assert_same(_trained(tiny, SGD), _trained(tiny, SGD.model_copy(update=changed)))


@pytest.mark.parametrize("budget", [1, 30])
def test_parts_add_up_to_the_batch(tiny, budget):
    """Gradient accumulation, even one sentence at a time, changes rounding only."""
    _assert_same(_trained(tiny, SGD, token_budget=4096), _trained(tiny, SGD, token_budget=budget))


def test_compiled_layers_change_rounding_only(tiny):
    pytest.importorskip("torch._inductor")
    if not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    # One layer: to compile takes half a minute a layer.
    decoder = tiny.module.get_decoder()
    decoder.layers, decoder.config.num_hidden_layers = decoder.layers[:1], 1
    compiled = _trained(tiny, SGD.model_copy(update={"compile": True}))
    _assert_same(_trained(tiny, SGD), compiled)
    compiled.finish()
    assert compiled.model.module.get_decoder()._compiled_call_impl is None


def test_autocast_is_near(tiny):
    cast = _trained(tiny, SGD.model_copy(update={"autocast": "bfloat16"}))
    plain = _trained(tiny, SGD)
    assert cast.losses == pytest.approx(plain.losses, rel=0.02)
    assert cast.losses != plain.losses
    assert all(p.dtype == torch.float32 for p in cast.parameters.values())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_clipping_inside_the_kernel_equals_clipping_before_it(tiny, optimizer):
    settings = FULL.model_copy(update={"optimizer": optimizer, "clip": 0.01, "momentum": 0.5})
    ours = _trained(tiny, settings)
    twin = copy.deepcopy(tiny).module.requires_grad_(True)
    if optimizer == "adamw":
        reference = torch.optim.AdamW(twin.parameters(), 1e-3, weight_decay=0.0)
    else:
        reference = torch.optim.SGD(twin.parameters(), 1e-3, 0.5)
    other = copy.deepcopy(tiny)
    other.module = twin
    for batch in _batches(tiny, 3):
        token_losses(other, batch).values.mean().backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.01)
        reference.step()
        reference.zero_grad()
    for name, value in ours.parameters.items():
        torch.testing.assert_close(value, twin.get_parameter(name), atol=1e-5, rtol=0)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_numbers_that_are_not_finite_leave_the_weights_alone(tiny, broken):
    def extra(model, batch):
        if broken == "loss":
            return torch.tensor(math.inf)
        # A finite loss whose derivative at zero is not.
        return (0 * next(model.module.parameters()).sum()).sqrt()

    def later(model, batch):
        return extra(model, batch) if trainer.step == 1 else torch.zeros(())

    trainer = Trainer(tiny, FULL, Hooks(extra_loss=later))
    trainer.run(_batches(tiny, 1))
    before = {n: p.detach().clone() for n, p in trainer.parameters.items()}
    with pytest.raises(NonFiniteLossError, match=f"{broken} not finite at step 1; last") as caught:
        trainer.run(_batches(tiny, 1))
    assert caught.value.last == trainer.losses[-1]
    assert all(torch.equal(p, before[n]) for n, p in trainer.parameters.items())


def test_less_memory_means_smaller_parts_then_computing_twice(tiny, monkeypatch):
    expected = _trained(tiny, SGD, token_budget=4096)
    real, seen = training.mean_loss, []

    def small(model, part, batch):
        twice = trainer._computes_twice
        seen.append((trainer._budget, twice))
        if len(part) > 1 or not twice:
            raise torch.OutOfMemoryError("full")
        return real(model, part, batch)

    monkeypatch.setattr(training, "SMALL_BUDGET", 64)
    monkeypatch.setattr(training, "LEAST_BUDGET", 8)
    trainer = Trainer(copy.deepcopy(tiny), SGD, Hooks(loss=small), token_budget=128)
    trainer.run(_batches(tiny, 3))
    _assert_same(expected, trainer)
    assert seen[:3] == [(128, False), (64, False), (64, True)]
    monkeypatch.setattr(training, "LEAST_BUDGET", 64)
    trainer = Trainer(copy.deepcopy(tiny), SGD, Hooks(loss=small), token_budget=128)
    with pytest.raises(MemoryError, match="64 tokens"):
        trainer.run(_batches(tiny, 1))


def test_schedules_by_hand(tiny):
    """Ten steps, two of warm-up; then down a line, down half a cosine, or flat."""
    for schedule, expected in {
        "constant": [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        "linear": [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8],
        "cosine": [0.5, 1] + [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)],
    }.items():
        settings = SGD.model_copy(
            update={"schedule": schedule, "warmup": 0.2, "learning_rate": 1.0}
        )
        assert [settings.rate(step, 10) for step in range(10)] == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"cosine .* needs a number of steps"):
        Trainer(tiny, settings)


def test_a_step_goes_as_far_as_the_schedule_says(tiny):
    """Without momentum and clipping, half the rate is half the way."""
    settings = SGD.model_copy(update={"warmup": 0.5, "clip": 1e9})
    before = {n: p.detach().clone() for n, p in tiny.module.named_parameters()}
    half = _trained(tiny, settings, n=1, steps=4)
    whole = _trained(tiny, settings.model_copy(update={"warmup": 0.0}), n=1, steps=4)
    for name, value in before.items():
        moved = whole.parameters[name].detach() - value
        torch.testing.assert_close(half.parameters[name].detach() - value, moved / 2)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_only_some_weights(tiny, adapter):
    settings = TrainingSettings(adapter=adapter, only=("*.mlp.*",), learning_rate=0.01)
    trainer = _trained(tiny, settings)
    assert trainer.changes()
    assert all(".mlp." in name for name in trainer.changes())
    hooks = Hooks(select_parameters=lambda name: "layers.1." in name)
    trainer = _trained(tiny, settings, hooks)
    assert all("layers.1.mlp." in name for name in trainer.changes())
    nothing = settings.model_copy(update={"only": ("nowhere",)})
    with pytest.raises(ValueError, match=r"nowhere|no torch.nn.Linear"):
        _trained(tiny, nothing)


def test_a_method_may_bring_batches_loss_and_parts_of_its_own(tiny):
    """Reversed sign is gradient ascent: the loss on what is forgotten rises."""
    forget = _batches(tiny, 1)[0]

    def ascent(model, part, batch):
        return -training.mean_loss(model, part, batch)

    hooks = Hooks(stream=lambda given: [forget for _ in given], loss=ascent)
    with torch.no_grad():
        before = token_losses(tiny, forget).values.mean()
    trainer = _trained(tiny, SGD, hooks, n=5)
    with torch.no_grad():
        assert token_losses(trainer.model, forget).values.mean() > before + 0.01
    assert trainer.losses[0] == pytest.approx(-float(before), abs=1e-5)

    def one_norm_only(model):
        model.module.requires_grad_(False)
        model.module.get_decoder().norm.weight.requires_grad_(True)

    trainer = _trained(tiny, SGD, Hooks(wrap_adapters=one_norm_only))
    assert [name.rpartition("model.")[2] for name in trainer.parameters] == ["norm.weight"]


def test_batches_show_everything_once_an_epoch_and_continue(tiny):
    made = [Example((1, i), (False, True)) for i in range(7)]
    shown = list(batches(made, 3, 2, seed=4))
    assert [len(batch) for batch in shown] == [3, 3, 1, 3, 3, 1]
    for epoch in (shown[:3], shown[3:]):
        assert sorted(item.ids[1] for batch in epoch for item in batch) == list(range(7))
    assert shown[:3] != shown[3:]
    assert list(batches(made, 3, 2, seed=4, skip=2)) == shown[2:]
    assert list(batches(made, 3, 2, seed=5)) != shown


def test_resumes_inside_a_schedule(tiny, tmp_path):
    settings = SGD.model_copy(update={"schedule": "cosine", "momentum": 0.9})
    whole = _trained(tiny, settings, n=6, steps=6)
    first = _trained(tiny, settings, n=3, steps=6)
    torch.save(first.state_dict(), tmp_path / "resume.pt")
    second = Trainer(copy.deepcopy(tiny), settings, steps=6)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    second.run(_batches(tiny, 6)[3:])
    assert second.losses == whole.losses
    for name, value in whole.parameters.items():
        assert torch.equal(value, second.parameters[name]), name
