"""What methods reduce to in a limit: another method, or the plain loop, often to the bit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from palimpsest import discovery
from palimpsest.engine.training import Trainer, TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning import dpo, idk_dpo, idk_nll, random_labels
from palimpsest.interventions.unlearning._base import Sets
from tests.interventions.unlearning.worlds import (
    alike,
    by_hand,
    direction,
    killed_and_continued,
    made,
    moved,
    sets,
    term,
    whole,
)

SHORT = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4, "forget_weight": 1.0}


def after(tiny, name, **settings):
    """Weights after a run on a copy of the model."""
    module = discovery.intervention(f"unlearning.{name}")
    model = copy.deepcopy(tiny)
    module.method(model, sets(), module.Settings(**SHORT | settings), seed=0).run()
    return list(model.module.parameters())


def equal(one, other):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("grad_diff", {}),
        ("kl_min", {}),
        ("wga", {"beta": 0}),
        ("satimp", {"beta1": 0, "beta2": 0}),
    ],
)
def test_without_a_retain_term_ascent_is_left(tiny, name, limit):
    ascent = after(tiny, "grad_ascent")
    assert equal(after(tiny, name, retain_weight=0, **limit), ascent)
    assert not equal(after(tiny, name, **limit), ascent)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("wga", {"beta": 0}),
        ("satimp", {"beta1": 0, "beta2": 0}),
        ("kl_min", {"retain_loss": "nll"}),
        ("grad_ascent", {"retain_weight": 1}),
    ],
)
def test_with_a_retain_term_gradient_difference_is_left(tiny, name, limit):
    assert equal(after(tiny, name, **limit), after(tiny, "grad_diff"))


def test_kl_minimisation_is_gradient_difference_with_the_other_retain_term(tiny):
    assert equal(after(tiny, "kl_min"), after(tiny, "grad_diff", retain_loss="kl"))
    assert not equal(after(tiny, "kl_min"), after(tiny, "grad_diff"))


@pytest.mark.parametrize("module", [idk_nll, random_labels])
def test_other_answers_without_a_retain_term_are_the_plain_loop(tiny, module):
    settings = module.Settings(**SHORT, retain_weight=0)
    plain = copy.deepcopy(tiny)
    plain.module.requires_grad_(True)
    trainer = Trainer(
        plain, TrainingSettings(adapter="full", learning_rate=1e-3), seed=seed_of("adapter", 0)
    )
    other = module.method(plain, sets(), settings, seed=0)
    other.forgotten, other.kept = other.forget_examples(), []
    for number in range(2):
        trainer.run(other.epoch(number))
    trainer.finish()
    method = module.method(tiny, sets(), settings, seed=0)
    method.run()
    assert method.notes["losses"] == pytest.approx(trainer.losses, rel=1e-5)
    assert equal(tiny.module.parameters(), plain.module.parameters())


def test_simnpo_points_where_ascent_on_means_does_as_beta_goes_to_zero(tiny):
    """On means of examples: answers of every length weigh alike."""
    method = made(tiny, "simnpo", beta=1e-6)
    examples = method.forgotten[:5]
    moved(tiny, 0.02)
    found = direction(method, method.forget_term(whole(method, examples)))
    part = whole(method, examples)
    ascent = direction(method, -part.over_examples(part.means(part.nll)))
    assert alike(found, ascent) == pytest.approx(1, abs=1e-5)
    assert float(found.norm() / ascent.norm()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("name", ["dpo", "idk_dpo"])
def test_a_preference_as_beta_goes_to_zero_learns_one_answer_and_unlearns_the_other(tiny, name):
    method = made(tiny, name, beta=1e-6)
    examples = method.forgotten[:4]
    moved(tiny, 0.02)
    found = direction(method, method.forget_term(whole(method, examples)))
    preferred = whole(method, [method.preferred[each] for each in examples])
    part = whole(method, examples)
    sums = preferred.sums(preferred.nll) - part.sums(part.nll)
    expected = direction(method, part.over_examples(sums))
    assert alike(found, expected) == pytest.approx(1, abs=1e-5)
    assert float(found.norm() / expected.norm()) == pytest.approx(1, rel=1e-4)


def test_a_preference_without_what_it_prefers_is_npo(tiny):
    """Where preferred answers are as likely as they were, npo's loss is left."""
    method, npo = made(tiny, "idk_dpo", beta=0.3), made(tiny, "npo", beta=0.3)
    moved(tiny, 0.03)
    examples = method.forgotten[:4]
    assert term(method, examples) != pytest.approx(term(npo, examples), rel=1e-2)
    for each in examples:
        preferred = method.preferred[each]
        method._sums[preferred] = -float(by_hand(tiny, preferred).sum())
    assert term(method, examples) == pytest.approx(term(npo, examples), rel=1e-4)


