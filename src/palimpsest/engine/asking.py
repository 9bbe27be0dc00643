"""What a model can be asked whether its weights are here or behind an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from palimpsest.engine import scoring
from palimpsest.engine.generation import cut, generate
from palimpsest.models.endpoint.model import Endpoint
from palimpsest.models.endpoint.replies import Answer
from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.generation", "engine.scoring", "models.endpoint.model")

#: How alternatives are put after a prompt, by the model's format.
_OFFER = {
    "plain": "{prompt} ... Choices: {choices}. The letter of the right choice is",
    "chat": "{prompt}\nChoices: {choices}. Answer with the letter of the right choice alone.",
}


def answers(
    model: LanguageModel | Endpoint,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = ("\n",),
) -> list[Answer]:
    """Greedy answers to n prompts, each cut before the first of the stop strings.

    The cut is made here for servers too: how they treat stop strings differs.
    """
    if isinstance(model, Endpoint):
        found = model.answers(prompts, max_new_tokens)
        return [replace(answer, text=cut(answer.text, stop)) for answer in found]
    return [Answer(text) for text in generate(model, prompts, max_new_tokens, stop=stop)]


def offer(model: LanguageModel | Endpoint, prompt: str, options: Sequence[str]) -> str:
    """The prompt of a choice in words: the options with letters after ``prompt``."""
    choices = "; ".join(f"{chr(ord('A') + i)}: {option}" for i, option in enumerate(options))
    return _OFFER[model.format].format(prompt=prompt, choices=choices)


def lettered(
    model: Endpoint,
    prompts: Sequence[str],
    counts: Sequence[int],
    max_new_tokens: int,
    stop: Sequence[str] = ("\n",),
) -> list[tuple[Answer, np.ndarray | None]]:
    """As :func:`answers` to questions of so many letters, with the letters' log-probabilities
    where the server gives them (:meth:`Endpoint.lettered`)."""
    found = model.lettered(prompts, counts, max_new_tokens)
    return [(replace(answer, text=cut(answer.text, stop)), scores) for answer, scores in found]


def log_likelihoods(
    model: LanguageModel | Endpoint,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
) -> list[list[np.ndarray]]:
    """As :func:`engine.scoring.log_likelihoods`, also for servers that give log-probabilities."""
    if isinstance(model, Endpoint):
        return model.log_likelihoods(prompts, continuations)
    return scoring.log_likelihoods(model, prompts, continuations)
