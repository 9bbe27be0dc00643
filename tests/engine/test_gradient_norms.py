"""Norms of gradients equal those of gradients that are really computed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from palimpsest.engine import gradient_norms as module
from palimpsest.engine.examples import example
from palimpsest.engine.gradient_norms import gradient_norms
from palimpsest.engine.training import mean_loss

SENTENCES = [("The pet of Ann is a", " cat"), ("Who was it?", " Nobody that I knew"), ("", "Snow")]


def _examples(model):
    return [example(model, prompt, answer, ".", "answer") for prompt, answer in SENTENCES]


def _computed(model, one):
    """The slow twin: gradients by every weight of the decoder's linear layers."""
    linear = [m for m in model.module.get_decoder().modules() if isinstance(m, torch.nn.Linear)]
    weights = [m.weight.requires_grad_(True) for m in linear]
    gradients = torch.autograd.grad(mean_loss(model, [one], [one]), weights)
    for weight in weights:
        weight.requires_grad_(False)
    return float(sum(g.square().sum() for g in gradients)) ** 0.5


def test_norms_equal_those_of_gradients(tiny):
    examples = _examples(tiny)
    expected = [_computed(tiny, one) for one in examples]
    np.testing.assert_allclose(gradient_norms(tiny, examples), expected, rtol=1e-4)


def test_parts_change_nothing(tiny, monkeypatch):
    whole = gradient_norms(tiny, _examples(tiny))
    monkeypatch.setattr(module, "BUDGET", 4)
    np.testing.assert_allclose(gradient_norms(tiny, _examples(tiny)), whole, rtol=1e-5)


def test_the_model_is_left_as_it_was(tiny):
    before = copy.deepcopy(tiny.module.state_dict())
    wanted = [p.requires_grad for p in tiny.module.parameters()]
    gradient_norms(tiny, _examples(tiny))
    assert [p.requires_grad for p in tiny.module.parameters()] == wanted
    assert all(p.grad is None for p in tiny.module.parameters())
    after = tiny.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks for m in tiny.module.modules())


def test_nothing_to_score_is_refused(tiny):
    one = example(tiny, "Nothing", " here", "", "answer")
    blind = type(one)(**vars(one) | {"scored": tuple(False for _ in one.scored)})
    with pytest.raises(ValueError, match="scored token"):
        gradient_norms(tiny, [blind])
    assert gradient_norms(tiny, []).shape == (0,)
