"""Items as sentences to train on or to differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.data.items import full_stop
from palimpsest.engine.examples import Example, example

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("engine.examples", "data.items")


def item_example(
    model: LanguageModel, item: Item, prompt: str | None = None, role: str = ""
) -> Example:
    """The true answer after a prompt, by default the question; the answer alone is scored.

    A fact's sentence ends; a text is whole.
    """
    before = item.question if prompt is None else prompt
    end = full_stop(item.answer) if item.question else ""
    return example(model, before, item.answer, end, "answer", role)


def item_examples(model: LanguageModel, item: Item, role: str = "") -> list[Example]:
    """The true answer after every prompt of an item.

    Raises:
        ValueError: the item is longer than the model's context.
    """
    found = [item_example(model, item, prompt, role) for prompt in item.prompts]
    most = getattr(model.module.config, "max_position_embeddings", None)
    for one in found:
        if most is not None and len(one.ids) > most:
            raise ValueError(
                f"{role or item.part}: {item.id} has {len(one.ids)} tokens; allowed: at most "
                f"{most}, the context of this model. Cut the text into several items"
            )
    return found
