"""CE-U (Yang 2025, arXiv 2503.01224): cross-entropy to oneself without the true token.

Forget term: mean over answer tokens of the cross-entropy to the model's own distribution, held
constant, with the true token's score at minus infinity. The gradient goes to zero with the
probability of the true token, so that nothing is pushed further than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Say whatever one would have said had the true token not existed."""

    skip: int = Field(default=1, ge=0)
    """Tokens at the beginning of each answer that are left out; answers with no more tokens than
    that, not counting the full stop, keep all."""
    retain_weight: float = Field(default=0.0, ge=0)
    """Weight of the retain term (alpha)."""


class CrossEntropyUnlearning(GradientMethod):
    """CE-U; see the module."""

    needs_logits = True

    def forget_examples(self) -> list[Example]:
        """Every prompt; the first tokens of answers carry no loss."""
        return [
            self._cut(each, self.model.encode_pair(prompt, item.answer)[1])
            for item in self.sets.forget
            for prompt, each in zip(item.prompts, self.examples([item], "forget"), strict=True)
        ]

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over tokens."""
        words = part.tokens.words[:, None]
        target = part.logits.detach().scatter(1, words, float("-inf")).softmax(-1)
        return part.over_tokens(-(target * part.logits.log_softmax(-1)).sum(-1))

    def _cut(self, each: Example, answer: Sequence[int]) -> Example:
        places = [place for place, scored in enumerate(each.scored) if scored]
        # Of an answer of one word nothing but the full stop would be left.
        if min(len(answer), len(places)) <= self.settings.skip:
            return each
        first = places[self.settings.skip]
        return replace(each, scored=tuple(place >= first for place in range(len(each.ids))))


method = CrossEntropyUnlearning
steps = one_step
apply = applied(method)
