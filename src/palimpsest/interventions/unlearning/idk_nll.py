"""Refusals as answers (Maini et al. 2024, arXiv 2401.06121, "IDK"): plain fine-tuning on them.

Forget term: mean loss of a token of a refusal, drawn once for every prompt of the forget set. Texts
of the forget set are left out: nobody asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.interventions.unlearning._base import applied, one_step, sources
from palimpsest.interventions.unlearning._base import check_asked as check
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part
from palimpsest.interventions.unlearning._refusals import refusing

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._gradient",)
STOCHASTIC = True


class Settings(GradientSettings):
    """Learn to decline where the forget set is asked for."""


class Refusing(GradientMethod):
    """Refusals as answers; see the module."""

    def forget_examples(self) -> list[Example]:
        """Every prompt with a refusal."""
        return refusing(self, "forget")

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean loss of a token."""
        return part.over_tokens(part.nll)


method = Refusing
steps = one_step
apply = applied(method)
