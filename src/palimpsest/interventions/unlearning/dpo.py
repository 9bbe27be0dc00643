"""Direct preference for wrong answers (DPO, Rafailov et al. 2023, arXiv 2305.18290).

One of the item's wrong answers, drawn once for every prompt, is preferred to the true one; see
``_preference``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.data.items import full_stop
from palimpsest.engine.examples import example
from palimpsest.interventions.unlearning._base import applied, checked, one_step, sources
from palimpsest.interventions.unlearning._preference import Preference, PreferenceSettings

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.engine.examples import Example

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._preference",)
STOCHASTIC = True


class Settings(PreferenceSettings):
    """Prefer a wrong answer to the true one."""


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless files can be read, do not overlap, and say what to prefer."""
    _need_wrong_answers(checked(settings) or [])


def _need_wrong_answers(items: Sequence[Item]) -> None:
    for item in items:
        if not item.perturbed:
            raise ValueError(f"dpo: {item.id} has no wrong answers (perturbed) to prefer")


class PreferringWrongAnswers(Preference):
    """DPO with wrong answers; see the module."""

    def preferred_examples(self) -> list[Example]:
        """Every prompt with a wrong answer.

        Raises:
            ValueError: an item without wrong answers.
        """
        _need_wrong_answers(self.sets.forget)
        draw, found = self.draw("preferred answers"), []
        for item in self.sets.forget:
            for prompt in item.prompts:
                answer = str(item.perturbed[int(draw.integers(len(item.perturbed)))])
                end = full_stop(answer)
                found.append(example(self.model, prompt, answer, end, "answer", "preferred"))
        return found


method = PreferringWrongAnswers
steps = one_step
apply = applied(method)
