"""The observations of a study as frames: an item before and after, a layer, a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.probes.unforgettable_generalization.reading import UNSEEN
from palimpsest.probes.unforgettable_generalization.settings import FIRST
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import (
    equivalence_of_differences,
    mean_of_differences,
)
from palimpsest.statistics.rows import grouped

if TYPE_CHECKING:
    import duckdb

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: What names a state's replicate.
STATE = ["role", "model", "replicate"]
#: What names a run of one replicate.
RUN = ["arm", "mode", "task"]
#: Splits that are reported, and those that are made of several.
POOLED = {"unseen": UNSEEN}
SPLITS = ("train", "near", *UNSEEN, *POOLED)


@dataclass(frozen=True)
class Data:
    """Frames of one study.

    Attributes:
        pairs: one row an item, run and split, before and after: role, model, replicate, arm, mode,
            task (that is forgotten), on (task of the item), split, item, choices, right, p_right,
            entropy, chosen and confidence, each also as ``_before``.
        layers: one row an item, run, layer and kind (probe, control, lens): value.
        relearned: one row an item, run and number of updates: right, p_right.
        course: one row a run and pass: metric and value; and facts of a run (item ``run``).
        tasks: one row a task of a state: metric and value of states and similarities (``other``).
        families: task -> what kind of knowledge or skill it asks for.
        role: the states that claims are judged on: those that were taught, where there are any.
        untaught: roles of states that were not taught.
    """

    pairs: pl.DataFrame
    layers: pl.DataFrame
    relearned: pl.DataFrame
    course: pl.DataFrame
    tasks: pl.DataFrame
    families: dict[str, str]
    role: str
    untaught: tuple[str, ...]

    def own(self) -> pl.DataFrame:
        """Pairs of items of the task that is forgotten; unseen ones also pooled."""
        own = self.pairs.filter(pl.col("task") == pl.col("on"))
        pooled = [
            own.filter(pl.col("split").is_in(parts)).with_columns(split=pl.lit(name))
            for name, parts in POOLED.items()
        ]
        return pl.concat([own, *pooled])

    def modes(self) -> list[str]:
        """Modes of forgetting, the first of the settings first."""
        found = self.pairs.filter(pl.col("arm") == "forget")["mode"].unique().to_list()
        order = ["fixed_random", "resampled", "soft_uniform"]
        return sorted(found, key=order.index)

    def judged(self, frame: pl.DataFrame, arm: str = "forget") -> pl.DataFrame:
        """Rows of an arm in the states and the mode that claims are judged on."""
        chosen = frame.filter((pl.col("role") == self.role) & (pl.col("arm") == arm))
        return chosen.filter(pl.col("mode") == self.modes()[0]) if arm == "forget" else chosen


def runs(frame: pl.DataFrame, *keys: str) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """Groups of a frame over replicates, with their columns of the table ``statistics``."""
    for values, part in grouped(frame, ["role", "model", *RUN, *keys]):
        place = {
            "role": values["role"],
            "model": values["model"],
            "series": values["task"],
            "arm": values["arm"],
            "factor": values["mode"],
        }
        yield place | {key: values[key] for key in keys}, part


#: claim -> threshold of its verdict, fixed before any run.
THRESHOLDS = {
    "trained_forgotten": 0.5,
    "generalisation_varies": 0.1,
    "difficulty_is_no_guide": 0.3,
    "doubt_predicts": 0.0,
    "uniformity_predicts": 0.0,
    "forgetting_spills": 0.2,
    "probes_recover": -0.1,
    "relearned_sooner": 0.0,
    "true_labels_keep": 0.2,
    "head_reaches_all": 0.8,
    "head_erases_nothing": 0.02,
    "table_reaches_nothing": 0.05,
    "table_forgets_its_own": 0.5,
}
#: Claims that something lies within their threshold of 0: equivalence, not a difference.
WITHIN = ("difficulty_is_no_guide", "true_labels_keep", "head_erases_nothing",
          "table_reaches_nothing")  # fmt: skip


def over_tasks(claim: str | None, values: Sequence[float]) -> Estimate | None:
    """Mean over tasks, tasks as units, tested at the threshold of a claim, or of none at zero; None
    for fewer than two."""
    if len(values) < 2:
        return None
    threshold = THRESHOLDS[claim] if claim else 0.0
    if claim in WITHIN:
        found = equivalence_of_differences(np.array(values), threshold, unit="tasks")
        # Where no answer of any task has changed there is nothing to test.
        return found if any(values) else replace(found, low=0.0, high=0.0, p=None)
    return mean_of_differences(np.array(values), unit="tasks", null=threshold)


def unit(part: pl.DataFrame) -> np.ndarray:
    """A label for every item of every replicate."""
    return (part["replicate"].cast(pl.String) + "/" + part["item"]).to_numpy()


def read(connection: duckdb.DuckDBPyConnection, study: str) -> Data:
    """All observations of a study."""
    query = "SELECT * FROM unforgettable_generalization WHERE study = ? ORDER BY ALL"
    every = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    splits = ["train", "near", "other", *UNSEEN, "validation"]
    items = every.filter(pl.col("grp").is_in(splits))
    named = items.filter(~pl.col("metric").str.contains("/"))
    before = _wide(named.filter(pl.col("arm") == "before"))
    after = _wide(named.filter(pl.col("arm") != "before"))
    left = before.select(
        *STATE,
        "item",
        on="task",
        split_of="split",
        choices=pl.col("prompt").cast(pl.Int64),
        **{f"{name}_before": pl.col(name) for name in ANSWERS},
    )
    pairs = after.join(left, on=[*STATE, "item"], how="inner", maintain_order="left")
    pairs = pairs.with_columns(split=pl.col("split_of"))
    untaught = sorted(every.filter(pl.col("arm") == FIRST)["role"].unique().to_list())
    taught = sorted(set(every["role"].unique()) - set(untaught))
    return Data(
        pairs.select(*STATE, *RUN, "on", "split", "item", "choices", *_both(ANSWERS)),
        _layers(every.filter(pl.col("metric").str.contains(r"^(probe|control|lens)/"))),
        _relearned(every),
        every.filter(pl.col("grp") == "course").select(*STATE, *RUN, "item", "metric", "value"),
        every.filter(
            pl.col("grp").is_in(["similarity", "states"]) & (pl.col("arm") == "before")
        ).select(*STATE, "task", "metric", "value", other=pl.col("item")),
        dict(every.filter(pl.col("metric") == "family").select("task", "text").iter_rows()),
        (taught or untaught)[0],
        tuple(untaught),
    )


ANSWERS = ("right", "p_right", "confidence", "entropy", "chosen")


def _both(names: tuple[str, ...]) -> list[str]:
    return [*names, *(f"{name}_before" for name in names)]


def _wide(frame: pl.DataFrame) -> pl.DataFrame:
    """One row an item, a column a metric."""
    wanted = frame.filter(pl.col("metric").is_in([*ANSWERS, "prompt"]))
    wide = wanted.pivot(
        "metric", index=[*STATE, *RUN, "grp", "item"], values="value", maintain_order=True
    )
    missing = [name for name in (*ANSWERS, "prompt") if name not in wide.columns]
    empty = {name: pl.lit(None, dtype=pl.Float64) for name in missing}
    return wide.with_columns(**empty).rename({"grp": "split"})


def _layers(items: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("metric").str.splitn("/", 2).struct
    return items.select(
        *STATE,
        *RUN,
        "item",
        "value",
        kind=parts.field("field_0"),
        layer=parts.field("field_1").cast(pl.Int64),
    )


def _relearned(every: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("item").str.splitn("/", 2).struct
    return every.filter(pl.col("grp") == "relearned").select(
        *STATE,
        *RUN,
        "metric",
        "value",
        updates=parts.field("field_0").cast(pl.Int64),
        item=parts.field("field_1"),
    )
