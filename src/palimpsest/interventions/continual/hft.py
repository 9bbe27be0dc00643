"""Half fine-tuning, HFT (Hui et al. 2024, arXiv 2404.18466): a random half is frozen in each task.

Each task trains another random half of the weights; the other half keeps what is there. The paper
freezes whole matrices of a transformer, half of them in each layer and category; a small network
has few matrices, so that here half of the output units of each layer is frozen, with all that
leads into them (``row``), or half of the layers (``layer``). The paper leaves the head and the
embedding free; ``head`` says so for the last layer. What share of the parameters is really trained
differs from ``share`` by rounding and by the sizes of layers, and is in ``share_trained``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._frozen import PartlyFrozen, part_of

if TYPE_CHECKING:
    from palimpsest.engine.ensemble import Tensors

VERSION = 1
ENGINE = ("interventions.continual._frozen",)


class Settings(Block):
    """Train a random half of the weights, another in each task."""

    share: float = Field(default=0.5, ge=0, le=1)
    """Share of the units or layers that is trained."""
    granularity: Literal["row", "layer"] = "row"
    """Whether output units of each layer are frozen, or whole layers."""
    head: Literal["chosen", "free"] = "chosen"
    """Whether the last layer is treated like the others, or always trained."""
    resample: Literal["task", "never"] = "task"
    """Whether each task draws its own half."""
    whole_first: bool = True
    """Whether the first task trains everything: there is nothing yet to keep."""


class HalfFineTuning(PartlyFrozen):
    """Half fine-tuning; see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.granularity, self.head = self.common("granularity"), self.common("head")

    def keeps(self) -> bool:
        """Whether the half stays."""
        return self.common("resample") == "never"

    def choose(self, task: Task) -> Tensors:
        """Boolean (K, 1, out) or (K, 1, 1) for the weights and biases of each layer."""
        import numpy as np
        import torch

        widths = [weight.shape[2] for weight in self.ensemble.weights]
        free_head = self.head == "free"
        frozen = [np.zeros((self.ensemble.n, 1, width), dtype=bool) for width in widths]
        for model, (block, draw) in enumerate(zip(self.settings, self.draw(task), strict=True)):
            layers = range(len(widths) - free_head)
            if self.granularity == "row":
                for layer in layers:
                    still = widths[layer] - part_of(block.share, widths[layer])
                    frozen[layer][model, 0, draw.permutation(widths[layer])[:still]] = True
            else:
                still = len(layers) - part_of(block.share, len(layers))
                for layer in draw.permutation(len(layers))[:still]:
                    frozen[layer][model] = True
        masks = [torch.from_numpy(mask).to(self.device) for mask in frozen]
        return [mask for mask in masks for _ in range(2)]


strategy = HalfFineTuning
