"""Log-probabilities of continuations: exact, and with every shared token computed once.

Sequences (prompt plus continuation) share their prefixes in the rows of ``packing``; the
vocabulary is projected only where a token is scored (``vocabulary``). The result equals the plain
computation, one sequence at a time, to float32 rounding; where an architecture does not accept
packed rows, that plain computation is used.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.engine import packing
from palimpsest.engine.plain import own_scores, packs, plain_scores
from palimpsest.engine.rows import plan

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.vocabulary import WordScores
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("engine.packing", "engine.plain", "engine.vocabulary")

#: Tokens of one row on a CPU: enough for matrix products at full speed, few enough for the cache.
CPU_BUDGET = 1024
#: No row is longer on a GPU, and none is cut below the least when memory runs out.
GPU_BUDGET, LEAST_BUDGET = 32768, 64
#: Share of a GPU's free memory that one row may take.
_SHARE_OF_MEMORY = 0.5

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class SequenceScores:
    """What one pass says of the T scored tokens of a sequence; arrays of shape (T,), float64.

    Attributes:
        log_p: log-probability of each, in nats.
        mean: mean of log p under the model's own distribution at each of these places, in nats;
            None if not asked for, as all that follows.
        deviation: its standard deviation, in nats.
        top: the likeliest token at each of these places. Where it is the token itself up to some
            place, greedy decoding from any token before writes just that.
    """

    log_p: np.ndarray
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    top: np.ndarray | None = None


@dataclass(frozen=True)
class Rank:
    """Place of one candidate among n by summed log-probability.

    Attributes:
        rank: 1 is the likeliest; candidates that tie with it count one half.
        n: number of candidates, itself among them.
        score: its summed log-probability, in nats.
    """

    rank: float
    n: int
    score: float


def log_likelihoods(
    model: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    token_budget: int | None = None,
) -> list[list[np.ndarray]]:
    """Log-probabilities (nats) of every token of every continuation after its prompt.

    Args:
        model: the model.
        prompts: n prompts.
        continuations: for each prompt, the texts that may follow it.
        token_budget: tokens a row, found from the device when None.

    Returns:
        For each prompt and each continuation an array of shape (tokens of the continuation,).

    Raises:
        ValueError: lists of different length, or a continuation without a token of its own.
    """
    pairs = [
        [model.encode_pair(prompt, text) for text in texts]
        for prompt, texts in zip(prompts, continuations, strict=True)
    ]
    flat = [pair for group in pairs for pair in group]
    scored = iter(token_log_likelihoods(model, flat, token_budget))
    return [[next(scored) for _ in group] for group in pairs]


def token_log_likelihoods(
    model: LanguageModel, pairs: Sequence[Pair], token_budget: int | None = None
) -> list[np.ndarray]:
    """As :func:`log_likelihoods`, on token ids: (prompt, continuation) -> one array a pair.

    Raises:
        ValueError: an empty prompt or continuation.
    """
    return [scores.log_p for scores in pair_scores(model, pairs, token_budget, moments=False)]


def ranks(
    model: LanguageModel,
    prompts: Sequence[str],
    candidates: Sequence[Sequence[str]],
    answers: Sequence[int],
    token_budget: int | None = None,
) -> list[Rank]:
    """Exact rank of one continuation among all candidates after the same prompt.

    Args:
        model: the model.
        prompts: n prompts.
        candidates: for each prompt all candidates, thousands if need be.
        answers: for each prompt the index of the candidate whose rank is asked for.
        token_budget: tokens a row, found from the device when None.

    Raises:
        ValueError: lists of different length, or an index without a candidate.
    """
    for texts, answer in zip(candidates, answers, strict=True):
        if not 0 <= answer < len(texts):
            raise ValueError(f"answer {answer}: there are {len(texts)} candidates")
    found = []
    scored = log_likelihoods(model, prompts, candidates, token_budget)
    for values, answer in zip(scored, answers, strict=True):
        sums = np.array([value.sum() for value in values])
        better, equal = (sums > sums[answer]).sum(), (sums == sums[answer]).sum()
        found.append(Rank(float(better + (equal + 1) / 2), len(sums), float(sums[answer])))
    return found


def sequence_scores(
    model: LanguageModel,
    sequences: Sequence[Sequence[int]],
    token_budget: int | None = None,
    moments: bool = True,
    top: bool = False,
) -> list[SequenceScores]:
    """All that measures of membership and of recall need of whole sequences, in one pass.

    Args:
        model: the model.
        sequences: token ids; the first of each is context only, all others are scored.
        token_budget: tokens a row, found from the device when None.
        moments: mean and deviation of log p, for measures of membership.
        top: the likeliest tokens, for recall.

    Raises:
        ValueError: a sequence of fewer than two tokens.
    """
    if any(len(ids) < 2 for ids in sequences):
        raise ValueError("every sequence needs at least two tokens: the first is not scored")
    pairs = [(list(ids[:1]), list(ids[1:])) for ids in sequences]
    return pair_scores(model, pairs, token_budget, moments, top)


def pair_scores(
    model: LanguageModel,
    pairs: Sequence[Pair],
    token_budget: int | None = None,
    moments: bool = True,
    top: bool = False,
) -> list[SequenceScores]:
    """As :func:`sequence_scores`, of continuations alone: (prompt, continuation) in token ids.

    Raises:
        ValueError: an empty prompt or continuation.
    """
    if any(not head or not tail for head, tail in pairs):
        raise ValueError("every prompt and every continuation needs at least one token")
    if not packs(model):
        return [plain_scores(model, head, tail) for head, tail in pairs]
    results: list[SequenceScores | None] = [None] * len(pairs)

    def collect(hidden: torch.Tensor, members: list[tuple[int, list[int]]]) -> None:
        at = [path[len(pairs[index][0]) - 1 :] for index, path in members]
        words = np.concatenate([pairs[index][1] for index, _ in members])
        nodes, where = np.unique(np.concatenate(at), return_inverse=True)
        scores = _word_scores(model, hidden, nodes, where, words, moments, top)
        log_p = scores.log_p.cpu().numpy()
        others = [
            None if each is None else each.cpu().numpy()[where]
            for each in (scores.mean, scores.deviation, scores.top)
        ]
        start = 0
        for (index, _), nodes_of in zip(members, at, strict=True):
            part = slice(start, start := start + len(nodes_of))
            of_index = (None if each is None else each[part] for each in others)
            results[index] = SequenceScores(log_p[part], *of_index)

    _over_rows(model, [[*head, *tail[:-1]] for head, tail in pairs], token_budget, collect)
    return results


def hidden_states(
    model: LanguageModel,
    texts: Sequence[str | list[int]],
    layers: Sequence[int],
    pooling: str = "last",
    token_budget: int | None = None,
) -> np.ndarray:
    """Hidden states of chosen layers for each text.

    Args:
        texts: n texts, or their token ids.
        layers: indices of decoder layers, negative ones from the end; only these are kept.
        pooling: ``last`` token or ``mean`` over the text's tokens.
        token_budget: tokens a row, found from the device when None.

    Returns:
        float32 array of shape (n, layers, width), the output of each layer.

    Raises:
        ValueError: an unknown pooling, or a text without tokens.
    """
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling {pooling!r}: allowed are last, mean")
    encoded = [model.encode(text) if isinstance(text, str) else text for text in texts]
    if any(not ids for ids in encoded):
        raise ValueError("every text needs at least one token")
    results = np.empty((len(texts), len(layers), model.module.config.hidden_size), np.float32)

    def pool(kept: dict[int, torch.Tensor], members: list[tuple[int, list[int]]]) -> None:
        for index, path in members:
            for place, layer in enumerate(layers):
                states = kept[layer][path]
                pooled = states[-1] if pooling == "last" else states.mean(0)
                results[index, place] = pooled.float().cpu().numpy()

    with _kept_layers(model, layers) as kept:
        if not packs(model):
            for index, ids in enumerate(encoded):
                own_scores(model, ids)
                pool(kept, [(index, list(range(len(ids))))])
            return results
        _over_rows(model, encoded, token_budget, lambda _, members: pool(kept, members))
    return results


def _word_scores(
    model: LanguageModel,
    hidden: torch.Tensor,
    nodes: np.ndarray,
    where: np.ndarray,
    words: np.ndarray,
    moments: bool,
    top: bool,
) -> WordScores:
    import torch

    from palimpsest.engine.vocabulary import word_scores

    scored = hidden[torch.from_numpy(nodes).to(hidden.device)]
    head = model.module.get_output_embeddings()
    at, ids = (torch.from_numpy(part).to(hidden.device) for part in (where, words))
    return word_scores(head, scored, at, ids, moments, top)


def _over_rows(
    model: LanguageModel,
    sequences: Sequence[Sequence[int]],
    token_budget: int | None,
    read: Callable[[torch.Tensor, list[tuple[int, list[int]]]], None],
) -> None:
    """Put all sequences through the model; the budget is halved when memory is exhausted.

    Args:
        model: the model.
        sequences: token ids.
        token_budget: tokens a row, found from the device when None.
        read: gets the last hidden states of a row, and its members: index, node of each token.

    Raises:
        MemoryError: memory is exhausted even with the least budget.
    """
    import torch

    budget = token_budget or _budget(model)
    exchange = packing.exchange_rate(model)
    waiting = list(range(len(sequences)))
    while waiting:
        done: set[int] = set()
        try:
            for row, members in plan([sequences[i] for i in waiting], budget, exchange):
                members = [(waiting[place], path) for place, path in members]
                with torch.inference_mode():
                    read(packing.hidden(model, packing.Layout(row, model.device)), members)
                done.update(index for index, _ in members)
            return
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if budget // 2 < LEAST_BUDGET:
                raise MemoryError(f"out of memory even with {budget} tokens a row") from error
            budget //= 2
            waiting = [index for index in waiting if index not in done]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Does an error say that memory is exhausted? On a CPU only torch's message tells."""
    import torch

    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def _budget(model: LanguageModel) -> int:
    """Tokens a row: what keeps a CPU's cache, or fits a share of a GPU's free memory."""
    if model.device.type != "cuda":
        return CPU_BUDGET

    config = model.module.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    token = (8 * config.hidden_size + 3 * inner) * model.dtype.itemsize
    free = model.free_bytes()
    return int(min(GPU_BUDGET, max(LEAST_BUDGET, _SHARE_OF_MEMORY * free / token)))


@contextlib.contextmanager
def _kept_layers(model: LanguageModel, layers: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Inside, the outputs of these layers of the last forward pass: (tokens, width) each."""
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, _module: object, _inputs: object, output: object) -> None:
        states = output[0] if isinstance(output, tuple) else output
        kept[layer] = states.detach()[0]

    blocks = model.module.get_decoder().layers
    handles = [
        blocks[layer].register_forward_hook(functools.partial(keep, layer)) for layer in layers
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
