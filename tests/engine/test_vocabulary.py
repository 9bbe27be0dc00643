"""The sliced projection equals log-softmax over all words, forwards and backwards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from palimpsest.engine import vocabulary


@pytest.fixture(params=[7, 1000])
def slices(request, monkeypatch):
    """Many small slices and chunks, or one."""
    monkeypatch.setitem(vocabulary.SLICE, "cpu", request.param)
    monkeypatch.setitem(vocabulary.CHUNK, "cpu", request.param)


class Scaled(nn.Linear):
    """A projection that is more than a matrix."""

    def forward(self, hidden):
        return 0.3 * super().forward(hidden)


def _head(kind, bias=True):
    torch.manual_seed(0)
    return kind(6, 50, bias=bias)


@pytest.mark.parametrize("kind", [nn.Linear, Scaled])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_word_scores(slices, kind, scale):
    """Scale 300: scores whose exponential overflows, and a running maximum that moves."""
    head, hidden = _head(kind), scale * torch.randn(20, 6)
    at = torch.tensor([0, 0, 3, 19, 7, 3])
    words = torch.tensor([0, 49, 6, 7, 8, 6])
    got = vocabulary.word_scores(head, hidden, at, words, moments=True, top=True)
    with torch.no_grad():
        log_p = torch.log_softmax(head(hidden).double(), -1)
    share = log_p.exp()
    mean = (share * log_p).sum(-1)
    deviation = ((share * log_p**2).sum(-1) - mean**2).clamp_min(0).sqrt()
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * scale}
    torch.testing.assert_close(got.log_p, log_p[at, words], **tolerance)
    torch.testing.assert_close(got.mean, mean, **tolerance)
    torch.testing.assert_close(got.top, log_p.argmax(-1))
    torch.testing.assert_close(got.deviation, deviation, rtol=1e-4, atol=3e-4 * scale)


def test_uniform_scores_have_no_deviation(slices):
    head = _head(nn.Linear)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    got = vocabulary.word_scores(
        head, torch.randn(3, 6), torch.arange(3), torch.arange(3), moments=True
    )
    expected = -torch.log(torch.tensor(50.0)).double().expand(3)
    torch.testing.assert_close(got.log_p, expected)
    torch.testing.assert_close(got.mean, expected)
    torch.testing.assert_close(got.deviation, torch.zeros(3).double())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize("kind", [nn.Linear, Scaled])
def test_loss_and_gradients_equal_autograd(slices, monkeypatch, bias, kept, kind):
    monkeypatch.setitem(vocabulary.KEPT_BYTES, "cpu", kept)
    head = _head(kind, bias)
    model = SimpleNamespace(module=SimpleNamespace(get_output_embeddings=lambda: head))
    hidden = torch.randn(20, 6, requires_grad=True)
    words, weights = torch.randint(0, 50, (20,)), torch.randn(20)
    wanted = [hidden, *head.parameters()]
    losses = vocabulary.negative_log_likelihood(model, hidden, words)
    got = torch.autograd.grad((weights * losses).sum(), wanted)
    expected = torch.nn.functional.cross_entropy(head(hidden), words, reduction="none")
    torch.testing.assert_close(losses, expected)
    gradients = torch.autograd.grad((weights * expected).sum(), wanted)
    for a, b in zip(got, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_frozen_projection_gets_no_gradient():
    head = _head(nn.Linear).requires_grad_(False)
    model = SimpleNamespace(module=SimpleNamespace(get_output_embeddings=lambda: head))
    hidden = torch.randn(4, 6, requires_grad=True)
    vocabulary.negative_log_likelihood(model, hidden, torch.arange(4)).sum().backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
