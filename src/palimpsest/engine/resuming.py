"""The file from which an interrupted training goes on; one file however many processes train."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palimpsest.engine.training import Trainer

VERSION = 1


class Resume:
    """Keeps the state of a trainer in a file, and whatever else a method must know to go on.

    Of several processes all call both methods; the first alone writes.

    Args:
        trainer: the trainer.
        path: the file.
        every_s: seconds between two writings that nobody asks for.
    """

    def __init__(self, trainer: Trainer, path: Path, every_s: float = 30.0) -> None:
        self.trainer, self.path, self.every_s = trainer, path, every_s
        self._written = time.monotonic()

    def load(self) -> dict[str, Any]:
        """Put the trainer where it was; what was written with it, empty where there is no file."""
        import torch

        if not self.path.is_file():
            return {}
        # Of several processes each reads only what it needs of the file.
        shared = self.trainer.team.size > 1
        saved = torch.load(self.path, map_location="cpu", weights_only=True, mmap=shared)
        self.trainer.load_state_dict(saved.pop("trainer"))
        return saved

    def save(self, facts: dict[str, Any], now: bool = False) -> None:
        """Write the file if it is time, or ``now``; a kill leaves the old one or the new one."""
        import torch

        late = time.monotonic() - self._written > self.every_s
        if not self.trainer.team.agreed(now or late):
            return
        state = self.trainer.state_dict()
        if self.trainer.team.first:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".tmp")
            torch.save({"trainer": state, **facts}, partial)
            partial.replace(self.path)
        self._written = time.monotonic()
