"""Beam search: the likeliest text that guards leave, where the likeliest next token leads astray.

A phrase of several tokens is forbidden at its last one. Greedy decoding then writes all but that,
which says almost as much; a search over several beginnings finds a text that does not begin it.
For this the log-probabilities of what is left are not raised by what is taken away: a beginning
that has lost its likeliest end is an unlikely text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from palimpsest.engine.generation import Draft, Writer
from palimpsest.engine.key_values import KeyValues

if TYPE_CHECKING:
    import torch

VERSION = 1
ENGINE = ("engine.key_values",)


@dataclass(frozen=True)
class Beam:
    """The beginning of a text, or a whole one.

    Attributes:
        owner: place of its sequence in the batch.
        ids: tokens written.
        log_p: log-probability of each among what is allowed.
        total: sum of log-probabilities before anything was taken away, that of the end of the text
            among them.
        ended_by: as in ``generation.Continuation``; None while it grows.
    """

    owner: int
    ids: tuple[int, ...] = ()
    log_p: tuple[float, ...] = ()
    total: float = 0.0
    ended_by: Literal["stop", "end", "length"] | None = None

    @property
    def mean(self) -> float:
        """Mean log-probability of a token, by which whole texts are compared."""
        return self.total / max(1, len(self.ids) + (self.ended_by == "end"))


class BeamWriter(Writer):
    """Writes texts that are watched, several beginnings of each at once."""

    def _cached(self, batch: list[Draft]) -> None:
        import torch

        cache = KeyValues(self.model, [len(sequence.ids) + self.most for sequence in batch])
        hidden = self._prompts(batch, cache)
        growing, whole = [Beam(owner) for owner in range(len(batch))], []
        while True:
            logits = self.model.module.get_output_embeddings()(hidden).float()
            parents, growing = self._grown(batch, growing, logits, whole)
            if not growing:
                break
            cache.keep(parents)
            last = torch.tensor([beam.ids[-1] for beam in growing], device=self.model.device)
            hidden = cache.step(last)
            self.model.tokens += len(growing)
        _take_best(batch, whole)

    def _plainly(self, sequence: Draft) -> None:
        """The slow twin: every beginning computed again for every token."""
        import torch

        growing, whole = [Beam(0)], []
        while growing:
            ids = [[*sequence.ids, *beam.ids] for beam in growing]
            tokens = torch.tensor(ids, device=self.model.device)
            self.model.tokens += tokens.numel()
            logits = self.model.module(input_ids=tokens, use_cache=False).logits[:, -1].float()
            _, growing = self._grown([sequence], growing, logits, whole)
        _take_best([sequence], whole)

    def _grown(
        self, batch: list[Draft], growing: list[Beam], logits: torch.Tensor, whole: list[Beam]
    ) -> tuple[list[int], list[Beam]]:
        """One token more: for each beginning that goes on the place of its parent, and itself.

        Args:
            batch: the sequences.
            growing: n beginnings.
            logits: (n, words) what may follow each.
            whole: texts that have ended are added here.
        """
        candidates = self._candidates(batch, growing, logits)
        parents, going = [], []
        for owner in range(len(batch)):
            own = [pair for pair in candidates if pair[1].owner == owner]
            kept = self._kept(sorted(own, key=lambda pair: -pair[1].total), whole)
            parents += [place for place, _ in kept]
            going += [beam for _, beam in kept]
        return parents, going

    def _candidates(
        self, batch: list[Draft], growing: list[Beam], logits: torch.Tensor
    ) -> list[tuple[int, Beam]]:
        """The likeliest continuations of each beginning, with its place."""
        import torch

        prompts = [batch[beam.owner].prompt for beam in growing]
        written = [list(beam.ids) for beam in growing]
        if self.processor:
            logits = self.processor(prompts, written, logits)
        allowed = self.watch(prompts, written, torch.log_softmax(logits, dim=-1))
        values, tokens = allowed.topk(min(2 * self.watch.beams, allowed.shape[1]))
        # As ``Continuation`` has it, among what is allowed.
        said = values - allowed.logsumexp(-1, keepdim=True)
        return [
            (place, self._longer(beam, token, log_p, beam.total + value))
            for place, beam in enumerate(growing)
            for value, token, log_p in zip(
                values[place].tolist(), tokens[place].tolist(), said[place].tolist(), strict=True
            )
            if value > -torch.inf
        ]

    def _longer(self, beam: Beam, token: int, log_p: float, total: float) -> Beam:
        if token in self.ends:
            return Beam(beam.owner, beam.ids, beam.log_p, total, "end")
        ids = (*beam.ids, token)
        ended = "length" if len(ids) == self.most else None
        ended = "stop" if self.stops(list(ids)) else ended
        return Beam(beam.owner, ids, (*beam.log_p, log_p), total, ended)

    def _kept(
        self, candidates: list[tuple[int, Beam]], whole: list[Beam]
    ) -> list[tuple[int, Beam]]:
        """The likeliest beginnings of one sequence that go on; whole texts are laid aside."""
        kept: list[tuple[int, Beam]] = []
        for place, beam in candidates:
            if len(kept) == self.watch.beams:
                break
            if beam.ended_by:
                whole.append(beam)
            else:
                kept.append((place, beam))
        best = max((b.mean for b in whole if kept and b.owner == kept[0][1].owner), default=None)
        # No longer text can have a higher mean than the likeliest beginning with only sure tokens.
        if best is not None and best >= kept[0][1].total / self.most:
            return []
        return kept


def _take_best(batch: list[Draft], whole: list[Beam]) -> None:
    for owner, sequence in enumerate(batch):
        best = max((beam for beam in whole if beam.owner == owner), key=lambda beam: beam.mean)
        sequence.ended, sequence.written.ended_by = True, best.ended_by
        sequence.written.ids, sequence.written.log_p = list(best.ids), list(best.log_p)
