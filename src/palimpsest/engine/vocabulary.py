"""Projection to the vocabulary: only where a token is scored, in slices that stay in cache.

The scores of all words for one position are hundreds of kilobytes, for a batch hundreds of
megabytes that would be written and read several times. Here a slice of the vocabulary is scored
for many positions at once and reduced on the spot: the running maximum and the sums that the
normaliser (and, on request, the mean and the deviation of log p under the model's own
distribution) need. The loss keeps, or computes again, what its gradient needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from palimpsest.models.products import add_product, is_plain, product

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("models.products",)

#: Words of one slice and positions of one chunk; on a CPU their product is 8 MB of float32.
SLICE = {"cpu": 4096, "cuda": 16384}
CHUNK = {"cpu": 512, "cuda": 8192}
#: Bytes of scores that the loss keeps for its gradient; beyond, it computes them again.
KEPT_BYTES = {"cpu": 1 << 29, "cuda": 1 << 31}


@dataclass(frozen=True)
class WordScores:
    """Of n positions, each with one or more scored words.

    Attributes:
        log_p: (words,) log-probabilities in nats, float64.
        mean: (n,) mean of log p under the model's distribution, in nats; None if not asked for.
        deviation: (n,) standard deviation of log p under the model's distribution, in nats.
        top: (n,) the likeliest word, the first of equals; None if not asked for.
    """

    log_p: torch.Tensor
    mean: torch.Tensor | None = None
    deviation: torch.Tensor | None = None
    top: torch.Tensor | None = None


@torch.inference_mode()
def word_scores(
    head: nn.Module,
    hidden: torch.Tensor,
    at: torch.Tensor,
    words: torch.Tensor,
    moments: bool = False,
    top: bool = False,
) -> WordScores:
    """log p(word | position) for pairs, with each position projected once.

    Args:
        head: projection to the vocabulary.
        hidden: (n, width) last hidden states.
        at: (words,) index of the position of each word.
        words: (words,) token ids.
        moments: mean and deviation of log p too.
        top: the likeliest word of each position too.
    """
    chunk = CHUNK[hidden.device.type]
    parts = [
        _reduced(head, hidden[start : start + chunk], moments, top)
        for start in range(0, len(hidden), chunk)
    ]
    norm = torch.cat([part.norm for part in parts])
    best = torch.cat([part.top for part in parts]) if top else None
    scores = torch.empty(len(at), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(at), chunk):
        part = slice(start, start + chunk)
        scores[part] = _scores_of(head, hidden[at[part]], words[part])
    log_p = scores.double() - norm[at].double()
    if not moments:
        return WordScores(log_p, top=best)
    mean = torch.cat([part.mean for part in parts]).double() - norm.double()
    variance = torch.cat([part.variance for part in parts]).double()
    return WordScores(log_p, mean, variance.clamp_min(0).sqrt(), best)


def negative_log_likelihood(
    model: LanguageModel, hidden: torch.Tensor, words: torch.Tensor
) -> torch.Tensor:
    """-log p(word) in nats for each position, with a gradient for hidden states and projection.

    Args:
        model: whose projection is used.
        hidden: (n, width) last hidden states of the positions before the words.
        words: (n,) token ids.

    Returns:
        float32 tensor of shape (n,).
    """
    head = model.module.get_output_embeddings()
    if not is_plain(head):
        logits = head(hidden).float()
        return torch.nn.functional.cross_entropy(logits, words, reduction="none")
    parts = (hidden, head.weight, head.bias)
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    parts = (None if part is None else part.to(dtype) for part in parts)
    with torch.autocast(kind, enabled=False):
        return _NegativeLogLikelihood.apply(*parts, words)


@dataclass(frozen=True)
class _Reduced:
    """Of n positions: log of the normaliser, mean and variance of the scores, likeliest word."""

    norm: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    top: torch.Tensor


def _reduced(head: nn.Module, hidden: torch.Tensor, moments: bool, top: bool) -> _Reduced:
    """Slice by slice; what was not asked for is not meant to be read."""
    n, device = len(hidden), hidden.device
    largest = torch.full((n, 1), -torch.inf, device=device)
    total = torch.zeros(n, 1, device=device)
    first, second = torch.zeros_like(total), torch.zeros_like(total)
    best, seen = torch.zeros(n, 1, dtype=torch.long, device=device), 0
    for scores in _slices(head, hidden):
        if top:
            highest, word = scores.max(-1, keepdim=True)
            best = torch.where(highest > largest, word + seen, best)
            seen += scores.shape[1]
        else:
            highest = scores.amax(-1, keepdim=True)
        peak = torch.maximum(largest, highest)
        down = torch.where(largest.isinf(), 0.0, largest - peak)
        scores.sub_(peak)
        weights = scores.exp()
        shrink = down.exp()
        if moments:
            # Sums of e^x x and e^x x^2 about the running maximum, moved with it.
            moved = second + 2 * down * first + down.square() * total
            first = shrink * (first + down * total)
            second = shrink * moved
        total = shrink * total + weights.sum(-1, keepdim=True)
        if moments:
            first += weights.mul_(scores).sum(-1, keepdim=True)
            second += weights.mul_(scores).sum(-1, keepdim=True)
        largest = peak
    mean = first / total
    return _Reduced(
        (largest + total.log())[:, 0],
        (largest + mean)[:, 0],
        (second / total - mean.square())[:, 0],
        best[:, 0],
    )


def _slices(head: nn.Module, hidden: torch.Tensor) -> Any:
    """Scores of one slice of the vocabulary after another, float32; read one before the next."""
    if not is_plain(head):
        yield head(hidden).float()
        return
    width = SLICE[hidden.device.type]
    size = min(width, len(head.weight))
    buffer = torch.empty(len(hidden) * size, dtype=hidden.dtype, device=hidden.device)
    for columns in _cuts(len(head.weight), width):
        weight = head.weight[columns]
        space = buffer[: len(hidden) * len(weight)].view(len(hidden), len(weight))
        scores = product(hidden, weight, space=space)
        if head.bias is not None:
            scores += head.bias[columns]
        yield scores.float()


def _scores_of(head: nn.Module, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Scores of one word a position, float32, without the other words."""
    if not is_plain(head):
        return head(hidden).float().gather(1, words[:, None])[:, 0]
    scores = torch.linalg.vecdot(hidden.float(), head.weight[words].float())
    if head.bias is not None:
        scores += head.bias[words].float()
    # What a product in lower precision rounds to, the single score must round to as well.
    return scores.to(hidden.dtype).float()


