"""Tasks learned one after another: what is kept, what is lost and what is carried over.

``accuracy`` is the matrix R of shape (..., T, T): R[..., i, j] is the accuracy on task j after
task i, both in the order of learning, nan where it was not evaluated. Leading axes are networks,
and results keep them. Any score of which more is better will do, such as a negative loss.

**Signs.** Papers use both. Here ``forgetting_max``, ``forgetting_first`` and ``intransigence`` are
positive where something is lost, ``backward_transfer`` and ``forward_transfer`` where something is
gained, and backward transfer is exactly minus ``forgetting_first``.

**Missing evaluations.** A mean over tasks is nan where one of its terms is, and where there are no
terms, as for the forgetting of a single task. Cells that a measure does not use may be missing.

What happens between the ends of tasks is in ``stability_gap``, how fast tasks are learned in
``learning_speed``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = 1

Array = NDArray[np.float64]

#: Accuracy times items may differ by this from a whole number, as single precision makes it.
_ROUNDING = 0.01


def average_accuracy(accuracy: ArrayLike) -> Array:
    """Mean accuracy over all tasks after the last one, shape (...).

    ACC of Lopez-Paz & Ranzato (2017), "Gradient Episodic Memory for Continual Learning",
    arXiv 1706.08840, equation 2; "overall performance" elsewhere.

    Raises:
        ValueError: not a square matrix of finite numbers and nan.
    """
    return mean_over_tasks(_matrix(accuracy)[..., -1, :])


def average_incremental_accuracy(accuracy: ArrayLike) -> Array:
    """Mean over i of the mean accuracy on tasks 0 to i after task i, shape (...).

    Rebuffi et al. (2017), "iCaRL: Incremental Classifier and Representation Learning",
    arXiv 1611.07725. Raises as :func:`average_accuracy`.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[-1]
    seen = np.where(np.tri(tasks, dtype=bool), matrix, 0.0)
    return mean_over_tasks(seen.sum(-1) / np.arange(1, tasks + 1))


def forgetting_max(accuracy: ArrayLike) -> Array:
    """Mean over tasks j < T of the best accuracy on j after any task but the last, minus the last.

    Chaudhry et al. (2018), "Riemannian Walk for Incremental Learning", arXiv 1801.10112, the
    forgetting measure: the best is taken over rows 0 to T - 2, also over those before j was learned
    where they are evaluated. Negative where a task ends at its best. Mammoth (Boschini et al. 2022,
    arXiv 2201.00766) takes the best over the last row too, with 0 for what was not evaluated, so
    that a task's value is never negative. Raises as :func:`average_accuracy`.
    """
    matrix = _matrix(accuracy)
    if matrix.shape[-1] == 1:
        return np.full(matrix.shape[:-2], np.nan)
    best = np.fmax.reduce(matrix[..., :-1, :-1], axis=-2)
    return mean_over_tasks(best - matrix[..., -1, :-1])


def forgetting_first(accuracy: ArrayLike) -> Array:
    """Mean over tasks j < T of the accuracy just after j was learned, minus the last one.

    As Avalanche and De Lange et al. (2023), arXiv 2205.13452, have it: needs the diagonal and the
    last row only. Raises as :func:`average_accuracy`.
    """
    matrix = _matrix(accuracy)
    learned = np.diagonal(matrix, axis1=-2, axis2=-1)
    return mean_over_tasks(learned[..., :-1] - matrix[..., -1, :-1])


def backward_transfer(accuracy: ArrayLike) -> Array:
    """Mean over tasks j < T of the last accuracy minus that just after j was learned.

    BWT of Lopez-Paz & Ranzato (2017), equation 3; negative where tasks are forgotten. Some papers
    print its negative under the same name. Raises as :func:`average_accuracy`.
    """
    return -forgetting_first(accuracy)


