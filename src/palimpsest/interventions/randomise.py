"""Replace all weights by random ones: the control that knows nothing at all.

Every matrix is drawn anew from a normal distribution with the standard deviation that the
architecture's own configuration states; vectors (norms, biases) are left at one and zero. What a
probe finds here is prior and format, never memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.blocks import Block
from palimpsest.identity import seed_of

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE: tuple[str, ...] = ()
STOCHASTIC = True


class Settings(Block):
    """Replace all weights by random ones."""


def steps(settings: Settings) -> list[int]:
    """One checkpoint: the randomised model."""
    return [1]


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Draw the weights and save them as step 1."""
    import torch

    generator = torch.Generator().manual_seed(seed_of("randomise", context.seed))
    deviation = getattr(model.module.config, "initializer_range", 0.02)
    changes = {}
    for name, weight in model.module.named_parameters():
        if weight.dim() >= 2:
            changes[name] = torch.randn(weight.shape, generator=generator) * deviation
        elif "norm" in name or "ln" in name:
            changes[name] = torch.ones(weight.shape) * (not name.endswith("bias"))
        else:
            changes[name] = torch.zeros(weight.shape)
    context.save(1, {name: value.to(model.dtype) for name, value in changes.items()})
