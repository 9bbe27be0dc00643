"""Words that mean nearly what a forbidden one does, by the model's own embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1

#: Share of the width that the directions have which all embeddings have in common.
COMMON = 0.01
#: Rows of embeddings that are compared at once.
_ROWS = 8192


def alike_words(
    model: LanguageModel, phrases: Sequence[str], least: float
) -> dict[str, tuple[int, ...]]:
    """Phrase -> tokens whose embedding has a cosine of at least so much with that of the phrase.

    Words that are one token alone are compared, since the mean of the pieces of others says little.
    Common words lie together whatever they mean: the mean of all embeddings and the directions of
    most variance are taken away first (Mu and Viswanath 2018, arXiv 1702.01417).

    Args:
        model: whose input embeddings are used.
        phrases: forbidden phrases; those of several tokens, and numbers, are alike to none.
        least: cosine; above 1 no word is alike.
    """
    import torch
    from torch.nn.functional import normalize

    words = {p: ids[0] for p in phrases if len(ids := _tokens(model, p)) == 1 and not p.isnumeric()}
    if not words or least > 1:
        return {}
    with torch.inference_mode():
        weight = model.module.get_input_embeddings().weight
        mean = weight.float().mean(0)
        common = _common_directions(weight, mean)

        def plain(rows: torch.Tensor) -> torch.Tensor:
            rows = rows.float() - mean
            return normalize(rows - rows @ common @ common.T, dim=-1)

        wanted = plain(weight[list(words.values())])
        near = torch.cat([plain(rows) @ wanted.T >= least for rows in weight.split(_ROWS)])
    found = [tuple(column.nonzero()[:, 0].tolist()) for column in near.T]
    return dict(zip(words, found, strict=True))


def _tokens(model: LanguageModel, phrase: str) -> list[int]:
    return model.tokenizer(f" {phrase}", add_special_tokens=False).input_ids


def _common_directions(weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(width, k) directions of most variance."""
    import torch

    width = weight.shape[1]
    total = torch.zeros(width, width, device=weight.device)
    for rows in weight.split(_ROWS):
        centred = rows.float() - mean
        total += centred.T @ centred
    return torch.linalg.eigh(total)[1][:, -max(1, int(COMMON * width)) :]
