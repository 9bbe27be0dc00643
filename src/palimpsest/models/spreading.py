"""A model larger than one device: whole layers on several, one after another.

accelerate decides which layer lies where and moves what goes in to where a layer computes. Nothing
is put into CPU memory or onto disk: a layer that had to come from there for every row would be
slower than the CPU alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VERSION = 1

#: Share of a device's free memory that weights may take; the rest is for what they compute.
SHARE_OF_MEMORY = 0.8


def on_no_device(folder: Path, dtype: Any, trusted: bool = False) -> Any:
    """The module of a model without its weights: names and shapes only.

    ``trusted``: the user lets the folder's own code run.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trusted)


def place(folder: Path, dtype: Any, room: dict[Any, int], trusted: bool = False) -> dict[str, Any]:
    """Which part of a model lies on which device, so that all are filled about equally.

    Args:
        folder: where its configuration lies.
        dtype: precision of the weights.
        room: device -> bytes that weights may take there, in the order in which layers follow.
        trusted: the user lets the folder's own code run.

    Returns:
        Name of a part -> device.

    Raises:
        MemoryError: the devices together have not room enough.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import compute_module_sizes

    module = on_no_device(folder, dtype, trusted)
    module.tie_weights()
    whole = [str(name) for name in module._no_split_modules or ()]
    sizes = compute_module_sizes(module, dtype=dtype)
    kinds = {name: type(part).__name__ for name, part in module.named_modules()}
    layer = max((sizes[name] for name, kind in kinds.items() if kind in whole), default=0)
    for fill in (1.0, 1.25, 1.5, 2.0, float("inf")):
        # An even share, and a layer more: none is cut.
        even = fill * sizes[""] / len(room) + layer
        limits = {device: int(min(free, even)) for device, free in room.items()}
        found = infer_auto_device_map(
            module, max_memory=limits, no_split_module_classes=whole, dtype=dtype
        )
        if set(found.values()) <= set(room):
            return found
    have, need = sum(room.values()) / 1e9, sizes[""] / 1e9
    raise MemoryError(
        f"{folder}: {need:.1f} GB of weights do not fit the {have:.1f} GB free on {len(room)} "
        "devices; raise compute.gpu or hold the model in bfloat16"
    )


def room_on(devices: list[str]) -> dict[int, int]:
    """Bytes that weights may take on each GPU, by its number."""
    import torch

    free = {torch.device(name).index: torch.cuda.mem_get_info(name)[0] for name in devices}
    return {index: int(bytes_ * SHARE_OF_MEMORY) for index, bytes_ in free.items()}
