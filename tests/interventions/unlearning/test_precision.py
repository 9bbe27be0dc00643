"""Coarser weights, and an output bias, which small models of the tests do not have."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from palimpsest.interventions.unlearning import iau
from tests.interventions.unlearning.worlds import made, moved, run, scores_by_hand, sets, whole


def _with_bias(model):
    """The model with a trained output bias, as Phi and GPT-J have one."""
    head = model.module.get_output_embeddings()
    biased = torch.nn.Linear(head.in_features, head.out_features)
    with torch.no_grad():
        biased.weight.copy_(head.weight)
    model.module.set_output_embeddings(biased)
    return model


@pytest.mark.parametrize("name", ["kl_min", "undial"])
def test_the_model_as_it_was_keeps_its_output_bias(tiny, name):
    """Full fine-tuning changes it; what is held against the model must not move with it."""
    method = made(_with_bias(tiny), name)
    old = copy.deepcopy(tiny)
    moved(tiny, 0.3)
    examples = (method.kept if name == "kl_min" else method.forgotten)[:3]
    expected = []
    for each in examples:
        before, tokens = scores_by_hand(old, each)
        now = scores_by_hand(tiny, each)[0].log_softmax(-1)
        if name == "kl_min":
            log_p = before.log_softmax(-1)
            expected.append((log_p.exp() * (log_p - now)).sum(-1))
        else:
            before[range(len(tokens)), tokens] -= method.settings.beta
            expected.append(-(before.softmax(-1) * now).sum(-1))
    term = method.retain_term if name == "kl_min" else method.forget_term
    found = float(term(whole(method, examples)).detach())
    assert found == pytest.approx(float(torch.cat(expected).mean()), rel=1e-4)


def test_half_precision_gives_numbers_and_moves_weights(tiny):
    tiny.module.half()
    before = {n: p.detach().clone() for n, p in tiny.module.named_parameters()}
    run(tiny, iau, learning_rate=1e-2)
    after = dict(tiny.module.named_parameters())
    assert all(bool(p.isfinite().all()) for p in after.values())
    assert any(not torch.equal(before[n], p) for n, p in after.items())


def test_gradients_of_many_parts_are_added_up_in_float32(tiny):
    """In bfloat16 a sum of hundreds of small numbers stops growing."""
    tiny.module.bfloat16().requires_grad_(True)
    method = iau.method(tiny, sets(forget=60), iau.Settings(batch_size=1), seed=0)
    examples = method.examples(method.sets.forget, "forget")
    weights = list(tiny.module.parameters())
    whole_set = method._gradient(weights, examples)
    parts = [method._gradient(weights, [each]) for each in examples]
    tokens = np.array([sum(each.scored) for each in examples])
    for place, found in enumerate(whole_set):
        shares = zip(parts, tokens / tokens.sum(), strict=True)
        exact = sum(part[place].double() * share for part, share in shares)
        error = float((found.double() - exact).norm() / exact.norm().clamp_min(1e-12))
        assert found.dtype == torch.float32
        assert error < 0.02
