"""Experience replay (Ratcliff 1990; Chaudhry et al. 2019, arXiv 1902.10486) with a reservoir.

Every batch is followed by as many examples drawn from a buffer. With ``weighting: mean`` the loss
is the mean over all of them, as in Mammoth, so that the share of the past grows while the buffer
fills; with ``sum`` it is the mean over what is shown plus the mean over what is rehearsed (the
buffer's term of DER++ with beta 1), as other code does. The two differ by a factor of two in the
size of a step, which is a known trap of comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._rehearsal import BufferSettings, Rehearsal

if TYPE_CHECKING:
    from palimpsest.engine.ensemble_plans import Plan

VERSION = 1
ENGINE = ("interventions.continual._rehearsal",)


class Settings(BufferSettings):
    """Rehearse examples of a buffer."""

    weighting: Literal["mean", "sum"] = "mean"
    """One mean over the whole batch, or the sum of two: over what is shown, and rehearsed."""


class ExperienceReplay(Rehearsal):
    """Experience replay; see the module."""

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """Batches with rehearsed examples, weighted as the settings say."""
        plan = super().plan(task, experience, draw)
        if plan is experience or self.common("weighting") == "mean":
            return plan
        there = plan.slots[..., experience.examples.shape[-1] :] >= 0
        means = there / np.maximum(there.sum(-1, keepdims=True), 1)
        weights = np.concatenate([experience.weights, means.astype(np.float32)], axis=-1)
        return replace(plan, weights=weights)


strategy = ExperienceReplay
