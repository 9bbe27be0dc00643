"""Refresh learning (Wang et al. 2024, arXiv 2403.13249): unlearn a little before every step.

Before each step the weights go a small way uphill on the current examples, then the ordinary step
of the strategy below follows. As in the authors' code (released for DER++ alone): for each tensor,
u = (norm of the weights / norm of g) * g with g the gradient of the current examples' mean loss,
and weights += delta * (u + noise * normal) / (1 + scale * F). F is a running Fisher information:
after each task decay * F + F of the task, over labels weighted by their probability. With the
default decay of 0.00001 it is the last task's alone.

The code gets g from a step of descent's size in a copy; that size cancels. With delta 0 it is the
strategy below to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from palimpsest.blocks import Block
from palimpsest.interventions.continual import _fisher
from palimpsest.interventions.continual._base import Task, in_turn
from palimpsest.interventions.continual._over import Over
from palimpsest.interventions.continual.derpp import Settings as DerppSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = (
    "interventions.continual._fisher",
    "interventions.continual._over",
)


class Settings(Block):
    """Unlearn the current examples a little before every step."""

    base: Literal["none", "derpp"] = "derpp"
    """The strategy below."""
    derpp: DerppSettings = DerppSettings()
    """Its settings."""
    delta: float = Field(default=1e-5, ge=0)
    """Length of an unlearning step by the norm of the weights of a tensor."""
    noise: float = Field(default=1e-3, ge=0)
    """Standard deviation of the noise in the step, before delta."""
    scale: float = Field(default=1e-3, ge=0)
    """How much the information on past tasks shortens the step."""
    decay: float = Field(default=1e-5, ge=0, le=1)
    """Share of the past information that stays at each task."""
    times: int = Field(default=1, ge=1)
    """Unlearning steps before each step."""


class Refresh(Over):
    """Refresh learning; see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import torch

        self.delta, self.noise, self.scale, self.decay = (
            self.each(name)[:, None, None] for name in ("delta", "noise", "scale", "decay")
        )
        self.noisy, self.informed = bool(self.noise.any()), bool(self.scale.any())
        self.times = self.common("times")
        self.information = [torch.zeros_like(p) for p in self.ensemble.parameters()]
        self.width = 0
        self.sources: list[torch.Generator] = []

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """What the strategy below plans."""
        self.width = experience.shown.shape[-1]
        return super().plan(task, experience, draw)

    def begin_task(self, task: Task) -> None:
        """One source of noise a network."""
        import torch

        super().begin_task(task)
        self.sources = [
            torch.Generator(self.device).manual_seed(int(one.integers(1 << 62)))
            for one in self.draw(task, 1)
        ]

    def hooks(self) -> Hooks:
        """The unlearning steps, and what the strategy below does."""
        hooks = super().hooks()
        return replace(hooks, before_step=in_turn(hooks.before_step, self.unlearn))

    def end_task(self, task: Task, plan: Plan) -> None:
        """Add the task's information."""
        super().end_task(task, plan)
        if not self.informed:
            return
        found = _fisher.diagonal(self.ensemble, self.pool, self.index(task.train), "confident")
        self.information = [
            self.decay * old + new for old, new in zip(self.information, found, strict=True)
        ]

    def unlearn(self, group: Ensemble, batch: Batch) -> None:
        """The steps uphill; networks that have failed or fail now stay as they are."""
        import torch

        from palimpsest.engine.ensemble_losses import cross_entropy

        models, current = batch.models, slice(0, self.width)
        examples, labels = batch.examples[:, current], batch.labels[:, current]
        means = torch.full_like(batch.weights[:, current], 1 / self.width)
        allowed = None if batch.allowed is None else batch.allowed[:, current]
        for _ in range(self.times):
            layers = group.forward(self.pool.rows(examples))
            loss, delta = cross_entropy(layers[-1], labels, means, allowed)
            fine = (torch.isfinite(loss) & group.alive())[:, None, None]
            gradients = group.gradients(layers, delta)
            noises = self._noise(group)
            for index, (weight, gradient) in enumerate(
                zip(group.parameters(), gradients, strict=True)
            ):
                own, uphill = _norm(weight), _norm(gradient)
                step = torch.where(uphill > 0, own / uphill, 0.0) * gradient
                if noises:
                    step = step + self.noise[models] * noises[index]
                step = step / (1 + self.scale[models] * self.information[index][models])
                weight.addcmul_(torch.where(fine, step, 0.0), self.delta[models])

    def _noise(self, group: Ensemble) -> Tensors:
        """Standard normal values of each parameter's shape, each network's from its own source."""
        import torch

        if not self.noisy:
            return []
        sizes = [p[0].numel() for p in group.parameters()]
        values = torch.empty(group.n, sum(sizes), device=self.device)
        for row, source in zip(values, self.sources[group.models], strict=True):
            row.normal_(generator=source)
        parts = values.split(sizes, dim=1)
        return [part.view_as(p) for part, p in zip(parts, group.parameters(), strict=True)]


def _norm(values: torch.Tensor) -> torch.Tensor:
    """(K, 1, 1) Euclidean norms."""
    return values.square().sum(2).sum(1).sqrt()[:, None, None]


strategy = Refresh