def forward_transfer(accuracy: ArrayLike, untrained: ArrayLike) -> Array:
    """Mean over tasks j > 0 of the accuracy just before j is learned, above an untrained network's.

    FWT of Lopez-Paz & Ranzato (2017), equation 4.

    Args:
        accuracy: R; needs the diagonal above the main one.
        untrained: (..., T) accuracy of the randomly initialised network on each task.

    Raises:
        ValueError: as :func:`average_accuracy`, or another number of tasks.
    """
    matrix = _matrix(accuracy)
    before = np.diagonal(matrix, offset=1, axis1=-2, axis2=-1)
    return mean_over_tasks(before - _by_task(untrained, matrix)[..., 1:])


def intransigence(accuracy: ArrayLike, joint: ArrayLike) -> Array:
    """Mean over tasks j of what a network trained jointly has on j above ours just after j.

    The intransigence measure of Chaudhry et al. (2018), averaged over tasks. Negative where the
    sequence helped.

    Args:
        accuracy: R; needs the diagonal only.
        joint: (..., T) accuracy on task j of a network trained on tasks 0 to j together.

    Raises:
        ValueError: as :func:`average_accuracy`, or another number of tasks.
    """
    matrix = _matrix(accuracy)
    learned = np.diagonal(matrix, axis1=-2, axis2=-1)
    return mean_over_tasks(_by_task(joint, matrix) - learned)


def retention_by_lag(
    accuracy: ArrayLike, items: ArrayLike | None = None, last_only: bool = False
) -> dict[str, NDArray]:
    """Accuracy on each task against the number of tasks learned since, one row an evaluation.

    Rows as ``statistics.retention`` takes them, the network being the unit: rows of one network
    depend on each other.

    Args:
        accuracy: R; cells above the diagonal and missing ones give no row.
        items: number of test examples of each task (T,), or one for all.
        last_only: the last row of R alone, the retention curve at the end of the stream.

    Returns:
        Columns ``network`` (index into the flattened leading axes), ``after`` and ``task`` (i and
        j), ``lag`` (i - j, in tasks, 0 just after learning) and ``accuracy``; with ``items`` also
        ``trials`` and ``successes``, the numbers of test examples and of right ones.

    Raises:
        ValueError: as :func:`average_accuracy`, or no whole number of right examples.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[-1]
    flat = matrix.reshape(-1, tasks, tasks)
    wanted = np.isfinite(flat) & np.tri(tasks, dtype=bool)
    if last_only:
        wanted[:, :-1] = False
    network, after, task = np.nonzero(wanted)
    rows = {
        "network": network,
        "after": after,
        "task": task,
        "lag": after - task,
        "accuracy": flat[wanted],
    }
    if items is None:
        return rows
    trials = np.broadcast_to(np.asarray(items, dtype=np.int64), tasks)[task]
    right = rows["accuracy"] * trials
    successes = np.rint(right).astype(np.int64)
    whole = np.abs(right - successes) <= _ROUNDING
    if not (whole & (successes >= 0) & (successes <= trials)).all():
        raise ValueError("accuracies are not shares of so many test examples")
    return rows | {"trials": trials, "successes": successes}


def mean_over_tasks(by_task: Array) -> Array:
    """Mean over the last axis, nan over none."""
    if not by_task.shape[-1]:
        return np.full(by_task.shape[:-1], np.nan)
    return by_task.mean(-1)


def _matrix(accuracy: ArrayLike) -> Array:
    matrix = np.asarray(accuracy, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not matrix.shape[-1]:
        raise ValueError(f"accuracies must have shape (..., T, T), not {matrix.shape}")
    if np.isinf(matrix).any():
        raise ValueError("accuracies must be finite, or nan where not evaluated")
    return matrix


def _by_task(values: ArrayLike, matrix: Array) -> Array:
    by_task = np.asarray(values, dtype=np.float64)
    if not by_task.ndim or by_task.shape[-1] != matrix.shape[-1]:
        raise ValueError(f"{matrix.shape[-1]} tasks, but accuracies of shape {by_task.shape}")
    return by_task
