"""Which items are remembered: length, base loss and how common their words are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import Data, Found, Rows
from palimpsest.probes.few_shot_memory.analyses.learning import conditions
from palimpsest.statistics.mixed import crossed_mixed
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings

PREDICTORS = ("length", "base_loss", "word_frequency")
#: Fewer items say nothing about three predictors.
FEWEST_ITEMS = 12


def memorability(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Drop of an item's loss by length, base loss and word frequency, given the exposures.

    Linear mixed model with items and lists as random effects; all tests of the study phase, the
    number of exposures as a factor. A slope is nats a token for one standard deviation.
    """
    rows: Rows = []
    frequency = data.facts.filter(pl.col("metric") == "word_frequency").select(
        "cell", "item", word_frequency="value"
    )
    studied = data.pairs.filter(
        (pl.col("phase") == "study") & (pl.col("exposures") > 0) & (pl.col("arm") == "studied")
    ).join(frequency, on=["cell", "item"], how="left", maintain_order="left")
    studied = studied.with_columns(
        drop=pl.col("base") - pl.col("loss"), length="tokens", base_loss="base"
    )
    for place, _, part in conditions(studied, []):
        named = [name for name in PREDICTORS if part[name].null_count() == 0 and part[name].std()]
        if part["unit"].n_unique() < FEWEST_ITEMS or not named:
            continue
        predictors = {name: part[name].to_numpy() for name in named}
        for exposures in part["exposures"].unique().sort()[1:]:
            predictors[f"{exposures} exposures"] = (part["exposures"] == exposures).to_numpy()
        found = crossed_mixed(
            part["drop"].to_numpy(),
            predictors,
            part["unit"].to_numpy(),
            part["replicate"].to_numpy(),
        )
        rows += [
            row(
                "memorability",
                f"drop (nats a token) by {name.replace('_', ' ')}, per sd",
                found[name],
                **place,
            )
            for name in named
        ]
    return rows, {}
