"""Text that a model writes: greedy or sampled, in batches, with every prompt computed once.

Prompts go through the model as rows of prefix trees (``packing``), so what they share is computed
once; keys and values are then laid into one buffer a layer, and each step puts one token a
sequence through the model. Sequences that have ended leave the batch. Sampling draws from a
generator of its own for every prompt and sample, so a text does not depend on the batch it was
written in. Guards of the model (``guarding``) have the last word on what may be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from palimpsest.engine import packing
from palimpsest.engine.key_values import KeyValues
from palimpsest.engine.plain import packs
from palimpsest.engine.rows import plan
from palimpsest.engine.sampling import Sampling, drawn
from palimpsest.engine.scoring import out_of_memory

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.guarding import Watch
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
# Not ``guarding``: a state that has a guard carries its version, and no other text depends on it.
ENGINE = ("engine.packing", "engine.plain", "engine.key_values", "engine.sampling")

#: (prompts' numbers, tokens written so far, logits (n, words)) -> logits.
LogitsProcessor = Callable[[list[int], list[list[int]], "torch.Tensor"], "torch.Tensor"]

#: Bytes of keys and values in one batch, and sequences in it, on a CPU.
CPU_BYTES, CPU_SEQUENCES = 2 << 30, 128
_SHARE_OF_MEMORY = 0.5
# Sequences that have ended are computed on until so many have: leaving costs a copy.
_SHARE_ENDED = 0.25
_PREFILL_TOKENS = 1024


@dataclass
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        ids: tokens written, without the one that ends a text.
        log_p: log-probability of each in nats, after the logits processor, at temperature 1.
        text: the tokens as text, cut at the first stop string, without special tokens.
        ended_by: a stop string, the end of the text, or the number of tokens.
    """

    ids: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    text: str = ""
    ended_by: Literal["stop", "end", "length"] = "length"


@dataclass
class Draft:
    """One text in the making.

    Attributes:
        prompt: number of its prompt.
        ids: tokens of the prompt.
        draw: generator of a text that is sampled.
        written: what has been written.
        ended: whether it is whole.
    """

    prompt: int
    ids: list[int]
    draw: np.random.Generator | None
    written: Continuation = field(default_factory=Continuation)
    ended: bool = False


def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = ("\n",),
    logits_processor: LogitsProcessor | None = None,
) -> list[str]:
    """Greedy continuation of each prompt.

    Args:
        model: the model.
        prompts: n prompts; answers come back in their order.
        max_new_tokens: at most so many tokens each.
        stop: an answer ends before the first of these strings.
        logits_processor: changes logits before a token is chosen.

    Returns:
        n texts without the prompt and without special tokens.

    Raises:
        ValueError: a prompt without tokens.
    """
    found = continuations(model, prompts, max_new_tokens, stop, logits_processor=logits_processor)
    return [written.text for (written,) in found]


def continuations(
    model: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = ("\n",),
    samples: int = 1,
    sampling: Sampling | None = None,
    logits_processor: LogitsProcessor | None = None,
    batch_size: int | None = None,
) -> list[list[Continuation]]:
    """Continuations of each prompt with their log-probabilities; see :func:`of_tokens`."""
    encoded = [model.encode(prompt) for prompt in prompts]
    return of_tokens(
        model, encoded, max_new_tokens, stop, samples, sampling, logits_processor, batch_size
    )


