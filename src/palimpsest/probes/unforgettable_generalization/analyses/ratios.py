"""How much is forgotten, of which items: gaps, ratios, what answers look like, and how far."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import chi2

from palimpsest.metrics.forgetting import forgetting
from palimpsest.probes.unforgettable_generalization.analyses.frames import (
    SPLITS,
    THRESHOLDS,
    Data,
    Found,
    Rows,
    over_tasks,
    runs,
    unit,
)
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.forgetting import Answers, forget_ratio, generalisation
from palimpsest.statistics.heterogeneity import generalised_q, heterogeneity
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unforgettable_generalization.settings import Settings

#: Normal quantile by which the width of a 95% interval becomes a standard error.
_Z = 1.96


def ratio_of(part: pl.DataFrame) -> Estimate:
    """Forget ratio of some items, before against after."""
    return forget_ratio(*_arguments(part))


def ratios(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """For every run and split accuracy before and after, gap, ratio, entropy and state."""
    rows: Rows = []
    own = data.own().filter(pl.col("split").is_in(SPLITS))
    for place, part in runs(own, "split"):
        split = place.pop("split")
        clusters = unit(part)
        for name in ("right_before", "right", "p_right_before", "p_right", "entropy"):
            estimate = clustered_mean(part[name].to_numpy(), clusters, unit="items")
            most = np.inf if name == "entropy" else 1
            rows.append(row(name, split, estimate.within(0, most), **place))
        for name in ("right", "p_right"):
            gap = paired_difference(
                part[f"{name}_before"].to_numpy(), part[name].to_numpy(), clusters, unit="items"
            )
            rows.append(row(f"gap in {name}", split, gap, **place))
        looks = forgetting(
            # A right answer that shares the top counts as another one.
            np.where(part["right"] == 1, part["chosen"], -1.0),
            part["chosen_before"].to_numpy(),
            part["chosen"].to_numpy(),
            part["choices"].to_numpy(),
        )
        flips = (part["chosen"] != part["chosen_before"]).to_numpy().astype(float)
        rows.append(row("flip", split, clustered_mean(flips, clusters, unit="items"), **place))
        bias = Estimate(
            looks.label_bias, np.nan, np.nan, part.height, "answers", "share", note=looks.state
        )
        rows.append(row("label bias", split, bias, **place))
        rows.append(row("ratio", split, ratio_of(part), **place))
    return rows, {}


def reach(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Generalisation of forgetting for each task, differences between tasks, and controls."""
    rows: Rows = []
    found: Found = {}
    own = data.own()
    tasks = data.judged(own)["task"].n_unique()
    count = Estimate(tasks, np.nan, np.nan, tasks, "tasks", "count")
    rows.append(row("judged", "tasks", count, role=data.role, factor=data.modes()[0]))
    for place, part in runs(own.filter(pl.col("arm") == "forget")):
        sides = [part.filter(pl.col("split") == split) for split in ("train", "unseen")]
        if min(side.height for side in sides):
            rows.append(row("generalisation", "unseen", generalisation_of(*sides), **place))
    differ = _between_tasks(data, "unseen")
    if differ:
        rows.append(row("between tasks", "unseen", differ, role=data.role))
        found["generalisation_varies"] = differ
    for claim, arm, split in (*MEANS, (None, "forget", "unseen")):
        ratios = [each.estimate for each in task_ratios(data, arm, split).values()]
        estimate = over_tasks(claim, ratios)
        if estimate:
            if claim:
                found[claim] = estimate
            rows.append(row("mean", split, estimate, role=data.role, arm=arm))
    for role in data.untaught:
        unseen = own.filter((pl.col("role") == role) & (pl.col("split") == "unseen"))
        knew = unseen.group_by("task", maintain_order=True).agg(pl.col("right_before").mean())
        known = over_tasks(None, knew["right_before"].to_list())
        if known:
            known = replace(known.within(0, 1), p=None)
            rows.append(row("mean", "right_before", known, role=role, arm="before"))
    return rows, found


#: Claim, and the arm and split whose forget ratio, mean over tasks, it is judged on.
MEANS = (
    ("trained_forgotten", "forget", "train"),
    ("true_labels_keep", "continued", "unseen"),
    ("head_reaches_all", "broken_head", "unseen"),
    ("table_reaches_nothing", "lookup", "unseen"),
    ("table_forgets_its_own", "lookup", "train"),
)


def generalisation_of(train: pl.DataFrame, unseen: pl.DataFrame) -> Estimate:
    """Ratio of unseen items over that of trained ones."""
    return generalisation(*(Answers(*_arguments(side)) for side in (train, unseen)))


def _arguments(part: pl.DataFrame) -> tuple[np.ndarray, ...]:
    """Right before, right after, chance, replicate and item of every row; replicates have items of
    their own."""
    chance = pl.lit(1.0) / pl.col("choices")
    columns = part.select("right_before", "right", chance.alias("chance"), "replicate")
    return *(column.to_numpy() for column in columns), unit(part)


def task_ratios(data: Data, arm: str, split: str) -> dict[str, Estimate]:
    """Ratio of every task in the states that claims are judged on, where it is defined."""
    own = data.judged(data.own(), arm).filter(pl.col("split") == split)
    found = {place["series"]: ratio_of(part) for place, part in runs(own)}
    return {task: each for task, each in found.items() if np.isfinite(each.estimate)}


def _between_tasks(data: Data, split: str) -> Estimate | None:
    """Standard deviation between tasks beyond their own noise."""
    found = [
        (each.estimate, (each.high - each.low) / (2 * _Z))
        for each in task_ratios(data, "forget", split).values()
        if each.high > each.low
    ]
    if len(found) < 3:
        return None
    values, errors = np.array(found).T
    tau = heterogeneity(values, errors, unit="tasks").tau
    # Tested where the claim draws its line, not at 0.
    threshold = THRESHOLDS["generalisation_varies"]
    beyond = generalised_q(values, errors**2, threshold**2)
    return replace(tau, p=float(chi2.sf(beyond, len(values) - 1)), null=threshold)
