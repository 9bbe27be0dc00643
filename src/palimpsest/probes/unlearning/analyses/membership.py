"""Attacks on membership: can the forget set be told from facts that nobody was told?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.probes.unlearning.analyses.frames import MEMBERSHIP, Data, Found, Rows, averaged
from palimpsest.statistics.recognition import auc, true_positive_rate
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings

#: Accusations of facts that nobody was told, at most (Carlini et al. 2022, arXiv 2112.03570).
FALSE_POSITIVES = 0.01


def membership(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Area under the curve (DeLong) and true positive rate at 1% false positives by arm and score.

    Facts are the units: the score of a fact is its mean over the models of an arm. For the rate it
    is that of the one model that was asked about strangers, where one was; those alone are enough.
    """
    rows: Rows = []
    means = (
        averaged(data)
        .group_by(["world", "model", "arm", "metric", "part", "item"], maintain_order=True)
        .agg(pl.col("value").mean())
    )
    keys = ["world", "model", "arm", "metric"]
    for (world, model, arm, metric), part in means.group_by(keys, maintain_order=True):
        sides = [
            part.filter(pl.col("part") == name)["value"].to_numpy()
            for name in ("forget", "holdout")
        ]
        if min(map(len, sides)) < 2 or not part["value"].is_finite().all():
            continue
        place = {"series": world, "model": model, "arm": arm, "factor": MEMBERSHIP[metric]}
        rows.append(row("membership", "area", auc(*sides, unit="facts"), **place))
        sides = _beside_strangers(data, (world, model, arm, metric)) or sides
        share = true_positive_rate(*sides, FALSE_POSITIVES, unit="facts", few="missing")
        rows.append(row("membership", "rate", share, **place))
    return rows, {}


def _beside_strangers(data: Data, place: tuple[Any, ...]) -> list[Any] | None:
    """Scores of forgotten facts and of strangers, of one model; None where no model was asked."""
    names = dict(zip(("world", "model", "arm", "metric"), place, strict=True))
    part = data.strangers.filter(**names)
    if not part.height:
        return None
    part = part.filter(pl.col("run") == pl.col("run").min())
    return [part.filter(part=name)["value"].to_numpy() for name in ("forget", "stranger")]
