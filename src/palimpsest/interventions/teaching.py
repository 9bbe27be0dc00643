"""Teach items of the user's own files, or all but those that are to be forgotten.

The state with ``leave_out: forget`` is the gold standard of unlearning: it was made in the same way
from the same model, in as many updates, and never met the forget set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.blocks import Block
from palimpsest.interventions._teaching import TeachingSettings, shares_devices, steps, teach

if TYPE_CHECKING:
    from palimpsest.context import InterventionContext
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel

__all__ = ["Own", "Settings", "apply", "check", "shares_devices", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions._teaching",)
STOCHASTIC = True


class Own(Block):
    """Files of items, JSONL (src/palimpsest/data/items.py describes a line), or sets of benchmarks
    such as hub:tofu/forget10 (src/palimpsest/data/hub_items.py)."""

    forget: str | None = None
    """What is to be forgotten; needed."""
    retain: str | None = None
    """What must stay, and may be trained on again so that it does; needed too, but where all models
    are behind endpoints."""
    kept: str | None = None
    """What must stay and is never trained on again: it tells what a method has damaged."""
    neighbour: str | None = None
    """The same, of things that are close to what is to be forgotten."""
    known: str | None = None
    """What the model knows from elsewhere and must not lose: asked for, never taught."""
    holdout: str | None = None
    """What nobody was told, of the same kind as the forget set: membership is told from it."""

    def files(self) -> dict[str, str]:
        """Part -> file, of those that are given."""
        found = {part: getattr(self, part) for part in Own.model_fields}
        return {part: path for part, path in found.items() if path is not None}

    def items(self) -> list[Item]:
        """All items; sets of the hub are fetched.

        Raises:
            DataError: a file with bad rows.
            ValueError: an item is in two files, or a set cannot be fetched.
        """
        return self._read(fetch=True)

    def check(self, needed: Sequence[str] = ("forget", "retain")) -> None:
        """As :meth:`items`, but of sets of the hub only the names are looked at; and the parts that
        are needed must be given."""
        for part in needed:
            if getattr(self, part) is None:
                raise ValueError(f"{part}: not given; allowed: a JSONL file, or a set of the hub")
        self._read(fetch=False)

    def check_context(self, tokens: int) -> None:
        """Raise ValueError where an item of a file is surely longer than so many tokens."""
        from palimpsest.data.items import check_lengths

        check_lengths(self.files(), tokens)

    def _read(self, fetch: bool) -> list[Item]:
        from palimpsest.data.items import read_parts

        return [item for items in read_parts(self.files(), fetch).values() for item in items]

    def hashes(self) -> list[str]:
        """Of all files, in the order of the parts."""
        from palimpsest.data.items import content_hash

        return [f"{part} {content_hash(path)}" for part, path in self.files().items()]


class Settings(TeachingSettings, Own):
    """Teach your own items."""


def sources(settings: Settings, data: Any) -> list[str]:
    """Hashes of the files."""
    return settings.hashes()


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless all files can be read and have nothing in common."""
    settings.check()


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Teach, and save the model as step 1.

    Raises:
        NonFiniteLossError: the loss is not finite.
        ValueError: an item is longer than the model's context.
    """
    teach(model, settings.items(), settings, context)
