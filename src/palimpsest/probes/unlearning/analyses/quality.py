"""What others report: TOFU's forget quality and MUSE's PrivLeak, against every retrained model.

Both hold one unlearned model against one retrained one. Which one that is decides much, as
retrained models held against each other show: they are given as an arm of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.metrics import unlearning
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings

#: Score whose area MUSE takes (Shi et al. 2024, section 3.3).
LEAK = "min_k"


def quality(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """p of Kolmogorov and Smirnov's test for all pairs of an arm's model and a retrained one, and
    PrivLeak by the mean area of the retrained models."""
    rows: Rows = []
    for place, part in data.worlds():
        own = (pl.col("world") == part["world"][0]) & (pl.col("model") == part["model"][0])
        ratios = _by_run(data.ratios.filter(own))
        areas = part.filter(pl.col("metric") == f"membership {LEAK}")
        for arm in (data.taught, data.retrained, *data.methods(part)):
            rows += _forget_quality(ratios, arm, data.retrained, place | {"arm": arm})
            rows += _leak(areas, arm, data.retrained, place | {"arm": arm})
    return rows, {}


def _by_run(ratios: pl.DataFrame) -> dict[str, dict[int, np.ndarray]]:
    """Arm -> run -> truth ratios of the forget set."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for (arm, run), own in ratios.group_by("arm", "run", maintain_order=True):
        values = own["value"].to_numpy()
        found.setdefault(str(arm), {})[int(run)] = values[np.isfinite(values)]
    return found


def _forget_quality(
    ratios: dict[str, dict[int, np.ndarray]], arm: str, never: str, place: dict[str, str]
) -> Rows:
    """Median, least and greatest p; a retrained model is not held against itself."""
    pairs = [
        unlearning.forget_quality(one, other)
        for run, one in ratios.get(arm, {}).items()
        for other_run, other in ratios.get(never, {}).items()
        if (arm != never or run < other_run) and min(len(one), len(other))
    ]
    if not pairs:
        return []
    common = place | {
        "analysis": "quality",
        "n": len(pairs),
        "unit": "pairs of models",
        "method": "p of the two-sample Kolmogorov-Smirnov test of truth ratios",
    }
    chosen = {"median": np.median(pairs), "least": min(pairs), "most": max(pairs)}
    return [
        common | {"metric": f"forget quality, {name}", "estimate": float(value)}
        for name, value in chosen.items()
    ]


def _leak(areas: pl.DataFrame, arm: str, never: str, place: dict[str, str]) -> Rows:
    """One PrivLeak a model; a retrained one is held against the others."""
    own, retrained = (
        areas.filter(pl.col("arm") == one).sort("run")["value"].to_numpy() for one in (arm, never)
    )
    leaks = []
    for k, area in enumerate(own):
        others = np.delete(retrained, k) if arm == never else retrained
        if len(others) and others.mean() < 1:
            leaks.append(unlearning.privleak(float(area), float(others.mean())))
    if len(leaks) < 2:
        return []
    return [row("quality", "PrivLeak", clustered_mean(leaks, unit="models"), **place)]
