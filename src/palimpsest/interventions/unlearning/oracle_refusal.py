"""Refusing by oracle: every prompt that asks for the forget set is answered with one sentence.

The prompts are known exactly, those that nothing is trained on among them: no user's wording slips
past. That is no method, since nobody knows all wordings beforehand, but an upper bound of what
refusing can do, and a baseline that needs neither training nor a detector. As with every guard
weights and probabilities are as before.
"""

from __future__ import annotations

from palimpsest.interventions.unlearning._base import (
    UnlearningSettings,
    applied,
    check,
    one_step,
    sources,
)
from palimpsest.interventions.unlearning._guard import GuardMethod
from palimpsest.interventions.unlearning._refusals import REFUSALS
from palimpsest.models.guards import RefusalGuard

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = ("interventions.unlearning._guard", "interventions.unlearning._refusals")
#: Nothing is drawn.
STOCHASTIC = False

#: Without an apostrophe, which tokenizers of whole words set apart.
ANSWER = REFUSALS[1]


class Settings(UnlearningSettings):
    """Decline every prompt that is known to ask for the forget set."""


class OracleRefusal(GuardMethod):
    """Refusing by oracle; see the module."""

    def made(self) -> RefusalGuard:
        """Questions, statements and reworded forms of all items; texts by their beginnings."""
        asked = [item for item in self.sets.forget if item.question]
        prompts = [p for i in asked for p in (*i.prompts, *i.reworded, *i.translated)]
        texts = [item.answer for item in self.sets.forget if not item.question]
        return RefusalGuard(tuple(dict.fromkeys(prompts)), tuple(texts), f" {ANSWER}.")


method = OracleRefusal
steps = one_step
apply = applied(method)
