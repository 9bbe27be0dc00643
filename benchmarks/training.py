"""Full fine-tuning of the embedded 135M model against Hugging Face's Trainer."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
from harness import (
    Row,
    matmul_peak,
    ordered_trainer,
    paired,
    smollm,
    spread,
    token_sentences,
)

from palimpsest.engine.training import Trainer, TrainingSettings, batches

BATCH = 16
STEPS = 10
RATE = 1e-5


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    model = smollm()
    shown = list(batches(token_sentences(BATCH * STEPS, seed=1), BATCH, 1, seed=0))
    tokens = sum(len(item.ids) for batch in shown for item in batch)
    own = Trainer(
        copy.deepcopy(model),
        TrainingSettings(adapter="full", learning_rate=RATE, batch_size=BATCH),
    )
    module = copy.deepcopy(model.module).requires_grad_(True)
    peer = ordered_trainer(module, shown, BATCH, RATE)
    pair = paired(lambda: own.run(shown), peer.train, 3, warm_up=1)
    peaks = [matmul_peak() for _ in range(3)]
    differences = np.abs(np.array(own.losses[:STEPS]) - np.array(peer.first_losses))
    body = sum(p.numel() for p in model.module.get_decoder().layers.parameters())
    head = model.module.get_output_embeddings().weight.numel()
    scored = sum(sum(item.scored) for batch in shown for item in batch)
    work = 6.0 * (body * tokens + head * scored) / pair.ours / 1e9
    note = (
        f"{STEPS} steps of {BATCH} sentences of 8 to 32 tokens, {tokens} tokens in all; "
        f"{tokens / pair.ours:.0f} against {tokens / pair.theirs:.0f} tokens/s; largest difference "
        f"of the loss curves {differences.max():.1e}; {spread(pair)}; at the speed of a matrix "
        f"product the ratio would be {pair.ratio * max(peaks) / work:.1f}"
    )
    yield Row(
        f"full fine-tuning, batch {BATCH}, sentences of mixed length",
        "Hugging Face Trainer, fused AdamW, same order",
        pair.ours,
        pair.theirs,
        pair.ratio,
        2.0,
        "at_least",
        "s",
        note,
    )
    yield Row(
        f"full fine-tuning, batch {BATCH}: share of peak",
        "float32 matrix product 2048, measured beside it",
        work,
        max(peaks),
        work / max(peaks),
        0.5,
        "at_least",
        "GFLOP/s",
        "6 operations a weight and token, the projection at scored tokens only",
    )
