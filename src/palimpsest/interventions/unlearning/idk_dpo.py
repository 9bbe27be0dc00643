"""Direct preference for refusals (DPO, Rafailov et al. 2023, arXiv 2305.18290).

A refusal is preferred to the true answer, as in Maini et al. (2024, arXiv 2401.06121); see
``_preference``. Texts of the forget set are left out: nobody asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.interventions.unlearning._base import applied, one_step, sources
from palimpsest.interventions.unlearning._base import check_asked as check
from palimpsest.interventions.unlearning._preference import Preference, PreferenceSettings
from palimpsest.interventions.unlearning._refusals import refusing

if TYPE_CHECKING:
    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._preference",)
STOCHASTIC = True


class Settings(PreferenceSettings):
    """Prefer declining to the true answer."""


class PreferringRefusals(Preference):
    """DPO with refusals; see the module."""

    def forget_examples(self) -> list[Example]:
        """Every prompt with the true answer."""
        return self.examples(self.asked(), "forget")

    def preferred_examples(self) -> list[Example]:
        """Every prompt with a refusal."""
        return refusing(self, "preferred")


method = PreferringRefusals
steps = one_step
apply = applied(method)
