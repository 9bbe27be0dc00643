"""Greedy answers in batches, cut at stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

VERSION = 1


def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = ("\n",),
    batch_size: int = 32,
) -> list[str]:
    """Greedy continuation of each prompt.

    Args:
        model: the model.
        prompts: n prompts; answers come back in their order.
        max_new_tokens: at most so many tokens each.
        stop: an answer ends before the first of these strings.
        batch_size: prompts decoded together, sorted by length.

    Returns:
        n texts without the prompt and without special tokens.

    Raises:
        ValueError: a prompt without tokens.
    """
    import torch

    encoded = [model.encode(prompt) for prompt in prompts]
    if any(not ids for ids in encoded):
        raise ValueError("every prompt needs at least one token")
    order = sorted(range(len(prompts)), key=lambda i: (len(encoded[i]), i))
    pad = model.tokenizer.pad_token_id
    pad = model.tokenizer.eos_token_id if pad is None else pad
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = max(len(encoded[i]) for i in batch)
        ids = torch.tensor(
            [[pad] * (width - len(encoded[i])) + encoded[i] for i in batch], device=model.device
        )
        lengths = torch.tensor([len(encoded[i]) for i in batch], device=model.device)
        mask = torch.arange(width, device=model.device)[None] >= width - lengths[:, None]
        with torch.inference_mode():
            output = model.module.generate(
                input_ids=ids,
                attention_mask=mask.long(),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=pad,
                temperature=None,
                top_p=None,
                top_k=None,
            )
        model.tokens += int(mask.sum()) + (output.shape[1] - width) * len(batch)
        for i, row in zip(batch, output[:, width:].tolist(), strict=True):
            answers[i] = cut(model.decode(row), stop)
    return answers


def cut(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first of the stop strings."""
    ends = [text.find(mark) for mark in stop if mark in text]
    return text[: min(ends)] if ends else text
