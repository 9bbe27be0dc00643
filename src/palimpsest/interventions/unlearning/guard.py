"""Generation-time unlearning, GUARD (Deng et al. 2025, arXiv 2505.13312): weights stay as they are.

A detector looks at every prompt; where it says that something is asked for that should be
forgotten, the items most like the prompt give the phrases that the answer may not hold, and a beam
search writes without them. What is written is suppressed, not forgotten: weights, hidden states and
all probabilities still hold the facts, and a prompt that slips past the detector brings them out.

As the source has it: features are mean hidden states of the model itself, of the last layer but
one; candidates are matched with phrases by their letters and by their meaning; beam search.
Otherwise here: the detector is a logistic regression with a calibrated threshold, not a network;
items are found by their prompts, several at a time, not the one answer that a sentence embedder
finds alike; phrases are content words, not what another language model extracts; they are matched
in text, so that no other cutting into tokens brings them back, and always removed; meaning is
judged by the model's own embeddings of words, not by a sentence embedder for every candidate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from palimpsest.interventions.unlearning import _guard_detector as detection
from palimpsest.interventions.unlearning._base import (
    UnlearningSettings,
    applied,
    check,
    one_step,
    sources,
)
from palimpsest.interventions.unlearning._guard import GuardMethod
from palimpsest.interventions.unlearning._guard_meaning import alike_words
from palimpsest.interventions.unlearning._guard_phrases import asked, forbidden
from palimpsest.models.guards import PhraseGuard

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = (
    "interventions.unlearning._guard",
    "interventions.unlearning._guard_detector",
    "interventions.unlearning._guard_meaning",
    "interventions.unlearning._guard_phrases",
    "engine.generation",
    "engine.scoring",
)
#: Nothing is drawn.
STOCHASTIC = False

#: Prompts and tokens by which the cost of a token is measured.
COST_PROMPTS, COST_TOKENS = 8, 12


class Settings(UnlearningSettings):
    """Keep answers from being written, without any change of the weights."""

    threshold: float | None = Field(default=None, ge=0)
    """Probability from which a prompt is taken for one of the forget set; null: it finds 95% of
    wordings that were held out; above 1: no prompt is taken."""
    nearest: int = Field(default=5, ge=1)
    """So many items, those with the prompts most alike, give the phrases that are forbidden."""
    similarity: float | None = Field(default=0.6, gt=0)
    """Cosine of embeddings from which a word counts as a forbidden one; null, or above 1: words
    are matched by their letters alone."""
    beams: int = Field(default=4, ge=1)
    """Width of the search for an answer that holds no phrase; 1: greedy."""


class Guarding(GuardMethod):
    """GUARD; see the module."""

    def measure(self) -> None:
        """What the guard costs, and how good its detector is."""
        if self.guard:
            self._tell(self.guard)
            self.notes["seconds_per_token"] = self._cost()

    def made(self) -> PhraseGuard:
        """The detector, fitted and calibrated, and the phrases.

        Raises:
            ValueError: there is nothing to tell the forget set from, or an item is longer than the
                model's context.
        """
        if not self.sets.retain:
            raise ValueError("guard: the retain set is empty; its detector needs other prompts")
        for role in ("forget", "retain"):
            self.examples(getattr(self.sets, role), role)
        settings, forget = self.settings, [asked(item) for item in self.sets.forget]
        layers = self.model.module.config.get_text_config().num_hidden_layers
        self.layer = max(0, layers - 2)
        features, wanted, threshold = self._calibrated(forget)
        return PhraseGuard(
            *_affine(features, wanted),
            np.repeat(np.arange(len(forget)), list(map(len, forget))),
            *self._phrases(),
            self.layer,
            threshold,
            settings.nearest,
            settings.beams,
        )

    def _phrases(self) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[int, ...], ...]]:
        """What may not be written of each item: phrases, and tokens that mean the same."""
        phrases = tuple(forbidden(item) for item in self.sets.forget)
        if self.settings.similarity is None:
            return phrases, ((),) * len(phrases)
        every = [phrase for own in phrases for phrase in own]
        alike = alike_words(self.model, every, self.settings.similarity)
        return phrases, tuple(
            tuple(token for phrase in own for token in alike.get(phrase, ())) for own in phrases
        )

    def _features(self, prompts: Sequence[str]) -> np.ndarray:
        """(n, width) mean hidden states, as generation reads them."""
        from palimpsest.engine.scoring import hidden_states

        return hidden_states(self.model, prompts, [self.layer], "mean")[:, 0].astype(float)

    def _calibrated(self, forget: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, float]:
        """Features of all prompts, which of them ask for the forget set, and the threshold."""
        prompts = [*forget, *(asked(item) for item in self.sets.retain)]
        features = self._features([prompt for own in prompts for prompt in own])
        counts = list(map(len, prompts))
        wanted = np.arange(len(features)) < sum(map(len, forget))
        wording = np.concatenate([np.arange(count) for count in counts])
        scores = detection.held_out(features, wanted, wording, np.repeat(self._people(), counts))
        threshold = self.settings.threshold
        if threshold is None:
            threshold = detection.calibrated(scores, wanted)
        self.notes["threshold"] = threshold
        self.notes["held_out"] = detection.quality(scores, wanted, threshold)
        return features, wanted, threshold

    def _people(self) -> np.ndarray:
        """(items,) number of the person that each item is about."""
        names = [item.id.split("/")[0] for item in (*self.sets.forget, *self.sets.retain)]
        number = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return np.array([number[name] for name in names])

    def _tell(self, guard: PhraseGuard) -> None:
        """How good the detector is where prompts are reworded, which it was not fitted on."""
        from palimpsest.engine.guarding import scores

        both = self.sets.forget, self.sets.retain
        worded = [[prompt for item in items for prompt in item.reworded] for items in both]
        if not all(worded):
            return
        found = scores(guard, self._features([prompt for own in worded for prompt in own]))
        wanted = np.repeat([True, False], list(map(len, worded)))
        self.notes["paraphrases"] = detection.quality(found, wanted, guard.threshold)

    def _cost(self) -> dict[str, float]:
        """Seconds a token of answers to the forget set, with the guard and without."""
        from palimpsest.engine.generation import continuations

        prompts = [asked(item)[0] for item in self.sets.forget[:COST_PROMPTS]]
        guards, found = self.model.guards, {}
        for name, used in (("guarded", guards), ("without", guards[:-1])):
            self.model.guards = used
            continuations(self.model, prompts, 1, ())
            began = time.perf_counter()
            written = continuations(self.model, prompts, COST_TOKENS, ())
            tokens = sum(len(text.ids) for (text,) in written)
            found[name] = (time.perf_counter() - began) / max(1, tokens)
        self.model.guards = guards
        return found


def _affine(features: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of detector and search as one map; see ``PhraseGuard``.

    Args:
        features: (n, width).
        wanted: (n,) which prompts ask for the forget set.
    """
    scale, regression = detection.detector().fit(features, wanted)
    known = scale.transform(features[wanted])
    known /= np.linalg.norm(known, axis=1, keepdims=True).clip(1e-12)
    weights = np.concatenate([regression.coef_, known]) / scale.scale_
    bias = np.concatenate([regression.intercept_, np.zeros(len(known))]) - weights @ scale.mean_
    return weights.astype(np.float32), bias.astype(np.float32)


method = Guarding
steps = one_step
apply = applied(method)
