"""Environments in which old tasks return while a new one is learned.

A phase is the learning of one task; ``task`` is its number from 0, which is also the number of past
tasks. The *lag* of a past task is the number of phases since it was first met, or, by the clock of
``recency``, since it was last learned or rehearsed: 1 for the task of the phase before. A law says
how the odds of returning fall with the lag, a budget how many rehearsed examples come with each new
one. What returns does not depend on weights, so all of it can be drawn before training begins.

The laws are those of Gandhi et al. (2024), "Natural Mitigation of Catastrophic Interference",
arXiv 2401.10393, after Anderson & Schooler (1991), "Reflections of the environment in memory",
Psychological Science 2, 396: the odds that something is needed fall as a power of the time since it
was last met. ``_matching`` makes environments equal in how much they rehearse, or how old.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from palimpsest.blocks import Block

VERSION = 1

Kind = Literal["none", "recent_only", "uniform", "power", "exponential", "everything"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Environment(Block):
    """Which past tasks return while a new one is learned, and how often."""

    kind: Kind = "none"
    """Odds of a past task: none: never; recent_only: the most recent alone; uniform: the same for
    all; power: (lag + shift) ** -exponent; exponential: exp(-lag / scale); everything: each past
    task returns as often as the budget says, however many there are."""
    exponent: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Exponent of the power law."""
    shift: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Added to the lag in the power law; the published table has 10, with exponent 5.6."""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Lags over which odds fall to 1/e in the exponential law."""
    clock: Literal["lag", "recency"] = "lag"
    """lag: phases since a task was first met; recency: since it was last learned or rehearsed."""
    visits: int | None = Field(default=None, ge=1)
    """How often a past task returns within a phase, each time with an equal part of the rehearsed
    examples; every example is a visit of its own when null. The clock recency needs a number."""
    budget: float | None = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Rehearsed examples for each new one, from all past tasks together; from each of them where
    everything returns. When null those of each past task are to the new ones as its odds to those
    of lag 0, so that the total grows, as in the published table."""

    @model_validator(mode="after")
    def _consistent(self) -> Environment:
        if self.budget is None and self.kind not in ("power", "exponential"):
            raise ValueError(f"kind {self.kind} needs a budget")
        if self.budget is None and self.kind == "power" and not self.shift:
            raise ValueError("a power law without budget needs a shift above 0")
        if self.clock == "recency" and self.visits is None:
            raise ValueError(
                "the clock recency needs visits: where each example is drawn by itself nearly "
                "every task returns in every phase, and the clock always stands at 1"
            )
        return self

    @property
    def rehearses(self) -> bool:
        """Whether anything ever returns."""
        return self.kind != "none" and self.budget != 0


@dataclass(frozen=True)
class History:
    """What returned in each phase of a stream of T tasks.

    Attributes:
        lags: (T, T) lag of past task j at the beginning of phase t, 0 for j >= t.
        counts: (T, T) rehearsed examples of task j in phase t; a row's part [:t] serves as odds of
            past tasks where only shares are wanted.
    """

    lags: Integers
    counts: Integers

    def drawn(self) -> Integers:
        """(n,) lags of all rehearsed examples, phase by phase."""
        return np.repeat(self.lags, self.counts.ravel())


def weights(environment: Environment, lags: ArrayLike) -> Floats:
    """The law relative to lag 0: examples of a task for each new one, where there is no budget.

    Args:
        environment: with a law that is finite at lag 0, a shifted power or an exponential.
        lags: (...), from 0.

    Raises:
        ValueError: another law, or negative lags.
    """
    lags = _lags(lags, 0)
    if environment.kind == "exponential" or (environment.kind == "power" and environment.shift):
        return np.exp(_log_law(environment, lags) - _log_law(environment, np.zeros(1)))
    raise ValueError(f"kind {environment.kind} with shift {environment.shift} has no odds at lag 0")


def odds(environment: Environment, lags: ArrayLike) -> Floats:
    """Odds of past tasks, which add up to one; all zero where nothing ever returns.

    Args:
        environment: the law.
        lags: (..., past tasks) their lags, from 1; each row is a law of its own.

    Raises:
        ValueError: a lag below 1.
    """
    lags = _lags(lags, 1)
    if not lags.size or not environment.rehearses:
        return np.zeros(lags.shape)
    if environment.kind == "recent_only":
        share = (lags == lags.min(-1, keepdims=True)).astype(np.float64)
    elif environment.kind in ("power", "exponential"):
        log_law = _log_law(environment, lags)
        share = np.exp(log_law - log_law.max(-1, keepdims=True))
    else:
        share = np.ones(lags.shape)
    return share / share.sum(-1, keepdims=True)


def by_lag(environment: Environment, task: int) -> Floats:
    """(task,) odds of past tasks 0 to task - 1 while ``task`` is learned.

    Raises:
        ValueError: the clock is recency, whose odds depend on what returned before.
    """
    return odds(environment, fixed_lags(environment, task))


def odds_by_lag(environment: Environment, tasks: int) -> tuple[Floats, Integers]:
    """(T, T) odds and lags of past task j in phase t of a stream of T tasks, 0 for j >= t.

    Raises:
        ValueError: as :func:`by_lag`.
    """
    odds, lags = np.zeros((tasks, tasks)), np.zeros((tasks, tasks), dtype=np.int64)
    for task in range(1, tasks):
        odds[task, :task] = by_lag(environment, task)
        lags[task, :task] = fixed_lags(environment, task)
    return odds, lags


def fixed_lags(environment: Environment, task: int) -> Floats:
    """(task,) lags of past tasks 0 to task - 1 by the clock of lag.

    Raises:
        ValueError: as :func:`by_lag`.
    """
    if environment.clock == "recency":
        raise ValueError("by the clock of recency odds depend on what returned: draw a history")
    return _since_met(task)


def per_new(environment: Environment, task: int) -> float:
    """Rehearsed examples for each new one while ``task`` is learned, not rounded.

    Raises:
        ValueError: the clock is recency and there is no budget.
    """
    budgeted = environment.budget is not None
    return _per_new(environment, _since_met(task) if budgeted else fixed_lags(environment, task))


def total(environment: Environment, task: int, new: int) -> int:
    """Rehearsed examples of a phase with ``new`` new ones, to the nearest whole number.

    Raises:
        ValueError: as :func:`per_new`.
    """
    return _rounded(per_new(environment, task) * new)


def counts(environment: Environment, task: int, new: int) -> Integers:
    """(task,) rehearsed examples of each past task in proportion to its odds, without chance.

    Whole numbers by largest remainder, the more recent task first where remainders are equal; they
    add up to :func:`total`.

    Raises:
        ValueError: as :func:`by_lag`.
    """
    lags = fixed_lags(environment, task)
    wanted = total(environment, task, new)
    quota = wanted * odds(environment, lags)
    whole = np.floor(quota).astype(np.int64)
    by_remainder = np.lexsort([lags, whole - quota])
    whole[by_remainder[: wanted - whole.sum()]] += 1
    return whole


def draw(environment: Environment, task: int, new: int, generator: np.random.Generator) -> Integers:
    """(task,) rehearsed examples of each past task, drawn; they add up to :func:`total`.

    Raises:
        ValueError: as :func:`by_lag`.
    """
    return _drawn(environment, fixed_lags(environment, task), new, generator)


def history(
    environment: Environment, tasks: int, new: int, generator: np.random.Generator
) -> History:
    """What returns in all phases of a stream, drawn phase by phase.

    By the clock of recency, the odds of a phase are those at its beginning, and the clock of a task
    is set back at its end if at least one of its examples was drawn: what was needed is recent, be
    it needed ever so little, as in the environments that Anderson & Schooler counted. So that this
    means something, examples are drawn in as few visits as the environment has, not one by one.

    Args:
        environment: any.
        tasks: number of tasks of the stream.
        new: new examples of each phase.
        generator: decides what is drawn.
    """
    lags = np.zeros((tasks, tasks), dtype=np.int64)
    drawn = np.zeros((tasks, tasks), dtype=np.int64)
    last = np.arange(tasks)
    for task in range(1, tasks):
        lags[task, :task] = task - last[:task]
        drawn[task, :task] = _drawn(environment, lags[task, :task], new, generator)
        if environment.clock == "recency":
            last[drawn[task] > 0] = task
    return History(lags, drawn)


def need_odds(histories: Iterable[History]) -> tuple[Integers, Integers, Integers]:
    """How often tasks of each lag returned: Anderson & Schooler's need odds, counted.

    The odds of a single lag follow the law only up to a factor that depends on the other lags of
    its phase, so what results from the clock of recency is counted and not assumed.

    Returns:
        lags, the number of phases and tasks with that lag, and of those in which it returned.
    """
    lags, returned = [], []
    for one in histories:
        past = one.lags > 0
        lags.append(one.lags[past])
        returned.append(one.counts[past] > 0)
    lags, returned = np.concatenate(lags), np.concatenate(returned)
    values, place = np.unique(lags, return_inverse=True)
    met = np.bincount(place, minlength=len(values))
    return values, met, np.bincount(place, weights=returned, minlength=len(values)).astype(np.int64)


def _log_law(environment: Environment, lags: Floats) -> Floats:
    if environment.kind == "power":
        return -environment.exponent * np.log(lags + environment.shift)
    return -lags / environment.scale


def _lags(lags: ArrayLike, least: int) -> Floats:
    lags = np.asarray(lags, dtype=np.float64)
    if not (lags >= least).all():
        raise ValueError(f"lags must be at least {least}")
    return lags


def _since_met(task: int) -> Floats:
    return np.arange(task, 0, -1, dtype=np.float64)


def _per_new(environment: Environment, lags: NDArray) -> float:
    """Rehearsed examples for each new one in a phase whose past tasks have these lags."""
    if not len(lags) or not environment.rehearses:
        return 0.0
    if environment.budget is None:
        return float(weights(environment, lags).sum())
    return environment.budget * (len(lags) if environment.kind == "everything" else 1)


def _rounded(examples: float) -> int:
    return int(np.floor(examples + 0.5))


def _drawn(
    environment: Environment, lags: NDArray, new: int, generator: np.random.Generator
) -> Integers:
    examples, share = _rounded(_per_new(environment, lags) * new), odds(environment, lags)
    if not examples:
        return np.zeros(share.shape, dtype=np.int64)
    if environment.visits is None:
        return generator.multinomial(examples, share).astype(np.int64)
    # Visits differ by one example where they cannot be equal; those of none are left out.
    visits = min(environment.visits, examples)
    sizes = np.full(visits, examples // visits)
    sizes[: examples % visits] += 1
    visited = generator.choice(len(share), size=visits, p=share)
    found = np.zeros(len(share), dtype=np.int64)
    np.add.at(found, visited, sizes)
    return found
