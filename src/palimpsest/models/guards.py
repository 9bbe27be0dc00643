"""Guards: what stands between a model and what it would say, without a change of its weights.

A guard knows the prompts that ask for something, and the phrases that may not be written after
them. It is data alone: ``engine.guarding`` applies it, an intervention makes it. On disk it is one
safetensors file, arrays and a JSON text in its header.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest.files import atomic
from palimpsest.identity import file_sha256

VERSION = 1

_ARRAYS = ("mean", "scale", "weights", "keys", "owners")
_REST = ("layer", "bias", "threshold", "phrases", "nearest", "penalty", "similarity", "beams")


@dataclass(frozen=True, eq=False)
class Guard:
    """A detector of prompts, and the phrases that are forbidden where it says yes.

    Features of a prompt are the mean hidden state of its tokens in one layer, standardised.

    Attributes:
        layer: number of the layer, from 0.
        mean: (width,) float32, taken away from features.
        scale: (width,) float32, by which they are divided then.
        weights: (width,) float32 of the detector, a logistic regression.
        bias: of the detector.
        threshold: probability from which a prompt counts as one of these; above 1 none does.
        keys: (k, width) float32, features of the prompts that are known, of unit length.
        owners: (k,) int64, the item that each of them asks for.
        phrases: item -> phrases that may not be written.
        nearest: so many items give their phrases, those whose prompts are most like the one given.
        penalty: nats taken from a token that completes a phrase; None: it is never written.
        similarity: cosine from which another word counts as a forbidden one; None: none does.
        beams: width of the search for an answer; 1: the likeliest token each time.
    """

    layer: int
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    threshold: float
    keys: np.ndarray
    owners: np.ndarray
    phrases: tuple[tuple[str, ...], ...]
    nearest: int = 1
    penalty: float | None = None
    similarity: float | None = None
    beams: int = 1


def guard_file(folder: str | Path, step: int) -> Path:
    """Path of the guard of one step."""
    return Path(folder) / f"guard-{step:06d}.safetensors"


def save_guard(folder: str | Path, step: int, guard: Guard) -> str:
    """Write the guard of one step; returns the SHA-256 of the file."""
    from safetensors.numpy import save_file

    path = guard_file(folder, step)
    arrays = {name: np.ascontiguousarray(getattr(guard, name)) for name in _ARRAYS}
    rest = json.dumps({name: getattr(guard, name) for name in _REST}, sort_keys=True)
    with atomic(path) as temporary:
        save_file(arrays, temporary, metadata={"guard": rest})
    return file_sha256(path)


def read_guard(path: str | Path) -> Guard:
    """Read what :func:`save_guard` wrote; the hash is the caller's to check."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as stored:
        rest = json.loads(stored.metadata()["guard"])
        arrays = {name: stored.get_tensor(name) for name in _ARRAYS}
    rest["phrases"] = tuple(tuple(each) for each in rest["phrases"])
    return Guard(**arrays, **rest)
