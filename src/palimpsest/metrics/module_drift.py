"""How far the weights of each module move, and which modules move at switches of tasks.

After Zhao et al. (2023), "Does Continual Learning Equally Forget All Parameters?", ICML,
arXiv 2304.04158.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def module_drift(
    before: Mapping[str, ArrayLike],
    after: Mapping[str, ArrayLike],
    modules: Mapping[str, Sequence[str]] | None = None,
    leading: int = 0,
) -> dict[str, Array]:
    """Mean absolute change of a parameter of each module: |after - before|_1 / parameters.

    A change per parameter in the unit of weights, not relative to their size.

    Args:
        before: tensors by name.
        after: the same tensors later.
        modules: names of the tensors of each module; none: every tensor is a module.
        leading: number of leading axes that are networks, the same in all tensors.

    Returns:
        For each module an array of the shape of the leading axes.

    Raises:
        ValueError: tensors that differ in name or shape, or a module without parameters.
    """
    if set(before) != set(after):
        raise ValueError(f"tensors differ: {sorted(set(before) ^ set(after))}")
    moved = {}
    for name, first in before.items():
        first, then = (np.asarray(x, dtype=np.float64) for x in (first, after[name]))
        if first.shape != then.shape or first.ndim < leading:
            raise ValueError(f"{name} has shape {first.shape} before and {then.shape} after")
        moved[name] = np.abs(then - first).reshape(*first.shape[:leading], -1)
    drift = {}
    for module, names in (modules or {name: [name] for name in moved}).items():
        parameters = sum(moved[name].shape[-1] for name in names)
        if not parameters:
            raise ValueError(f"module {module} has no parameters")
        drift[module] = np.sum([moved[name].sum(-1) for name in names], axis=0) / parameters
    return drift


def switch_sensitivity(drift: ArrayLike) -> Array:
    """How much more a module moves in the first epoch after a switch than in the later ones.

    Mean over tasks but the first of C_1 / median of C_2, C_3..., C_n being the drift during epoch
    n of the task. The first task is left out, as no task is left behind there. This score is our
    own; only the drift is the paper's.

    Args:
        drift: (..., tasks, epochs) drift during each epoch.

    Returns:
        Shape (...); inf where a module moves at a switch only, nan where it never moves.

    Raises:
        ValueError: fewer than two tasks or two epochs, or negative drift.
    """
    drift = np.asarray(drift, dtype=np.float64)
    if drift.ndim < 2 or min(drift.shape[-2:]) < 2 or (drift < 0).any():
        raise ValueError(f"need drift of at least two tasks and epochs, not {drift.shape}")
    later = np.median(drift[..., 1:, 1:], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (drift[..., 1:, 0] / later).mean(-1)
