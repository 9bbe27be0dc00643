"""The observations of a study as frames; a model is the unit, its seed is its run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.metrics import unlearning
from palimpsest.statistics import Estimate
from palimpsest.statistics.recognition import placements

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.unlearning.settings import Settings

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: What is left where it is asked for directly; a model that knows has the higher value.
DIRECT = (
    "probability",
    "rouge_l",
    "exact_memorisation",
    "extraction_strength",
    "exposure",
    "refusal",
)
#: What is left where it is not asked for directly.
HIDDEN = ("reworded", "few_shot", "benign", "linear_probe", "logit_lens", "bits_8", "bits_4")
#: Scores that tell members from non-members.
MEMBERSHIP = ("loss", "zlib", "min_k", "min_k_plus_plus")
#: Parts of the taught facts that must stay.
STAYS = ("kept", "neighbour", "retain")
#: Groups of observations that are no items.
NO_ITEMS = ("relearn", "model", "prose", "fact")

KEYS = ["world", "model", "arm", "run"]
_SCHEMA = {
    "world": pl.String,
    "model": pl.String,
    "arm": pl.String,
    "run": pl.Int64,
    "metric": pl.String,
    "group": pl.String,
    "value": pl.Float64,
}


@dataclass(frozen=True)
class Data:
    """Frames of one study.

    Attributes:
        values: world, model, arm, run, metric, group and value: one number a model. Groups are
            forgetting, hidden, membership and utility.
        relearned: world, model, arm, run, number, updates, metric (shown or others) and value.
        arms: the methods, in the order of the settings or of their names.
        taught: the arm that knows.
        retrained: the arm that never knew.
    """

    values: pl.DataFrame
    relearned: pl.DataFrame
    arms: list[str]
    taught: str
    retrained: str

    def worlds(self) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
        """Columns for statistics, and the values of each world that has both reference arms."""
        for (world, model), part in self.values.group_by(["world", "model"], maintain_order=True):
            if {self.taught, self.retrained} <= set(part["arm"].unique()):
                yield {"series": world, "model": model}, part

    def methods(self, part: pl.DataFrame) -> list[str]:
        """The methods of a world, without the arms that they are judged by."""
        there = set(part["arm"].unique())
        return [arm for arm in self.arms if arm in there]


def of(part: pl.DataFrame, arm: str, metric: str) -> np.ndarray:
    """(runs,) values of an arm, in the order of runs."""
    chosen = part.filter((pl.col("arm") == arm) & (pl.col("metric") == metric)).sort("run")
    values = chosen["value"].to_numpy()
    return values[np.isfinite(values)]


def metrics_of(part: pl.DataFrame) -> dict[str, str]:
    """Metric -> group, in the order of the frame."""
    return dict(part.select("metric", "group").unique(maintain_order=True).iter_rows())


def read(connection: duckdb.DuckDBPyConnection, study: str, settings: Settings) -> Data:
    """All observations of a study, aggregated to one number a model and metric."""
    query = "SELECT * FROM unlearning WHERE study = ? ORDER BY ALL"
    frame = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    scratch = bool((frame["world"] == "scratch").any())
    taught, retrained = settings.untouched, settings.retrained
    if scratch:
        from palimpsest.probes.unlearning.settings import RETRAINED, TAUGHT

        taught, retrained = TAUGHT, RETRAINED
    there = frame["arm"].unique().to_list()
    named = list(settings.scratch.methods) if scratch else sorted(there)
    arms = [arm for arm in named if arm in there and arm not in (taught, retrained)]
    items = frame.filter(~pl.col("part").is_in(NO_ITEMS))
    means = items.group_by([*KEYS, "part", "metric"], maintain_order=True)
    means = means.agg(pl.col("value").mean()).sort(KEYS)
    relearned = _relearned(frame)
    values = pl.concat(
        [
            _named(means, "forget", DIRECT, "forgetting"),
            _named(means, "forget", HIDDEN, "hidden"),
            _others(relearned),
            _membership(items),
            *(_named(means, part, ("probability", "rouge_l", "refusal"), "utility")
              for part in STAYS),
            _truths(items),
            _prose(frame),
        ]
    )  # fmt: skip
    return Data(pl.concat([values, _utility(values)]), relearned, arms, taught, retrained)


def _named(means: pl.DataFrame, part: str, metrics: tuple[str, ...], group: str) -> pl.DataFrame:
    chosen = means.filter((pl.col("part") == part) & pl.col("metric").is_in(metrics))
    name = pl.col("part") + " " + pl.col("metric")
    return chosen.select(*KEYS, metric=name, group=pl.lit(group), value="value")


def _relearned(frame: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("item").str.split("/").list
    return frame.filter(pl.col("part") == "relearn").select(
        *KEYS,
        "metric",
        "value",
        number=parts.get(0).cast(pl.Int64),
        updates=parts.get(1).cast(pl.Int64),
    )


def _others(relearned: pl.DataFrame) -> pl.DataFrame:
    """Forgotten facts that come back although others were taught again: after the last update."""
    last = pl.col("updates") == pl.col("updates").max().over([*KEYS, "number"])
    chosen = relearned.filter((pl.col("metric") == "others") & last)
    return chosen.select(
        *KEYS,
        metric=pl.lit(OTHERS) + pl.col("number").cast(pl.String),
        group=pl.lit("hidden"),
        value="value",
    )


#: Begins the names of the metrics of forgotten facts that come back by themselves.
OTHERS = "others after relearning "


def _membership(items: pl.DataFrame) -> pl.DataFrame:
    """Area under the curve that tells the forget set from people nobody was told about."""
    rows = []
    chosen = items.filter(
        pl.col("metric").is_in(MEMBERSHIP) & pl.col("part").is_in(["forget", "holdout"])
    )
    for names, part in chosen.group_by([*KEYS, "metric"], maintain_order=True):
        sides = [
            part.filter(pl.col("part") == p)["value"].to_numpy() for p in ("forget", "holdout")
        ]
        if min(map(len, sides)) > 1 and all(np.isfinite(side).all() for side in sides):
            area = float(placements(*sides)[0].mean())
            rows.append([*names[:-1], f"membership {names[-1]}", "membership", area])
    return _frame(rows)


def _truths(items: pl.DataFrame) -> pl.DataFrame:
    """Aggregates of truth ratios: of the forget set, and of what must stay."""
    rows = []
    chosen = items.filter(pl.col("metric") == "truth_ratio")
    for names, part in chosen.group_by([*KEYS, "part"], maintain_order=True):
        ratios, name = part["value"].to_numpy(), names[-1]
        if name == "forget":
            value = unlearning.forget_truth(ratios)
            rows.append([*names[:-1], "forget truth", "membership", value])
        elif name in STAYS:
            rows.append([*names[:-1], f"{name} truth", "utility", unlearning.utility_truth(ratios)])
    return _frame(rows)


def _prose(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean loss of a token of real sentences."""
    means = frame.filter(pl.col("part") == "prose").group_by(KEYS, maintain_order=True)
    return means.agg(pl.col("value").mean()).select(
        *KEYS, metric=pl.lit("prose loss"), group=pl.lit("utility"), value="value"
    )


def _utility(values: pl.DataFrame) -> pl.DataFrame:
    """TOFU's model utility: harmonic mean of probability, ROUGE-L and truth of all that stays."""
    wanted = [f"{part} {kind}" for part in STAYS for kind in ("probability", "rouge_l", "truth")]
    chosen = values.filter(pl.col("metric").is_in(wanted))
    return _frame(
        [
            [*names, "model utility", "utility", unlearning.model_utility(part["value"].to_numpy())]
            for names, part in chosen.group_by(KEYS, maintain_order=True)
        ]
    )


def _frame(rows: list[list[Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
