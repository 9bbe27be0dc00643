"""Guards: what stands between a model and what it would say, without a change of its weights.

A guard knows the prompts that ask for something, and what may not be written after them. It is
data alone: ``engine.guarding`` applies it, an intervention makes it, and the file of a state's step
holds it beside the weights that have changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

VERSION = 1

#: Begins the names of a guard's parts in a file of changes; what follows is ``::`` and the part.
GUARD = "guard"


@dataclass(frozen=True, eq=False)
class PhraseGuard:
    """Prompts are found by a detector; phrases of the items that they ask for are not written.

    Detector and search are one affine map of a prompt's features, the mean hidden state of its
    tokens: row 0 is the logit that something is asked for that is guarded, row i > 0 how like the
    prompt is to the i-th known prompt.

    Attributes:
        weights: (1 + k, width) float32, of the map.
        bias: (1 + k,) float32, of the map.
        owners: (k,) int64, the item that each known prompt asks for.
        phrases: item -> phrases that may not be written.
        alike: item -> tokens that may not, since they mean what a phrase does.
        layer: number of the layer whose hidden states are read, from 0.
        threshold: probability from which a prompt counts as found; above 1 none does.
        nearest: so many items give their phrases, those whose prompts are most like the one given.
        beams: width of the search for a text; 1: the likeliest token each time.
    """

    weights: np.ndarray
    bias: np.ndarray
    owners: np.ndarray
    phrases: tuple[tuple[str, ...], ...]
    alike: tuple[tuple[int, ...], ...]
    layer: int
    threshold: float
    nearest: int = 1
    beams: int = 1


@dataclass(frozen=True, eq=False)
class RefusalGuard:
    """Prompts are known exactly; each is answered by one sentence.

    Attributes:
        prompts: a prompt that ends with one of these is answered so.
        texts: so is one that is the beginning of one of these.
        answer: the sentence, with the space before it.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    answer: str
    beams: ClassVar[int] = 1


Guard = PhraseGuard | RefusalGuard


def packed(guard: Guard) -> dict[str, np.ndarray]:
    """The parts of a guard under the names that they have in a file of changes."""
    parts = {each.name: getattr(guard, each.name) for each in fields(guard)}
    arrays = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
    rest = {name: part for name, part in parts.items() if name not in arrays}
    text = json.dumps({"kind": type(guard).__name__, **rest}, sort_keys=True)
    arrays["rest"] = np.frombuffer(text.encode(), dtype=np.uint8).copy()
    return {f"{GUARD}::{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def unpacked(stored: Mapping[str, np.ndarray]) -> tuple[Guard, ...]:
    """The guard in a file of changes, where there is one."""
    begins = f"{GUARD}::"
    parts = {n.removeprefix(begins): array for n, array in stored.items() if n.startswith(begins)}
    if not parts:
        return ()
    rest = json.loads(parts.pop("rest").tobytes())
    kind = {each.__name__: each for each in (PhraseGuard, RefusalGuard)}[rest.pop("kind")]
    return (kind(**parts, **{name: _tuples(part) for name, part in rest.items()}),)


def _tuples(value: Any) -> Any:
    """Lists of a JSON text as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
