"""Log-probabilities of continuations: exact, and with every shared token computed once.

All sequences (prompt plus continuation) are laid into a prefix tree. The nodes of the tree become
one row of tokens with their depth as position and an attention mask that lets a node see its
ancestors only, so a prompt that a thousand candidates share is computed once, and there is no
padding. The vocabulary is projected only at nodes whose children are scored. The result equals the
plain computation, one sequence at a time, to float32 rounding; where an architecture does not
accept such masks, that plain computation is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1

#: Tokens of one row; a row costs attention quadratic in this and memory linear in it.
TOKEN_BUDGET = {"cpu": 512, "cuda": 4096}
#: Positions whose full vocabulary is held at once.
VOCABULARY_CHUNK = 256


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
    scored = token_log_likelihoods(model, flat, token_budget)
    results, start = [], 0
    for group in pairs:
        results.append(scored[start : start + len(group)])
        start += len(group)
    return results


def token_log_likelihoods(
    model: LanguageModel,
    pairs: Sequence[tuple[list[int], list[int]]],
    token_budget: int | None = None,
) -> list[np.ndarray]:
    """As :func:`log_likelihoods`, on token ids: (prompt, continuation) -> one array a pair.

    Raises:
        ValueError: an empty prompt or continuation.
    """
    if any(not head or not tail for head, tail in pairs):
        raise ValueError("every prompt and every continuation needs at least one token")
    if not _packs(model):
        return [_plain(model, head, tail) for head, tail in pairs]
    results: list[np.ndarray] = [np.empty(0)] * len(pairs)
    for row in _rows(pairs, token_budget or TOKEN_BUDGET[model.device.type]):
        hidden = _forward(model, row)
        at = np.array([parent for parent, _ in row.edges])
        tokens = np.array([token for _, token in row.edges])
        values = _log_probabilities(model, hidden, at, tokens)
        for index, edges in row.members:
            results[index] = values[edges]
    return results


def hidden_states(
    model: LanguageModel,
    texts: Sequence[str],
    layers: Sequence[int],
    pooling: str = "last",
    token_budget: int | None = None,
) -> np.ndarray:
    """Hidden states of chosen layers for each text.

    Args:
        texts: n texts.
        layers: indices of decoder layers, negative ones from the end; only these are kept.
        pooling: ``last`` token or ``mean`` over the text's tokens.
        token_budget: tokens a row, found from the device when None.

    Returns:
        float32 array of shape (n, layers, width), the output of each layer.

    Raises:
        ValueError: an unknown pooling, or a text without tokens.
    """
    import torch

    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling {pooling!r}: allowed are last, mean")
    encoded = [model.encode(text) for text in texts]
    if any(not ids for ids in encoded):
        raise ValueError("every text needs at least one token")
    blocks = _decoder(model).layers
    kept: dict[int, torch.Tensor] = {}
    handles = [
        blocks[layer].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: kept.__setitem__(
                layer, (output[0] if isinstance(output, tuple) else output).detach()
            )
        )
        for layer in layers
    ]
    results = np.empty((len(texts), len(layers), model.module.config.hidden_size), np.float32)
    try:
        if _packs(model):
            # A last, never scored token makes every token of the text a node of the tree.
            pairs = [(ids, [-1]) for ids in encoded]
            for row in _rows(pairs, token_budget or TOKEN_BUDGET[model.device.type]):
                _forward(model, row)
                for index, _ in row.members:
                    path = row.paths[index]
                    for position, layer in enumerate(layers):
                        states = kept[layer][0, path]
                        results[index, position] = _pooled(states, pooling)
        else:
            for index, ids in enumerate(encoded):
                with torch.inference_mode():
                    model.module(input_ids=torch.tensor([ids], device=model.device))
                for position, layer in enumerate(layers):
                    results[index, position] = _pooled(kept[layer][0], pooling)
    finally:
        for handle in handles:
            handle.remove()
    return results


def with_retry_on_memory(run: Callable[[int], list], budget: int, least: int = 64) -> list:
    """Run with a token budget that is halved each time memory is exhausted.

    Raises:
        RuntimeError: memory is exhausted even at ``least`` tokens.
    """
    import torch

    while True:
        try:
            return run(budget)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if budget // 2 < least:
                raise RuntimeError(f"out of memory even with {budget} tokens a row") from error
            budget //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


@dataclass
class _Row:
    """One row: a prefix tree whose inner nodes are put through the model."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    nodes: dict[tuple[int, int], int] = field(default_factory=dict)
    edges: list[tuple[int, int]] = field(default_factory=list)
    edge_index: dict[tuple[int, int], int] = field(default_factory=dict)
    members: list[tuple[int, np.ndarray]] = field(default_factory=list)
    paths: dict[int, list[int]] = field(default_factory=dict)

    def missing(self, ids: Sequence[int]) -> int:
        """How many nodes ``ids`` would add."""
        node = -1
        for depth, token in enumerate(ids):
            node = self.nodes.get((node, token), -2)
            if node == -2:
                return len(ids) - depth
        return 0

    def add(self, index: int, head: list[int], tail: list[int]) -> None:
        path = []
        node = -1
        for token in [*head, *tail[:-1]]:
            key = (node, token)
            if key not in self.nodes:
                self.nodes[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(len(path))
            node = self.nodes[key]
            path.append(node)
        edges = []
        for parent, token in zip(path[len(head) - 1 :], tail, strict=True):
            key = (parent, token)
            if key not in self.edge_index:
                self.edge_index[key] = len(self.edges)
                self.edges.append(key)
            edges.append(self.edge_index[key])
        self.members.append((index, np.array(edges)))
        self.paths[index] = path

    def mask(self) -> np.ndarray:
        """Boolean (nodes, nodes): which nodes each node sees, its ancestors and itself."""
        seen = np.zeros((len(self.tokens),) * 2, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node, : parent + 1] = seen[parent, : parent + 1]
            seen[node, node] = True
        return seen


def _rows(pairs: Sequence[tuple[list[int], list[int]]], budget: int) -> list[_Row]:
    """Cut sequences, in lexicographic order so that neighbours share most, into rows."""
    order = sorted(range(len(pairs)), key=lambda i: (pairs[i][0] + pairs[i][1], i))
    rows = [_Row()]
    for index in order:
        head, tail = pairs[index]
        fed = [*head, *tail[:-1]]
        if rows[-1].tokens and len(rows[-1].tokens) + rows[-1].missing(fed) > budget:
            rows.append(_Row())
        rows[-1].add(index, head, tail)
    return [row for row in rows if row.members]


def _forward(model: LanguageModel, row: _Row) -> torch.Tensor:
    """Last hidden states of all nodes, shape (nodes, width)."""
    import torch

    device = model.device
    seen = torch.from_numpy(row.mask()).to(device)
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=device)
    mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
    model.tokens += len(row.tokens)
    with torch.inference_mode():
        return _decoder(model)(
            input_ids=torch.tensor([row.tokens], device=device),
            attention_mask=mask[None, None],
            position_ids=torch.tensor([row.depths], device=device),
            use_cache=False,
        ).last_hidden_state[0]


