"""Strategies on top of others: replay goes on below, and something is added to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task
from palimpsest.interventions.continual.derpp import Settings as DerppSettings
from palimpsest.interventions.continual.er import Settings as ErSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Hooks, Pool

VERSION = 1
ENGINE = (
    "interventions.continual._base",
    "interventions.continual.derpp",
    "interventions.continual.er",
)


class OverReplay(Block):
    """Which strategy lies below, and its settings."""

    base: Literal["none", "er", "derpp"] = "none"
    """The strategy below."""
    er: ErSettings = ErSettings()
    """Its settings."""
    derpp: DerppSettings = DerppSettings()
    """Its settings."""


class Over(Strategy):
    """A strategy on top of another: what it does not override, the one below does.

    Attributes:
        below: the strategy that ``base`` of the settings names.
    """

    def __init__(
        self, settings: Sequence[Any], ensemble: Ensemble, pool: Pool, seeds: Sequence[int]
    ) -> None:
        super().__init__(settings, ensemble, pool, seeds)
        base = self.common("base")
        if base == "none":
            self.below = Strategy(settings, ensemble, pool, seeds)
        else:
            from palimpsest import discovery

            inner = [getattr(block, base) for block in settings]
            self.below = discovery.strategy(base).strategy(inner, ensemble, pool, seeds)

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """What the strategy below plans."""
        return self.below.plan(task, experience, draw)

    def hooks(self) -> Hooks:
        """The hooks of the strategy below."""
        return self.below.hooks()

    def begin_task(self, task: Task) -> None:
        """Pass it on."""
        self.below.begin_task(task)

    def end_task(self, task: Task, plan: Plan) -> None:
        """Pass it on."""
        self.below.end_task(task, plan)

    def facts(self) -> dict[str, torch.Tensor]:
        """What the strategy below tells."""
        return self.below.facts()

    def reader(self) -> Ensemble:
        """Whom the strategy below shows."""
        return self.below.reader()
