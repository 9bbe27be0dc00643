"""Selective synaptic dampening: closed forms, limits, monotony."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palimpsest.engine.examples import Example
from palimpsest.interventions.unlearning import assd, lfssd, ssd
from palimpsest.interventions.unlearning._base import Sets
from palimpsest.interventions.unlearning._dampening import dampen, importances
from tests.interventions.unlearning.worlds import sets


def weights(model):
    return {name: p.detach().clone() for name, p in model.module.named_parameters()}


def run(model, module, chosen=None, **settings):
    method = module.method(model, chosen or sets(), module.Settings(**settings), seed=0)
    method.run()
    return method


@pytest.mark.parametrize("module", [ssd, lfssd])
def test_an_infinite_threshold_changes_nothing(tiny, module):
    before = weights(tiny)
    method = run(tiny, module, alpha=math.inf)
    assert all(torch.equal(before[name], p) for name, p in tiny.module.named_parameters())
    assert method.notes["share_dampened"] == 0


@pytest.mark.parametrize("module", [ssd, lfssd])
def test_nothing_is_chosen_where_all_data_are_to_be_forgotten(tiny, module):
    before = weights(tiny)
    run(tiny, module, alpha=1.0, chosen=Sets(sets().forget, []))
    assert all(torch.equal(before[name], p) for name, p in tiny.module.named_parameters())


def test_only_what_matters_to_the_forget_set_is_dampened_in_closed_form():
    """A softmax regression whose forget and retain examples use different features."""
    rng = np.random.default_rng(0)
    n, features, classes = 12, 6, 3
    inputs = np.zeros((n, features))
    inputs[:4, :3] = rng.normal(size=(4, 3))
    inputs[4:, 3:] = rng.normal(size=(8, 3))
    labels = rng.integers(0, classes, n)
    weight = torch.from_numpy(rng.normal(size=(classes, features)))

    def importance(rows):
        scores = inputs[rows] @ weight.numpy().T
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        error = p - np.eye(classes)[labels[rows]]
        return np.mean(np.square(error[:, :, None] * inputs[rows][:, None, :]), axis=0)

    forget, every = (torch.from_numpy(importance(rows)) for rows in (slice(0, 4), slice(0, n)))
    dampened = {"weight": weight.clone()}
    share = dampen(dampened, {"weight": forget}, {"weight": every}, alpha=1.5, strength=1.0)
    # Of twelve examples four are to be forgotten: I_D is a third of I_F on their features.
    expected = weight.clone()
    expected[:, :3] /= 3
    torch.testing.assert_close(dampened["weight"], expected)
    assert share == 0.5


def test_importance_of_single_examples_is_the_empirical_fisher_information(tiny):
    """Of the head the gradient is (p - onehot) times the hidden state, in closed form."""
    tiny.module.requires_grad_(False)
    head = tiny.module.get_output_embeddings().weight
    head.requires_grad_(True)
    rng = np.random.default_rng(1)
    examples = [
        Example(tuple(rng.integers(1, 250, 6).tolist()), (False,) * 5 + (True,)) for _ in range(3)
    ]
    expected = torch.zeros_like(head)
    for each in examples:
        ids = torch.tensor([list(each.ids)])
        with torch.no_grad():
            state = tiny.module.get_decoder()(ids).last_hidden_state[0, -2]
            error = torch.softmax(head @ state, -1)
            error[each.ids[-1]] -= 1
        # Tied embeddings would add the gradient of the input; it is cut off here.
        expected += torch.outer(error, state).square() / len(examples)
    untied = tiny.module.get_input_embeddings()
    untied.weight = torch.nn.Parameter(untied.weight.detach().clone(), requires_grad=False)
    (found,) = importances(tiny, examples, 8, "sample").values()
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-3)
    batch = next(iter(importances(tiny, examples, 3, "batch").values()))
    # The square of a mean is no more than the mean of squares.
    assert (batch <= found + 1e-9).all()
    assert float(batch.sum()) < float(found.sum())


def test_dampening_is_monotone_in_threshold_and_strength():
    rng = np.random.default_rng(2)
    weight, forget, every = (torch.from_numpy(rng.random((20, 20)) + 0.01) for _ in range(3))

    def after(alpha, strength):
        found = {"w": weight.clone()}
        return dampen(found, {"w": forget}, {"w": every}, alpha, strength), found["w"]

    shares = [after(alpha, 1.0)[0] for alpha in (0.5, 1.0, 2.0, 5.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    left = [float(after(1.0, strength)[1].sum()) for strength in (0.0, 0.3, 1.0, 100.0)]
    assert left == sorted(left)
    assert left[-1] == pytest.approx(float(weight.sum()))


def test_label_free_importance_needs_no_answers(tiny):
    tiny.module.requires_grad_(True)
    ids = (5, 6, 7, 8, 9)
    one = [Example(ids, (False,) * 4 + (True,))]
    other = [Example((*ids[:4], 200), (False,) * 4 + (True,))]
    free = [importances(tiny, part, 1, "label_free") for part in (one, other)]
    with_labels = [importances(tiny, part, 1, "batch") for part in (one, other)]
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(free[0][name], free[1][name])
    assert not torch.equal(with_labels[0][name], with_labels[1][name])


def test_only_chosen_weights_are_dampened(tiny):
    before = weights(tiny)
    run(tiny, ssd, alpha=0.0, strength=0.1, only=("*.mlp.*",))
    changed = {n for n, p in tiny.module.named_parameters() if not torch.equal(before[n], p)}
    assert changed
    assert all(".mlp." in name for name in changed)


def test_the_adaptive_threshold_is_a_percentile_of_the_ratios(tiny):
    method = run(tiny, assd, chosen=sets(1, 9))
    assert method.notes["percentile"] == pytest.approx(100 - math.log(11))
    few = method.notes["share_dampened"]
    # Ties and the least threshold of 1 choose no more than the percentile does.
    assert 0 < few <= 1 - method.notes["percentile"] / 100 + 1e-6
    more = run(tiny, assd, chosen=sets(4, 6)).notes["percentile"]
    assert more < method.notes["percentile"]
