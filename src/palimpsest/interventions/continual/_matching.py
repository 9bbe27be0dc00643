"""Environments that are equal in how much they rehearse, or in how old it is.

Laws of returning differ in how much the oldest tasks get, which alone may decide between a power
and an exponential. A comparison of laws needs them equal in one such quantity: the total, the mean
lag or the oldest task's share, each averaged over phases 1 to T - 1 of a stream of T tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from palimpsest.interventions.continual._environments import (
    Environment,
    by_lag,
    fixed_lags,
    per_new,
)

VERSION = 1

Match = Literal["total", "mean_lag", "oldest_share"]

#: Fall of the logarithm of odds from lag 1 to 2, beyond which only the last task returns.
_STEEPEST = 40.0
#: The same for an exponential law that cannot be told from a uniform one.
_FLATTEST = 1e-15
#: Quantities that differ by less are the same.
_SAME = 1e-12


def mean_total(environment: Environment, tasks: int) -> float:
    """Rehearsed examples for each new one, averaged over phases, not rounded.

    Raises:
        ValueError: fewer than two tasks, or the clock is recency and there is no budget.
    """
    return float(np.mean([per_new(environment, task) for task in _phases(tasks)]))


def mean_lag(environment: Environment, tasks: int) -> float:
    """Expected lag of a rehearsed example of a phase, averaged over phases.

    nan where nothing ever returns.

    Raises:
        ValueError: fewer than two tasks, or the clock is recency.
    """
    if not environment.rehearses:
        return float("nan")
    means = [by_lag(environment, task) @ fixed_lags(environment, task) for task in _phases(tasks)]
    return float(np.mean(means))


def oldest_share(environment: Environment, tasks: int) -> float:
    """Share of task 0 in what is rehearsed in a phase, averaged over phases.

    In phase 1 it is 1 by any law, and early phases, in which the oldest task is still recent, make
    up most of the average: laws that are equal in it may differ much in the last phase. nan where
    nothing ever returns.

    Raises:
        ValueError: as :func:`mean_lag`.
    """
    if not environment.rehearses:
        return float("nan")
    return float(np.mean([by_lag(environment, task)[0] for task in _phases(tasks)]))


QUANTITIES: dict[Match, Callable[[Environment, int], float]] = {
    "total": mean_total,
    "mean_lag": mean_lag,
    "oldest_share": oldest_share,
}


@lru_cache(maxsize=256)
def matched(environment: Environment, to: Environment, tasks: int, match: Match) -> Environment:
    """An environment of the same kind that equals another one in one quantity.

    Solved for the budget where the total is matched, else for the exponent or the scale.

    Args:
        environment: its free parameter is changed, unless it matches already.
        to: what it is matched to.
        tasks: length of the stream over which the quantity is averaged.
        match: name of the quantity, see ``QUANTITIES``.

    Raises:
        ValueError: the kind cannot attain it, nothing returns in one of the environments, or as
            the quantity itself.
    """
    quantity = QUANTITIES[match]
    target, now = quantity(to, tasks), quantity(environment, tasks)
    if np.isnan(target) or np.isnan(now):
        raise ValueError(f"an environment in which nothing returns has no {match}")
    if abs(now - target) <= _SAME:
        return environment
    if match == "total":
        return _budgeted(environment, tasks, target)
    return _solved(environment, lambda changed: quantity(changed, tasks), target, match)


def _budgeted(environment: Environment, tasks: int, target: float) -> Environment:
    if environment.kind == "none":
        raise ValueError(f"none attains total 0 alone, not {target:.6g}")
    each = mean_total(_changed(environment, budget=1.0), tasks)
    return _changed(environment, budget=target / each)


def _solved(
    environment: Environment, quantity: Callable[[Environment], float], target: float, match: Match
) -> Environment:
    """The environment with the steepness at which a quantity has its target."""
    # Not above: what only reads the configuration must stay light.
    from scipy.optimize import brentq

    if environment.kind not in ("power", "exponential"):
        only = quantity(environment)
        raise ValueError(f"{environment.kind} attains {match} {only:.6g} alone, not {target:.6g}")
    flattest, steepest = 0.0, _STEEPEST
    if environment.kind == "power":
        steepest /= np.log((2 + environment.shift) / (1 + environment.shift))
    else:
        flattest = _FLATTEST

    def attained(steepness: float) -> float:
        return quantity(_steep(environment, steepness))

    # No law favours older tasks, so all lie between the two ends, but for rounding.
    low, high = attained(steepest), attained(flattest)
    within = min(max(target, low), high)
    root = brentq(lambda x: attained(x) - within, flattest, steepest, xtol=1e-14, rtol=1e-15)
    return _steep(environment, float(root))


def _steep(environment: Environment, steepness: float) -> Environment:
    """The same law with an exponent, or with one over a scale."""
    if environment.kind == "power":
        return _changed(environment, exponent=steepness)
    return _changed(environment, scale=1 / steepness)


def _changed(environment: Environment, **fields: float) -> Environment:
    return Environment(**environment.model_dump() | fields)


def _phases(tasks: int) -> range:
    if tasks < 2:
        raise ValueError("nothing returns in a stream of fewer than two tasks")
    return range(1, tasks)
