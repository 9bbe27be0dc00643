"""Accuracy while learning goes on: how deep old tasks fall after a switch, and what comes back.

After De Lange, van de Ven & Tuytelaars (2023), "Continual evaluation for lifelong learning:
identifying the stability gap", ICLR, arXiv 2205.13452. An average of accuracies at the ends of
tasks cannot see a fall that is made good before the next end.

``trace`` has shape (..., S, T): accuracy on each of T tasks at S evaluations, nan where a task was
not evaluated. ``steps`` (S,) is the number of updates made before each evaluation, increasing, and
``ends`` (T,) the number made when each task ended, in the order of learning; the last task is the
one that is learned now and may be unfinished. Leading axes are networks, and results keep them.
For the state of things at an earlier time, cut the trace. For losses, of which less is better, give
their negative: what is called lowest is then minus the highest loss.

Evaluate every task on the same examples at every step: examples drawn anew each time, as in the
authors' code, add sampling noise, which lowers every minimum and raises every window's difference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palimpsest.metrics.continual import mean_over_tasks

VERSION = 1

Array = NDArray[np.float64]


class StabilityGap(NamedTuple):
    """What each switch did to each old task, all of shape (..., T - 1, T).

    Entry [..., s, i] is of task i while task s + 1 was learned, nan for i > s and where something
    needed was not evaluated. ``depth`` = ``recovered`` + ``lasting``.

    Attributes:
        depth: accuracy just before the switch minus the lowest until the next task's end.
        recovered: accuracy at the next task's end minus the lowest: the transient part, never
            negative.
        lasting: accuracy just before the switch minus that at the next task's end: forgetting.
    """

    depth: Array
    recovered: Array
    lasting: Array


def min_accuracy(trace: ArrayLike, steps: ArrayLike, ends: ArrayLike) -> Array:
    """min-ACC: mean over old tasks of the lowest accuracy after their own end, shape (...).

    De Lange et al. (2023). The evaluation at a task's own end does not count. nan
    without old tasks, and where one was not evaluated after its end.

    Raises:
        ValueError: shapes that do not fit each other, or steps or ends that do not increase.
    """
    trace, steps, ends = _checked(trace, steps, ends)
    return mean_over_tasks(_lowest(trace, steps, ends))


def worst_case_accuracy(trace: ArrayLike, steps: ArrayLike, ends: ArrayLike) -> Array:
    """WC-ACC: (1/T) accuracy on the current task at the last evaluation + (1 - 1/T) min-ACC.

    De Lange et al. (2023): what is guaranteed to have held at every evaluation.
    Shape (...); raises as :func:`min_accuracy`.
    """
    trace, steps, ends = _checked(trace, steps, ends)
    now = trace[..., -1, -1:]
    return mean_over_tasks(np.concatenate([_lowest(trace, steps, ends), now], axis=-1))


def windowed_forgetting(trace: ArrayLike, window: int, steps: ArrayLike | None = None) -> Array:
    """WF: the largest fall within any window, of each task (..., T).

    De Lange et al. (2023): max over evaluations m < n, both in the window, of A_m - A_n, at least
    0; the paper's number is the mean over tasks. nan for a task that was never evaluated.

    Args:
        trace: accuracies; a task's windows also cover its own learning and reach over switches, so
            cut what should not count by :func:`evaluated_from`.
        window: number of consecutive evaluations, at least 2; with ``steps``, of updates: two
            evaluations less than ``window`` updates apart share one. Both are the same where every
            update is evaluated; where some are left out, the fall found is at most that.
        steps: (S,) updates made before each evaluation, increasing.

    Raises:
        ValueError: a window below 2, a trace of fewer than two axes, or steps that do not fit.
    """
    return _largest_rise(-_trace(trace), window, steps)


def windowed_plasticity(trace: ArrayLike, window: int, steps: ArrayLike | None = None) -> Array:
    """WP: the largest rise A_n - A_m within any window; otherwise as :func:`windowed_forgetting`.

    Learning the task itself is a rise too.
    """
    return _largest_rise(_trace(trace), window, steps)


def evaluated_from(trace: ArrayLike, steps: ArrayLike, first: ArrayLike) -> Array:
    """The trace with nan for each task at evaluations before step ``first`` (T,).

    With the ends of tasks only what comes after learning counts; with ``[0, *ends[:-1]]`` also the
    learning of each task itself, as the authors count. The evaluation at ``first`` itself stays.

    Raises:
        ValueError: as :func:`min_accuracy`.
    """
    trace, steps, first = _checked(trace, steps, first)
    return np.where(steps[:, None] >= first, trace, np.nan)


def stability_gap(trace: ArrayLike, steps: ArrayLike, ends: ArrayLike) -> StabilityGap:
    """Depth of the fall at each switch, and which part of it was made good by the next end.

    Depth is negative where an old task only gains.

    Raises:
        ValueError: as :func:`min_accuracy`, or no evaluation at the end of a task.
    """
    trace, steps, ends = _checked(trace, steps, ends)
    tasks = len(ends)
    at = np.searchsorted(steps, ends)
    if at[-1] == len(steps) or np.any(steps[at] != ends):
        raise ValueError("every task's end must be among the steps of evaluation")
    before, after = trace[..., at[:-1], :], trace[..., at[1:], :]
    lowest = np.full(before.shape, np.nan)
    for switch in range(tasks - 1):
        learning = trace[..., at[switch] + 1 : at[switch + 1] + 1, :]
        lowest[..., switch, :] = np.fmin.reduce(learning, axis=-2)
    old = np.tri(tasks - 1, tasks, dtype=bool)
    parts = before - lowest, after - lowest, before - after
    complete = old & np.isfinite(before - after)
    return StabilityGap(*(np.where(complete, part, np.nan) for part in parts))


def _lowest(trace: Array, steps: Array, ends: Array) -> Array:
    """Lowest accuracy on each old task at evaluations after its end, (..., T - 1)."""
    after = np.where(steps[:, None] > ends[:-1], trace[..., :-1], np.nan)
    return np.fmin.reduce(after, axis=-2)


def _largest_rise(values: Array, window: int, steps: ArrayLike | None) -> Array:
    """Largest value minus the lowest in the window up to it, (..., T)."""
    if window < 2:
        raise ValueError(f"a window needs at least two evaluations, not {window}")
    n = values.shape[-2]
    steps = np.arange(n) if steps is None else np.asarray(steps, dtype=np.float64)
    if steps.shape != (n,) or not (np.diff(steps) > 0).all():
        raise ValueError(f"one increasing step for each of {n} evaluations")
    places = np.arange(n)
    first = np.searchsorted(steps, steps - window, side="right")
    # lowest[k] of an evaluation is over the 2^k up to it; two of them cover any window.
    lowest = [np.where(np.isnan(values), np.inf, values)]
    while 1 << len(lowest) <= n:
        half = 1 << (len(lowest) - 1)
        shifted = np.concatenate([lowest[-1][..., :half, :], lowest[-1][..., :-half, :]], axis=-2)
        lowest.append(np.minimum(lowest[-1], shifted))
    level = np.frexp(places - first + 1)[1] - 1
    reach = np.stack(lowest)
    own = np.moveaxis(reach, -2, 1)[level, places]
    other = np.moveaxis(reach, -2, 1)[level, first + (1 << level) - 1]
    least = np.moveaxis(np.minimum(own, other), 0, -2)
    return np.fmax.reduce(values - least, axis=-2)


def _trace(trace: ArrayLike) -> Array:
    trace = np.asarray(trace, dtype=np.float64)
    if trace.ndim < 2 or not trace.shape[-1] or not trace.shape[-2]:
        raise ValueError(f"a trace must have shape (..., evaluations, tasks), not {trace.shape}")
    if np.isinf(trace).any():
        raise ValueError("accuracies must be finite, or nan where not evaluated")
    return trace


def _checked(trace: ArrayLike, steps: ArrayLike, ends: ArrayLike) -> tuple[Array, Array, Array]:
    trace = _trace(trace)
    steps, ends = (np.asarray(values, dtype=np.float64) for values in (steps, ends))
    if steps.shape + ends.shape != trace.shape[-2:]:
        raise ValueError(
            f"a trace of {trace.shape[-2]} evaluations of {trace.shape[-1]} tasks, but steps of "
            f"shape {steps.shape} and ends of shape {ends.shape}"
        )
    if not (np.diff(steps) > 0).all() or not (np.diff(ends) > 0).all():
        raise ValueError("steps of evaluations and ends of tasks must increase")
    return trace, steps, ends
