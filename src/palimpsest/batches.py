"""Cutting cells into jobs, so that a further cell changes one job and not all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Costed(Protocol):
    """What can be cut: an identity in hexadecimal and a cost in seconds."""

    id: str
    cost: float


#: Batches have three digits.
MOST = 999

AnyCell = TypeVar("AnyCell", bound=Costed)


def batches(
    cells: Sequence[AnyCell], target: float, least: int = 1
) -> Iterable[tuple[str, tuple[AnyCell, ...]]]:
    """Batches of about ``target`` seconds, by linear hashing (Litwin 1980, "Linear hashing").

    There are at most 999, and no more than cells, however long a cell takes. A cell's batch
    depends on its identity and the number of batches alone. One more cell changes one batch; where
    it makes one more batch necessary, that batch takes its cells from one other.

    Args:
        cells: what is cut.
        target: seconds of a batch.
        least: batches wanted in any case, where there are so many cells.

    Yields:
        Number of the batch, three digits, and its cells in the order given; no batch is empty.
    """
    wanted = math.ceil(sum(cell.cost for cell in cells) / target)
    count = max(1, min(max(wanted, least), len(cells), MOST))
    groups: dict[int, list[AnyCell]] = {}
    for cell in cells:
        number = int(cell.id, 16) % (1 << count.bit_length())
        while number >= count:
            number -= 1 << (number.bit_length() - 1)
        groups.setdefault(number, []).append(cell)
    for number in sorted(groups):
        yield f"{number:03d}", tuple(groups[number])
