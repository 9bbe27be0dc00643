"""Many LoRA fine-tunings at once against PEFT and Hugging Face's Trainer, one after another."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import Row, matmul_peak, ordered_trainer, smollm, token_sentences

from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.training import Example, TrainingSettings

RUNS = 32
RANK, ALPHA, RATE = 16, 32, 1e-4
#: Runs that the peer trains; its time is multiplied up, which the note says.
MEASURED = 2


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    model = smollm()
    for size, steps, reach in ((1, 6, 3.0), (2, 5, 3.0), (16, 3, 1.5)):
        streams = [
            [token_sentences(size, seed=1000 * run + step) for step in range(steps)]
            for run in range(RUNS)
        ]
        yield _row(model, streams, size, reach)


def _row(model: Any, streams: list[list[list[Example]]], size: int, reach: float) -> Row:
    settings = TrainingSettings(rank=RANK, alpha=ALPHA, learning_rate=RATE, batch_size=size)
    many = ManyAdapters(copy.deepcopy(model), settings, range(RUNS))
    peers = [_peer(copy.deepcopy(model.module), streams[run], size) for run in range(MEASURED)]
    many.run([stream[:1] for stream in streams])
    for peer in peers:
        peer.train()
    gc.collect()
    ratios, ours, theirs = [], [], []
    for turn in range(3):
        sides = [(ours, lambda: many.run(streams)), (theirs, lambda: [p.train() for p in peers])]
        for seconds, work in sides if turn % 2 == 0 else sides[::-1]:
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        ratios.append(theirs[-1] * RUNS / MEASURED / ours[-1])
    shown = [e for stream in streams for batch in stream for e in batch]
    tokens = sum(len(e.ids) for e in shown)
    # Frozen weights need no gradient of their own: four operations a weight and token; adapters
    # six. The projection is computed where a token is scored.
    layers = model.module.get_decoder().layers
    body = sum(p.numel() for p in layers.parameters())
    adapted = sum(sum(m.weight.shape) * RANK for m in layers.modules() if hasattr(m, "in_features"))
    head = model.module.get_output_embeddings().weight.numel()
    work = tokens * (4.0 * body + 6.0 * adapted) + sum(sum(e.scored) for e in shown) * 4.0 * head
    limit = float(np.median(ratios)) * matmul_peak() * 1e9 * float(np.median(ours)) / work
    their_tokens = tokens * MEASURED / RUNS
    note = (
        f"rank {RANK}, all linear layers, {len(streams[0])} steps, sentences of 8 to 32 tokens; "
        f"the peer trained {MEASURED} runs, its time is multiplied by {RUNS / MEASURED:g}; "
        f"ratio {min(ratios):.2f} to {max(ratios):.2f} over 3 pairs; at the speed of a matrix "
        f"product the ratio would be {limit:.1f}"
    )
    return Row(
        f"{RUNS} LoRA runs, {size} sentence{'s' * (size > 1)} a step",
        "PEFT and Hugging Face Trainer, one after another",
        tokens / float(np.median(ours)),
        their_tokens / float(np.median(theirs)),
        float(np.median(ratios)),
        reach,
        "at_least",
        "tokens/s",
        note,
    )


def _peer(module: Any, shown: list[list[Example]], size: int) -> Any:
    import peft

    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    return ordered_trainer(peft.get_peft_model(module, config), shown, size, RATE)
