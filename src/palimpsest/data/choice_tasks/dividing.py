"""Rows without a split, divided by a seed; more rows than wanted, drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def divided(rows: Sequence[Row], shares: Mapping[str, int], seed: int) -> dict[str, list[Row]]:
    """Rows for every share: as many as it says, or in that proportion where there are fewer.

    Args:
        rows: what is divided; no row is in two shares.
        shares: name -> how many are wanted.
        seed: of the order in which rows are taken.
    """
    order = random.Random(seed).sample(rows, len(rows))
    wanted = sum(shares.values())
    share = min(1.0, len(rows) / wanted) if wanted else 0.0
    parts: dict[str, list[Row]] = {}
    start, passed = 0, 0
    for name, count in shares.items():
        passed += count
        end = round(passed * share)
        parts[name] = order[start:end]
        start = end
    return parts
