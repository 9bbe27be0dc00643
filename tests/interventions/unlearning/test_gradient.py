"""Gradient methods: each loss on a case computed by hand, limits, and what all have in common."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from palimpsest import discovery
from palimpsest.engine.training import Trainer
from palimpsest.interventions.unlearning._gradient import GradientMethod
from tests.interventions.unlearning.worlds import (
    alike,
    by_hand,
    direction,
    made,
    moved,
    sets,
    whole,
)


def test_gradient_ascent_is_minus_the_mean_loss_of_a_token(tiny):
    method = made(tiny, "grad_ascent")
    examples = method.forgotten[:4]
    expected = torch.cat([by_hand(tiny, each) for each in examples]).mean()
    term = method.forget_term(whole(method, examples)).detach()
    assert float(term) == pytest.approx(float(expected))


def test_npo_is_its_formula_on_summed_log_ratios(tiny):
    method = made(tiny, "npo", beta=0.3)
    examples = method.forgotten[:4]
    before = [float(by_hand(tiny, each).sum()) for each in examples]
    moved(tiny)
    now = [float(by_hand(tiny, each).sum()) for each in examples]
    terms = [
        -2 / 0.3 * math.log(1 / (1 + math.exp(0.3 * (new - old))))
        for new, old in zip(now, before, strict=True)
    ]
    term = float(method.forget_term(whole(method, examples)).detach())
    assert term == pytest.approx(sum(terms) / 4, rel=1e-4)


def test_npo_points_where_ascent_on_sums_does_as_beta_goes_to_zero(tiny):
    method = made(tiny, "npo", beta=1e-6)
    examples = method.forgotten[:4]
    moved(tiny, 0.02)
    found = direction(method, method.forget_term(whole(method, examples)))
    part = whole(method, examples)
    ascent = direction(method, -part.over_examples(part.sums(part.nll)))
    assert alike(found, ascent) == pytest.approx(1, abs=1e-5)
    assert float(found.norm() / ascent.norm()) == pytest.approx(1, rel=1e-4)


def test_an_example_that_is_forgotten_no_longer_pulls_in_npo(tiny):
    method = made(tiny, "npo", beta=1.0)
    examples = method.forgotten[:4]
    method._sums = {each: value - 50 for each, value in method._sums.items()}
    part = whole(method, examples)
    assert float(method.forget_term(part)) == pytest.approx(0, abs=1e-6)


GRADIENT = sorted(
    name.split(".")[1]
    for name in discovery.names("interventions")
    if name.startswith("unlearning.")
    and issubclass(discovery.intervention(name).method, GradientMethod)
)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_batch_in_parts_is_the_batch_whole(tiny, name):
    """Losses of parts add up, also where they hold examples of one role alone."""
    method = made(tiny, name, **_alive(name))
    moved(tiny, 0.02)
    (batch,) = list(method.epoch(0))[:1]
    with torch.no_grad():
        together = float(method.loss(tiny, batch, batch))
        apart = sum(float(method.loss(tiny, [each], batch)) for each in batch)
    assert apart == pytest.approx(together, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in GRADIENT if name != "rmu"])
def test_nothing_depends_on_prompts_or_padding(tiny, name):
    """Terms are over answers: a batch's loss does not change with examples of other lengths
    beside it but by their own share. RMU has no forget term of its own: its loss is over states of
    a layer below, and has its own tests."""
    method = made(tiny, name, **_alive(name))
    moved(tiny, 0.02)
    short, long = sorted(method.forgotten, key=lambda each: len(each.ids))[
        :: len(method.forgotten) - 1
    ]
    with torch.no_grad():
        part = whole(method, [short, long])
        alone = method.part(part.tokens, [short, long], [0], [short], "forget")
        single = float(method.forget_term(whole(method, [short])))
        assert float(method.forget_term(alone)) == pytest.approx(single, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", GRADIENT)
def test_with_both_weights_zero_nothing_moves(tiny, name):
    module = discovery.intervention(f"unlearning.{name}")
    settings = module.Settings(**_alive(name) | {"forget_weight": 0, "retain_weight": 0}, epochs=1)
    before = copy.deepcopy(tiny.module.state_dict())
    module.method(tiny, sets(), settings, seed=0).run()
    after = tiny.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_run_is_repeated_to_the_same_bits(tiny, name):
    module = discovery.intervention(f"unlearning.{name}")
    adapter = "full" if name == "refresh" else "lora"
    settings = module.Settings(epochs=2, learning_rate=1e-3, batch_size=4, adapter=adapter, rank=2)
    found = []
    for _ in range(2):
        model = copy.deepcopy(tiny)
        before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
        method = module.method(model, sets(), settings, seed=3)
        method.run()
        found.append(method.changes(before))
        assert all(math.isfinite(loss) for loss in method.notes["losses"])
    assert found[0]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.parametrize("name", ["npo", "refresh", "rmu", "task_vector", "whp"])
def test_a_killed_run_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch, name):
    """Also where a method remembers, draws or trains something of its own beside the loop."""
    module = discovery.intervention(f"unlearning.{name}")
    settings = module.Settings(epochs=3, learning_rate=1e-3, batch_size=4)
    straight = copy.deepcopy(tiny)
    module.method(straight, sets(), settings, seed=3).run()

    monkeypatch.setattr("palimpsest.engine.resuming.Resume.save", _always(tmp_path))
    killed, done = copy.deepcopy(tiny), []
    # What reinforces a copy beforehand counts as one run of a loop.
    epochs = 3 if name == "whp" else 2

    def stop(trainer, batches, run=Trainer.run):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(run(trainer, batches))

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            module.method(killed, sets(), settings, seed=3, scratch=tmp_path).run()
    assert (tmp_path / "resume.pt").is_file()
    again = copy.deepcopy(tiny)
    module.method(again, sets(), settings, seed=3, scratch=tmp_path).run()
    for ours, theirs in zip(again.module.parameters(), straight.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _always(folder):
    from palimpsest.engine.resuming import Resume

    save = Resume.save
    return lambda self, facts, now=False: save(self, facts, now=True)


def _alive(name):
    """Settings with which every term counts."""
    found = {"retain_weight": 1.0, "forget_weight": 1.0}
    # Its unlearning step is no part of the loss.
    return found | ({"delta": 0.0} if name == "refresh" else {})


def test_kl_retain_term_is_zero_at_the_start_and_the_divergence_later(tiny):
    method = made(tiny, "grad_ascent", retain_weight=1.0, retain_loss="kl")
    examples = method.kept[:3]
    assert float(method.retain_term(whole(method, examples))) == pytest.approx(0, abs=1e-6)
    old = copy.deepcopy(tiny.module)
    moved(tiny)
    expected = []
    for each in examples:
        ids = torch.tensor([list(each.ids)])
        with torch.no_grad():
            p, q = (m(input_ids=ids).logits[0].log_softmax(-1) for m in (old, tiny.module))
        at = [place - 1 for place, scored in enumerate(each.scored) if scored]
        expected.append((p.exp() * (p - q)).sum(-1)[at])
    term = float(method.retain_term(whole(method, examples)).detach())
    assert term == pytest.approx(float(torch.cat(expected).mean()), rel=1e-4)
    assert term > 0.01
