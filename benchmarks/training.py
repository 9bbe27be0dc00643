"""Full fine-tuning of the embedded 135M model against Hugging Face's Trainer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import Row, matmul_peak, paired, smollm, spread

from palimpsest.engine.training import Example, Trainer, TrainingSettings, batches

BATCH = 16
STEPS = 10
RATE = 1e-5


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    model = smollm()
    shown = list(batches(_sentences(BATCH * STEPS), BATCH, 1, seed=0))
    tokens = sum(len(item.ids) for batch in shown for item in batch)
    own = Trainer(
        copy.deepcopy(model),
        TrainingSettings(adapter="full", learning_rate=RATE, batch_size=BATCH),
    )
    peer = _peer(copy.deepcopy(model.module), shown)
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
        f"of the loss curves {differences.max():.1e}; {spread(pair)}"
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


def _sentences(n: int) -> list[Example]:
    rng = np.random.default_rng(1)
    made = []
    for _ in range(n):
        size = int(rng.integers(8, 33))
        ids = tuple(rng.integers(1000, 40000, size=size).tolist())
        made.append(Example(ids, (False,) + (True,) * (size - 1)))
    return made


def _peer(module: Any, shown: list[list[Example]]) -> Any:
    """The Trainer on the same batches in the same order; padding to the longest of a batch."""
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
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    transformers.logging.set_verbosity_error()
    module.requires_grad_(True)
    return Ordered(
        model=module,
        args=arguments,
        train_dataset=[item for batch in shown for item in batch],
        data_collator=collate,
    )
