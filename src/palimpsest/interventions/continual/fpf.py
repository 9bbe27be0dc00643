"""Forgetting prioritized finetuning, FPF and k-FPF (Zhao et al. 2023, arXiv 2304.04158).

Few parts of a network change most when the task changes; tuning these alone on a buffer brings
back much of what was forgotten.

- ``fpf``: the strategy below trains; after each task a copy is tuned on its buffer and judged, and
  training goes on from the networks that were not tuned. Without a strategy below there is a buffer
  for tuning alone.
- ``kfpf``: plain training without rehearsal, interrupted k times in each task, at equal distances
  and last at its end, by tuning in place.

Tuning is plain gradient descent on samples of the buffer; all other weights keep their bits. Parts
are layers. As in the paper, a layer's change is the mean absolute change of its parameters during
a stretch of training. The score is ours: the change in the first of ten stretches of a task by the
median of the changes in the others, averaged over the tasks after the first; until there is one,
the last layer is tuned. No code of the authors was found; the steps and the rate of tuning are ours
as well. The paper's variant that also matches stored scores (k-FPF-KD) is not here.

With no steps of tuning this is the strategy below to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from palimpsest.interventions.continual._base import Task, in_turn
from palimpsest.interventions.continual._over import Over, OverReplay

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.ensemble import Ensemble, Tensors
    from palimpsest.engine.ensemble_plans import Plan
    from palimpsest.engine.ensemble_training import Batch, Hooks

VERSION = 1
ENGINE = ("interventions.continual._over",)

_STRETCHES = 10


class Settings(OverReplay):
    """Tune the layers that change most at the change of tasks, on a buffer."""

    mode: Literal["fpf", "kfpf"] = "fpf"
    """Tune a copy after each task, or the networks themselves several times a task."""
    k: int = Field(default=1, ge=0)
    """How often a task is interrupted; kfpf only."""
    buffer: int = Field(default=200, ge=0)
    """Examples in the buffer where the strategy below has none."""
    steps: int = Field(default=50, ge=0)
    """Steps of each tuning."""
    batch: int = Field(default=32, ge=1)
    """Examples of the buffer a step; fewer while it holds fewer."""
    rate: float | None = Field(default=None, gt=0)
    """Learning rate of tuning; None: that of the network."""
    layers: Literal["sensitive", "first", "last", "all"] = "sensitive"
    """Which layers are tuned."""
    count: int = Field(default=1, ge=1)
    """How many of the most sensitive layers."""

    @model_validator(mode="after")
    def _plain_between(self) -> Settings:
        if self.mode == "kfpf" and self.base != "none":
            raise ValueError("mode kfpf trains without rehearsal: base must be none")
        return self


class PrioritizedFinetuning(Over):
    """FPF and k-FPF; see the module.

    Attributes:
        sensitivity: (K, layers) mean score over the tasks after the first.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import torch

        from palimpsest.engine.ensemble_plans import Buffers

        self.mode, self.k = self.common("mode"), self.common("k")
        self.steps, self.batch = self.common("steps"), self.common("batch")
        self.layers, self.count = self.common("layers"), self.common("count")
        self.buffers = getattr(self.below, "buffers", None)
        self.own = self.buffers is None and self.common("buffer") > 0
        if self.own:
            self.buffers = Buffers(self.ensemble.n, self.common("buffer"))
        rates = [block.rate for block in self.settings]
        self.rate = self.ensemble.learning_rate.clone()
        for model, rate in enumerate(rates):
            if rate is not None:
                self.rate[model] = rate
        self.samples: dict[int, torch.Tensor] = {}
        self.sensitivity = torch.zeros(
            self.ensemble.n, len(self.ensemble.weights), device=self.device
        )
        self.changes: dict[int, torch.Tensor] = {}
        self.before: Tensors = []
        self.switches = 0
        self.ends: list[int] = []
        self.judged = self.ensemble

    def plan(self, task: Task, experience: Plan, draw: Sequence[np.random.Generator]) -> Plan:
        """What the strategy below plans; the buffer fills, and samples for tuning are drawn."""
        plan = super().plan(task, experience, draw)
        length = len(plan)
        self.ends = sorted({length * (i + 1) // _STRETCHES for i in range(_STRETCHES)} - {0})
        self.samples = {}
        if self.buffers is None:
            return plan
        if not self.own:
            self._sample(length, draw)
            return plan
        parts = self.k if self.mode == "kfpf" and self.k else 1
        bounds = [length * i // parts for i in range(parts + 1)]
        for start, stop in itertools.pairwise(bounds):
            between = experience.between(start, stop)
            self.buffers.plan(between, 0, draw)
            if self.mode == "fpf" or self.k:
                self._sample(stop, draw)
        return plan

    def _sample(self, step: int, draw: Sequence[np.random.Generator]) -> None:
        """Samples (steps, K, b) of the buffer as it now is, for tuning after a step."""
        from palimpsest.engine.ensemble_plans import distinct

        held = min(self.buffers.seen, self.buffers.capacity)
        size = min(self.batch, held)
        if not size or not self.steps:
            return
        places = [distinct(np.full(self.steps, held), size, one) for one in draw]
        chosen = [own[place] for own, place in zip(self.buffers.held, places, strict=True)]
        self.samples[step] = self.index(np.stack(chosen, axis=1))

    def begin_task(self, task: Task) -> None:
        """Training goes on from the networks that were not tuned, and stretches are measured."""
        import torch

        super().begin_task(task)
        self.before = [p.clone() for p in self.ensemble.parameters()]
        self.changes = {end: torch.zeros_like(self.sensitivity) for end in self.ends}

    def hooks(self) -> Hooks:
        """Measuring of changes, and tuning in place."""
        hooks = super().hooks()
        if not self.steps or (self.layers != "sensitive" and self.mode == "fpf"):
            return hooks
        return replace(hooks, after_step=in_turn(hooks.after_step, self._between))

    def end_task(self, task: Task, plan: Plan) -> None:
        """Sensitivity, and the copy that is judged."""
        import torch

        super().end_task(task, plan)
        if task.number and len(self.ends) > 2:
            first, *later = (self.changes[end] for end in self.ends)
            usual = torch.stack(later).median(0).values
            score = torch.where(usual > 0, first / usual, 0.0)
            self.switches += 1
            self.sensitivity += (score - self.sensitivity) / self.switches
        self.judged = self.ensemble
        if self.mode == "fpf" and self.samples:
            self.judged = self.ensemble.copy()
            self.tune(self.judged, self.samples[len(plan)])

    def facts(self) -> dict[str, torch.Tensor]:
        """How much more each layer moves after a switch than later; see ``sensitivity``."""
        layers = self.sensitivity.unbind(1)
        own = {f"sensitivity_layer_{place}": values for place, values in enumerate(layers)}
        return super().facts() | own

    def reader(self) -> Ensemble:
        """The tuned copy, or the networks themselves."""
        return self.judged

    def selected(self) -> torch.Tensor:
        """Boolean (K, layers): which layers are tuned."""
        import torch

        chosen = torch.zeros_like(self.sensitivity, dtype=torch.bool)
        if self.layers == "all":
            chosen[:] = True
        elif self.layers == "first":
            chosen[:, 0] = True
        elif self.layers == "last" or not self.switches:
            chosen[:, -1] = True
        else:
            best = self.sensitivity.argsort(dim=1, descending=True, stable=True)
            chosen.scatter_(1, best[:, : self.count], True)
        return chosen

    def tune(self, networks: Ensemble, samples: torch.Tensor) -> None:
        """Descend on samples (steps, K, b) in the selected layers; failed networks stay."""
        import torch

        from palimpsest.engine.ensemble_losses import cross_entropy

        models = networks.models
        selected = self.selected()[models].repeat_interleave(2, dim=1)[..., None, None]
        for index in samples[:, models]:
            layers = networks.forward(self.pool.rows(index))
            means = torch.full(index.shape, 1 / index.shape[1], device=self.device)
            loss, delta = cross_entropy(
                layers[-1], self.pool.labels[index], means, self.pool.classes(index)
            )
            fine = (torch.isfinite(loss) & networks.alive())[:, None, None]
            gradients = networks.gradients(layers, delta)
            for place, (weight, gradient) in enumerate(
                zip(networks.parameters(), gradients, strict=True)
            ):
                moved = torch.where(selected[:, place] & fine, gradient, 0.0)
                weight.addcmul_(moved, self.rate[models], value=-1)

    def _between(self, group: Ensemble, scores: torch.Tensor, batch: Batch) -> None:
        done = batch.step + 1
        if done in self.changes:
            before = [p[batch.models] for p in self.before]
            self.changes[done][batch.models] = change(before, group.parameters())
        if self.mode == "kfpf" and done in self.samples:
            self.tune(group, self.samples[done])
        if done in self.changes:
            for old, new in zip(self.before, group.parameters(), strict=True):
                old[batch.models] = new


def change(before: Tensors, after: Tensors) -> torch.Tensor:
    """(K, layers) mean absolute change of each layer's weights and biases."""
    import torch

    moved = [(new - old).abs() for old, new in zip(before, after, strict=True)]
    layers = zip(moved[::2], moved[1::2], strict=True)
    return torch.stack(
        [
            (weight.sum(2).sum(1) + bias.sum(2).sum(1)) / (weight[0].numel() + bias[0].numel())
            for weight, bias in layers
        ],
        dim=1,
    )


strategy = PrioritizedFinetuning
