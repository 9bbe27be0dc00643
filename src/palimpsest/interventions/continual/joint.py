"""Training on everything so far (cumulative training): the upper end of most comparisons.

From the second task on, the batches are shuffled epochs over the examples of all tasks so far, and
the networks go on from where they are (``Cumulative`` of Avalanche; Mammoth's ``joint`` trains
once, after the last task, from new initial values). What an environment brings back is left out,
because it is in the batches already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    from palimpsest.engine.ensemble_plans import Plan

VERSION = 1
ENGINE = ("interventions.continual._base",)


class Settings(Block):
    """Train on all tasks so far."""

    as_many_epochs: bool = True
    """Whether task t is trained for t times as many steps, so that every example is shown as often
    as in its own task; if not, for as many steps as one task."""


class Joint(Strategy):
    """Cumulative training; see the module."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.longer = self.common("as_many_epochs")
        self.tasks: list[Task] = []

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """Shuffled epochs over all tasks so far; in the first task what is shown anyway."""
        from palimpsest.engine.ensemble_plans import current_only, epochs

        self.tasks.append(task)
        if len(self.tasks) == 1:
            return experience
        everything = np.concatenate([one.train for one in self.tasks], axis=-1)
        steps = len(experience) * (len(self.tasks) if self.longer else 1)
        return current_only(epochs(everything, experience.shown.shape[-1], steps, draw))


strategy = Joint
