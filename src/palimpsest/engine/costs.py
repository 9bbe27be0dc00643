"""What a piece of work costs: time, memory, and tokens put through a model, forth and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

#: Seconds between two looks at the memory of the process.
_EVERY = 0.01
_STATM = Path("/proc/self/statm")


@contextmanager
def counted(model: LanguageModel) -> Iterator[dict[str, float]]:
    """Count what is done with a model inside.

    Yields:
        A dictionary that is filled at the end. ``seconds``; ``tokens`` put through the model;
        ``backward_tokens``, those of passes that were differentiated, and ``backward_passes``, the
        number of these; ``peak_mb``, MiB: on a GPU the most that was allocated there at a time, on
        a CPU the most that the process held in memory, libraries and model included. It is left
        out where the system tells neither.
    """
    found: dict[str, float] = {}
    before = (model.tokens, model.backward_tokens, model.backward_passes)
    began = time.perf_counter()
    with _peak(model) as peak:
        yield found
    found["seconds"] = time.perf_counter() - began
    after = (model.tokens, model.backward_tokens, model.backward_passes)
    for name, then, now in zip(
        ("tokens", "backward_tokens", "backward_passes"), before, after, strict=True
    ):
        found[name] = now - then
    found |= peak


@contextmanager
def _peak(model: LanguageModel) -> Iterator[dict[str, float]]:
    """Filled at the end with ``peak_mb``."""
    found: dict[str, float] = {}
    if model.device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(model.device)
        yield found
        found["peak_mb"] = torch.cuda.max_memory_allocated(model.device) / 2**20
        return
    if not _STATM.is_file():
        yield found
        return
    done, most = threading.Event(), [_resident()]

    def watch() -> None:
        while not done.wait(_EVERY):
            most.append(max(most.pop(), _resident()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found["peak_mb"] = max(most[0], _resident())


def _resident() -> float:
    """MiB of the process in memory."""
    import resource

    return int(_STATM.read_text().split()[1]) * resource.getpagesize() / 2**20
