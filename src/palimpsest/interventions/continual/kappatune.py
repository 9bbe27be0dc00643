"""KappaTune (Ludwig 2025, arXiv 2506.16289): train the matrices with the least condition numbers.

The condition number of a matrix is its largest singular value by its smallest. The thought: at a
given norm, a matrix whose singular values are equal passes on most entropy and is not yet
specialised, so that changing it destroys least. The paper selects among the hundreds of matrices of
a large model; a small network has few, so that a unit is here a block of output units of a layer,
with their biases. A single row has the condition number 1 whatever it holds, which is why blocks
are never that small where a layer is not. Condition numbers of blocks of different shapes are
ranked together, as in the paper, though wide and nearly square matrices differ in them at random
already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._frozen import PartlyFrozen, part_of

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Tensors

VERSION = 1
ENGINE = ("interventions.continual._frozen",)


class Settings(Block):
    """Train the blocks of weights with the least condition numbers."""

    share: float = Field(default=0.2, ge=0, le=1)
    """Share of the blocks that is trained (peft: 0.2)."""
    rows: int = Field(default=10, ge=2)
    """Output units of a block, at least; a layer with fewer is one block."""
    choice: Literal["lowest", "highest", "random"] = "lowest"
    """Which blocks are trained; the others are controls."""
    again: bool = True
    """Whether every task chooses anew, by the weights that it finds."""
    whole_first: bool = True
    """Whether the first task trains everything: it makes what the method starts from."""


class KappaTune(PartlyFrozen):
    """KappaTune; see the module.

    Attributes:
        conditions: (K, blocks) condition numbers at the last choice, layer by layer.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows, self.choice = self.common("rows"), self.common("choice")
        self.conditions: torch.Tensor | None = None

    def keeps(self) -> bool:
        """Whether the choice stays."""
        return not self.common("again")

    def choose(self, task: Task) -> Tensors:
        """Boolean (K, 1, out) for the weights and biases of each layer."""
        import torch

        blocks = [self.blocks(weight) for weight in self.ensemble.weights]
        every = [block for layer in blocks for block in layer]
        self.conditions = torch.stack([condition(block) for block in every], dim=1)
        order = self._order(task)
        frozen = torch.ones_like(order, dtype=torch.bool)
        for model, block in enumerate(self.settings):
            frozen[model, order[model, : part_of(block.share, len(every))]] = False
        masks, place = [], 0
        for layer in blocks:
            widths = torch.tensor([block.shape[2] for block in layer], device=frozen.device)
            own = frozen[:, place : place + len(layer)]
            masks += [own.repeat_interleave(widths, dim=1)[:, None]] * 2
            place += len(layer)
        return masks

    def blocks(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Blocks (K, in, rows) of a layer's weights (K, in, out), of nearly equal size."""
        return weight.tensor_split(max(1, weight.shape[2] // self.rows), dim=2)

    def _order(self, task: Task) -> torch.Tensor:
        """(K, blocks) blocks, those to be trained first."""
        import numpy as np
        import torch

        if self.choice == "random":
            orders = [one.permutation(self.conditions.shape[1]) for one in self.draw(task)]
            return torch.from_numpy(np.stack(orders)).to(self.device)
        highest = self.choice == "highest"
        return self.conditions.argsort(dim=1, descending=highest, stable=True)


def condition(matrices: torch.Tensor) -> torch.Tensor:
    """(K,) condition numbers of matrices (K, a, b): infinite where the least value is zero."""
    import torch

    values = torch.linalg.svdvals(matrices)
    return values[:, 0] / values[:, -1]


strategy = KappaTune
