"""Keys and values of the texts of a batch, in one buffer a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from palimpsest.engine import packing

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1


class KeyValues:
    """Keys and values of n texts: for each layer one buffer (n, heads, capacity, width).

    Args:
        model: whose they are.
        capacities: tokens that each text may come to.
    """

    def __init__(self, model: LanguageModel, capacities: list[int]) -> None:
        import torch

        self.model, self.n, self.capacity = model, len(capacities), max(capacities)
        self.lengths = torch.zeros(self.n, dtype=torch.long, device=model.device)
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}

    def storer(
        self, members: list[tuple[int, list[int]]]
    ) -> Callable[[int, torch.Tensor, torch.Tensor], None]:
        """What lays a row's keys and values, (1, heads, tokens, width), into the buffers."""

        def store(layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
            for held, new in ((self.keys, key), (self.values, value)):
                if layer not in held:
                    shape = (self.n, new.shape[1], self.capacity, new.shape[3])
                    held[layer] = new.new_zeros(shape)
                for index, path in members:
                    held[layer][index, :, : len(path)] = new[0][:, path]
            for index, path in members:
                self.lengths[index] = len(path)

        return store

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put one token a sequence, (n,), through the model: last hidden states, (n, width)."""
        import torch

        self.rows = torch.arange(self.n, device=tokens.device)
        self.at = self.lengths.clamp_max(self.capacity - 1)
        self.reach = int(self.at.max()) + 1
        places = torch.arange(self.reach, device=tokens.device)
        self.distance = self.at[:, None] - places
        with packing.packed(self.model):
            hidden = self.model.last_states(
                input_ids=tokens[:, None],
                position_ids=self.at[:, None],
                use_cache=False,
                packing=self,
            )[:, -1]
        self.lengths += 1
        return hidden

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one new token a sequence: all (n, heads, 1, width)."""
        from torch.nn.functional import scaled_dot_product_attention

        keys, values = self.keys[layer], self.values[layer]
        # Layers may lie on several devices.
        rows, at, distance = (part.to(key.device) for part in (self.rows, self.at, self.distance))
        keys[rows, :, at] = key[:, :, 0]
        values[rows, :, at] = value[:, :, 0]
        seen = distance >= 0
        if window is not None:
            seen &= distance < window
        return scaled_dot_product_attention(
            query,
            keys[:, :, : self.reach],
            values[:, :, : self.reach],
            attn_mask=seen[:, None, None],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def keep(self, going: list[int]) -> None:
        """Let the other sequences leave."""
        import torch

        index = torch.tensor(going, device=self.lengths.device)
        self.n, self.lengths = len(going), self.lengths[index]
        for held in (self.keys, self.values):
            for layer in held:
                held[layer] = held[layer].index_select(0, index.to(held[layer].device))
