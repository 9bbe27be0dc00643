"""How weights are changed, as a user states it."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from pydantic import Field

from palimpsest.blocks import Block

VERSION = 1


class TrainingSettings(Block):
    """How weights are changed."""

    learning_rate: float = Field(default=1e-3, ge=0)
    """Learning rate, the highest where it changes."""
    batch_size: int = Field(default=4, ge=1)
    """Sentences a step."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay (adamw) or L2 penalty (sgd)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    adapter: Literal["lora", "full"] = "lora"
    """lora: a low-rank change of linear layers (Hu et al. 2021); full: the weights themselves."""
    rank: int = Field(default=16, ge=1)
    """Rank of the low-rank change."""
    alpha: float = Field(default=32, gt=0)
    """The low-rank change is scaled by alpha / rank."""
    scored: Literal["answer", "sentence"] = "answer"
    """Tokens that carry loss: from the answer on, or the whole sentence."""
    only: tuple[str, ...] = ()
    """Patterns (such as *.mlp.*) of the weights that are trained or adapted; none: all."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW with betas 0.9 and 0.999, or stochastic gradient descent."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of sgd."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes to zero over the run."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from zero."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Lower precision of products while weights stay as they are; meant for GPUs."""
    checkpointing: Literal["auto", "always"] = "auto"
    """Compute activations twice instead of keeping them; auto: when memory asks for it."""
    compile: bool = False
    """Compile the layers with torch.compile; worth it on long runs."""

    def precision(self, device: str) -> AbstractContextManager[Any]:
        """Inside, products on a kind of device have the precision of ``autocast``."""
        import torch

        if self.autocast == "none":
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16)

    def rate(self, step: int, steps: int | None) -> float:
        """Learning rate of a step: up in the warm-up, then down as the schedule says.

        Args:
            step: steps done.
            steps: length of the run.

        Raises:
            ValueError: a schedule or a warm-up, and no length.
        """
        if steps is None:
            if self.schedule != "constant" or self.warmup:
                raise ValueError(
                    f"schedule {self.schedule} with warmup {self.warmup:g} needs a number of steps"
                )
            return self.learning_rate
        warm = round(self.warmup * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = min(1.0, (step - warm) / max(1, steps - warm))
        left = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return self.learning_rate * left[self.schedule]
