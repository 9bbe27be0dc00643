"""What each method changed in what a model says, fact by fact; no retrained model is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, bounds_of_change
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings


def changes(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Each arm minus the taught models, paired by fact, for every measure of single facts."""
    rows: Rows = []
    keys = ["world", "model", "metric", "group"]
    taught = data.facts.filter(pl.col("arm") == data.taught)
    joined = data.facts.filter(pl.col("arm") != data.taught).join(
        taught, on=[*keys, "item"], suffix="_taught"
    )
    joined = joined.filter(pl.col("value").is_finite() & pl.col("value_taught").is_finite())
    for (world, model, metric, group, arm), part in joined.group_by(
        [*keys, "arm"], maintain_order=True
    ):
        if part.height > 1:
            change = paired_difference(
                part["value"].to_numpy(), part["value_taught"].to_numpy(), unit="facts"
            )
            place = {"series": world, "model": model, "arm": arm, "factor": group}
            rows.append(row("change", metric, change.within(*bounds_of_change(metric)), **place))
    return rows, {}
