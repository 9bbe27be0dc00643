"""Attacks on membership: can the forget set be told from facts that nobody was told?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.unlearning.analyses.frames import MEMBERSHIP, Data, Found, Rows
from palimpsest.statistics.recognition import auc, true_positive_rate
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings

#: Accusations of facts that nobody was told, at most (Carlini et al. 2022, arXiv 2112.03570).
FALSE_POSITIVES = 0.01


def membership(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Area under the curve (DeLong) and true positive rate at 1% false positives by arm and score.

    Facts are the units: the score of a fact is its mean over the models of an arm.
    """
    rows: Rows = []
    means = data.scores.group_by(
        ["world", "model", "arm", "metric", "part", "item"], maintain_order=True
    ).agg(pl.col("value").mean())
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
        share = true_positive_rate(*sides, FALSE_POSITIVES, unit="facts", few="missing")
        rows.append(row("membership", "rate", share, **place))
    return rows, {}
