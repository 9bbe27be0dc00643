"""Every forget term on an answer of two tokens in a vocabulary of two words, worked out by hand.

The scores are (1, 0) and (0, 0.5), the answer is word 0 both times: p1 = s(1), p2 = s(-0.5), s the
logistic function. The model as it was scored (0.2, 0.1) and (0.3, 0).
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from palimpsest import discovery
from palimpsest.engine.examples import Example, ScoredTokens
from palimpsest.interventions.unlearning._base import Sets
from palimpsest.interventions.unlearning._gradient import Part

ANSWER = Example((1, 0, 0), (False, True, True), "forget")
#: Sum of losses of the answer before, in nats.
BEFORE = 1.7


def s(x):
    return 1 / (1 + math.exp(-x))


P1, P2 = s(1.0), s(-0.5)
L1, L2 = -math.log(P1), -math.log(P2)


def entropy(target, difference):
    """Cross-entropy of two words, of which the first has this target and lead."""
    return -(target * math.log(s(difference)) + (1 - target) * math.log(s(-difference)))


def term_and_gradient(name, **settings):
    """The forget term and its gradient by the scores."""
    head = torch.nn.Linear(2, 2, bias=False)
    head.weight.data = torch.eye(2)
    model = SimpleNamespace(module=SimpleNamespace(get_output_embeddings=lambda: head))
    module = discovery.intervention(f"unlearning.{name}")
    method = module.method(model, Sets([], []), module.Settings(**settings), 0)
    method._sums = {ANSWER: BEFORE}
    method._states = {ANSWER: torch.tensor([[0.2, 0.1], [0.3, 0.0]])}
    method._head = torch.eye(2), None
    scores = torch.tensor([[1.0, 0.0], [0.0, 0.5]], requires_grad=True)
    tokens = ScoredTokens(scores, torch.tensor([0, 0]), torch.tensor([0, 0]), 1)
    term = method.forget_term(Part(model, [ANSWER], tokens, 2, 1))
    (gradient,) = torch.autograd.grad(term, scores)
    return float(term.detach()), gradient


#: Target of UNDIAL: the answer's own score lowered by 10.
T1, T2 = s(0.2 - 10 - 0.1), s(0.3 - 10)
WORKED_OUT = {
    "grad_ascent": ({}, -(L1 + L2) / 2),
    "grad_diff": ({}, -(L1 + L2) / 2),
    "npo": ({"beta": 0.1}, -2 / 0.1 * math.log(s(0.1 * (L1 + L2 - BEFORE)))),
    "simnpo": ({"delta": 0.2, "beta": 4.5}, -2 / 4.5 * math.log(s(4.5 * ((L1 + L2) / 2 - 0.2)))),
    "wga": ({"beta": 1.0}, -(P1 * L1 + P2 * L2) / 2),
    "satimp": (
        {"beta1": 5.0, "beta2": 1.0},
        -(P1**5 * (1 - P1) * L1 + P2**5 * (1 - P2) * L2) / 2,
    ),
    "undial": ({}, (entropy(T1, 1.0) + entropy(T2, -0.5)) / 2),
    "ceu": ({}, (-math.log(s(-1.0)) - math.log(s(0.5))) / 2),
    # Scores of the answer held against the mean of all words' scores.
    "pdu": ({}, ((1 - 0.5) ** 2 + (0.5 - 0.25) ** 2) / 2),
    "idk_nll": ({}, (L1 + L2) / 2),
    "random_labels": ({}, (L1 + L2) / 2),
}


@pytest.mark.parametrize("name", WORKED_OUT)
def test_the_term_is_what_it_is_by_hand(name):
    settings, expected = WORKED_OUT[name]
    assert term_and_gradient(name, **settings)[0] == pytest.approx(expected, abs=1e-5)


def test_gradients_are_what_they_are_by_hand():
    """By the first token's first score; that of a loss is p - 1."""
    gradient = {
        name: term_and_gradient(name, **WORKED_OUT[name][0])[1][0, 0] for name in WORKED_OUT
    }
    pull = 2 * (1 - s(0.1 * (L1 + L2 - BEFORE)))
    assert float(gradient["npo"]) == pytest.approx(-pull * (P1 - 1), abs=1e-5)
    assert float(gradient["grad_ascent"]) == pytest.approx(-(P1 - 1) / 2, abs=1e-5)
    # The weights of tokens are no part of what is differentiated.
    assert float(gradient["wga"]) == pytest.approx(-P1 * (P1 - 1) / 2, abs=1e-5)
    assert float(gradient["undial"]) == pytest.approx((P1 - T1) / 2, abs=1e-5)
    assert float(gradient["ceu"]) == pytest.approx(P1 / 2, abs=1e-5)


def test_npo_ascends_on_sums_as_beta_goes_to_zero():
    gradient = term_and_gradient("npo", beta=1e-4)[1]
    assert float(gradient[0, 0]) == pytest.approx(1 - P1, abs=1e-4)
    assert float(gradient[1, 0]) == pytest.approx(1 - P2, abs=1e-4)
