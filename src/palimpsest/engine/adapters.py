"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685, eq. 3).

W x becomes W x + (alpha / rank) B A x with W frozen, A drawn as PEFT draws it (Kaiming uniform,
a = sqrt 5) and B zero, so an untrained adapter changes nothing. Every linear layer but the
projection to the vocabulary gets one. The tests hold this against PEFT, whose import alone costs
more time than a short training run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

VERSION = 1


class LowRankLinear(nn.Module):
    """A frozen linear layer with a trainable change of low rank."""

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.linear = linear
        self.scale = alpha / rank
        self.A = nn.Parameter(initial_values(linear, rank, generator))
        self.B = nn.Parameter(self.A.new_zeros(linear.out_features, rank))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        change = nn.functional.linear(nn.functional.linear(inputs, self.A), self.B)
        return self.linear(inputs) + change * self.scale


def add_adapters(
    module: nn.Module,
    rank: int,
    alpha: float,
    seed: int,
    selected: Callable[[str], bool] | None = None,
) -> dict[str, LowRankLinear]:
    """Freeze ``module`` and give every linear layer but the output projection an adapter.

    Args:
        module: a causal language model; changed in place.
        rank: rank of the change.
        alpha: the change is scaled by alpha / rank.
        seed: seed of the initial values.
        selected: whether a layer gets one, by the name of its weight; None: all do.

    Returns:
        Name of each layer's weight in the original model -> its adapter.

    Raises:
        ValueError: the model has no linear layer.
    """
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    adapters = {}
    for name, layer in adaptable(module, selected):
        adapter = LowRankLinear(layer, rank, alpha, generator)
        replace(module, name, adapter)
        adapters[f"{name}.weight"] = adapter
    return adapters


def adaptable(
    module: nn.Module, selected: Callable[[str], bool] | None = None
) -> list[tuple[str, nn.Linear]]:
    """Linear layers that get an adapter, by name.

    Raises:
        ValueError: there is none.
    """
    head = module.get_output_embeddings()
    found = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
        and layer is not head
        and (selected is None or selected(f"{name}.weight"))
    ]
    if not found:
        raise ValueError("no torch.nn.Linear layer to adapt: adapter: full trains other weights")
    return found


def initial_values(linear: nn.Linear, rank: int, generator: torch.Generator) -> torch.Tensor:
    """A of a new adapter, (rank, in), drawn on the CPU so that devices agree."""
    bound = math.sqrt(1 / linear.in_features)
    start = torch.empty(rank, linear.in_features, dtype=linear.weight.dtype)
    return start.uniform_(-bound, bound, generator=generator).to(linear.weight.device)


def replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Put ``layer`` where ``name`` stands in ``module``."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)
