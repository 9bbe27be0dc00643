"""Which items are remembered: length, base loss and how common their words are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import Data, Found, Rows
from palimpsest.probes.few_shot_memory.analyses.learning import conditions
from palimpsest.statistics.mixed import cluster_robust_ols
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings


def memorability(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Drop of an item's loss after one exposure on standardised predictors."""
    rows: Rows = []
    tokens = (
        data.facts.filter(pl.col("metric").is_in(["cue", "truth"]))
        .group_by("cell", "item", maintain_order=True)
        .agg(tokens=pl.col("value").sum())
    )
    one = data.pairs.filter(
        (pl.col("phase") == "study") & (pl.col("exposures") == 1) & (pl.col("arm") == "studied")
    ).join(tokens, on=["cell", "item"], maintain_order="left")
    for place, _, part in conditions(one, []):
        if part.height < 12:
            continue
        predictors = {
            name: _standardised(part[name]) for name in ("tokens", "base") if part[name].std()
        }
        found = cluster_robust_ols(
            (part["base"] - part["loss"]).to_numpy(), predictors, part["unit"].to_numpy()
        )
        rows += [
            row("memorability", f"drop (nats a token) by {name}, per sd", estimate, **place)
            for name, estimate in found.items()
            if name != "intercept"
        ]
    return rows, {}


def _standardised(values: pl.Series):
    return ((values - values.mean()) / values.std()).to_numpy()
