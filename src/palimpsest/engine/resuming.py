"""The file from which an interrupted training goes on; one file however many processes train.

Behind what torch writes stand the 32 bytes of its SHA-256: neither torch nor the archive format
notices a flipped bit, and a second file beside it could be of another moment.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from palimpsest.engine import sharded
from palimpsest.files import atomic

VERSION = 1

#: Writing may take this share of the time between two writings.
_MOST_WRITING = 0.02


class Resumable(Protocol):
    """What trains: a trainer, or learners."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits on the same device."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""


class Resume:
    """Keeps the state of what trains in a file, and whatever else a method must know to go on.

    Of several processes all call :meth:`load` and :meth:`save`; the first alone writes.

    Args:
        learner: what trains.
        path: the file.
        every_s: seconds between two writings that nobody asks for, at least; more where a writing
            takes long.
    """

    def __init__(self, learner: Resumable, path: Path, every_s: float = 30.0) -> None:
        self.learner, self.path, self.every_s = learner, path, every_s
        self._team = sharded.team()
        self._written = time.monotonic()

    def load(self) -> dict[str, Any]:
        """Put the learner where it was; what was written with it, empty where there is no file."""
        saved = read(self.path)
        if saved:
            self.learner.load_state_dict(saved.pop("learner"))
        return saved

    def save(self, facts: dict[str, Any], now: bool = False) -> None:
        """Write the file if it is time, or ``now``; a kill leaves the old one or the new one."""
        import torch

        began = time.monotonic()
        late = began - self._written > self.every_s
        if not self._team.agreed(now or late):
            return
        state = self.learner.state_dict()
        if self._team.first:
            with atomic(self.path) as partial, open(partial, "w+b") as handle:
                # Not by its name: torch then hides why it cannot write.
                torch.save({"learner": state, **facts}, handle)
                handle.seek(0)
                sha = hashlib.file_digest(handle, "sha256").digest()
                handle.write(sha)
        self._written = time.monotonic()
        self.every_s = max(self.every_s, (self._written - began) / _MOST_WRITING)


def read(path: Path) -> dict[str, Any]:
    """What a file holds: ``learner`` and the facts beside it; empty where there is no file.

    A file whose content differs from its SHA-256 is named on standard error and not used: what it
    would have saved is computed again.
    """
    import torch

    if not path.is_file():
        return {}
    if not _unchanged(path):
        print(
            f"{path}: content differs from its recorded SHA-256; beginning again", file=sys.stderr
        )
        return {}
    # Of several processes each reads only what it needs of the file.
    shared = sharded.team().size > 1
    return torch.load(path, map_location="cpu", weights_only=True, mmap=shared)


def _unchanged(path: Path) -> bool:
    hasher = hashlib.sha256()
    with open(path, "rb") as handle:
        left = path.stat().st_size - hasher.digest_size
        while left > 0 and (piece := handle.read(min(left, 1 << 20))):
            hasher.update(piece)
            left -= len(piece)
        return handle.read() == hasher.digest()
