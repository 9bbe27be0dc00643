"""What a method may name of the small transformers: their layers and their weights."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

#: Weights of a layer of the small transformers, and those beside the layers.
_OF_LAYER = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    "input_layernorm",
    "post_attention_layernorm",
)
_BESIDE = ("model.embed_tokens", "model.norm", "lm_head")


def weights_of(layers: int) -> list[str]:
    """Names of the weights of a small transformer."""
    inner = [f"model.layers.{k}.{name}" for k in range(layers) for name in _OF_LAYER]
    return [f"{name}.weight" for name in (*inner, *_BESIDE)]


def check_fits(method: Any, layers: int) -> None:
    """Raise ValueError where a method names a layer or weights that such a transformer lacks."""
    layer, only = getattr(method, "layer", None), getattr(method, "only", ())
    if layer is not None and layer >= layers:
        raise ValueError(f"layer: given {layer}, allowed: 0 to {layers - 1}")
    names = weights_of(layers)
    if only and not any(fnmatch(name, pattern) for name in names for pattern in only):
        raise ValueError(
            f"only: {', '.join(only)} fits no weight; allowed: patterns of {', '.join(names)}"
        )
