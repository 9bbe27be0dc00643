"""Cutting cells into jobs, so that a further cell changes one job and not all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar


class Costed(Protocol):
    """What can be cut: an identity in hexadecimal and a cost in seconds."""

    id: str
    cost: float


#: Batches have three digits.
MOST = 999

AnyCell = TypeVar("AnyCell", bound=Costed)


def batches(
    cells: Sequence[AnyCell],
    target: float,
    least: int = 1,
    piece: Callable[[AnyCell], str] | None = None,
) -> Iterable[tuple[str, tuple[AnyCell, ...]]]:
    """Batches of about ``target`` seconds, by linear hashing (Litwin 1980, "Linear hashing").

    There are at most 999, and no more than cells, however long a cell takes. A cell's batch
    depends on its identity and the number of batches alone. One more cell changes one batch; where
    it makes one more batch necessary, that batch takes its cells from one other.

    Args:
        cells: what is cut.
        target: seconds of a batch.
        least: batches wanted in any case, where there are so many cells.
        piece: name of what a cell belongs to; cells of one piece stay together, and pieces are
            shared out so that batches are alike in cost.

    Yields:
        Number of the batch, three digits, and its cells in the order given; no batch is empty.
    """
    wanted = math.ceil(sum(cell.cost for cell in cells) / target)
    count = max(1, min(max(wanted, least), len(cells), MOST))
    if piece:
        yield from _alike(cells, count, piece)
        return
    groups: dict[int, list[AnyCell]] = {}
    for cell in cells:
        number = int(cell.id, 16) % (1 << count.bit_length())
        while number >= count:
            number -= 1 << (number.bit_length() - 1)
        groups.setdefault(number, []).append(cell)
    for number in sorted(groups):
        yield f"{number:03d}", tuple(groups[number])


def _alike(
    cells: Sequence[AnyCell], count: int, piece: Callable[[AnyCell], str]
) -> Iterable[tuple[str, tuple[AnyCell, ...]]]:
    """Longest pieces first, each to the batch that has least (Graham 1969)."""
    pieces: dict[str, list[AnyCell]] = {}
    for cell in cells:
        pieces.setdefault(piece(cell), []).append(cell)
    costs = {name: sum(cell.cost for cell in members) for name, members in pieces.items()}
    found: list[list[AnyCell]] = [[] for _ in range(min(count, len(pieces)))]
    filled = [0.0] * len(found)
    for name in sorted(pieces, key=lambda name: (-costs[name], name)):
        number = filled.index(min(filled))
        found[number] += pieces[name]
        filled[number] += costs[name]
    for number, members in enumerate(found):
        yield f"{number:03d}", tuple(members)
