"""Shallow or deep: what linear probes and the logit lens still read, and how soon it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.unforgettable_generalization.analyses.frames import (
    STATE,
    Data,
    Found,
    Rows,
    over_tasks,
    unit,
)
from palimpsest.statistics.comparisons import paired_difference, two_sample_difference
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.unforgettable_generalization.settings import Settings
    from palimpsest.statistics.estimate import Estimate


def depth(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Layer by layer before and after; the claims take each task's best layer."""
    rows: Rows = []
    keys = ["role", "model", "arm", "mode", "task", "kind", "layer"]
    for values, part in grouped(data.layers, keys):
        place = {name: values[name] for name in ("role", "model", "arm")}
        place |= {"series": values["task"], "factor": values["mode"], "step": values["layer"]}
        # The control has one number a replicate, a mean over draws of its labels.
        counted = "replicates" if values["kind"] == "control" else "items"
        mean = clustered_mean(part["value"].to_numpy(), unit(part), unit=counted).within(0, 1)
        rows.append(row("layer", values["kind"], mean, **place))
    found: Found = {}
    for claim, arm in (("probes_recover", "forget"), ("head_erases_nothing", "broken_head")):
        every = {task: _best(data, arm, task) for task in _tasks(data)}
        kept = {task: each for task, each in every.items() if each}
        mean = over_tasks(claim, [each.estimate for each in kept.values()])
        if mean:
            found[claim] = mean
        for task, each in kept.items():
            rows.append(row("probe kept", task, each, role=data.role, arm=arm, series=task))
    return rows, found


def _tasks(data: Data) -> list[str]:
    own = data.layers.filter((pl.col("kind") == "probe") & (pl.col("role") == data.role))
    return sorted(own["task"].unique().to_list())


def _best(data: Data, arm: str, task: str) -> Estimate | None:
    """Accuracy of the probe after minus before, in the layer that is best over both: to choose by
    one of them alone would favour it."""
    own = data.layers.filter((pl.col("kind") == "probe") & (pl.col("task") == task))
    before = own.filter((pl.col("role") == data.role) & (pl.col("arm") == "before"))
    both = before.join(
        data.judged(own, arm), on=[*STATE, "item", "layer"], suffix="_after", maintain_order="left"
    )
    if both.is_empty():
        return None
    total = pl.col("value").mean() + pl.col("value_after").mean()
    layer = both.group_by("layer").agg(total=total).sort("total", "layer")["layer"][-1]
    chosen = both.filter(pl.col("layer") == layer)
    return paired_difference(
        chosen["value_after"].to_numpy(), chosen["value"].to_numpy(), unit(chosen), unit="items"
    )


def relearning(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Unseen items by updates with true labels: after forgetting, and by what never learned."""
    rows: Rows = []
    keys = ["role", "model", "arm", "mode", "task", "metric", "updates"]
    for values, part in grouped(data.relearned, keys):
        place = {name: values[name] for name in ("role", "model", "arm")}
        place |= {"series": values["task"], "factor": values["mode"], "step": values["updates"]}
        mean = clustered_mean(part["value"].to_numpy(), unit(part), unit="items").within(0, 1)
        rows.append(row("relearning", values["metric"], mean, **place))
    own = data.relearned.filter(pl.col("metric") == "right")
    again = data.judged(own)
    first = own.filter((pl.col("arm") == "first") & pl.col("role").is_in(data.untaught))
    if again.is_empty() or first.is_empty():
        return rows, {}
    savings: list[float] = []
    for task in sorted(set(again["task"]) & set(first["task"])):
        sides = [side.filter(pl.col("task") == task) for side in (again, first)]
        # One number an item: its mean over the moments at which both were asked.
        values = [side.group_by("replicate", "item").agg(pl.col("value").mean()) for side in sides]
        saved = two_sample_difference(
            values[0]["value"].to_numpy(),
            values[1]["value"].to_numpy(),
            unit="items",
        )
        rows.append(row("savings", "right", saved, role=data.role, series=task))
        savings.append(saved.estimate)
    mean = over_tasks("relearned_sooner", savings)
    return rows, {"relearned_sooner": mean} if mean else {}
