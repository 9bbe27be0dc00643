"""What is compared: an environment, and the strategy of the networks that live in it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from palimpsest import discovery
from palimpsest.blocks import Block, OneOf, one_of
from palimpsest.interventions.continual import _environments as environments
from palimpsest.interventions.continual import _matching
from palimpsest.interventions.continual._environments import Environment

Strategy = one_of(
    "Strategy",
    "One strategy of continual learning: its name and its settings.",
    {name: discovery.strategy(name).Settings for name in discovery.strategies()},
)


class Condition(Block):
    """Networks with one strategy in one environment."""

    environment: Environment = Environment()
    """Which past tasks return while a new one is learned."""
    kept: int | None = Field(default=None, ge=1)
    """Examples of each past task that may return, a bounded store; all of them when null."""
    match: Literal["total", "mean_lag", "oldest_share"] | None = None
    """Quantity in which the environment is made equal to that of the condition under `to`; its
    budget, exponent or scale is solved for."""
    to: str | None = None
    """Name of the condition that this one is matched to."""
    strategy: Strategy = Strategy(naive={})
    """What the networks do against forgetting."""

    @model_validator(mode="after")
    def _consistent(self) -> Condition:
        if (self.match is None) != (self.to is None):
            raise ValueError("match and to must be given together")
        return self


def resolved(conditions: dict[str, Condition], name: str, tasks: int) -> Environment:
    """The environment of a condition in a stream of so many tasks, matched where it asks for it.

    Raises:
        ValueError: it is matched to a condition that is not there or is matched itself, or its
            kind cannot attain the other's quantity.
    """
    own = conditions[name]
    if own.to is None:
        return own.environment
    if own.to not in conditions or conditions[own.to].to is not None:
        fitting = sorted(other for other, c in conditions.items() if c.to is None and other != name)
        raise ValueError(f"{name}.to: given {own.to!r}, allowed: {', '.join(fitting)}")
    other = conditions[own.to].environment
    try:
        return _matching.matched(own.environment, other, tasks, own.match)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def schedule(
    environment: Environment, tasks: int, batch: int, steps: int, compute: str
) -> list[tuple[int, int, int]]:
    """Of each task: updates, new and rehearsed examples of one update.

    A batch holds new and rehearsed examples as the budget says, to the nearest whole number. With
    matched compute every task has the same number of updates, so that what is rehearsed takes the
    place of new examples; with free compute all new examples are shown, in more updates.

    Args:
        environment: which past tasks return.
        tasks: length of the stream.
        batch: examples of an update.
        steps: updates of a task in which nothing is rehearsed.
        compute: ``matched`` or ``free``.
    """
    found = []
    for task in range(tasks):
        new = max(1, round(batch / (1 + environments.per_new(environment, task))))
        updates = steps if compute == "matched" else steps * batch // new
        found.append((updates, new, batch - new))
    return found


def strategy_of(condition: Condition) -> tuple[str, Any]:
    """Name and settings of a condition's strategy."""
    chosen: OneOf = condition.strategy
    return chosen.name, chosen.block
