"""How forgetting went: passes and updates of every run, and where it stood at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.unforgettable_generalization.analyses.frames import (
    STATE,
    Data,
    Found,
    Rows,
    runs,
)
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unforgettable_generalization.settings import Settings

#: Of a run; the others are of its last pass.
_OF_RUN = ("passes", "updates", "ended")
#: Bounds of what is a share.
_SHARES = ("ended", "entropy", "right", "agreed")


def course(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Means over replicates of what each run took and of its last pass."""
    rows: Rows = []
    forgotten = data.course.filter(pl.col("arm") == "forget")
    for place, part in runs(forgotten, "metric"):
        metric = place.pop("metric")
        if metric not in _OF_RUN:
            number = pl.col("item").str.strip_prefix("pass ").cast(pl.Int64)
            part = part.sort(number).group_by(STATE, maintain_order=True).last()
        mean = clustered_mean(part["value"].to_numpy(), unit="replicates")
        mean = mean.within(0, 1) if metric in _SHARES else mean
        rows.append(row("course", metric, mean, **place))
    return rows, {}
