"""Rows of prefix trees (``rows``) through a model, in one pass without padding.

Linear layers see the row as it is; only attention cuts it into its trees, stacks trees of like
size and lets a token see its ancestors. A sentence that shares nothing is a tree without branches,
for which causal attention is that already. The same rows serve scoring and training.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from palimpsest.engine.rows import Row

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.rows", "models.products")
#: Name of the attention function among those of transformers.
ATTENTION = "palimpsest_packed"
#: Pairs of positions computed in vain that cost as much as another call of attention.
_IDLE_PAIRS = {"cpu": 6000, "cuda": 4_000_000}
#: How much slower attention does its operations than a matrix product; measured on CPUs.
_ATTENTION_SLOWNESS = 3


class NotPackableError(RuntimeError):
    """The architecture's attention does something that packed rows cannot express."""


def exchange_rate(model: LanguageModel) -> float:
    """Pairs of positions whose attention costs as much as the linear layers of one token."""
    config = model.module.config.get_text_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    linear = 12 * layers * width**2
    return linear / (2 * layers * width) / _ATTENTION_SLOWNESS


@dataclass(frozen=True)
class _Stack:
    """Trees of like size: (trees, longest) indices into the row, and what each node sees."""

    index: torch.Tensor
    mask: torch.Tensor | None


class Attending(Protocol):
    """What does attention itself, with keys and values that it has kept."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of new tokens, all (n, heads, tokens, width)."""


class Layout:
    """A row as tensors on a device, and how attention cuts it.

    Attributes:
        ids: (1, n) token ids.
        positions: (1, n) position of each token within its sequence.
        store: gets the number of each layer and its keys and values, (1, heads, n, width).
    """

    def __init__(self, row: Row, device: torch.device) -> None:
        import torch

        self.ids = torch.tensor([row.tokens], device=device)
        self.positions = torch.tensor([row.depths], device=device)
        self.longest = max(row.depths) + 1
        self.store: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None
        self._windows: dict[tuple[int, int], torch.Tensor] = {}
        self._elsewhere: dict[torch.device, Layout] = {}
        self.stacks: list[_Stack] = []
        order: list[np.ndarray] = []
        for trees in _stacks(row.sizes(), row.branched, device.type):
            self.stacks.append(_stack(row, trees, device))
            order.append(self.stacks[-1].index.flatten().cpu().numpy())
        back = np.empty(len(row.tokens), dtype=np.int64)
        flat = np.concatenate(order)
        # Idle places repeat the root of their tree; written last, its own place in front wins.
        back[flat[::-1]] = np.arange(len(flat))[::-1]
        #: Place in the row of each place of the stacks, and the other way; None: they are the row.
        self.places = self.back = None
        if not np.array_equal(flat, np.arange(len(row.tokens))):
            self.places, self.back = (torch.from_numpy(each).to(device) for each in (flat, back))

    def on(self, device: torch.device) -> Layout:
        """The same on another device, for a layer that lies there."""
        if device == self.ids.device:
            return self
        if device not in self._elsewhere:
            other = self._elsewhere[device] = copy.copy(self)
            other.ids, other.positions = self.ids.to(device), self.positions.to(device)
            if self.back is not None:
                other.places, other.back = self.places.to(device), self.back.to(device)
            other.stacks = [
                _Stack(s.index.to(device), None if s.mask is None else s.mask.to(device))
                for s in self.stacks
            ]
            other._windows, other._elsewhere = {}, {}
        return self._elsewhere[device]

    def mask(self, number: int, window: int | None) -> torch.Tensor | None:
        """What each node of a stack of trees sees in a layer; None where that is all before it."""
        import torch

        stack = self.stacks[number]
        if window is None or self.longest <= window:
            return stack.mask
        if (number, window) not in self._windows:
            depth = self.positions[0, stack.index]
            size = depth.shape[1]
            seen = stack.mask
            if seen is None:
                seen = torch.ones(size, size, dtype=torch.bool, device=depth.device).tril()
            near = (depth[:, :, None] - depth[:, None, :] < window)[:, None]
            itself = torch.eye(size, dtype=torch.bool, device=depth.device)
            self._windows[number, window] = seen & near | itself
        return self._windows[number, window]


def hidden(model: LanguageModel, layout: Layout) -> torch.Tensor:
    """Last hidden states of a row, shape (n, width), with the gradient mode of the caller.

    Raises:
        NotPackableError: the architecture's attention cannot be cut into trees.
    """
    model.tokens += layout.ids.shape[1]
    with packed(model):
        return model.last_states(
            input_ids=layout.ids,
            position_ids=layout.positions,
            use_cache=False,
            packing=layout,
        )[0]