class _NegativeLogLikelihood(torch.autograd.Function):
    """Cross-entropy over a linear projection; slice by slice in both directions."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        words: torch.Tensor,
    ) -> torch.Tensor:
        kind = hidden.device.type
        keep = len(hidden) * len(weight) * hidden.element_size() <= KEPT_BYTES[kind]
        losses = torch.empty(len(hidden), device=hidden.device)
        norms = torch.empty_like(losses)
        ctx.kept = []
        for rows in _cuts(len(hidden), CHUNK[kind]):
            parts, norms[rows], own = _projected(hidden[rows], weight, bias, words[rows])
            losses[rows] = norms[rows] - own
            if keep:
                ctx.kept.append(parts)
        ctx.save_for_backward(hidden, weight, bias, words, norms)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, words, norms = ctx.saved_tensors
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        of_hidden = torch.zeros_like(hidden) if for_hidden else None
        of_weight = torch.zeros_like(weight) if for_weight else None
        of_bias = torch.zeros_like(bias) if for_bias else None
        kept, ctx.kept = ctx.kept, []
        kind = hidden.device.type
        for number, rows in enumerate(_cuts(len(hidden), CHUNK[kind])):
            parts = kept[number] if kept else _projected(hidden[rows], weight, bias, words[rows])[0]
            for columns, part in zip(_cuts(len(weight), SLICE[kind]), parts, strict=True):
                change = part.float().sub_(norms[rows, None]).exp_()
                change.mul_(grad[rows, None])
                own = words[rows] - columns.start
                inside = ((own >= 0) & (own < change.shape[1])).nonzero()[:, 0]
                change[inside, own[inside]] -= grad[rows][inside]
                change = change.to(hidden.dtype)
                if for_hidden:
                    add_product(of_hidden[rows], change, weight[columns].T)
                if for_weight:
                    of_weight[columns].addmm_(change.T, hidden[rows])
                if for_bias:
                    of_bias[columns] += change.sum(0)
        return of_hidden, of_weight, of_bias, None


def _cuts(n: int, size: int) -> list[slice]:
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _projected(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, words: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Scores of all words in slices, (n, words) together; of n positions, float32, the log of the
    normaliser and the score of the position's own word."""
    n, device = len(hidden), hidden.device
    parts = []
    largest = torch.full((n, 1), -torch.inf, device=device)
    total, own = torch.zeros(n, 1, device=device), torch.zeros(n, 1, device=device)
    for columns in _cuts(len(weight), SLICE[device.type]):
        part = product(hidden, weight[columns])
        if bias is not None:
            part += bias[columns]
        parts.append(part)
        top = torch.maximum(largest, part.amax(-1, keepdim=True).float())
        total = total * (largest - top).exp() + (part.float() - top).exp_().sum(-1, keepdim=True)
        largest = top
        at = words[:, None] - columns.start
        there = at.clamp(0, part.shape[1] - 1)
        own = torch.where(at == there, part.gather(1, there).float(), own)
    return parts, (largest + total.log())[:, 0], own[:, 0]