def of_tokens(
    model: LanguageModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    samples: int = 1,
    sampling: Sampling | None = None,
    logits_processor: LogitsProcessor | None = None,
    batch_size: int | None = None,
) -> list[list[Continuation]]:
    """Continuations of each prompt with their log-probabilities.

    A sampled text depends on the model, the prompt, the seed, the number of the sample and, for a
    prompt that is given more than once, on which one it is.

    Args:
        model: the model.
        prompts: n prompts as token ids.
        max_new_tokens: at most so many tokens each.
        stop: a text ends before the first of these strings.
        samples: texts a prompt.
        sampling: how tokens are chosen; greedily when None.
        logits_processor: changes logits before a token is chosen.
        batch_size: sequences at once, found from memory when None.

    Returns:
        For each prompt its samples.

    Raises:
        ValueError: a prompt without tokens.
        MemoryError: memory is exhausted even with one sequence at a time.
    """
    sampling = sampling or Sampling()
    encoded = list(prompts)
    if any(not ids for ids in encoded):
        raise ValueError("every prompt needs at least one token")
    if not encoded:
        return []
    sequences = _sequences(encoded, samples, sampling)
    watch = None
    if model.guards:
        from palimpsest.engine.guarding import watched

        watch = watched(model, encoded)
    how = (model, max_new_tokens, tuple(stop), sampling, logits_processor, watch)
    longest = max(map(len, encoded)) + max_new_tokens
    size = batch_size or _batch_size(model, longest)

    def anew(batch: list[Draft]) -> list[Draft]:
        return _again(batch, encoded, sampling, sequences, samples)

    order = sorted(sequences, key=lambda sequence: sequence.ids)
    if watch and watch.beams > 1 and not sampling.temperature:
        from palimpsest.engine.beams import BeamWriter

        searched = [sequence for sequence in order if sequence.prompt in watch.prompts]
        order = [sequence for sequence in order if sequence.prompt not in watch.prompts]
        _in_batches(BeamWriter(*how), searched, max(1, size // watch.beams), anew)
    _in_batches(Writer(*how), order, size, anew)
    for sequence in sequences:
        _finish(model, sequence.written, stop)
    return [
        [s.written for s in sequences[start : start + samples]]
        for start in range(0, len(sequences), samples)
    ]


def _in_batches(
    writer: Writer,
    waiting: list[Draft],
    size: int,
    anew: Callable[[list[Draft]], list[Draft]],
) -> None:
    """Write all texts, fewer at once where memory is exhausted."""
    while waiting:
        batch = waiting[:size]
        try:
            writer.write(batch)
            waiting = waiting[size:]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError("out of memory even with one sequence at a time") from error
            size //= 2
            for sequence, fresh in zip(batch, anew(batch), strict=True):
                vars(sequence).update(vars(fresh))


def cut(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first of the stop strings."""
    ends = [text.find(mark) for mark in stop if mark in text]
    return text[: min(ends)] if ends else text


class Writer:
    """Writes one batch after another."""

    def __init__(
        self,
        model: LanguageModel,
        max_new_tokens: int,
        stop: tuple[str, ...],
        sampling: Sampling,
        processor: LogitsProcessor | None,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.most, self.stop = model, max_new_tokens, stop
        self.sampling, self.processor, self.watch = sampling, processor, watch
        self.ends = _end_tokens(model)
        # A tail of so many tokens holds any stop string that the last token completes.
        self.tail = max(map(len, stop), default=0) + 4

    def write(self, batch: list[Draft]) -> None:
        """Write all texts of a batch."""
        import torch

        if not self.most:
            return
        with torch.inference_mode():
            if packs(self.model):
                self._cached(batch)
            else:
                for sequence in batch:
                    self._plainly(sequence)

    def _cached(self, batch: list[Draft]) -> None:
        import torch

        cache = KeyValues(self.model, [len(s.ids) + self.most for s in batch])
        hidden = self._prompts(batch, cache)
        running = batch
        while True:
            logits = self.model.module.get_output_embeddings()(hidden).float()
            self._choose(running, logits)
            going = [place for place, s in enumerate(running) if not s.ended]
            if not going:
                return
            if len(running) - len(going) > _SHARE_ENDED * len(running):
                running = [running[place] for place in going]
                cache.keep(going)
            # A sequence that has ended but not left writes over its last place.
            last = [(s.written.ids or s.ids)[-1] for s in running]
            hidden = cache.step(torch.tensor(last, device=self.model.device))
            self.model.tokens += len(running)

    def _prompts(self, batch: list[Draft], cache: KeyValues) -> torch.Tensor:
        """Fill the cache with the prompts; the last hidden state of each, (n, width)."""
        prompts = [sequence.ids for sequence in batch]
        last: list[torch.Tensor | None] = [None] * len(batch)
        rate = packing.exchange_rate(self.model)
        for row, members in plan(prompts, _PREFILL_TOKENS, rate):
            layout = packing.Layout(row, self.model.device)
            layout.store = cache.storer(members)
            hidden = packing.hidden(self.model, layout)
            for index, path in members:
                last[index] = hidden[path[-1]]
        import torch

        return torch.stack(last)

    def _plainly(self, sequence: Draft) -> None:
        """The slow twin: one sequence, everything computed again for every token."""
        import torch

        while not sequence.ended:
            ids = torch.tensor([sequence.ids + sequence.written.ids], device=self.model.device)
            self.model.tokens += ids.shape[1]
            logits = self.model.module(input_ids=ids, use_cache=False).logits[:, -1].float()
            self._choose([sequence], logits)

    def _choose(self, running: list[Draft], logits: torch.Tensor) -> None:
        """Next token of every sequence that has not ended."""
        import torch

        prompts = [sequence.prompt for sequence in running]
        for processor in filter(None, (self.processor, self.watch)):
            logits = processor(prompts, [list(s.written.ids) for s in running], logits)
        log_p = torch.log_softmax(logits, dim=-1)
        if self.sampling.temperature:
            chosen = [
                0 if s.ended else drawn(row, self.sampling, s.draw)
                for s, row in zip(running, log_p.double().cpu().numpy(), strict=True)
            ]
        else:
            chosen = log_p.argmax(-1).tolist()
        places = torch.tensor(chosen, device=log_p.device)[:, None]
        values = log_p.gather(-1, places)[:, 0].tolist()
        for sequence, token, value in zip(running, chosen, values, strict=True):
            if not sequence.ended:
                self._append(sequence, token, value)

    def _append(self, sequence: Draft, token: int, log_p: float) -> None:
        written = sequence.written
        if token in self.ends:
            sequence.ended, written.ended_by = True, "end"
            return
        written.ids.append(token)
        written.log_p.append(log_p)
        if self.stops(written.ids):
            sequence.ended, written.ended_by = True, "stop"
        elif len(written.ids) == self.most:
            sequence.ended = True

    def stops(self, ids: list[int]) -> bool:
        """Does a stop string stand at the end of a text?"""
        tail = self.model.decode(ids[-self.tail :])
        return any(mark in tail for mark in self.stop)


def _sequences(encoded: list[list[int]], samples: int, sampling: Sampling) -> list[Draft]:
    made: list[Draft] = []
    before: Counter[tuple[int, ...]] = Counter()
    for prompt, ids in enumerate(encoded):
        occurrence = before[tuple(ids)]
        before[tuple(ids)] += 1
        for sample in range(samples):
            draw = None
            if sampling.temperature:
                entropy = [sampling.seed % (1 << 63), *ids, occurrence, sample]
                draw = np.random.default_rng(entropy)
            made.append(Draft(prompt, ids, draw))
    return made


def _again(
    batch: list[Draft],
    encoded: list[list[int]],
    sampling: Sampling,
    sequences: list[Draft],
    samples: int,
) -> list[Draft]:
    """The sequences of a batch as they were before it."""
    fresh = _sequences(encoded, samples, sampling)
    place = {id(sequence): number for number, sequence in enumerate(sequences)}
    return [fresh[place[id(sequence)]] for sequence in batch]


def _finish(model: LanguageModel, written: Continuation, stop: Sequence[str]) -> None:
    written.text = cut(model.decode(written.ids), stop)


def _end_tokens(model: LanguageModel) -> set[int]:
    ends = getattr(model.module.generation_config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [ends]
    return {end for end in (*ends, model.tokenizer.eos_token_id) if end is not None}


def _batch_size(model: LanguageModel, length: int) -> int:
    """Sequences of a length whose keys and values fit the memory set aside for them."""

    config = model.module.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    each = 2 * config.num_hidden_layers * heads * width * length * model.dtype.itemsize
    if model.device.type != "cuda":
        return int(max(1, min(CPU_SEQUENCES, CPU_BYTES // each)))
    free = model.free_bytes()
    return int(max(1, _SHARE_OF_MEMORY * free // each))
