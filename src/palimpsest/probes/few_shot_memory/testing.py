"""Tests of memory at one moment: recognition and recall from one pass, and free writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.generation import of_tokens
from palimpsest.engine.scoring import sequence_scores
from palimpsest.metrics.text_recall import (
    correct_prefix,
    exact_memorisation,
    extraction_strength,
    rouge,
    rouge_whole,
    words,
)

if TYPE_CHECKING:
    from palimpsest.engine.scoring import SequenceScores
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.few_shot_memory.settings import Settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """When memory is tested.

    Attributes:
        phase: study, relearning, or a type of interference.
        exposures: how often every sentence of the list was shown.
        updates: optimiser steps on the list so far.
        delay: optimiser steps on new material since.
    """

    phase: str
    exposures: int
    updates: int
    delay: int = 0

    def item(self, index: int, kind: str) -> str:
        """Identity of an item at this moment."""
        return f"{index:04d}/{kind}/{self.phase}/{self.exposures}/{self.updates}/{self.delay}"


def examine(
    model: LanguageModel,
    settings: Settings,
    moment: Moment,
    study: Sequence[list[int]],
    foils: Sequence[list[int]],
    names: tuple[str, str] = ("study", "foil"),
    writes: bool = True,
) -> Iterator[Row]:
    """Rows of one test of memory.

    Recognition reads the mean loss a token of every sentence (nats, without the first token).
    Recall reads, from the same pass, where the likeliest token is the right one: greedy decoding
    from a cue writes the rest word for word exactly if that holds from the cue to the end. Where
    it does not hold the model writes, and ROUGE compares.

    Args:
        model: the model.
        settings: the probe's settings.
        moment: when.
        study: items.
        foils: their foils.
        names: what the two are called in rows.
        writes: whether the model writes freely too.
    """
    scores = sequence_scores(model, [*study, *foils], moments=False, top=True)
    for kind, offset, sentences in ((names[0], 0, study), (names[1], len(study), foils)):
        for index in range(len(sentences)):
            loss = -float(scores[offset + index].log_p.mean())
            yield _row(moment.item(index, kind), kind, "loss", loss)
    right = [_right(ids, each) for ids, each in zip(study, scores, strict=False)]
    for index, marks in enumerate(right):
        for metric, value in _word_for_word(marks, settings.cues):
            yield _row(moment.item(index, names[0]), names[0], metric, value)
    if writes:
        yield from _written(model, settings, moment, study, right, names[0])


def cut(ids: Sequence[int], share: float) -> int:
    """Tokens of a cue: the share of the sentence rounded down, at least one, never all."""
    return min(max(1, int(share * len(ids))), len(ids) - 1)


def _right(ids: Sequence[int], scores: SequenceScores) -> np.ndarray:
    """(T,) whether each token is the likeliest after the ones before; the first counts as given."""
    return np.concatenate([[True], scores.top == np.asarray(ids[1:])])


def _word_for_word(right: np.ndarray, cues: Sequence[float]) -> Iterator[tuple[str, float]]:
    """By cue: exact recall, longest correct prefix, share of tokens known; extraction strength.

    Tokens known (exact memorisation) are those of the rest that are the likeliest after the true
    ones before them. Extraction strength leaves out the first token, which nothing stands before.
    """
    for cue in cues:
        rest = right[cut(right, cue) :]
        _, share = correct_prefix(rest, np.ones_like(rest))
        yield f"exact_{100 * cue:.0f}", float(share == 1)
        yield f"prefix_{100 * cue:.0f}", share
        yield f"known_{100 * cue:.0f}", exact_memorisation(rest)
    yield "extraction_strength", extraction_strength(right[1:])


def _written(
    model: LanguageModel,
    settings: Settings,
    moment: Moment,
    study: Sequence[list[int]],
    right: Sequence[np.ndarray],
    kind: str,
) -> Iterator[Row]:
    """Free completions after the cue; what is recalled word for word need not be written."""
    at = [cut(ids, settings.written_cue) for ids in study]
    open_ = [i for i, marks in enumerate(right) if not marks[at[i] :].all()]
    longest = max((len(study[i]) - at[i] for i in open_), default=0)
    found = of_tokens(model, [study[i][: at[i]] for i in open_], longest)
    said = {i: written.ids for i, (written,) in zip(open_, found, strict=True)}
    for index, ids in enumerate(study):
        rest = ids[at[index] :]
        completion = model.decode(said.get(index, rest)[: len(rest)])
        cue, truth = model.decode(ids[: at[index]]), model.decode(rest)
        scores = rouge(words(completion), words(truth))
        whole = rouge_whole(words(cue), words(completion), words(truth))
        item = moment.item(index, kind)
        yield _row(item, kind, "rouge1", scores["rouge1"].recall)
        yield _row(item, kind, "rouge2", scores["rouge2"].recall)
        yield _row(item, kind, "rougeL", scores["rougeL"].recall, completion)
        yield _row(item, kind, "rougeL_whole", whole["rougeL"].recall)


def _row(item: str, kind: str, metric: str, value: float, text: str | None = None) -> Row:
    return {"item": item, "grp": kind, "metric": metric, "value": float(value), "text": text}
