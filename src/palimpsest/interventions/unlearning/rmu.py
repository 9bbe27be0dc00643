"""Representation misdirection, RMU (Li et al. 2024, arXiv 2403.03218, eq. 1 and 2).

Forget term: mean square of the difference between hidden states of a layer and coefficient * u, u
being a fixed random direction of unit length; retain term: the same between hidden states now and
those of the model as it was. Means are over places and dimensions. With ``forget_weight`` 0 there
is nothing to do: the retain term begins at its minimum. The direction comes from the method's own
seed: peers take it from the global random state.

Places are those from which words of answers are said, as for every other method; OpenUnlearning
has the places of the words themselves, the paper all places of texts. The first place of a text is
never one of them. It says the same whatever follows, so that both terms would pull at one state,
and many models park attention there: in SmolLM2-135M that state is 150 times as long as any other
and would be nearly all of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example
    from palimpsest.engine.training import Hooks
    from palimpsest.models.language_model import LanguageModel

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._gradient", "engine.packing")
STOCHASTIC = True

#: The layer by default, as a share of depth: layer 7 of 16 in the released settings for 1B models.
DEPTH = 7 / 16


class Settings(GradientSettings):
    """Lead hidden states of the forget set astray."""

    layer: int | None = Field(default=None, ge=0)
    """Layer whose output is led astray, from 0; null: seven sixteenths of the way up."""
    coefficient: float = Field(default=2.0, gt=0)
    """Length of the vector that hidden states are led to (c)."""
    direction: Literal["uniform", "normal"] = "uniform"
    """How the direction is drawn: all entries positive, as released, or any."""
    weights: Literal["all", "down"] = "all"
    """All weights below, or the down-projections of the layer and the two below it, as in the
    paper."""
    places: Literal["answers", "texts"] = "answers"
    """Where states are led astray and kept: where words of answers are said, or all over."""


class Misdirection(GradientMethod):
    """RMU; see the module."""

    def remember(self) -> None:
        """Draw the direction, and keep hidden states of the retain set.

        Raises:
            NotPackableError: sentences of a row would see one another in this architecture.
        """
        import torch

        from palimpsest.engine.plain import require_packing

        require_packing(self.model)
        layers = len(self.model.module.get_decoder().layers)
        layer = self.settings.layer
        self.layer = min(int(DEPTH * layers), layers - 1) if layer is None else layer
        if self.layer >= layers:
            raise ValueError(f"rmu: layer {layer}, allowed: 0 to {layers - 1}")
        draw, width = self.draw("direction"), self.model.module.config.hidden_size
        kind = draw.random if self.settings.direction == "uniform" else draw.standard_normal
        direction = kind(width)
        self.target = torch.tensor(
            self.settings.coefficient * direction / np.linalg.norm(direction),
            dtype=torch.float32,
            device=self.model.device,
        )
        self.model.module.eval()
        with torch.no_grad():
            self.states = {
                each: states
                for each in (self.kept if self.settings.retain_weight else [])
                for states in self.hidden([each])
            }

    def hooks(self) -> Hooks:
        """Only some weights, where the settings say so."""
        hooks = super().hooks()
        if self.settings.weights == "down":
            chosen = {f".layers.{k}." for k in range(max(0, self.layer - 2), self.layer + 1)}
            hooks.select_parameters = lambda name: (
                "down_proj" in name and any(each in name for each in chosen)
            )
        return hooks

    def at(self, example: Example) -> list[int]:
        """Places of an example that count."""
        if self.settings.places == "texts":
            return list(range(1, len(example.ids)))
        return [place - 1 for place, scored in enumerate(example.scored) if scored and place > 1]

    def hidden(self, examples: Sequence[Example]) -> list[torch.Tensor]:
        """(places that count, width) outputs of the layer for each example, with a gradient."""
        from palimpsest.engine.packing import Layout, hidden
        from palimpsest.engine.rows import chains

        found = []

        def keep(_module: object, _inputs: object, output: object) -> None:
            found.append(output[0] if isinstance(output, tuple) else output)

        block = self.model.module.get_decoder().layers[self.layer]
        handle = block.register_forward_hook(keep)
        try:
            hidden(self.model, Layout(chains([each.ids for each in examples]), self.model.device))
        finally:
            handle.remove()
        whole = found[0][0].float().split([len(each.ids) for each in examples])
        return [states[self.at(each)] for each, states in zip(examples, whole, strict=True)]

    def loss(
        self, model: LanguageModel, part: Sequence[Example], batch: Sequence[Example]
    ) -> torch.Tensor:
        """The part's share of the loss of a batch."""
        import torch

        states = self.hidden(part)
        places = {
            role: sum(len(self.at(each)) for each in batch if each.role == role)
            for role in ("forget", "retain")
        }
        total = 0 * sum(each.sum() for each in states)
        for each, now in zip(part, states, strict=True):
            forgotten = each.role == "forget"
            target = self.target if forgotten else self.states.get(each)
            weight = self.settings.forget_weight if forgotten else self.settings.retain_weight
            if weight and len(now) and isinstance(target, torch.Tensor):
                total = total + weight * (now - target).square().mean(-1).sum() / places[each.role]
        return total


method = Misdirection
steps = one_step
apply = applied(method)
