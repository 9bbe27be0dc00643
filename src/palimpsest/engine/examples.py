"""Sentences as a trainer sees them: token ids, which of them carry loss, and batches in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.packing", "engine.plain", "engine.vocabulary")


@dataclass(frozen=True)
class Example:
    """A sentence as token ids, and which of them carry loss (never the first).

    Attributes:
        ids: token ids.
        scored: for each token whether it carries loss.
        role: what a method may tell examples apart by, such as ``forget`` and ``retain``.
    """

    ids: tuple[int, ...]
    scored: tuple[bool, ...]
    role: str = ""


@dataclass(frozen=True)
class TokenLosses:
    """Losses of the scored tokens of some sentences.

    Attributes:
        values: (scored tokens,) -log p in nats, float32, with a gradient.
        owner: (scored tokens,) which sentence each belongs to.
        sentences: number of sentences.
    """

    values: torch.Tensor
    owner: torch.Tensor
    sentences: int

    def sums(self) -> torch.Tensor:
        """(sentences,) -log p of the scored part of each sentence, in nats."""
        zeros = self.values.new_zeros(self.sentences)
        return zeros.index_add(0, self.owner, self.values)

    def means(self) -> torch.Tensor:
        """(sentences,) mean -log p a scored token, in nats."""
        counts = self.owner.bincount(minlength=self.sentences)
        return self.sums() / counts.clamp_min(1)


def example(
    model: LanguageModel, before: str, answer: str, after: str, scored: str, role: str = ""
) -> Example:
    """A sentence whose answer is known, with the loss on the answer or on all of it.

    Args:
        model: whose tokens are used.
        before: text before the answer.
        answer: the answer, with the space before it.
        after: text behind the answer, scored with it so that a free answer learns to end.
        scored: ``answer`` or ``sentence``.
        role: see :class:`Example`.
    """
    head, tail = model.encode_pair(before, answer + after)
    first = len(head) if scored == "answer" else 1
    return Example(
        tuple(head + tail), tuple(place >= first for place in range(len(head) + len(tail))), role
    )


def batches(
    examples: Sequence[Any], batch_size: int, epochs: int, seed: int, skip: int = 0
) -> Iterator[list[Any]]:
    """Every example once an epoch, in an order that depends on the seed and the epoch alone.

    Args:
        examples: n examples, or groups of them that stay together.
        batch_size: examples a batch; the last of an epoch may be smaller.
        epochs: how often all are shown.
        seed: seed of the order.
        skip: batches at the beginning that are left out, to continue a run.
    """
    number = 0
    for epoch in range(epochs):
        order = np.random.default_rng([seed % (1 << 63), epoch]).permutation(len(examples))
        for start in range(0, len(order), batch_size):
            if number >= skip:
                yield [examples[i] for i in order[start : start + batch_size]]
            number += 1


def parts(batch: Sequence[Example], token_budget: int) -> Iterator[Sequence[Example]]:
    """Cut a batch into parts of at most so many tokens; a longer sentence stands alone."""
    start, tokens = 0, 0
    for place, item in enumerate(batch):
        if place > start and tokens + len(item.ids) > token_budget:
            yield batch[start:place]
            start, tokens = place, 0
        tokens += len(item.ids)
    if start < len(batch):
        yield batch[start:]


@dataclass(frozen=True)
class ScoredTokens:
    """What the model says before each scored token of some sentences.

    Attributes:
        states: (scored tokens, width) last hidden states of the places before them.
        words: (scored tokens,) ids of the tokens.
        owner: (scored tokens,) which sentence each belongs to.
        sentences: number of sentences.
    """

    states: torch.Tensor
    words: torch.Tensor
    owner: torch.Tensor
    sentences: int

    def only(self, chosen: Sequence[int]) -> ScoredTokens:
        """Those of some sentences, numbered anew in the order given, which must increase."""
        import torch

        number = torch.full((self.sentences,), -1, device=self.owner.device)
        number[list(chosen)] = torch.arange(len(chosen), device=self.owner.device)
        owner = number[self.owner]
        kept = owner >= 0
        return ScoredTokens(self.states[kept], self.words[kept], owner[kept], len(chosen))


def scored_tokens(model: LanguageModel, sentences: Sequence[Example]) -> ScoredTokens:
    """One pass over sentences in one row without padding, with the caller's gradient mode.

    Raises:
        ValueError: the first token of a sentence is scored: nothing stands before it.
        NotPackableError: the model's scores are not what its last hidden states give here.
    """
    import torch

    from palimpsest.engine.packing import Layout, hidden
    from palimpsest.engine.plain import require_packing
    from palimpsest.engine.rows import chains

    _check(sentences)
    require_packing(model)
    scored = np.flatnonzero([mark for sentence in sentences for mark in sentence.scored])
    owner = np.repeat(np.arange(len(sentences)), [sum(s.scored) for s in sentences])
    layout = Layout(chains([sentence.ids for sentence in sentences]), model.device)
    at = torch.from_numpy(scored).to(model.device)
    states = hidden(model, layout)
    # Where the vocabulary is projected, which need not be where tokens go in.
    words, before = layout.ids[0, at].to(states.device), (at - 1).to(states.device)
    owner = torch.from_numpy(owner).to(states.device)
    return ScoredTokens(states.index_select(0, before), words, owner, len(sentences))


def token_losses(model: LanguageModel, sentences: Sequence[Example]) -> TokenLosses:
    """Losses of all scored tokens, in one row without padding, with the caller's gradient mode.

    Where that does not equal the model's own scores (``plain.packs``), sentence by sentence.

    Raises:
        ValueError: the first token of a sentence is scored: nothing stands before it.
    """
    from palimpsest.engine.plain import own_losses, packs
    from palimpsest.engine.vocabulary import negative_log_likelihood

    _check(sentences)
    if not packs(model):
        return own_losses(model, sentences)
    found = scored_tokens(model, sentences)
    values = negative_log_likelihood(model, found.states, found.words)
    return TokenLosses(values, found.owner, found.sentences)


def _check(sentences: Sequence[Example]) -> None:
    if any(sentence.scored[0] for sentence in sentences):
        raise ValueError("the first token of a sentence cannot be scored")
