"""How alike tasks are: by the words of their prompts, by their choices, by their hidden states."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.engine.scoring import hidden_states

if TYPE_CHECKING:
    from palimpsest.data.choice_tasks.items import ChoiceItem
    from palimpsest.interventions._tasks import Tasks
    from palimpsest.models.language_model import LanguageModel

#: Training items of a task that are read.
READ = 16


def similarities(model: LanguageModel, tasks: Tasks, layer: int) -> dict[str, np.ndarray]:
    """Matrices (tasks, tasks) in the order of ``tasks``, each symmetric.

    ``prompts`` and ``choices`` are Jaccard indices of the sets of words and of choices; ``states``
    is the cosine of the tasks' mean hidden states at the last token of the prompt, from the mean of
    all tasks, in one layer.
    """
    shown = {name: [i for i in items if i.split == "train"] for name, items in tasks.items()}
    words = [_words(items) for items in shown.values()]
    choices = [{choice for item in items for choice in item.choices} for items in shown.values()]
    read = [item.prompt for items in shown.values() for item in items[:READ]]
    owner = np.repeat(np.arange(len(shown)), [min(len(items), READ) for items in shown.values()])
    states = hidden_states(model, read, [layer])[:, 0].astype(float)
    means = np.array([states[owner == task].mean(0) for task in range(len(shown))])
    means -= means.mean(0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return {"prompts": _jaccard(words), "choices": _jaccard(choices), "states": means @ means.T}


def _words(items: list[ChoiceItem]) -> set[str]:
    return {word for item in items for word in re.findall(r"[^\W_]+", item.prompt.lower())}


def _jaccard(sets: list[set[str]]) -> np.ndarray:
    return np.array([[len(a & b) / len(a | b) if a | b else 0.0 for b in sets] for a in sets])
