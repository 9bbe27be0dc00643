"""How fast a task is learned, and whether tasks learned before make it faster.

A curve holds the accuracy on the task that is being learned, at evaluations along its last axis,
``updates`` (S,) being the number of updates of this task made before each; nan is not allowed.
Leading axes are networks and tasks, and results keep them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = 1

Array = NDArray[np.float64]


def learning_curve_area(curves: ArrayLike, beta: int) -> Array:
    """LCA: mean accuracy over updates 0 to beta of each task, and over tasks, shape (...).

    Chaudhry et al. (2019), "Efficient Lifelong Learning with A-GEM", arXiv 1812.00420: beta + 1
    evaluations, the first before any update, so LCA with beta 0 is the accuracy before learning.
    The code of De Lange et al. (2023), arXiv 2205.13452, averages beta evaluations instead.

    Args:
        curves: (..., T, evaluations) accuracy on each task after 0, 1, 2... of its updates.
        beta: number of updates.

    Raises:
        ValueError: beta below 0, or fewer than beta + 1 evaluations.
    """
    curves = _curves(curves)
    if curves.ndim < 2 or not 0 <= beta < curves.shape[-1]:
        raise ValueError(f"{beta} updates, but curves of shape {curves.shape}")
    return curves[..., : beta + 1].mean((-2, -1))


def steps_to_criterion(curve: ArrayLike, updates: ArrayLike, criterion: float) -> Array:
    """Updates before the first evaluation at or above ``criterion``, inf where there is none.

    Nothing is interpolated and a later fall does not matter: the resolution is that of the
    evaluations. 0 where the criterion holds before any update.

    Args:
        curve: (..., S) accuracies.
        updates: (S,) updates made before each evaluation, increasing.
        criterion: accuracy to be reached.

    Returns:
        Shape (...).

    Raises:
        ValueError: another number of evaluations, updates that do not increase, or nan.
    """
    curve, updates = _checked(curve, updates)
    reached = curve >= criterion
    return np.where(reached.any(-1), updates[reached.argmax(-1)], np.inf)


def facilitation(needed: ArrayLike) -> Array:
    """Forward facilitation FF_k: updates that task k needed over those of the first task.

    Gandhi et al. (2024), "Natural Mitigation of Catastrophic Interference", arXiv 2401.10393.
    Below 1, what was learned before helps.

    Args:
        needed: (..., T) updates to criterion of each task, inf where it was never reached.

    Returns:
        (..., T), inf where only the first task reached the criterion; nan where the first did not,
        or met it before any update: the ratio then says nothing.
    """
    needed = np.asarray(needed, dtype=np.float64)
    first = needed[..., :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = needed / first
    return np.where(np.isfinite(first) & (first > 0), ratio, np.nan)


def early_area(curve: ArrayLike, updates: ArrayLike, first: float) -> Array:
    """Mean height of the curve over its ``first`` updates, shape (...).

    The area under straight lines between evaluations, divided by ``first``; where ``first`` lies
    between two evaluations, the curve is read off the line.

    Args:
        curve: (..., S) accuracies.
        updates: (S,) updates made before each evaluation, increasing from 0.
        first: number of updates, up to the last evaluation's.

    Raises:
        ValueError: as :func:`steps_to_criterion`, no evaluation before the first update, or
            evaluations that end too early.
    """
    curve, updates = _checked(curve, updates)
    if updates[0] != 0 or not 0 < first <= updates[-1]:
        raise ValueError(f"evaluations from 0 to {first} updates wanted, not {updates}")
    inside = int(np.searchsorted(updates, first))  # the evaluation at or just after ``first``
    share = (first - updates[inside - 1]) / (updates[inside] - updates[inside - 1])
    last = (1 - share) * curve[..., inside - 1] + share * curve[..., inside]
    heights = np.concatenate([curve[..., :inside], last[..., None]], axis=-1)
    return np.trapezoid(heights, np.append(updates[:inside], first), axis=-1) / first


def _curves(curves: ArrayLike) -> Array:
    curves = np.asarray(curves, dtype=np.float64)
    if not curves.ndim or not curves.shape[-1] or not np.isfinite(curves).all():
        raise ValueError("a learning curve needs evaluations, all finite")
    return curves


def _checked(curve: ArrayLike, updates: ArrayLike) -> tuple[Array, Array]:
    curve, updates = _curves(curve), np.asarray(updates, dtype=np.float64)
    if updates.shape != curve.shape[-1:] or not (np.diff(updates) > 0).all():
        raise ValueError("need one number of updates for each evaluation, and they must increase")
    return curve, updates
