"""Linear layers computed by oneDNN equal those of torch, forwards and backwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from palimpsest.engine.examples import example
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import Trainer, TrainingSettings
from palimpsest.models import products
from palimpsest.models.loading import load
from palimpsest.models.products import Linear, add_product, is_plain, product, take_over

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)
TEXTS = ["The sheep of the island were counted in spring.", "Rain fell.", "No one knew why."]


@pytest.fixture
def onednn(monkeypatch):
    """Whatever this processor prefers, and for matrices of any size."""
    monkeypatch.setattr(products, "by_onednn", lambda: True)
    monkeypatch.setattr(products, "MANY_ROWS", 1)
    monkeypatch.setattr(products, "LEAST_WEIGHTS", 1)


@pytest.fixture(params=[True, False], ids=["onednn", "torch"])
def either(request, monkeypatch, onednn):
    """Both libraries."""
    monkeypatch.setattr(products, "by_onednn", lambda: request.param)


def _parts(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, weight = (torch.randn(*size, generator=generator) for size in shape)
    return rows, weight


@pytest.mark.parametrize("rows", [(0, 24), (1, 24), (70, 24), (3, 5, 24)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_that_of_doubles(either, rows, turned, biased):
    rows, weight = _parts(rows, (24, 40) if turned else (40, 24))
    weight = weight.T if turned else weight
    bias = torch.arange(40.0) if biased else None
    exact = rows.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(product(rows, weight, bias).double(), exact, rtol=1e-5, atol=1e-5)


def test_a_product_adds_to_a_total_and_may_lie_in_a_space(either):
    rows, weight = _parts((9, 24), (40, 24))
    exact = rows @ weight.T
    total = torch.ones(9, 40)
    add_product(total, rows, weight)
    torch.testing.assert_close(total, 1 + exact)
    torch.testing.assert_close(product(rows, weight, space=torch.empty(9, 40)), exact)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_gradients_are_those_of_a_linear_layer(onednn, trained, biased):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=biased).requires_grad_(trained)
    ours = copy.deepcopy(layer)
    take_over(ours)
    assert type(ours) is Linear
    got = []
    for each in (layer, ours):
        rows = _parts((3, 5, 24), (1, 1))[0].requires_grad_()
        (each(rows) * torch.arange(40.0)).sum().backward()
        got.append([rows.grad, *(p.grad for p in each.parameters())])
    for expected, found in zip(*got, strict=True):
        if trained or expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
        else:
            assert found is None


def test_bits_depend_neither_on_addresses_nor_on_threads(onednn):
    rows, weight = _parts((65, 192), (96, 192))
    expected = product(rows, weight)
    before = torch.get_num_threads()

    def at(offset, values):
        held = torch.empty(values.numel() + 16)[offset : offset + values.numel()]
        return held.view(values.shape).copy_(values)

    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for offset in range(16):
                assert torch.equal(product(at(offset, rows), at(offset, weight)), expected)
    finally:
        torch.set_num_threads(before)


def test_small_matrices_and_other_precisions_are_torchs_own(monkeypatch):
    monkeypatch.setattr(products, "by_onednn", lambda: True)

    rows, weight = _parts((64, 300), (300, 300))
    asked = []
    monkeypatch.setattr(products, "_gains", _counted(products._gains, asked))
    product(rows, weight)
    product(rows[:6], weight)
    product(rows[:7], weight)
    product(rows[:0], weight)
    product(rows[:, :200], weight[:200, :200])
    product(rows.double(), weight.double())
    assert asked == [True, True, False, False, False, False]


def _counted(function, asked):
    def count(*arguments):
        asked.append(function(*arguments))
        return asked[-1]

    return count


def test_autocast_is_heeded(onednn):
    layer = nn.Linear(24, 40)
    take_over(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 24)).dtype == torch.bfloat16


def test_only_plain_layers_change_and_only_where_it_helps(monkeypatch, onednn):
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(3, 3), Other(3, 3))
    names = list(model.state_dict())
    take_over(model)
    assert [type(layer) for layer in model] == [Linear, Other]
    assert [is_plain(layer) for layer in model] == [True, False]
    assert list(model.state_dict()) == names
    monkeypatch.setattr(products, "by_onednn", lambda: False)
    model = nn.Sequential(nn.Linear(3, 3))
    take_over(model)
    assert type(model[0]) is nn.Linear


def _examples(model):
    return [example(model, "", text, "", "sentence") for text in TEXTS]


def _of_a_model(manifest):
    """Scores, losses of full training and of adapters."""
    torch.set_num_threads(1)
    model = load(manifest)
    scores = [s.log_p for s in sequence_scores(model, [model.encode(t) for t in TEXTS])]
    losses = []
    for adapter in ("full", "lora"):
        model = load(manifest, for_training=True)
        settings = TrainingSettings(adapter=adapter, learning_rate=1e-3, rank=2)
        trainer = Trainer(model, settings)
        trainer.run([_examples(model)] * 3)
        losses += trainer.losses
    model = load(manifest)
    many = ManyAdapters(model, TrainingSettings(adapter="lora", rank=2), [0, 1])
    for _ in range(2):
        many.step([_examples(model)[:1], _examples(model)[1:]])
    return scores, losses, many.losses


def test_a_model_says_and_learns_the_same(monkeypatch, onednn, tiny_manifest):
    with monkeypatch.context() as patch:
        patch.setattr(products, "by_onednn", lambda: False)
        expected = _of_a_model(tiny_manifest)
    asked = []
    monkeypatch.setattr(products, "_gains", _counted(products._gains, asked))
    found = _of_a_model(tiny_manifest)
    assert sum(asked) > 100
    for one, other in zip(expected[0], found[0], strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert expected[1] == pytest.approx(found[1], abs=1e-4)
    for one, other in zip(expected[2], found[2], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
