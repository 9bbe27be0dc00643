"""What each condition reaches: every measure as a mean over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.metrics.continual import intransigence
from palimpsest.probes.power_law_rehearsal.analyses.frames import Data, Found, Rows, settings_of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings


def levels(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """All measures of a network, with intransigence where there is a joint condition."""
    rows: Rows = []
    known = data.summary.filter(pl.col("value").is_not_nan())
    for place, values, part in settings_of(known, ["condition", "metric"]):
        estimate = clustered_mean(part["value"].to_numpy(), unit="networks")
        rows.append(row("level", values["metric"], estimate, arm=values["condition"], **place))
    return rows + _intransigence(data, settings), {}


def _intransigence(data: Data, settings: Settings) -> Rows:
    """What joint training has on each task above the condition, just after it was learned."""
    rows: Rows = []
    names = [n for n, c in settings.conditions.items() if c.strategy.name == "joint"]
    if not names:
        return rows
    learned = data.matrix.filter(
        (pl.col("metric") == "accuracy") & (pl.col("after") == pl.col("on"))
    )
    for place, _, part in settings_of(learned, []):
        joint = part.filter(pl.col("condition") == names[0])
        for (condition,), own in part.group_by(["condition"], maintain_order=True):
            both = own.join(
                joint.select("network_seed", "on", joint="value"),
                on=["network_seed", "on"],
                maintain_order="left",
            )
            values = [
                intransigence(_diagonal(one["value"].to_list()), one["joint"].to_numpy())
                for _, one in both.sort("on").group_by("network_seed", maintain_order=True)
            ]
            if values:
                estimate = clustered_mean(values, unit="networks")
                rows.append(row("level", "intransigence", estimate, arm=condition, **place))
    return rows


def _diagonal(values: list[float]) -> list[list[float]]:
    nan = float("nan")
    return [[v if i == j else nan for j in range(len(values))] for i, v in enumerate(values)]
