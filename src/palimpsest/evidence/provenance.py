"""How a number came about: one record a job, written beside what the job made."""

from __future__ import annotations

import json
import platform
import resource
import shlex
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from palimpsest.files import write_json

PACKAGES = (
    "palimpsest",
    "torch",
    "transformers",
    "safetensors",
    "numpy",
    "openai",
    "polars",
    "duckdb",
    "snakemake",
)


def peak_memory_mb() -> float:
    """The most resident memory that this program has had so far, MiB.

    Where the kernel does not say (no Linux), that of the process: it can begin with what the
    program that started this one had in memory.
    """
    try:
        said = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
        return int(said.split()[0]) / 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1024 if sys.platform == "linux" else peak / 2**20


@dataclass
class Provenance:
    """Collects a record of the table ``provenance`` while a job runs.

    ``work_seconds`` is the time spent measuring or training, without imports and loading; None
    where a job does neither. ``usage`` is what was asked of an endpoint; None where none was.
    ``costs`` is what an intervention took, as far as it counts that.
    """

    job: str
    rule: str
    study: str | None = None
    state: str | None = None
    device: str = "cpu"
    threads: int = 1
    code: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0
    work_seconds: float | None = None
    cells_computed: int = 0
    cells_reused: int = 0
    usage: dict[str, Any] | None = None
    costs: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def write(self, path: str | Path) -> dict[str, Any]:
        """Finish the record and write it."""
        ended = datetime.now(UTC)
        record = {
            "job": self.job,
            "rule": self.rule,
            "study": self.study,
            "state": self.state,
            "started": self.started.isoformat(),
            "ended": ended.isoformat(),
            "seconds": (ended - self.started).total_seconds(),
            "work_seconds": self.work_seconds,
            "peak_memory_mb": peak_memory_mb(),
            "device": self.device,
            "threads": self.threads,
            "tokens": self.tokens,
            "cells_computed": self.cells_computed,
            "cells_reused": self.cells_reused,
            "command": shlex.join(["python", *sys.argv]),
            "code": self.code,
            "versions": json.dumps(versions(), sort_keys=True),
            "settings": json.dumps(self.settings, sort_keys=True),
            "usage": json.dumps(self.usage, sort_keys=True) if self.usage else None,
            "costs": json.dumps(self.costs, sort_keys=True) if self.costs else None,
            "notes": self.notes,
        }
        write_json(path, record)
        return record


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
