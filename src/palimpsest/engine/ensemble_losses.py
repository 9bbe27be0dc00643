"""Losses of an ensemble and their derivatives by the scores, written out.

Every loss takes scores (K, B, C) and weights (K, B) of the examples, and returns a loss (K,) and a
derivative (K, B, C): sums over the batch of weight times the example's loss. Derivatives of
several losses add up, so a method is a sum of terms; a weight of zero leaves an example out.
"""

from __future__ import annotations

import torch

VERSION = 2

Loss = tuple[torch.Tensor, torch.Tensor]


def cross_entropy(
    scores: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    allowed: torch.Tensor | None = None,
) -> Loss:
    """Softmax cross-entropy in nats.

    Args:
        scores: (K, B, C).
        labels: (K, B) classes.
        weights: (K, B) weights of the examples; 1 / B each is the mean.
        allowed: boolean (K or 1, B or 1, C): classes that exist for an example, such as the heads
            of its task; None: all.
    """
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    log_p = torch.log_softmax(scores, -1)
    own = labels[..., None]
    # An example that is left out may have a label that is not allowed.
    losses = torch.where(weights > 0, -log_p.gather(-1, own)[..., 0] * weights, 0.0)
    delta = log_p.exp_().mul_(weights[..., None])
    delta.scatter_add_(-1, own, -weights[..., None])
    return losses.sum(-1), delta


def squared_error(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> Loss:
    """Mean over classes of squared differences of scores (dark experience replay, 2004.07211).

    Args:
        scores: (K, B, C).
        targets: (K, B, C) scores to come back to.
        weights: (K, B) weights of the examples.
    """
    difference = scores - targets
    delta = difference * (2 / scores.shape[-1] * weights[..., None])
    return (difference.square().mean(-1) * weights).sum(-1), delta


def distillation(
    scores: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
    allowed: torch.Tensor | None = None,
) -> Loss:
    """Cross-entropy of softened distributions (learning without forgetting, 1606.09282, eq. 2).

    Not multiplied by the square of the temperature; put that into the weights where it is wanted.

    Args:
        scores: (K, B, C).
        targets: (K, B, C) scores of the old network.
        weights: (K, B) weights of the examples.
        temperature: both sides are divided by it.
        allowed: as in :func:`cross_entropy`.
    """
    scores, targets = scores / temperature, targets / temperature
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
        targets = targets.masked_fill(~allowed, -torch.inf)
    log_p, wanted = torch.log_softmax(scores, -1), torch.softmax(targets, -1)
    losses = -torch.where(wanted > 0, wanted * log_p, 0.0).sum(-1)
    delta = (log_p.exp() - wanted) * (weights[..., None] / temperature)
    return (losses * weights).sum(-1), delta


def quadratic_penalty(
    parameters: list[torch.Tensor],
    anchors: list[torch.Tensor],
    importance: list[torch.Tensor],
    strength: torch.Tensor,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """strength / 2 * sum of importance * (parameter - anchor)^2 (EWC, 1612.00796, eq. 3).

    Args:
        parameters: each (K, ...).
        anchors: values to stay near.
        importance: weight of each value.
        strength: (K,).

    Returns:
        Penalty (K,) and its gradient by each parameter.
    """
    factor = strength[:, None, None]
    total, gradients = torch.zeros_like(strength), []
    for parameter, anchor, weight in zip(parameters, anchors, importance, strict=True):
        away = parameter - anchor
        gradient = torch.mul(weight, away).mul_(factor)
        total += _sum(away.mul_(gradient))
        gradients.append(gradient)
    return total / 2, gradients


def project(gradients: list[torch.Tensor], reference: list[torch.Tensor]) -> None:
    """Remove from each network's gradient what would raise the loss on its memory, in place.

    A-GEM (1812.00420, eq. 11): where g . r < 0, g becomes g - (g . r / r . r) r.

    Args:
        gradients: each (K, ...), changed.
        reference: gradients on the memory; zeros change nothing.
    """
    dots = sum(_sum(g * r) for g, r in zip(gradients, reference, strict=True))
    norms = sum(_sum(r.square()) for r in reference)
    factor = torch.where((dots < 0) & (norms > 0), dots / norms, 0.0)[:, None, None]
    for gradient, towards in zip(gradients, reference, strict=True):
        gradient.sub_(factor * towards)


def _sum(values: torch.Tensor) -> torch.Tensor:
    """(K,) sums of (K, ...) in two stages: one stage adds a single large network by threads."""
    return values.sum(2).sum(1)