@contextmanager
def packed(model: LanguageModel) -> Iterator[None]:
    """Inside, the model's layers use the attention of packed rows."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    configs = [model.module.config]
    text = model.module.config.get_text_config()
    if text is not configs[0]:
        configs.append(text)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Layout | Attending | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed row, in the form in which transformers calls attention.

    Args:
        module: the layer, for its number.
        query: (1, heads, n, head width).
        key: (1, key heads, n, head width).
        value: as ``key``.
        attention_mask: must be None.
        scaling: factor on the scores.
        dropout: of the attention weights.
        packing: how the row is cut, or what attends to kept keys and values (``generation``).
        sliding_window: how many tokens a layer sees back, itself among them; None: all.
        others: what else a layer passes; soft caps and sinks are refused.

    Returns:
        (1, n, heads, head width), and no weights.

    Raises:
        NotPackableError: something that packed rows cannot express.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if packing is None or attention_mask is not None:
        raise NotPackableError("the model does not hand the layout of the row to its attention")
    for name in ("softcap", "s_aux", "position_bias"):
        if others.get(name) is not None:
            raise NotPackableError(f"attention with {name}")
    if not isinstance(packing, Layout):
        layer = module.layer_idx
        found = packing.attend(layer, query, key, value, scaling, sliding_window)
        return found.transpose(1, 2), None
    packing = packing.on(query.device)
    if packing.store:
        packing.store(module.layer_idx, key, value)
    shared = query.shape[1] != key.shape[1]
    outputs = []
    cut = [_cut(states, packing) for states in (query, key, value)]
    for number, parts in enumerate(zip(*cut, strict=True)):
        mask = packing.mask(number, sliding_window)
        outputs.append(
            scaled_dot_product_attention(
                *parts,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=shared,
            )
            .transpose(1, 2)
            .flatten(0, 1)
        )
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if packing.back is not None:
        joined = _take(joined, packing.back, packing.places)
    return joined[None], None


def _cut(states: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    """(1, heads, n, width) to (trees, heads, longest, width) for each stack."""
    rows = states[0].transpose(0, 1)
    if layout.back is not None:
        rows = _take(rows, layout.places, layout.back)
    shapes = [stack.index.shape for stack in layout.stacks]
    parts = rows.split([trees * longest for trees, longest in shapes])
    return [
        part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, shapes, strict=True)
    ]


def _take(rows: torch.Tensor, places: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Rows at ``places``, of which those that count are at ``back``."""
    import torch

    if torch.is_grad_enabled() and rows.requires_grad:
        return _taking().apply(rows, places, back)
    return rows.index_select(0, places)


@functools.cache
def _taking() -> Any:
    """Rows to places and back without adding anything up.

    A token has one place that counts; what is computed at idle places is never read, so that its
    gradient is exactly zero.
    """
    import torch

    class Taking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, rows: torch.Tensor, places: torch.Tensor, back: torch.Tensor) -> Any:
            ctx.save_for_backward(places, back)
            return rows.index_select(0, places)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
            places, back = ctx.saved_tensors
            if len(back) <= len(places):
                return grad.index_select(0, back), None, None
            wide = grad.new_zeros(len(back), *grad.shape[1:])
            return wide.index_copy_(0, places, grad), None, None

    return Taking


def _stacks(sizes: list[int], branched: list[bool], kind_of_device: str) -> list[list[int]]:
    """Trees of like size together, so that few pairs of positions are computed in vain."""
    stacks: list[list[int]] = []
    for kind in (False, True):
        trees = [tree for tree in range(len(sizes)) if branched[tree] is kind]
        idle, longest = 0, 0
        for tree in sorted(trees, key=lambda t: (-sizes[t], t)):
            idle += longest**2 - sizes[tree] ** 2
            if not longest or idle > _IDLE_PAIRS[kind_of_device]:
                stacks.append([])
                idle, longest = 0, sizes[tree]
            stacks[-1].append(tree)
    return [sorted(stack) for stack in stacks]


def _stack(row: Row, trees: list[int], device: torch.device) -> _Stack:
    import torch

    sizes = row.sizes()
    longest = max(sizes[tree] for tree in trees)
    index = np.empty((len(trees), longest), dtype=np.int64)
    for place, tree in enumerate(trees):
        start, size = row.starts[tree], sizes[tree]
        index[place, :size] = np.arange(start, start + size)
        index[place, size:] = start
    mask = None
    if row.branched[trees[0]]:
        seen = np.zeros((len(trees), 1, longest, longest), dtype=bool)
        seen[:, :, np.arange(longest), np.arange(longest)] = True
        for place, tree in enumerate(trees):
            size = sizes[tree]
            seen[place, 0, :size, :size] = row.sees(tree)
        mask = torch.from_numpy(seen).to(device)
    return _Stack(torch.from_numpy(index).to(device), mask)
