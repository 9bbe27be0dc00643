"""What a running job hands to the code of probes and interventions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palimpsest.files import write_json


@dataclass
class Progress:
    """How far a job is: a bar on a terminal, a small file for ``palimpsest status``."""

    total: int
    path: Path | None = None
    label: str = ""
    every: float = 2.0
    done: int = 0
    shown: bool = True
    _written: float = 0.0
    _bar: Any = None

    def __post_init__(self) -> None:
        from tqdm import tqdm

        self._started = time.monotonic()
        # Standard output: Snakemake sends what goes to standard error to the log of the job.
        self._bar = tqdm(
            total=self.total,
            desc=self.label,
            file=sys.stdout,
            disable=None if self.shown else True,
            leave=False,
        )
        self._write()

    def advance(self, count: int = 1) -> None:
        """Count finished work."""
        self.done += count
        self._bar.update(count)
        if time.monotonic() - self._written > self.every:
            self._write()

    def close(self) -> None:
        """Remove bar and file."""
        self._bar.close()
        if self.path:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        # Never the wall clock, which can be set back; only who reads the file has no other.
        self._written = time.monotonic()
        if self.path:
            write_json(
                self.path,
                {
                    "label": self.label,
                    "done": self.done,
                    "total": self.total,
                    "seconds": self._written - self._started,
                    "now": time.time(),
                },
            )


@dataclass
class InterventionContext:
    """Seed, data and places of one intervention.

    ``save(step, changes)`` stores a checkpoint; ``scratch`` is a folder that survives a kill and
    is removed when the job has finished; ``parent`` is the folder of the state that is changed.
    ``costs`` is filled with what the intervention took (``engine.costs``); numbers that differ from
    run to run.
    """

    seed: int
    data_block: dict[str, Any]
    folder: Path
    scratch: Path
    save: Callable[[int, dict], None]
    progress: Callable[[int], Progress]
    device: str = "cpu"
    parent: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)


@dataclass
class ProbeContext:
    """What a probe may use besides the model.

    ``scratch`` is a folder that survives a kill and is removed when the job has finished; None
    where nothing is kept. ``costs`` may be filled with what a cell took, in numbers that differ
    from run to run and are no observations; it is empty when a cell begins.
    """

    study: str
    state: str
    seed: int
    state_folder: Path
    data_block: dict[str, Any]
    entry: dict[str, Any]
    scratch: Path | None = None
    costs: dict[str, float] = field(default_factory=dict)
