"""Preferences between two answers to a prompt (DPO, Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

Forget term: mean over examples of -(2 / beta) log sigmoid(beta * (log-ratio of the preferred
answer - log-ratio of the true one)), a log-ratio being log p - log p of the model as it was, summed
over tokens. The factor 2 / beta is that of NPO, which is what remains without the preferred answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.engine.examples import scored_tokens
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

VERSION = 1
ENGINE = ("interventions.unlearning._gradient",)


class PreferenceSettings(GradientSettings):
    """Prefer another answer to the true one."""

    beta: float = Field(default=0.1, gt=0)
    """How soon a pair that is told apart is left alone."""


class Preference(GradientMethod):
    """A method that prefers other answers; see the module."""

    needs_sums = True

    def preferred_examples(self) -> list[Example]:
        """One example for each of :meth:`forget_examples`, in their order."""
        raise NotImplementedError

    def remember(self) -> None:
        """The preferred answers too."""
        preferred = self.preferred_examples()
        self.preferred = dict(zip(self.forgotten, preferred, strict=True))
        super().remember()

    def with_sums(self) -> list[Example]:
        """Both answers."""
        return [*self.forgotten, *self.preferred.values()]

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean over examples; their partners go through the model beside them."""
        from torch.nn.functional import logsigmoid

        partners = [self.preferred[each] for each in part.examples]
        tokens = scored_tokens(self.model, partners)
        beside = Part(self.model, partners, tokens, len(tokens.words), len(partners))
        better = self.sums_before(beside) - beside.sums(beside.nll)
        true = self.sums_before(part) - part.sums(part.nll)
        beta = self.settings.beta
        return -2 / beta * part.over_examples(logsigmoid(beta * (better - true)))
