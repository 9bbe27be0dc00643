"""Selective synaptic dampening: closed forms, limits, monotony."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from palimpsest.engine.examples import Example
from palimpsest.interventions.unlearning import assd, lfssd, ssd
from palimpsest.interventions.unlearning._base import Sets
from palimpsest.interventions.unlearning._dampening import dampen, importances, sensitivities
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


def _regression():
    """A softmax regression: four examples use three features, eight others the other three."""
    rng = np.random.default_rng(0)
    inputs = np.zeros((12, 6))
    inputs[:4, :3] = rng.normal(size=(4, 3))
    inputs[4:, 3:] = rng.normal(size=(8, 3))
    labels = rng.integers(0, 3, 12)
    weight = torch.from_numpy(rng.normal(size=(3, 6))).requires_grad_(True)

    def fisher(rows):
        """Empirical, in closed form: mean of ((p - onehot) x)^2."""
        scores = inputs[rows] @ weight.detach().numpy().T
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        error = p - np.eye(3)[labels[rows]]
        return np.mean(np.square(error[:, :, None] * inputs[rows][:, None, :]), axis=0)

    def losses(rows):
        for x, y in zip(torch.from_numpy(inputs[rows]), labels[rows], strict=True):
            yield -torch.log_softmax(weight @ x, 0)[y]

    return weight, fisher, losses


@pytest.mark.parametrize("rows", [slice(0, 4), slice(0, 12)])
def test_importance_of_single_examples_is_that_of_softmax_regression(rows):
    weight, fisher, losses = _regression()
    (found,) = sensitivities(losses(rows), [weight], squared=True)
    np.testing.assert_allclose(found.numpy(), fisher(rows), rtol=1e-10)
    (size,) = sensitivities(losses(slice(0, 1)), [weight], squared=False)
    np.testing.assert_allclose(size.numpy(), np.sqrt(fisher(slice(0, 1))), rtol=1e-10)


def test_only_what_matters_to_the_forget_set_is_dampened_in_closed_form():
    weight, _, losses = _regression()
    (forget,), (every,) = (
        sensitivities(losses(rows), [weight], True) for rows in (slice(0, 4), slice(0, 12))
    )

    def after(alpha, strength):
        found = {"w": weight.detach().clone()}
        return dampen(found, {"w": forget}, {"w": every}, alpha, strength)["w"], found["w"]

    # Of twelve examples four are to be forgotten: I_D is a third of I_F on their features.
    chosen, left = after(1.5, 1.0)
    expected = weight.detach().clone()
    expected[:, :3] /= 3
    torch.testing.assert_close(left, expected)
    assert chosen == 9
    expected[:, :3] *= 0.6
    torch.testing.assert_close(after(1.5, 0.6)[1], expected)
    # Where nothing else uses a weight the ratio is all examples over forgotten ones, and no more.
    assert after(2.999, 1.0)[0] == 9
    assert after(3.001, 1.0)[0] == 0


@pytest.mark.parametrize(
    ("module", "used", "kind"),
    [(ssd, {}, "batch"), (ssd, {"fisher": "sample"}, "sample"), (lfssd, {}, "label_free")],
)
def test_each_method_dampens_by_its_own_importance(tiny, module, used, kind):
    """Eight and twelve batches of one, or two and three of four, of equal weight."""
    chosen = Sets(sets(4).forget, [*sets(4, 6).retain])
    tiny.module.requires_grad_(True)
    method = module.method(tiny, chosen, module.Settings(), seed=0)
    forget, retain = (
        importances(tiny, method.examples(part, "any"), 4, kind)
        for part in (chosen.forget, chosen.retain)
    )
    every = {name: 0.4 * forget[name] + 0.6 * retain[name] for name in forget}
    expected = weights(tiny)
    dampen(expected, forget, every, 1.3, 0.5)
    run(tiny, module, chosen, alpha=1.3, strength=0.5, batch_size=4, **used)
    for name, p in tiny.module.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name])


@pytest.mark.parametrize(("module", "used"), [(ssd, {}), (ssd, {"fisher": "sample"}), (lfssd, {})])
def test_no_threshold_above_the_share_chooses_anything(tiny, module, used):
    """The last batch of a set is smaller: it may not make a weight more important than can be."""
    chosen = sets(3, 4)
    notes = run(tiny, module, chosen, alpha=0.0, strength=1e9, batch_size=4, **used).notes
    assert notes["largest_ratio"] == pytest.approx(14 / 6 if used else 4 / 2)
    above = run(tiny, module, chosen, alpha=1.001 * notes["largest_ratio"], batch_size=4, **used)
    assert above.notes["share_dampened"] == 0
    below = run(tiny, module, chosen, alpha=0.8 * notes["largest_ratio"], batch_size=4, **used)
    assert below.notes["share_dampened"] > 0


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
        return dampen(found, {"w": forget}, {"w": every}, alpha, strength)["w"], found["w"]

    thresholds = [after(alpha, 0.7) for alpha in (0.5, 1.0, 2.0, 5.0)]
    assert thresholds[0][0] > thresholds[-1][0]
    for (many, low), (few, high) in pairwise(thresholds):
        assert many >= few
        assert (low <= high).all()
    strengths = [after(1.0, strength)[1] for strength in (0.0, 0.3, 1.0, 100.0)]
    for low, high in pairwise(strengths):
        assert (low <= high).all()
    assert not strengths[0][forget > every].any()
    assert torch.equal(strengths[-1], weight)


def test_label_free_importance_asks_for_no_label_but_reads_what_was_said(tiny):
    """The last word of an answer is a label alone; one before it is an input too."""
    tiny.module.requires_grad_(True)
    name = "model.layers.0.mlp.down_proj.weight"

    def importance(ids, kind):
        example = Example(ids, (False, False, False, True, True))
        return importances(tiny, [example], 1, kind)[name]

    one, last, first = (5, 6, 7, 8, 9), (5, 6, 7, 8, 200), (5, 6, 7, 201, 9)
    assert torch.equal(importance(one, "label_free"), importance(last, "label_free"))
    assert not torch.equal(importance(one, "batch"), importance(last, "batch"))
    assert not torch.equal(importance(one, "label_free"), importance(first, "label_free"))


def test_label_free_importance_is_the_mean_size_of_the_gradient_of_squared_scores(tiny):
    """One sentence at a time through the whole model, nothing shared."""
    tiny.module.requires_grad_(True)
    head = tiny.module.get_output_embeddings().weight
    examples = [Example((5, 6, 7, 8), (False, False, True, True)), Example((9, 3), (False, True))]
    expected = torch.zeros_like(head)
    for each in examples:
        logits = tiny.module(input_ids=torch.tensor([list(each.ids)])).logits[0]
        at = [place - 1 for place, scored in enumerate(each.scored) if scored]
        (gradient,) = torch.autograd.grad(logits[at].square().sum(-1).mean(), [head])
        expected += gradient.abs() / 2
    names = {id(p): n for n, p in tiny.module.named_parameters()}
    found = importances(tiny, examples, 1, "label_free")[names[id(head)]]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


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
    # Ties choose no more than the percentile does.
    assert 0 < few <= 1 - method.notes["percentile"] / 100 + 1e-6
    more = run(tiny, assd, chosen=sets(4, 6)).notes["percentile"]
    assert more < method.notes["percentile"]


def test_weights_that_matter_to_nothing_have_no_part_in_the_percentile(tiny):
    """Rows of words that never occur would otherwise push the threshold down."""
    rng = np.random.default_rng(3)
    forget, every = (torch.from_numpy(rng.random(500) + 0.1) for _ in range(2))
    method = assd.method(tiny, sets(), assd.Settings(), seed=0)
    method.forget_share = 0.2
    alpha = method.threshold({"a": forget}, {"a": every})
    ratios = (forget / every).numpy()
    assert alpha == np.percentile(ratios, 100 - math.log(21), method="inverted_cdf")
    nothing = torch.zeros(10_000, dtype=forget.dtype)
    both = ({"a": forget, "b": nothing}, {"a": every, "b": nothing})
    assert method.threshold(*both) == alpha


def test_the_notes_say_which_weights_were_dampened(tiny):
    before = weights(tiny)
    notes = run(tiny, ssd, alpha=1.2, only=("*.mlp.*",)).notes
    assert set(notes["shares_dampened"]) == {n for n in before if ".mlp." in n}
    total = sum(share * before[n].numel() for n, share in notes["shares_dampened"].items())
    size = sum(p.numel() for n, p in before.items() if ".mlp." in n)
    assert notes["share_dampened"] == pytest.approx(total / size)
    changed = {n for n, p in tiny.module.named_parameters() if not torch.equal(before[n], p)}
    assert changed == {n for n, share in notes["shares_dampened"].items() if share}


def test_patterns_that_fit_nothing_are_refused(tiny):
    with pytest.raises(ValueError, match="no weight to change: nowhere fits no name"):
        run(tiny, ssd, only=("nowhere",))
