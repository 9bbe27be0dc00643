"""Estimates as rows of the table ``statistics``, and frames cut into groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import polars as pl

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.power import detectable


def row(analysis: str, metric: str, estimate: Estimate, **where: Any) -> dict[str, Any]:
    """An estimate as a row of the table ``statistics``; nan becomes null.

    ``detectable`` is what a two-sided test at 5% finds with power 80% by this interval, whatever
    its own level.
    """
    numbers = {
        "detectable": detectable(estimate, "either"),
        "estimate": float(estimate.estimate),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "p": None if estimate.p is None else float(estimate.p),
    }
    return where | {
        "analysis": analysis,
        "metric": metric,
        "n": int(estimate.n),
        "unit": estimate.unit,
        "method": f"{estimate.method}, {estimate.level:.0%} interval",
        "note": estimate.note,
        **{k: _clean(v) for k, v in numbers.items()},
    }


def _clean(value: float | None) -> float | None:
    """nan is null in the database, and the dust of floating point is zero."""
    if value is None or value != value:
        return None
    return 0.0 if abs(value) < 1e-12 else value


def shifted(estimate: Estimate, by: float) -> Estimate:
    """The estimate minus a constant such as chance."""
    return replace(
        estimate, estimate=estimate.estimate - by, low=estimate.low - by, high=estimate.high - by
    )


def grouped(frame: pl.DataFrame, keys: list[str]) -> Iterable[tuple[dict[str, Any], pl.DataFrame]]:
    for values, part in sorted(
        frame.group_by(keys, maintain_order=True), key=lambda g: tuple(map(str, g[0]))
    ):
        yield dict(zip(keys, values, strict=True)), part
