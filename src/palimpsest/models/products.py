"""Matrix products of linear layers on a CPU, by the library that is faster there.

torch takes float32 products from MKL, which leaves the widest vectors of other makers' processors
unused; oneDNN, which torch carries as well, goes by what a processor can do. Where that matters
(``benchmarks/rooflines.py`` measures it) layers are computed by oneDNN: its results depend neither
on addresses nor on threads. Elsewhere, and for anything but large float32 matrices on a CPU, a
product is torch's own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

VERSION = 2

#: So few rows, as in a step of writing, gain up to a half, and so many some percent; between
#: them, and with smaller matrices, nothing is gained, and torch's sums are a little more exact.
FEW_ROWS, MANY_ROWS, LEAST_WEIGHTS = 6, 32, 1 << 16


@functools.cache
def by_onednn() -> bool:
    """Whether oneDNN is the faster library on this processor: AVX-512, not made by Intel."""
    if not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and "GenuineIntel" not in facts.read_text(encoding="utf-8")


def product(
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    space: torch.Tensor | None = None,
) -> torch.Tensor:
    """rows W^T + b; where oneDNN computes it, without a gradient.

    Args:
        rows: (..., in).
        weight: (out, in), of any strides.
        bias: (out,).
        space: where the result may lie, (n, out), if there is no bias and rows are (n, in).

    Returns:
        (..., out).
    """
    if _gains(rows, weight):
        return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")
    if space is not None:
        return torch.mm(rows, weight.T, out=space)
    return nn.functional.linear(rows, weight, bias)


def add_product(total: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """total += rows W^T without a gradient; shapes as of :func:`product`, rows (n, in)."""
    if _gains(rows, weight):
        total += product(rows, weight)
    else:
        total.addmm_(rows, weight.T)


def take_over(module: nn.Module) -> None:
    """Let all plain linear layers of a model on a CPU compute by :func:`product`, in place."""
    if not by_onednn():
        return
    for layer in module.modules():
        if type(layer) is nn.Linear and layer.weight.device.type == "cpu":
            layer.__class__ = Linear


def is_plain(layer: nn.Module) -> bool:
    """Is it nothing but rows W^T + b?"""
    return type(layer) in (nn.Linear, Linear)


class Linear(nn.Linear):
    """A linear layer whose products are those of :func:`product`, with gradients."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        weight, bias = self.weight, self.bias
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return nn.functional.linear(inputs, weight, bias)
        learns = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
        if learns and _gains(inputs, weight):
            return _Product.apply(inputs, weight, bias)
        return product(inputs, weight, bias)


class _Product(torch.autograd.Function):
    """rows W^T + b; its gradient has no gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, weight)
        return product(rows, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        flat = grad.flatten(0, -2)
        return (
            product(grad, weight.T) if for_rows else None,
            flat.T @ rows.flatten(0, -2) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )


def _gains(rows: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        by_onednn()
        and weight.numel() >= LEAST_WEIGHTS
        and not FEW_ROWS * rows.shape[-1] < rows.numel() < MANY_ROWS * rows.shape[-1]
        and rows.numel() > 0
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
    )
