"""Settings and cells of the template probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from palimpsest.blocks import Block

if TYPE_CHECKING:
    from palimpsest.manifests import State

TITLE = "Template"
QUESTION = "Is a sentence likelier than the same words in random order?"
#: Raise when the default of a setting changes or cells mean something else. Four more names are
#: read where they are given: READS, what kinds of model the probe reads (language models when not);
#: NEEDS, of models.entry.CAPABILITIES, where it does without some (then endpoints can take part);
#: LEAST_JOBS, into how many jobs cells are cut in any case; piece(cell), what stays in one job.
VERSION = 1


class Settings(Block):
    """Sentences against their own words shuffled."""

    sentences: list[str] = Field(
        default=[
            "The quick brown fox jumps over the lazy dog.",
            "The capital of France is Paris.",
            "All men are created equal.",
            "The sun rises in the east and sets in the west.",
            "Water boils at one hundred degrees.",
            "She opened the door and walked into the room.",
        ],
        min_length=2,
    )
    """Sentences whose likelihood is measured; each needs at least two different words."""
    shuffles: int = Field(default=4, ge=1)
    """Random orders per sentence."""


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """One cell a checkpoint of the state; every cell names its step and its experiment."""
    return [{"step": step, "experiment": "shuffled"} for step in state.steps]


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    return {"sentences": settings.sentences, "shuffles": settings.shuffles}


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds of a cell, for cutting cells into jobs."""
    return 2.0
