"""What strategies with a buffer share: a reservoir for each network and batches drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy, Task

if TYPE_CHECKING:
    from palimpsest.engine.ensemble_plans import Plan

VERSION = 1
ENGINE = ("interventions.continual._base",)


class BufferSettings(Block):
    """A buffer and how much of it is rehearsed."""

    buffer: int = Field(default=200, ge=0)
    """Examples in the buffer; 0: none."""
    rehearsed: int | None = Field(default=None, ge=1)
    """Examples from the buffer in every sample of a batch; None: as many as are current."""


class Rehearsal(Strategy):
    """Experience replay whose mean loss is over all examples of a batch.

    The buffer is a reservoir over the current examples. What the environment brings back is
    trained on but not offered to the buffer, so that the odds that a current example stays are
    buffer / n, whatever the environment does.

    Attributes:
        draws: independent samples of the buffer in a batch.
        buffers: None without a buffer.
    """

    draws = 1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from palimpsest.engine.ensemble_plans import Buffers

        capacity = self.common("buffer")
        self.buffers = Buffers(self.ensemble.n, capacity) if capacity else None

    def rehearsed(self, experience: Plan) -> int:
        """Examples of one sample of the buffer."""
        return self.common("rehearsed") or experience.shown.shape[-1]

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """What is shown, and examples of the buffer behind it."""
        if self.buffers is None:
            return experience
        return self.buffers.plan(experience, self.rehearsed(experience), draw, self.draws)
