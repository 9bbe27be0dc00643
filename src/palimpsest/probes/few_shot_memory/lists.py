"""The lists of a cell as token ids: what is studied, what it is told from, what interferes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palimpsest.data.stimuli import interference, stimulus_lists
from palimpsest.engine.examples import Example

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.few_shot_memory.settings import Settings

#: Material of another type than the study list, by the type of the list.
DIFFERENT = {"natural": "random_words", "random_words": "natural", "novel": "random_words"}


@dataclass(frozen=True)
class StudyLists:
    """Token ids of a cell's texts.

    Attributes:
        study: items that are studied.
        foils: pair i is ``study[i]`` and ``foils[i]``.
        validation: pairs of which the first is studied in trials of a learning rate only.
        new: type of interference -> sentences, in the order in which they are trained on.
        rejected: reason -> number of items that were drawn and not taken.
    """

    study: list[list[int]]
    foils: list[list[int]]
    validation: list[tuple[list[int], list[int]]]
    new: dict[str, list[list[int]]]
    rejected: dict[str, int]


def study_lists(model: LanguageModel, settings: Settings, cell: dict[str, Any]) -> StudyLists:
    """Draw the lists of a cell; a list depends on its kind and seed, not on other factors.

    Raises:
        ValueError: a text of fewer than four tokens: there is nothing to recall in it.
    """
    kind, seed = cell["experiment"], cell["parameters"]["list"]
    lists = stimulus_lists(
        kind, settings.items, seed, source=settings.source, validation=settings.validation
    )
    new = {}
    count = (settings.retention_steps or [0])[-1] * settings.interference_batch
    count = min(count, settings.new_sentences)
    for type_ in settings.interference if count else ():
        other = kind if type_ == "same" else DIFFERENT.get(kind, "novel")
        material = interference(other, count, seed, lists.texts, source=settings.source)
        new[type_] = [_ids(model, settings, text) for text in material.texts]
    return StudyLists(
        [_ids(model, settings, text) for text in lists.study],
        [_ids(model, settings, text) for text in lists.foils],
        [(_ids(model, settings, a), _ids(model, settings, b)) for a, b in lists.validation],
        new,
        lists.rejected,
    )


def sentence(ids: list[int]) -> Example:
    """A sentence with the loss on every token but the first, as the paper trains."""
    return Example(tuple(ids), (False, *[True] * (len(ids) - 1)))


def _ids(model: LanguageModel, settings: Settings, text: str) -> list[int]:
    ids = model.encode(text)[: settings.longest]
    if len(ids) < 4:
        raise ValueError(f"{text!r} has {len(ids)} tokens; at least 4 are needed for cue and rest")
    return ids
