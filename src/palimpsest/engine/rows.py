"""Rows of tokens without padding, in which every shared prefix stands once.

Sequences are laid into prefix trees, trees one after another into a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

VERSION = 1


@dataclass
class Row:
    """Prefix trees, one after another: tokens and, for each, its parent and depth.

    Attributes:
        tokens: n token ids.
        parents: n indices into the row; the root of a tree has a negative parent.
        depths: n positions within the sequence.
        starts: index of the root of each tree.
        branched: for each tree, whether any node has two children.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    branched: list[bool] = field(default_factory=list)
    _nodes: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def shared(self, ids: Sequence[int]) -> int:
        """How many leading tokens of ``ids`` the last tree holds already."""
        if not self.starts:
            return 0
        node = -len(self.starts)
        for depth, token in enumerate(ids):
            node = self._nodes.get((node, token))
            if node is None:
                return depth
        return len(ids)

    def add(self, ids: Sequence[int], new_tree: bool) -> list[int]:
        """Lay a sequence into the last tree or into a tree of its own.

        Returns:
            The node of each token.
        """
        if new_tree or not self.starts:
            self.starts.append(len(self.tokens))
            self.branched.append(False)
        node, path = -len(self.starts), []
        for depth, token in enumerate(ids):
            known = self._nodes.get((node, token))
            if known is None:
                known = len(self.tokens)
                # A node that is not the one before has a child already.
                self.branched[-1] |= depth > 0 and node != known - 1
                self._nodes[(node, token)] = known
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth)
            node = known
            path.append(node)
        return path

    def sizes(self) -> list[int]:
        """Number of tokens of each tree."""
        ends = [*self.starts[1:], len(self.tokens)]
        return [end - start for start, end in zip(self.starts, ends, strict=True)]

    def sees(self, tree: int) -> np.ndarray:
        """Boolean (size, size): which nodes of a tree each node sees, ancestors and itself."""
        start, size = self.starts[tree], self.sizes()[tree]
        seen = np.zeros((size, size), dtype=bool)
        for node in range(size):
            parent = self.parents[start + node] - start
            if parent >= 0:
                seen[node, : parent + 1] = seen[parent, : parent + 1]
            seen[node, node] = True
        return seen


def plan(
    sequences: Sequence[Sequence[int]], budget: int, exchange: float
) -> Iterator[tuple[Row, list[tuple[int, list[int]]]]]:
    """Cut sequences into rows, in lexicographic order so that neighbours share most.

    A sequence joins the tree before it when the tokens that it need not compute again are worth
    more than the attention that a larger tree costs.

    Args:
        sequences: token ids, none empty.
        budget: tokens a row; a longer sequence gets a row of its own.
        exchange: pairs of positions whose attention costs as much as one token's linear layers
            (see :func:`exchange_rate`).

    Yields:
        A row and its members: index of the sequence, and the node of each of its tokens.
    """
    order = sorted(range(len(sequences)), key=lambda i: (tuple(sequences[i]), i))
    row, members = Row(), []
    for index in order:
        ids = sequences[index]
        shared = row.shared(ids)
        size = len(row.tokens) - row.starts[-1] if row.starts else 0
        more_pairs = (size + len(ids) - shared) ** 2 - size**2 - len(ids) ** 2
        joins = shared > 0 and shared * exchange >= more_pairs
        if members and len(row.tokens) + len(ids) - (shared if joins else 0) > budget:
            yield row, members
            row, members, joins = Row(), [], False
        members.append((index, row.add(ids, new_tree=not joins)))
    if members:
        yield row, members


def chains(sentences: Sequence[Sequence[int]]) -> Row:
    """A row in which every sentence is a tree of its own, in the order given."""
    row = Row()
    start = 0
    for ids in sentences:
        row.starts.append(start)
        row.tokens.extend(ids)
        row.depths.extend(range(len(ids)))
        row.branched.append(False)
        start += len(ids)
    return row
