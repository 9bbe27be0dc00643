"""Measuring the template probe: from a cell to rows of observations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.scoring import log_likelihoods
from palimpsest.identity import seed_of

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes._template.settings import Settings

#: Modules whose VERSION belongs to the identity of a cell.
ENGINE = ("engine.scoring", "models.states")


def measure(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[dict[str, Any]]:
    """Mean log-probability (nats a token) of each sentence and of its shuffles.

    Yields:
        Rows with item (number of the sentence/order), grp (ordered or shuffled), metric
        ``log_p`` and value; the text of what was scored is kept beside it.
    """
    for number, sentence in enumerate(settings.sentences):
        words = sentence.split()
        generator = np.random.default_rng(seed_of("shuffle", sentence))
        texts = [sentence]
        texts += [
            " ".join(words[i] for i in generator.permutation(len(words)))
            for _ in range(settings.shuffles)
        ]
        for order, (values,) in enumerate(
            log_likelihoods(model, [""] * len(texts), [[t] for t in texts])
        ):
            yield {
                "item": f"{number}/{order}",
                "grp": "shuffled" if order else "ordered",
                "metric": "log_p",
                "value": float(values.mean()),
                "text": texts[order],
            }
