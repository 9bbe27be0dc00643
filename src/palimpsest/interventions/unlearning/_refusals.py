"""What a model is to say instead of what it should have forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.engine.examples import example

if TYPE_CHECKING:
    from palimpsest.engine.examples import Example
    from palimpsest.interventions.unlearning._base import Method

VERSION = 2

REFUSALS = (
    "I don't know",
    "I do not know that",
    "I'm not sure",
    "I cannot say",
    "I'm not able to answer that",
    "I have no information on that",
    "I don't have that information",
    "I couldn't say",
    "That is beyond my knowledge",
    "I have no idea",
)


def refusing(method: Method, role: str) -> list[Example]:
    """Every prompt of the forget set with a refusal, drawn from the method's own seed.

    Raises:
        ValueError: there are texts alone, which nobody asks for.
    """
    draw = method.draw("refusals")
    return [
        example(
            method.model,
            prompt,
            f" {REFUSALS[int(draw.integers(len(REFUSALS)))]}",
            ".",
            "answer",
            role,
        )
        for item in method.asked()
        for prompt in item.prompts
    ]
