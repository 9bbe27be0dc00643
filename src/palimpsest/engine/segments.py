"""Which tokens of a row belong to which of several runs that share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

VERSION = 1


@dataclass(frozen=True)
class Segments:
    """Which tokens of a row belong to which of some neighbouring runs.

    Attributes:
        runs: the runs whose tokens the row holds.
        index: (runs, longest) places in the row, a place of the same run where it is shorter.
        there: (runs, longest, 1) one where a token is, zero where a run is shorter.
        back: (tokens,) place of each token among (runs * longest); None where that is the row.
        first: whether these are the first gradients of these runs in a step.
    """

    runs: slice
    index: torch.Tensor
    there: torch.Tensor
    back: torch.Tensor | None
    first: bool
    _cut: list[tuple[torch.Tensor, int, torch.Tensor]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, runs: slice, lengths: Sequence[int], device: torch.device, first: bool) -> Segments:
        longest, total = max(lengths), sum(lengths)
        starts = np.cumsum([0, *lengths[:-1]])
        offsets = np.arange(longest)
        there = offsets < np.array(lengths)[:, None]
        index = np.where(there, starts[:, None] + offsets, np.minimum(starts, total - 1)[:, None])
        back = None
        if total != there.size:
            back = torch.from_numpy(np.flatnonzero(there)).to(device)
        return cls(
            runs,
            torch.from_numpy(index).to(device),
            torch.from_numpy(there[..., None]).to(device),
            back,
            first,
        )

    def cut(self, rows: torch.Tensor) -> torch.Tensor:
        """(tokens, width) to (runs, longest, width)."""
        if self.back is None:
            return rows.view(*self.index.shape, -1)
        return rows.index_select(0, self.index.flatten()).view(*self.index.shape, -1)

    def cut_once(self, rows: torch.Tensor) -> torch.Tensor:
        """As :meth:`cut`; layers that read the same rows one after another share the result."""
        for known, version, cut in self._cut:
            same = known.data_ptr() == rows.data_ptr() and known.shape == rows.shape
            if same and version == rows._version:
                return cut
        # Whoever is kept here keeps its memory, so no other rows can lie at the same place.
        self._cut[:] = [(rows, rows._version, self.cut(rows))]
        return self._cut[0][2]

    def forget(self) -> None:
        """Let go of what layers shared: it hangs on the graph, and the graph on this."""
        self._cut.clear()

    def join(self, cut: torch.Tensor) -> torch.Tensor:
        """(runs, longest, width) to (tokens, width)."""
        rows = cut.flatten(0, 1)
        return rows if self.back is None else rows.index_select(0, self.back)
