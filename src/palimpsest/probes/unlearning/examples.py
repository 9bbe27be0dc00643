"""An item as a sentence to train on or to differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.engine.examples import Example, example

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel


def item_example(model: LanguageModel, item: Item) -> Example:
    """The question with the true answer, which alone is scored; or the text."""
    return example(model, item.question, item.answer, "." if item.question else "", "answer")