def _log_probabilities(
    model: LanguageModel, hidden: torch.Tensor, at: np.ndarray, tokens: np.ndarray
) -> np.ndarray:
    """log p(token | node) for pairs, projecting each node once, a chunk of nodes at a time."""
    import torch

    head = model.module.get_output_embeddings()
    nodes, where = np.unique(at, return_inverse=True)
    values = np.empty(len(at), dtype=np.float64)
    with torch.inference_mode():
        for start in range(0, len(nodes), VOCABULARY_CHUNK):
            chunk = torch.from_numpy(nodes[start : start + VOCABULARY_CHUNK]).to(hidden.device)
            logits = head(hidden[chunk]).float()
            norm = torch.logsumexp(logits, dim=-1)
            inside = (where >= start) & (where < start + VOCABULARY_CHUNK)
            rows = torch.from_numpy(where[inside] - start).to(hidden.device)
            columns = torch.from_numpy(tokens[inside]).to(hidden.device)
            values[inside] = (logits[rows, columns] - norm[rows]).double().cpu().numpy()
    return values


def _plain(model: LanguageModel, head: list[int], tail: list[int]) -> np.ndarray:
    """The slow twin: one sequence, the whole model, nothing shared."""
    import torch

    ids = torch.tensor([head + tail], device=model.device)
    model.tokens += ids.shape[1]
    with torch.inference_mode():
        logits = model.module(input_ids=ids, use_cache=False).logits[0, len(head) - 1 : -1]
        scores = torch.log_softmax(logits.float(), dim=-1)
        picked = scores.gather(-1, ids[0, len(head) :, None])[:, 0]
    return picked.double().cpu().numpy()


def _packs(model: LanguageModel) -> bool:
    """Does the packed computation equal the plain one on this architecture? Tried once."""
    if model.packs is None:
        ids = model.encode("The quick brown fox jumps over the lazy dog") or [0, 1, 2, 3]
        half = max(1, len(ids) // 2)
        pairs = [(ids[:half], ids[half:]), (ids[:half], ids[half:][::-1]), (ids[1:half], ids[:2])]
        pairs = [(head, tail) for head, tail in pairs if head and tail]
        expected = [_plain(model, head, tail) for head, tail in pairs]
        try:
            model.packs = True
            got = token_log_likelihoods(model, pairs, 512)
            tolerance = 1e-3 if model.dtype.itemsize == 4 else 0.2
            model.packs = all(
                np.allclose(a, b, atol=tolerance) for a, b in zip(got, expected, strict=True)
            )
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
            model.packs = False
    return model.packs


def _decoder(model: LanguageModel) -> torch.nn.Module:
    """The stack of layers without the projection to the vocabulary."""
    return model.module.get_decoder()


def _pooled(states: torch.Tensor, pooling: str) -> np.ndarray:
    pooled = states[-1] if pooling == "last" else states.mean(0)
    return pooled.float().cpu().numpy()
