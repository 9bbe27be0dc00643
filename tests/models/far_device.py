"""A second device that is none: tensors that say they lie elsewhere and refuse to meet others.

Where there is no GPU this shows whether everything that a layer needs is brought to where the
layer lies: numbers are computed on the CPU, but an operation on tensors of two devices raises as
it does on real ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

#: The device that tensors far away name; torch knows it and computes nothing there.
FAR = torch.device("meta", 1)
_aten = torch.ops.aten
#: These may read from one device and write to another.
_MOVES = {_aten._to_copy.default, _aten.copy_.default}
#: Real devices take indices from the CPU.
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default}


class FarTensor(torch.Tensor):
    """A tensor that names another device and holds its numbers here."""

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> FarTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, near.stride(), near.storage_offset(), dtype=near.dtype, device=FAR
        )
        made.near = near
        return made

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.Tensor.__getitem__:
                # torch makes no numbers of a list that indexes what computes nothing.
                at = args[1] if isinstance(args[1], tuple) else (args[1],)
                at = tuple(torch.tensor(part) if isinstance(part, list) else part for part in at)
                return func(args[0], at)
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _dispatched(func, args, kwargs or {})


class TwoDevices(TorchDispatchMode):
    """Inside, ``FAR`` is a device beside the CPU; ``met`` counts the operations done there."""

    met = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.met += any(isinstance(x, FarTensor) for x in tree_flatten((args, kwargs))[0])
        return _dispatched(func, args, kwargs or {})


def _dispatched(func: Any, args: tuple, kwargs: dict) -> Any:
    given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    far = [isinstance(x, FarTensor) for x in given]
    asked = kwargs.get("device")
    target = asked == FAR if asked is not None else any(far)
    if func in _MOVES:
        target = far[0] if func is _aten.copy_.default or asked is None else target
    elif any(far) and func not in _INDEXING:
        alone = [x for x, there in zip(given, far, strict=True) if not there and x.dim()]
        if alone:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    near = tree_map(lambda x: x.near if isinstance(x, FarTensor) else x, (args, kwargs))
    if asked is not None:
        near[1]["device"] = torch.device("cpu")
    out = func(*near[0], **near[1])
    if not target:
        return out
    out = tree_map(lambda x: FarTensor(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if any(far) else out


def put_far(module: torch.nn.Module) -> None:
    """Move a module's weights and buffers far away."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(
                    FarTensor(value.detach()), requires_grad=value.requires_grad
                )
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = FarTensor(value)
