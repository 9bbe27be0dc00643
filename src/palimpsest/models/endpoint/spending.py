"""What a model behind an endpoint has cost so far, the caps on it, and the pace of requests.

All jobs of a machine share one ledger beside the cache, under a lock of the file system. Before a
request its largest possible cost is entered, afterwards the real one: a job that is killed in
between leaves the largest, so that the ledger never says too little.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.files import atomic, read_json

_COUNTS = ("requests", "tokens_in", "tokens_out")
#: Clocks of machines that share a folder may differ by so many seconds; more was set back.
_CLOCKS_DIFFER = 60.0


class SpendingCapError(RuntimeError):
    """A request could have exceeded a cap, so it was not sent."""


@dataclass(frozen=True)
class Cost:
    """Requests and tokens; of prompts and of answers."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def tokens(self) -> int:
        """Of prompts and answers together."""
        return self.tokens_in + self.tokens_out

    def usd(self, access: Mapping[str, Any]) -> float:
        """USD at the prices of the entry."""
        million = self.tokens_in * access.get("price_in", 0)
        return (million + self.tokens_out * access.get("price_out", 0)) / 1e6

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) - getattr(other, name) for name in _COUNTS))


class Ledger:
    """Spending of one model of one server.

    Args:
        folder: of its cache.
        access: fields of the entry: prices, caps, requests_per_minute.
    """

    def __init__(self, folder: Path, access: Mapping[str, Any]) -> None:
        self.path, self.access = folder / "spent.json", access

    def spent(self) -> Cost:
        """All that was spent so far, by all runs."""
        return self._cost(self._read())

    def reserve(self, most: Cost, now: float | None = None) -> float:
        """Enter the largest possible cost of a request.

        Args:
            most: that cost.
            now: seconds since the epoch.

        Returns:
            Seconds to wait until its turn.

        Raises:
            SpendingCapError: it could exceed a cap; nothing is entered.
        """
        now = time.time() if now is None else now
        with self._locked():
            facts = self._read()
            self._check(self._cost(facts), most)
            turn = _turn(facts, now)
            if pace := self.access.get("requests_per_minute"):
                facts |= {"not_before": turn + 60 / pace, "entered": now}
            self._write(facts, self._cost(facts) + most)
        return turn - now

    def settle(self, most: Cost, real: Cost) -> None:
        """Replace what was reserved by what a request has cost."""
        with self._locked():
            facts = self._read()
            self._write(facts, self._cost(facts) - most + real)

    def hold(self, seconds: float) -> None:
        """No request of any job for so long: the server has said so."""
        with self._locked():
            facts, now = self._read(), time.time()
            facts |= {"not_before": max(_turn(facts, now), now + seconds), "entered": now}
            self._write(facts, self._cost(facts))

    def _check(self, spent: Cost, most: Cost) -> None:
        after = spent + most
        reached = {
            "cap_usd": (after.usd(self.access), spent.usd(self.access), "USD"),
            "cap_tokens": (after.tokens, spent.tokens, "tokens"),
            "cap_requests": (after.requests, spent.requests, "requests"),
        }
        for cap, (could_be, so_far, unit) in reached.items():
            limit = self.access.get(cap)
            if limit is not None and could_be > limit:
                raise SpendingCapError(
                    f"{cap} is {limit:g} and {so_far:.6g} {unit} are spent; one more request could "
                    f"make it {could_be:.6g}; raise {cap} and run again to go on"
                )

    def _cost(self, facts: Mapping[str, Any]) -> Cost:
        return Cost(*(int(facts.get(name, 0)) for name in _COUNTS))

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            return dict(read_json(self.path))
        except (ValueError, TypeError):
            raise OSError(
                f"{self.path} is damaged: write into it what was spent ({', '.join(_COUNTS)}), or "
                "delete it, and spending counts from 0"
            ) from None

    def _write(self, facts: Mapping[str, Any], cost: Cost) -> None:
        new = dict(facts) | {name: getattr(cost, name) for name in _COUNTS}
        # Not flushed to disk: that would cost more time than many a request.
        with atomic(self.path, durable=False) as temporary:
            temporary.write_text(json.dumps(new) + "\n", encoding="utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _turn(facts: Mapping[str, Any], now: float) -> float:
    """When the next request may be sent, by a clock that may have been set back since.

    Then what was left to wait when the last turn was entered is left still.
    """
    turn, entered = facts.get("not_before", 0.0), facts.get("entered", now)
    if now < entered - _CLOCKS_DIFFER:
        turn += now - entered
    return max(now, turn)