def test_undial_with_an_endless_penalty_begins_as_ceu(tiny):
    undial, ceu = made(tiny, "undial", beta=1e4), made(tiny, "ceu", skip=0)
    examples = undial.forgotten[:4]
    assert term(undial, examples) == pytest.approx(term(ceu, examples), rel=1e-5)
    one, other = (
        direction(method, method.forget_term(whole(method, examples))) for method in (undial, ceu)
    )
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_refusals_depend_on_the_seed_of_the_method_alone(tiny):
    def said(seed):
        method = idk_nll.method(tiny, sets(), idk_nll.Settings(), seed=seed)
        return [each.ids for each in method.forget_examples()]

    torch.manual_seed(1)
    first = said(0)
    torch.manual_seed(2)
    assert said(0) == first
    assert said(1) != first


def test_answers_are_drawn_anew_in_each_epoch(tiny):
    method = random_labels.method(tiny, sets(), random_labels.Settings(), seed=0)
    method.forgotten, method.kept = method.forget_examples(), []
    seen = []
    for number in (0, 1, 0):
        list(method.epoch(number))
        seen.append([each.ids for each in method.forgotten])
    assert seen[0] != seen[1]
    assert seen[0] == seen[2]


def test_items_without_wrong_answers_are_refused(tiny):
    chosen = sets(2)
    chosen.forget[1] = replace(chosen.forget[1], perturbed=())
    with pytest.raises(ValueError, match="dpo: stone 1/colour has no wrong answers"):
        made(tiny, "dpo", chosen)
    alone = Sets([replace(chosen.forget[0], perturbed=())], [])
    method = made(tiny, "random_labels", alone)
    with pytest.raises(ValueError, match="random_labels: stone 0/colour has no wrong answer"):
        list(method.epoch(0))
    # Other items lend theirs.
    list(made(tiny, "random_labels", chosen).epoch(0))


def test_files_without_wrong_answers_are_refused_before_anything_runs(tmp_path):
    files = {}
    for name in ("forget", "retain"):
        rows = [
            {"id": "one", "question": f"{name}?", "answer": "Yes", "perturbed": ["No"]},
            {"id": "two", "question": f"{name}!", "answer": "Yes"},
        ]
        files[name] = str(tmp_path / f"{name}.jsonl")
        Path(files[name]).write_text("\n".join(json.dumps(row) for row in rows))
    idk_dpo.check(idk_dpo.Settings(**files), None)
    with pytest.raises(ValueError, match="dpo: two has no wrong answers"):
        dpo.check(dpo.Settings(**files), None)
    # Only what is to be forgotten needs them.
    lines = Path(files["forget"]).read_text().splitlines()
    Path(files["forget"]).write_text(lines[0])
    dpo.check(dpo.Settings(**files), None)


@pytest.mark.parametrize("module", [random_labels, dpo, idk_dpo])
def test_a_killed_run_draws_what_it_would_have_drawn(tiny, tmp_path, monkeypatch, module):
    settings = module.Settings(epochs=3, learning_rate=1e-3, batch_size=4)
    straight, again = killed_and_continued(tiny, module, settings, tmp_path, monkeypatch)
    assert again.notes["losses"] == straight.notes["losses"]
    assert equal(again.model.module.parameters(), straight.model.module.parameters())
