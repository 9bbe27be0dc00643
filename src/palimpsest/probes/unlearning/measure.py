"""Measuring unlearning: from a cell to rows of observations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.biographies import strangers
from palimpsest.data.items import taught_items
from palimpsest.engine.generation import of_tokens
from palimpsest.engine.scoring import sequence_scores
from palimpsest.identity import seed_of
from palimpsest.metrics import text_recall, unlearning
from palimpsest.probes.unlearning import scratch
from palimpsest.probes.unlearning.answers import Row, row
from palimpsest.probes.unlearning.attacks import attacked
from palimpsest.probes.unlearning.in_words import read_in_words
from palimpsest.probes.unlearning.readings import (
    chosen,
    read,
    read_members,
    read_probabilities,
)
from palimpsest.probes.unlearning.settings import WORDS

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.data.items import Item
    from palimpsest.models.endpoint.model import Endpoint
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.models.networks import Networks
    from palimpsest.probes.unlearning.settings import Scratch, Settings

ENGINE = (
    "engine.asking",
    "engine.scoring",
    "engine.generation",
    "engine.gradient_norms",
    "engine.learners",
    "engine.training",
    "engine.vocabulary",
    "models.states",
    "data.biographies",
    "data.items",
    "data.prose",
    "metrics.unlearning",
    "data.hub_items",
    "interventions._items",
    "interventions.biographies",
    "interventions.teaching",
    "interventions.unlearning._base",
)

#: Of the quality of a detector (``interventions.unlearning.guard``), what becomes observations.
DETECTOR = ("auc", "found", "false_alarms")
#: Packages whose prose is read: one is enough, and takes a fraction of a second.
PROSE = ("statsmodels",)
#: Tokens that a sentence begins with where fluency is read.
BEGINNING = 10


def measure(
    model: LanguageModel | Networks | Endpoint,
    settings: Settings,
    cell: dict[str, Any],
    context: ProbeContext,
) -> Iterator[Row]:
    """All that a model says of the facts, and what attacks bring back.

    Yields:
        Rows with the part of the fact as group, its id as item; ``relearn`` and ``model`` are
        groups of their own.

    Raises:
        ValueError: a state of a language model that was taught nothing.
    """
    if cell["experiment"] == "scratch":
        yield from _scratch(model, settings, cell["parameters"], context)
        return
    if cell["experiment"] == WORDS:
        yield from read_in_words(model, settings, chosen(settings, settings.own.items()))
        return
    items = settings.own.items() if settings.own else taught_items(context.state_folder)
    yield from _read(model, settings, items, small=False)
    yield from _prose(model, settings)


def _scratch(
    model: Networks, settings: Settings, factors: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    own = settings.scratch
    made, notes = scratch.model_of(own, factors, model.device)
    context.costs |= notes.get("costs", {})
    items = own.items()
    if factors["requests"]:
        gone = scratch.forgotten_so_far(own, items, factors)
        stays = [item for item in items if item.part in ("kept", "neighbour")]
        yield from read_probabilities(made, [*gone, *chosen(settings, stays)])
    else:
        yield from _read(made, settings, items, small=True)
        yield from _strangers(made, own, items, factors)
    for name in ("updates", "tokens"):
        yield row("model", "method", name, notes.get(name, 0))
    # How well GUARD tells prompts whose wording it was not fitted on.
    detector = notes.get("paraphrases") or {}
    for name in DETECTOR:
        if name in detector:
            yield row("model", "detector", name, detector[name])
    yield row("model", "method", "weights", sum(p.numel() for p in made.module.parameters()))
    model.tokens += made.tokens


def _strangers(
    model: LanguageModel, own: Scratch, items: list[Item], factors: dict[str, Any]
) -> Iterator[Row]:
    """Scores of membership of facts that nobody was told, without the gradient's norm: its passes
    take several times as long as all others."""
    if count := own.strangers_of(factors):
        yield from read_members(model, strangers(items, count, own.attributes, own.world))


def _read(model: LanguageModel, settings: Settings, items: list[Any], small: bool) -> Iterator[Row]:
    yield from read(model, settings, chosen(settings, items), small)
    yield from attacked(model, settings, items, small)


def _prose(model: LanguageModel, settings: Settings) -> Iterator[Row]:
    """Mean loss of a token of real sentences, in nats: is the language still there? And can it
    still be written?"""
    if not settings.prose:
        return
    from palimpsest.data.prose import load_prose

    texts = load_prose(PROSE)["text"].to_list()
    order = np.random.default_rng(seed_of("prose")).permutation(len(texts))[: settings.prose]
    encoded = [model.encode(texts[place]) for place in order]
    for place, score in zip(order, sequence_scores(model, encoded, moments=False), strict=True):
        yield row("prose", str(place), "loss", -score.log_p.mean())
    begun = [ids[:BEGINNING] for ids in encoded[: settings.fluency]]
    written = of_tokens(model, begun, settings.fluency_tokens)
    for place, (each,) in zip(order, written, strict=False):
        entropy = unlearning.ngram_entropy(text_recall.words(each.text))
        yield row("prose", str(place), "fluency", entropy, each.text)
