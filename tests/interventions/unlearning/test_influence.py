"""Influence-based unlearning (IAU): where its step equals retraining, and how far it is off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.engine.training import mean_loss
from palimpsest.interventions.unlearning import iau
from palimpsest.interventions.unlearning._base import Sets
from tests.interventions.unlearning.worlds import made, run, sets, weights


def _points(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3)))


def _gradients(theta, points, hessian):
    """Of 1/2 (theta - x)' H (theta - x), one row a point."""
    return (theta - points) @ hessian


@pytest.mark.parametrize("forgotten", [1, 5, 20])
@pytest.mark.parametrize("curvature", [(2.0, 2.0, 2.0), (1.0, 5.0, 25.0)])
def test_the_influence_step_on_quadratics_lacks_the_hessian_and_nothing_else(forgotten, curvature):
    """Behind H^-1 and with F's share as its rate it is the influence function without the
    correction, whose error is of second order in the share, and retraining with it."""
    n, points = 200, _points(200)
    hessian = torch.diag(torch.tensor(curvature, dtype=torch.float64))
    theta, retrained = points.mean(0), points[forgotten:].mean(0)
    each, share = _gradients(theta, points, hessian), forgotten / n
    forget, retain = each[:forgotten].mean(0), each[forgotten:].mean(0)
    exact = theta + torch.linalg.solve(hessian, each[:forgotten].sum(0)) / n

    def behind(retain):
        step = iau.influence_step(forget, retain, "sgd")
        return theta - share * torch.linalg.solve(hessian, step)

    torch.testing.assert_close(behind(0 * retain), exact)
    torch.testing.assert_close(behind(retain), retrained)
    error = float((exact - retrained).norm() / (theta - retrained).norm())
    assert error == pytest.approx(share, rel=1e-6)
    # At the minimum of all losses the correction lengthens the step and does not turn it.
    torch.testing.assert_close(retain, -share / (1 - share) * forget)
    plain = -iau.influence_step(forget, retain, "sgd")
    cosine = torch.nn.functional.cosine_similarity(plain, retrained - theta, dim=0)
    assert (float(cosine) > 1 - 1e-9) == (len(set(curvature)) == 1)


def test_the_order_of_the_errors_of_the_influence_step():
    """Least squares, four examples of more and more: retraining moves the weights by O(f), the
    influence function is off by O(f^2), and one plain step at its very best rate by O(f)."""
    rng = np.random.default_rng(4)
    inputs = torch.from_numpy(rng.normal(size=(6400, 3)) * [1.0, 2.0, 4.0])
    answers = inputs.sum(1) + torch.from_numpy(rng.normal(size=6400))
    sizes, found = (100, 400, 1600, 6400), []
    for n in sizes:
        x, y = inputs[:n], answers[:n]
        theta, hessian = torch.linalg.lstsq(x, y).solution, x.T @ x / n
        each, lengths = (x @ theta - y)[:, None] * x, []
        for start in range(0, 80, 4):
            gone = (torch.arange(n) >= start) & (torch.arange(n) < start + 4)
            change = torch.linalg.lstsq(x[~gone], y[~gone]).solution - theta
            forget, retain = each[gone].mean(0), each[~gone].mean(0)
            influence = torch.linalg.solve(hessian, 4 / n * forget)
            step = -iau.influence_step(forget, retain, "sgd")
            best = step * (step @ change) / (step @ step)
            lengths.append([float(v.norm()) for v in (change, influence - change, best - change)])
        found.append(np.mean(lengths, axis=0))
    slopes = np.polyfit(np.log(4 / np.array(sizes)), np.log(found), 1)[0]
    assert slopes == pytest.approx([1, 2, 1], abs=0.1)
    assert found[-1][2] > 0.2 * found[-1][0]


def test_the_released_step_is_the_sign_of_the_gradient():
    forget, retain = torch.tensor([1e-3, -5.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    step = iau.influence_step(forget, retain, "adam")
    torch.testing.assert_close(step, torch.tensor([-1.0, 1.0, 0.0]), atol=1e-4, rtol=0)
    weight = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    weight.grad = torch.logspace(-9, 2, 50)
    moved = weight.detach() - 1e-3 * iau.influence_step(-weight.grad, 0 * weight.grad, "adam")
    torch.optim.Adam([weight], lr=1e-3).step()
    torch.testing.assert_close(moved, weight.detach())


def test_influence_moves_nothing_where_nothing_is_forgotten_and_the_rest_is_at_rest(tiny):
    before = weights(tiny)
    run(tiny, iau, step="sgd", correction=0.0, chosen=Sets([], sets().retain))
    assert all(torch.equal(before[name], p) for name, p in tiny.module.named_parameters())
    rest = torch.zeros(3)
    for step in ("sgd", "adam"):
        assert not iau.influence_step(rest, rest, step).any()


@pytest.mark.parametrize("correction", [1.0, 0.3])
def test_influence_is_one_step_along_the_gradients_of_whole_sets(tiny, correction):
    """However many examples are put through at once."""
    method = made(tiny, "npo")
    weights = dict(tiny.module.named_parameters())
    expected = {name: p.detach().clone() for name, p in weights.items()}
    for examples, sign in ((method.kept, -correction), (method.forgotten, 1.0)):
        loss = mean_loss(tiny, examples, examples)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            expected[name] += 0.1 * sign * gradient
    run(tiny, iau, step="sgd", learning_rate=0.1, batch_size=3, correction=correction)
    for name, p in tiny.module.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], atol=1e-6, rtol=1e-4)


def test_influence_raises_the_loss_of_the_forget_set(tiny):
    method = made(tiny, "npo")
    before = method.mean_loss(method.forgotten)
    run(tiny, iau, step="sgd", learning_rate=0.05, batch_size=2)
    assert method.mean_loss(method.forgotten) > before
