"""Published figures beside ours, where a condition has the same stream and strategy."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.power_law_rehearsal.analyses.frames import Data, Found, Rows, settings_of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings

#: How much lower our average may be where it was learned from the 5,000 digits of a package and
#: not from the 70,000 of MNIST, stated before any run.
ALLOWANCE = 0.05


def targets() -> pl.DataFrame:
    """The published figures with their tolerances."""
    place = files("palimpsest.probes.power_law_rehearsal") / "published.csv"
    return pl.read_csv(place.read_bytes())


def published(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Ours at each published target, and whether it lies within the tolerance."""
    rows: Rows = []
    allowance = ALLOWANCE if settings.source == "mnist_5k" else 0.0
    for target in targets().iter_rows(named=True):
        names = [n for n, c in settings.conditions.items() if c.strategy.name == target["strategy"]]
        ours = data.summary.filter(
            (pl.col("benchmark") == target["benchmark"])
            & (pl.col("tasks") == target["tasks"])
            & (pl.col("metric") == target["metric"])
            & pl.col("condition").is_in(names)
        )
        for place, values, part in settings_of(ours, ["condition"]):
            estimate = clustered_mean(part["value"].to_numpy(), unit="networks")
            low = target["published"] - target["tolerance"] - allowance
            high = target["published"] + target["tolerance"]
            verdict = "reached" if low <= estimate.estimate <= high else "not reached"
            made = row("target", target["metric"], estimate, arm=values["condition"], **place)
            made["note"] = (
                f"published {target['published']:g} ({target['source']}); between {low:.3g} and "
                f"{high:.3g}: {verdict}"
            )
            rows.append(made)
    return rows, {}
