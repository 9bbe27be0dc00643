"""What is known of a task before forgetting, and whether it predicts how far forgetting reaches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unforgettable_generalization.analyses.frames import (
    WITHIN,
    Data,
    Found,
    Rows,
)
from palimpsest.probes.unforgettable_generalization.analyses.ratios import task_ratios
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.heterogeneity import group_share
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.leave_one_out import leave_one_out, spearman
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unforgettable_generalization.settings import Settings

#: Fewest tasks for a rank correlation with an interval.
LEAST_TASKS = 5
#: From so many tasks on the predictors of claims are tried in one regression too.
TOGETHER = 10
#: claim -> predictor.
CLAIMED = {
    "difficulty_is_no_guide": "loss",
    "doubt_predicts": "confidence",
    "uniformity_predicts": "variance",
}
#: Of hidden states.
STATES = ("variance", "distance", "rank")
#: Probabilities below this count as this.
_LEAST = 1e-9


def predictors(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Rank correlations over tasks, prediction of each task from the others, power."""
    known = _before(data)
    reach = task_ratios(data, "forget", "unseen")
    rows: Rows = [
        row("task", metric, estimate, role=data.role, series=task)
        for task, metrics in known.items()
        for metric, estimate in metrics.items()
    ]
    found: Found = {}
    tasks = [task for task in known if task in reach]
    if len(tasks) < LEAST_TASKS:
        return rows, found
    target = np.array([reach[task].estimate for task in tasks])
    for metric in known[tasks[0]]:
        values = np.array([known[task][metric].estimate for task in tasks])
        if np.ptp(values) < 1e-12 or np.ptp(target) < 1e-12:
            continue
        rho = spearman(values, target, unit="tasks")
        rows.append(row("predictor", metric, rho, role=data.role))
        for claim, name in CLAIMED.items():
            if name == metric and claim in WITHIN:
                # Judged by its interval alone: a permutation tests the other hypothesis.
                found[claim] = replace(spearman(values, target, level=0.9, unit="tasks"), p=None)
            elif name == metric:
                found[claim] = rho
        try:
            left_out = leave_one_out(values, target, unit="tasks").r_squared
        except ValueError:
            continue  # one task alone differs from the others: nothing to learn from
        rows.append(row("left out", metric, left_out, role=data.role))
    with suppress(ValueError):  # no two tasks of a family
        families = [data.families.get(task) or task for task in tasks]
        share = group_share(target, families)
        rows.append(row("family", "share of the variance between tasks", share, role=data.role))
    if len(tasks) >= TOGETHER:
        every = [[known[task][name].estimate for name in CLAIMED.values()] for task in tasks]
        joint = leave_one_out(np.array(every), target, unit="tasks").r_squared
        rows.append(row("left out", " and ".join(CLAIMED.values()), joint, role=data.role))
    return rows, found


def _before(data: Data) -> dict[str, dict[str, Estimate]]:
    """What is known of each task, by name."""
    own = data.judged(data.own())
    found: dict[str, dict[str, Estimate]] = {}
    for (task,), part in sorted(own.group_by(["task"])):
        train = part.filter(pl.col("split") == "train")
        unseen = part.filter(pl.col("split") == "unseen")
        if train.is_empty() or unseen.is_empty():
            continue
        loss = -np.log(np.maximum(unseen["p_right_before"].to_numpy(), _LEAST))
        found[str(task)] = {
            "loss": clustered_mean(loss, unit="items").within(0, np.inf),
            "confidence": clustered_mean(
                train["confidence_before"].to_numpy(), unit="items"
            ).within(0, 1),
            "choices": clustered_mean(train["choices"].to_numpy().astype(float), unit="items"),
            **_of_states(data, str(task)),
        }
    return found


def _of_states(data: Data, task: str) -> dict[str, Estimate]:
    """Of every layer that was read; the last one goes without its number."""
    parts = pl.col("metric").str.splitn("/", 2).struct
    own = data.tasks.filter((pl.col("role") == data.role) & (pl.col("task") == task)).with_columns(
        kind=parts.field("field_0"), layer=parts.field("field_1").cast(pl.Int64)
    )
    own = own.filter(pl.col("kind").is_in(STATES))
    last = own["layer"].max()
    return {
        str(kind) if layer == last else f"{kind}, layer {layer}": clustered_mean(
            part["value"].to_numpy(), unit="replicates"
        ).within(0, np.inf)
        for (kind, layer), part in sorted(own.group_by(["kind", "layer"]))
    }
