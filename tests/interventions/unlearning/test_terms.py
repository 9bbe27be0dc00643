"""Forget terms against their formulas, computed sentence by sentence, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from palimpsest.interventions.unlearning._base import Sets
from palimpsest.interventions.unlearning._refusals import REFUSALS
from tests.interventions.unlearning.worlds import (
    alike,
    by_hand,
    direction,
    item,
    made,
    moved,
    scores_by_hand,
    taught,
    term,
    whole,
)


def ascent(method, examples):
    part = whole(method, examples)
    return direction(method, -part.over_tokens(part.nll))


@pytest.mark.parametrize("name", ["grad_diff", "kl_min"])
def test_difference_methods_ascend(tiny, name):
    method = made(tiny, name)
    examples = method.forgotten[:4]
    expected = torch.cat([by_hand(tiny, each) for each in examples]).mean()
    assert term(method, examples) == pytest.approx(float(expected), rel=1e-5)
    assert method.settings.retain_loss == ("kl" if name == "kl_min" else "nll")


def test_simnpo_is_normalised_for_length(tiny):
    method = made(tiny, "simnpo", beta=2.5, delta=0.5)
    examples = method.forgotten[:5]
    losses = torch.stack([-by_hand(tiny, each).mean() for each in examples])
    expected = (-2 / 2.5 * logsigmoid(2.5 * (losses - 0.5))).mean()
    assert term(method, examples) == pytest.approx(float(expected), rel=1e-4)


def test_weights_of_tokens(tiny):
    examples = made(tiny, "wga").forgotten[:5]
    taught(tiny, examples)
    log_p = torch.cat([by_hand(tiny, each) for each in examples])
    p = log_p.exp()
    assert p.max() > 0.3
    expected = {
        "wga": (made(tiny, "wga", beta=0.5), p**0.5),
        "satimp": (made(tiny, "satimp", beta1=2, beta2=0.5), p**2 * (1 - p) ** 0.5),
    }
    for method, weights in expected.values():
        assert term(method, examples) == pytest.approx(float((weights * log_p).mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "limit"), [("wga", {"beta": 0}), ("satimp", {"beta1": 0, "beta2": 0})]
)
def test_weighted_ascent_without_weights_is_ascent(tiny, name, limit):
    method = made(tiny, name, **limit)
    moved(tiny, 0.1)
    examples = method.forgotten[:4]
    found = direction(method, method.forget_term(whole(method, examples)))
    torch.testing.assert_close(found, ascent(method, examples), rtol=1e-4, atol=1e-7)


def test_weights_of_tokens_are_held_constant(tiny):
    """A gradient through them would pull likely tokens up again."""
    examples = made(tiny, "wga").forgotten[:5]
    taught(tiny, examples)
    p = torch.cat([by_hand(tiny, each) for each in examples]).exp()
    found = {
        "wga": (made(tiny, "wga", beta=2), p**2),
        "satimp": (made(tiny, "satimp", beta1=2, beta2=0.5), p**2 * (1 - p) ** 0.5),
    }
    for method, weights in found.values():
        part = whole(method, examples)
        expected = direction(method, -part.over_tokens(weights * part.nll))
        gradient = direction(method, method.forget_term(whole(method, examples)))
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)


def test_satimp_without_importance_is_wga(tiny):
    moved(tiny, 0.1)
    one, other = made(tiny, "satimp", beta1=1, beta2=0), made(tiny, "wga", beta=1)
    assert term(one, one.forgotten) == pytest.approx(term(other, other.forgotten), rel=1e-5)


def test_undial_distils_adjusted_scores_of_answer_tokens_alone(tiny):
    """Trap: peers average over prompts and padding, and write the penalty at a wrapped index."""
    method = made(tiny, "undial", beta=3.0)
    examples = method.forgotten[:4]
    targets = []
    for each in examples:
        scores, tokens = scores_by_hand(tiny, each)
        scores = scores.clone()
        scores[range(len(tokens)), tokens] -= 3.0
        targets.append(scores.softmax(-1))
    moved(tiny)
    losses = []
    for each, target in zip(examples, targets, strict=True):
        scores, _ = scores_by_hand(tiny, each)
        losses.append(-(target * scores.log_softmax(-1)).sum(-1))
    assert term(method, examples) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)


def test_undial_without_penalty_begins_at_rest(tiny):
    found = {}
    for beta in (0.0, 10.0):
        method = made(tiny, "undial", beta=beta)
        found[beta] = direction(method, method.forget_term(whole(method, method.forgotten[:4])))
    assert float(found[0.0].norm()) < 1e-4 * float(found[10.0].norm())


def test_ceu_aims_at_its_own_distribution_without_the_truth(tiny):
    method = made(tiny, "ceu", skip=1)
    whole_answers = made(tiny, "ceu", skip=0).forgotten
    cut = [
        sum(a.scored) - sum(b.scored) for a, b in zip(whole_answers, method.forgotten, strict=True)
    ]
    assert set(cut) == {1}
    examples = method.forgotten[:4]
    losses = []
    for each in examples:
        scores, tokens = scores_by_hand(tiny, each)
        target = scores.clone()
        target[range(len(tokens)), tokens] = -math.inf
        losses.append(-(target.softmax(-1) * scores.log_softmax(-1)).sum(-1))
    assert term(method, examples) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)


def test_ceu_leaves_alone_what_is_unlikely(tiny):
    """Its gradient by the scores is p - target: nothing once the truth has no probability."""
    method = made(tiny, "ceu")
    part = whole(method, method.forgotten)
    words = part.tokens.words[:, None]
    largest = {}
    for score in (30.0, 0.0, -30.0):
        scores = part.logits.detach().scatter(1, words, score).requires_grad_()
        part.__dict__["logits"] = scores
        (gradient,) = torch.autograd.grad(method.forget_term(part), scores)
        largest[score] = float(gradient.abs().max()) * len(words)
    # Ascent pulls the other way round: least where the model is surest.
    assert largest[30.0] == pytest.approx(1, abs=1e-3)
    assert 1e-3 < largest[0.0] < largest[30.0]
    assert largest[-30.0] < 1e-7


def test_ceu_does_not_leave_the_full_stop_alone(tiny):
    """Of an answer of one word the first token is all that can be forgotten."""
    chosen = Sets([item("stone", "forget", " x"), item("rock", "forget", " xy")], [])
    lengths = {}
    for skip in (0, 1, 2):
        examples = made(tiny, "ceu", chosen, skip=skip).forgotten
        lengths[skip] = [sum(each.scored) for each in examples[::2]]
    # Tokens of the tiny model are letters and spaces; the full stop is the last of each.
    assert lengths == {0: [3, 4], 1: [2, 3], 2: [3, 2]}


def test_preference_is_its_formula(tiny):
    for name in ("idk_dpo", "dpo"):
        method = made(tiny, name, beta=0.2)
        examples = method.forgotten[:4]
        partners = [method.preferred[each] for each in examples]
        before = [
            (by_hand(tiny, a).sum(), by_hand(tiny, b).sum())
            for a, b in zip(partners, examples, strict=True)
        ]
        moved(tiny, 0.03)
        now = [
            (by_hand(tiny, a).sum(), by_hand(tiny, b).sum())
            for a, b in zip(partners, examples, strict=True)
        ]
        margins = torch.stack(
            [(a - c) - (b - d) for (a, b), (c, d) in zip(now, before, strict=True)]
        )
        expected = (-2 / 0.2 * logsigmoid(0.2 * margins)).mean()
        assert term(method, examples) == pytest.approx(float(expected), rel=1e-3)


def test_preferred_answers_are_refusals_or_wrong_ones(tiny):
    method = made(tiny, "idk_dpo")
    said = {
        tiny.decode([t for t, s in zip(e.ids, e.scored, strict=True) if s]).strip(" .")
        for e in method.preferred.values()
    }
    assert said <= set(REFUSALS)
    assert len(said) > 1
    method = made(tiny, "dpo")
    said = {
        tiny.decode([t for t, s in zip(e.ids, e.scored, strict=True) if s]).strip(" .")
        for e in method.preferred.values()
    }
    assert said <= {"red", "green", "black"}


def test_refusals_and_wrong_answers_are_learned(tiny):
    method = made(tiny, "idk_nll")
    said = [
        tiny.decode([t for t, s in zip(e.ids, e.scored, strict=True) if s]).strip(" .")
        for e in method.forgotten
    ]
    assert set(said) <= set(REFUSALS)
    losses = torch.cat([-by_hand(tiny, each) for each in method.forgotten])
    assert term(method, method.forgotten) == pytest.approx(float(losses.mean()), rel=1e-5)
    method = made(tiny, "random_labels")
    drawn = []
    for number in range(6):
        for batch in method.epoch(number):
            drawn += [
                tiny.decode([t for t, s in zip(e.ids, e.scored, strict=True) if s]).strip(" .")
                for e in batch
                if e.role == "forget"
            ]
    assert set(drawn) == {"red", "green", "black"}
    true = {each.answer.strip() for each in method.sets.forget}
    method = made(tiny, "random_labels", answers="others")
    list(method.epoch(0))
    said = {
        tiny.decode([t for t, s in zip(e.ids, e.scored, strict=True) if s]).strip(" .")
        for e in method.forgotten
    }
    assert said <= true


def test_losses_are_sums_in_npo_and_means_in_simnpo(tiny):
    """Trap: the same beta means other strengths for answers of other lengths."""
    taught(tiny, made(tiny, "npo").forgotten, 15)
    npo, simnpo = made(tiny, "npo"), made(tiny, "simnpo")
    short, *_, long = sorted(npo.forgotten, key=lambda each: sum(each.scored))
    assert sum(long.scored) > 1.5 * sum(short.scored)

    def pull(method, each):
        found = direction(method, method.forget_term(whole(method, [each])))
        part = whole(method, [each])
        plain = direction(method, -part.over_tokens(part.nll))
        assert alike(found, plain) == pytest.approx(1, abs=1e-4)
        return float(found.norm() / plain.norm())

    # At the start every answer pulls with its length in NPO, and with its likelihood in SimNPO.
    ratio = pull(npo, long) / pull(npo, short)
    assert ratio == pytest.approx(sum(long.scored) / sum(short.scored), rel=1e-3)
    expected = [
        2 * float(torch.sigmoid(4.5 * by_hand(tiny, each).mean())) for each in (long, short)
    ]
    ratio = pull(simnpo, long) / pull(simnpo, short)
    assert ratio == pytest.approx(expected[0] / expected[1], rel=1e-2)
