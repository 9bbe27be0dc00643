"""How soon forgotten facts are back where they are taught again, and whether others follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import (
    OTHERS,
    Data,
    Found,
    Rows,
    metrics_of,
    of,
)
from palimpsest.probes.unlearning.analyses.units import Models
from palimpsest.statistics.intervals import clustered_mean, exact_proportion
from palimpsest.statistics.population import difference
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings


def relearning(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Curves of relearning, and two claims on methods that forgot where asked directly."""
    rows: Rows = []
    keys = ["world", "model", "arm", "number", "updates", "metric"]
    for values, part in data.relearned.group_by(keys, maintain_order=True):
        world, model, arm, number, updates, metric = values
        runs = part["value"].to_numpy()
        if len(runs) > 1:
            place = {"series": world, "model": model, "arm": arm, "step": updates}
            estimate = clustered_mean(runs, unit="models")
            factor = f"{number} taught again"
            rows.append(row("relearning", metric, estimate, factor=factor, **place))
    found: Found = {}
    for _, part in data.worlds():
        gone = [
            arm
            for arm in data.methods(part)
            if (way := Models(data, part).way(arm, "forget probability")) is not None
            and way.mean() >= settings.enough
        ]
        back = [each for each in (_comes_back(data, part, arm) for arm in gone) if each is not None]
        if back:
            found["relearning_undoes"] = exact_proportion(
                sum(back), len(back), unit="methods that forgot"
            )
        probe = "forget linear_probe"
        runs = [of(part, arm, probe) for arm in gone]
        never = of(part, data.retrained, probe)
        if runs and len({len(each) for each in runs}) == 1 and min(len(runs[0]), len(never)) > 1:
            found["hidden_not_gone"] = difference(np.mean(runs, axis=0), never)
    return rows, found


def _comes_back(data: Data, part: pl.DataFrame, arm: str) -> bool | None:
    """Do other forgotten facts come back more than in models that never knew?"""
    metrics = [metric for metric in metrics_of(part) if metric.startswith(OTHERS)]
    if not metrics:
        return None
    metric = max(metrics, key=lambda name: int(name.removeprefix(OTHERS)))
    values, never = of(part, arm, metric), of(part, data.retrained, metric)
    if min(len(values), len(never)) < 2:
        return None
    return bool(difference(values, never).low > 0)
