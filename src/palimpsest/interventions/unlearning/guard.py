"""Generation-time unlearning, GUARD (Deng et al. 2025, arXiv 2505.13312): weights stay as they are.

A detector looks at every prompt; where it says that something is asked for that should be
forgotten, the items most like the prompt give the phrases that the answer may not hold, and a beam
search writes without them. What is written is suppressed, not forgotten: weights, hidden states and
all probabilities still hold the facts, and a prompt that slips past the detector brings them out.

As the source has it: features are mean hidden states of the model itself, of the last layer but
one; tokens are matched with phrases and, more softly, by meaning; beam search. Otherwise here: the
detector is a logistic regression with a calibrated threshold, not a network; items are found by
their prompts, several at a time, not the one answer that a sentence embedder finds alike; phrases
are content words, not what another language model extracts; they are matched in text, so that no
other cutting into tokens brings them back; meaning is judged by the model's own embeddings of
words, not by a sentence embedder for every candidate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning import _guard_detector as detection
from palimpsest.interventions.unlearning._base import (
    Method,
    UnlearningSettings,
    check,
    one_step,
    sets_of,
    sources,
)
from palimpsest.interventions.unlearning._guard_phrases import asked, forbidden

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.guards import Guard
    from palimpsest.models.language_model import LanguageModel

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 1
ENGINE = (
    "interventions.unlearning._base",
    "interventions.unlearning._guard_detector",
    "interventions.unlearning._guard_phrases",
    "engine.guarding",
    "engine.scoring",
    "models.guards",
)
#: Nothing is drawn.
STOCHASTIC = False

#: Prompts and tokens by which the cost of a token is measured.
COST_PROMPTS, COST_TOKENS = 8, 12
#: Solved questions before a question, as an attempt to slip past the detector.
SHOTS = 3


class Settings(UnlearningSettings):
    """Keep answers from being written, without any change of the weights."""

    layer: int | None = Field(default=None, ge=0)
    """Layer whose hidden states are the features of a prompt, from 0; null: the last but one."""
    ridge: float = Field(default=1.0, gt=0)
    """Penalty on the squared weights of the detector."""
    threshold: float | None = Field(default=None, ge=0)
    """Probability from which a prompt is taken for one of the forget set; null: the best one on
    prompts that were held out; above 1: no prompt is."""
    false_alarms: float = Field(default=0.05, ge=0, lt=1)
    """Share of held-out prompts of the retain set that may be taken for such, at most."""
    nearest: int = Field(default=5, ge=1)
    """So many items, those with the prompts most alike, give the phrases that are forbidden."""
    phrases: Literal["spans", "words"] = "spans"
    """What is forbidden of an answer: runs of content words, or every content word of it."""
    penalty: float | None = Field(default=None, gt=0)
    """Nats taken from a token that completes a phrase; null: it is never written."""
    similarity: float | None = Field(default=None, gt=0)
    """Cosine of embeddings from which a word counts as a forbidden one; null, or above 1: words
    are matched by their letters alone."""
    beams: int = Field(default=4, ge=1)
    """Width of the search for an answer that holds no phrase; 1: greedy."""


class Guarding(Method):
    """GUARD; see the module."""

    guard: Guard

    def run(self) -> None:
        """Fit the detector, forbid the phrases, and put the guard before the model."""
        self.layer = self._layer()
        features, owners = self._features(self.sets.forget)
        other, _ = self._features(self.sets.retain)
        detector, threshold = self._detector(features, other)
        self.guard = self._guard(detector, threshold, features, owners)
        self.notes["suppresses"] = "what is written alone; weights and probabilities are unchanged"
        if len(features):
            self._tell()
        self.model.guards += (self.guard,)
        if len(features):
            self.notes["cost"] = self._cost()

    def _layer(self) -> int:
        layers, layer = len(self.model.module.get_decoder().layers), self.settings.layer
        if layer is not None and layer >= layers:
            raise ValueError(f"guard: layer {layer}, allowed: 0 to {layers - 1}")
        return max(0, layers - 2) if layer is None else layer
