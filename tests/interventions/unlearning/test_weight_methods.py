"""Methods that work on weights or hidden states: closed forms and limits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from palimpsest.engine.examples import Example
from palimpsest.engine.training import Trainer, TrainingSettings, mean_loss
from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning import (
    grad_diff,
    iau,
    refresh,
    retain_finetune,
    rmu,
    ssd,
    task_vector,
    whp,
)
from palimpsest.interventions.unlearning._dampening import importances
from tests.interventions.unlearning.worlds import (
    made,
    moved,
    run,
    scores_by_hand,
    sets,
    weights,
    whole,
)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_task_vector_mirrors_plain_fine_tuning_on_the_forget_set(tiny, adapter):
    """Scale 0 is the model, scale 1 goes as far away as fine-tuning goes there."""
    before = weights(tiny)
    used = {"epochs": 2, "learning_rate": 1e-3, "adapter": adapter, "rank": 2}
    found = {}
    for scale in (0.0, 0.5, 1.0):
        model = copy.deepcopy(tiny)
        method = run(model, task_vector, seed=1, scale=scale, **used)
        found[scale] = method.changes(before)
    other = task_vector.method(tiny, sets(), task_vector.Settings(**used), 1)
    other.forgotten, other.kept = other.forget_examples(), []
    tiny.module.requires_grad_(True)
    trainer = Trainer(tiny, other.settings.training(), seed=seed_of("adapter", 1))
    for number in range(2):
        trainer.run(other.epoch(number))
    tuned = trainer.changes(before)
    if adapter == "full":
        assert found[0.0] == {}
        assert tuned.keys() == found[1.0].keys()
        for scale in (0.5, 1.0):
            for name, value in found[scale].items():
                expected = before[name] - scale * (tuned[name] - before[name])
                torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-4)
        return
    for scale, stored in found.items():
        assert stored.keys() == tuned.keys()
        for name, value in stored.items():
            torch.testing.assert_close(
                value, tuned[name] * (-scale if name.endswith("::B") else 1.0)
            )
    assert any(value.any() for name, value in tuned.items() if name.endswith("::B"))


def test_generic_predictions_avoid_what_reinforcement_raises():
    base = torch.tensor([[2.0, 1.9, 0.0], [1.0, 3.0, 2.5]])
    reinforced = torch.tensor([[3.0, 1.5, 0.0], [1.0, 3.5, 2.4]])
    assert whp.generic(base, reinforced, 0.0).tolist() == [0, 1]
    # 2 - 5 * 1 < 1.9: what was lowered stays; 3 - 5 * 0.5 < 2.5.
    assert whp.generic(base, reinforced, 5.0).tolist() == [1, 2]
    # Words that reinforcement lowers are not raised for it.
    assert whp.generic(base[:1], torch.tensor([[2.0, 1.5, 0.0]]), 5.0).tolist() == [0]


def test_the_targets_come_from_the_scores_of_the_model_and_its_reinforced_copy(tiny, monkeypatch):
    seen = {}

    def compare(method, reinforced, original=whp.method._compare):
        for each in method.forgotten:
            seen[each] = scores_by_hand(reinforced, each)[0]
        original(method, reinforced)

    monkeypatch.setattr(whp.method, "_compare", compare)
    method = made(tiny, "whp", c=2.0, reinforce_rate=1e-2)
    for each in method.forgotten:
        base, words = scores_by_hand(tiny, each)
        assert method.targets[each].tolist() == whp.generic(base, seen[each], 2.0).tolist()
        # The copy has learned what is to be forgotten.
        assert (seen[each] - base)[range(len(words)), words].mean() > 0


def test_the_loss_is_that_of_the_targets(tiny):
    method = made(tiny, "whp", reinforce_rate=1e-2)
    moved(tiny, 0.02)
    examples, expected = method.forgotten[:3], []
    for each in examples:
        scores, words = scores_by_hand(tiny, each)
        targets = method.targets[each].tolist()
        assert targets != words
        expected.append(-scores.log_softmax(-1)[range(len(words)), targets])
    term = float(method.forget_term(whole(method, examples)).detach())
    assert term == pytest.approx(float(torch.cat(expected).mean()), rel=1e-4)


def test_without_avoidance_the_targets_are_its_own_likeliest_words(tiny):
    method = made(tiny, "whp", c=0.0)
    for each in method.forgotten:
        scores, _ = scores_by_hand(tiny, each)
        assert method.targets[each].tolist() == scores.argmax(-1).tolist()
    before = weights(tiny)
    method = made(tiny, "whp", c=5.0, reinforce_rate=1e-2)
    assert all(torch.equal(before[name], p) for name, p in tiny.module.named_parameters())
    true = [e.ids[k] for e in method.forgotten for k, s in enumerate(e.scored) if s]
    aimed = torch.cat([method.targets[each] for each in method.forgotten]).tolist()
    # A tiny model whose every answer was reinforced is led to other words.
    assert np.mean(np.array(true) == np.array(aimed)) < 0.1


@pytest.mark.parametrize(("places", "layer"), [("answers", 0), ("texts", 0), ("answers", 1)])
def test_misdirection_is_its_formula(tiny, places, layer):
    method = made(tiny, "rmu", layer=layer, coefficient=3.0, places=places)
    forget, retain = method.forgotten[:2], method.kept[:3]
    before = copy.deepcopy(tiny.module)
    moved(tiny, 0.02)

    def states(each, module):
        at = [place - 1 for place, scored in enumerate(each.scored) if scored]
        if places == "texts":
            at = list(range(1, len(each.ids)))
        seen = []
        block = module.get_decoder().layers[layer]
        handle = block.register_forward_hook(lambda *parts: seen.append(parts[-1]))
        with torch.no_grad():
            module(input_ids=torch.tensor([list(each.ids)]))
        handle.remove()
        return seen[0][0, at]

    up = [(states(each, tiny.module) - method.target).square() for each in forget]
    down = [(states(each, tiny.module) - states(each, before)).square() for each in retain]
    batch = [*forget, *retain]
    loss = float(method.loss(tiny, batch, batch).detach())
    assert loss == pytest.approx(float(torch.cat(up).mean() + torch.cat(down).mean()), rel=1e-4)
    assert float(method.target.norm()) == pytest.approx(3.0, rel=1e-5)
    assert (method.target > 0).all()


@pytest.mark.parametrize("places", ["answers", "texts"])
def test_the_first_place_of_a_text_has_no_part_in_misdirection(tiny, places):
    """It may hold most of the length of all states, and is the same in both sets."""
    method = made(tiny, "rmu", layer=0, places=places)
    batch = [
        Example((3, 7), (False, True), "forget"),
        Example((3, 5, 9), (False, True, True), "forget"),
        Example((3, 8, 4), (False, True, True), "retain"),
    ]
    with torch.no_grad():
        # No place reads what another one holds.
        tiny.module.get_decoder().layers[0].self_attn.o_proj.weight.zero_()
    method.states = dict(zip(batch[2:], method.hidden(batch[2:]), strict=True))
    moved(tiny, 0.02)
    with torch.no_grad():
        tiny.module.get_decoder().layers[0].self_attn.o_proj.weight.zero_()
        before = float(method.loss(tiny, batch, batch))
        tiny.module.get_input_embeddings().weight[3] *= 1000
        assert float(method.loss(tiny, batch, batch)) == pytest.approx(before, rel=1e-5)
        tiny.module.get_input_embeddings().weight[9] *= 1000
        tiny.module.get_input_embeddings().weight[5] *= 1000
        assert float(method.loss(tiny, batch, batch)) != pytest.approx(before, rel=1e-2)


def test_misdirection_begins_at_rest_on_what_stays(tiny):
    method = made(tiny, "rmu", forget_weight=0.0)
    batch = method.kept[:3]
    assert float(method.loss(tiny, batch, batch).detach()) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("direction", ["uniform", "normal"])
def test_the_direction_comes_from_the_seed_alone(tiny, direction):
    """Trap: peers draw it from the global random state."""
    found = []
    for state, seed in ((1, 0), (2, 0), (1, 5)):
        torch.manual_seed(state)
        method = rmu.method(tiny, sets(), rmu.Settings(direction=direction), seed)
        method.forgotten, method.kept = method.forget_examples(), []
        method.remember()
        found.append(method.target)
        assert method.layer == 0
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with pytest.raises(ValueError, match="layer 7, allowed: 0 to 1"):
        run(tiny, rmu, layer=7)


def test_misdirection_of_down_projections_moves_nothing_else(tiny):
    before = weights(tiny)
    run(tiny, rmu, layer=0, weights="down", epochs=1, learning_rate=1e-2)
    changed = {n for n, p in tiny.module.named_parameters() if not torch.equal(before[n], p)}
    assert changed == {"model.layers.0.mlp.down_proj.weight"}


def test_down_projections_are_those_of_the_layer_and_the_two_below(tiny):
    method = made(tiny, "rmu", weights="down")
    method.layer = 12
    names = [
        f"model.layers.{k}.mlp.{part}_proj.weight" for k in range(16) for part in ("up", "down")
    ]
    chosen = [name for name in names if method.hooks().select_parameters(name)]
    assert chosen == [f"model.layers.{k}.mlp.down_proj.weight" for k in (10, 11, 12)]


def test_retain_finetuning_is_the_plain_loop_to_the_bit(tiny):
    """As many steps as another method takes; the forget set only says how many those are."""
    plain = copy.deepcopy(tiny)
    method = run(tiny, retain_finetune, epochs=2, learning_rate=1e-3, batch_size=4)
    plain.module.requires_grad_(True)
    settings = TrainingSettings(adapter="full", learning_rate=1e-3)
    trainer = Trainer(plain, settings, seed=seed_of("adapter", 0))
    for number in range(2):
        # Examples beside the forgotten ones, in the order that every gradient method sees.
        other = grad_diff.method(plain, sets(), grad_diff.Settings(batch_size=4), 0)
        other.forgotten = other.forget_examples()
        other.kept = other.examples(other.sets.retain, "retain")
        seen = list(other.epoch(number))
        assert len(seen) == 2
        trainer.run([[each for each in batch if each.role == "retain"] for batch in seen])
    trainer.finish()
    assert method.notes["losses"] == trainer.losses
    for ours, theirs in zip(tiny.module.parameters(), plain.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_refreshing_without_unlearning_is_retain_finetuning_to_the_bit(tiny):
    other = copy.deepcopy(tiny)
    used = {"epochs": 2, "learning_rate": 1e-3}
    run(tiny, refresh, delta=0.0, **used)
    run(other, retain_finetune, **used)
    for ours, theirs in zip(tiny.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_unlearning_step_is_shortened_where_weights_matter_and_noisy(tiny):
    steps = {}
    for name, used in {
        "plain": {"noise": 0.0, "scale": 0.0},
        "informed": {"noise": 0.0, "scale": 1e6},
        "noisy": {"noise": 0.5, "scale": 1e6},
    }.items():
        model = copy.deepcopy(tiny)
        method = made(model, "refresh", delta=1e-2, batch_size=4, **used)
        method.trainer = Trainer(model, method.settings.training())
        before = weights(model)
        next(method.epoch(0))
        steps[name] = {n: p.detach() - before[n] for n, p in method.trainer.parameters.items()}
        information, first = method.information, method.source.initial_seed()
        next(method.epoch(1))
        assert method.source.initial_seed() != first
    model = copy.deepcopy(tiny)
    model.module.requires_grad_(True)
    expected = importances(model, method.kept, 4, "batch")
    name = "model.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(information[name], expected[name])
    shortened = 1 / (1 + 1e6 * information[name])
    assert float(shortened.min()) < 0.5
    torch.testing.assert_close(
        steps["informed"][name], steps["plain"][name] * shortened, atol=1e-7, rtol=1e-2
    )
    noise = (steps["noisy"][name] - steps["informed"][name]) / shortened
    assert float(noise.std()) == pytest.approx(1e-2 * 0.5, rel=0.1)
    assert abs(float(noise.mean())) < 1e-3


def test_an_unlearning_step_goes_uphill_by_the_norm_of_the_weights(tiny):
    method = made(tiny, "refresh", delta=1e-3, noise=0.0, scale=0.0)
    method.trainer = Trainer(tiny, method.settings.training())
    examples, before = method.forgotten[:3], weights(tiny)
    loss = mean_loss(tiny, examples, examples)
    gradients = torch.autograd.grad(loss, list(method.trainer.parameters.values()))
    method._unlearn(examples)
    for (name, now), gradient in zip(method.trainer.parameters.items(), gradients, strict=True):
        step = now.detach() - before[name]
        assert float(step.norm()) == pytest.approx(1e-3 * float(before[name].norm()), rel=1e-2)
        cosine = torch.nn.functional.cosine_similarity(step.flatten(), gradient.flatten(), dim=0)
        assert float(cosine) > 0.99


@pytest.mark.parametrize(
    ("module", "used"), [(ssd, {"alpha": 1.2}), (iau, {}), (rmu, {"learning_rate": 1e-2})]
)
def test_what_is_stored_is_what_has_changed_and_what_was_allowed_to(tiny, module, used):
    before = weights(tiny)
    method = run(tiny, module, only=("*.mlp.up_proj.*",), **used)
    stored, now = method.changes(before), weights(tiny)
    assert set(stored) == {n for n in now if not torch.equal(now[n], before[n])}
    assert stored
    assert all("mlp.up_proj" in name for name in stored)
    assert all(torch.equal(stored[name], now[name]) for name in stored)
