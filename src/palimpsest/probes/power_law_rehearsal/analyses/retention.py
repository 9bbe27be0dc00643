"""Accuracy at the end of the stream against the age of a task, and the curve that fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.power_law_rehearsal.analyses.frames import Data, Found, Rows, settings_of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.retention import fit_with_intervals
from palimpsest.statistics.retention_compare import compare_forms
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.power_law_rehearsal.settings import Settings

#: Fewer different lags do not tell forms apart.
FEWEST_LAGS = 4


def retention(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Points and forms of retention; a trial is a test example, guessing wins one in ten or two."""
    rows: Rows = []
    right = data.matrix.filter((pl.col("metric") == "accuracy") & (pl.col("on") <= pl.col("after")))
    for place, values, part in settings_of(right, ["condition"]):
        part = part.filter(pl.col("after") == pl.col("after").max()).with_columns(
            lag=pl.col("after") - pl.col("on")
        )
        common = place | {"arm": values["condition"]}
        chance = 0.0 if "language" in settings.benchmarks else _chance(values["benchmark"])
        rows.append(common | {"analysis": "guessing", "metric": "accuracy", "estimate": chance})
        for (lag,), points in part.sort("lag").group_by(["lag"], maintain_order=True):
            estimate = clustered_mean(points["value"].to_numpy(), unit="networks")
            rows.append(row("retention", "accuracy", estimate, step=lag, **common))
        if part["lag"].n_unique() >= FEWEST_LAGS and values["benchmark"] in settings.benchmarks:
            rows += _forms(part, common, chance)
    return rows, {}


def _chance(benchmark: str) -> float:
    """Share of images that guessing wins; answers in words are hardly ever guessed."""
    return 0.5 if benchmark in ("split_task", "split_domain") else 0.1


def _forms(part: pl.DataFrame, common: dict, floor: float) -> Rows:
    trials = part["tested"].to_numpy()
    won = np.rint(part["value"].to_numpy() * trials).astype(int)
    columns = (part["network_seed"].to_numpy(), part["lag"].to_numpy(), won, trials)
    compared = compare_forms(*columns, floor=floor, unit_name="networks")
    rows: Rows = [
        common
        | {
            "analysis": "form",
            "metric": form,
            "estimate": float(weight),
            "n": int(part["network_seed"].n_unique()),
            "unit": "networks",
            "method": "Akaike weight, network by network (AICc, binomial likelihood)",
            "note": f"{compared.verdict}: {compared.reason}",
        }
        for form, weight in compared.unit_weights.items()
    ]
    best = min(compared.pooled, key=lambda f: compared.pooled[f].aicc)
    shown = best if compared.verdict in ("undecided", "constant") else compared.verdict
    at = np.arange(int(part["lag"].max()) + 1)
    fit = fit_with_intervals(*columns, shown, floor, unit_name="networks", at=at)
    for lag, estimate in zip(at, fit.band, strict=True):
        rows.append(row("retention_curve", fit.form, estimate, step=int(lag), **common))
    for name, estimate in fit.intervals.items():
        rows.append(row("retention_fit", f"{fit.form}: {name}", estimate, **common))
    return rows
