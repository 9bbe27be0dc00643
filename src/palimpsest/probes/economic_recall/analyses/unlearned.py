"""Unlearned states against the planted states that they came from: what is gone, what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.probes.economic_recall.analyses.grouping import (
    EQUIVALENCE_MARGIN,
    Found,
    Rows,
    mean_of,
    plain_choices,
)
from palimpsest.statistics.comparisons import (
    equivalence_two_sample,
    paired_difference,
    two_sample_difference,
)
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.economic_recall.settings import Settings
    from palimpsest.statistics import Estimate

#: Measures of planted facts, and of facts at large (log_p: nats of the true answer).
OF_PLANTED = ("correct", "margin", "exposure", "share_assigned", "share_truth")
OF_ASKED = ("correct", "log_p")
#: Role whose states claims are judged on; the first by name where there is none of this name.
MAIN = "unlearned"


def unlearned(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Recall before and after, by part: forget, retain, never; and of facts at large.

    Before is the planted state with the same seed, at its last checkpoint; where the study does not
    have it, there is no before. Differences are paired
    by fact and phrasing, facts are the unit. The floor is the arm never of the same state: of the
    facts to be forgotten and of those that stay only planted falsehoods are held against it, whose
    answers were drawn in the same way as those of never.
    """
    rows: Rows = []
    of_role: dict[str, Found] = {}
    for where, after in grouped(_after(frame), ["role", "model"]):
        pairs = _pairs(frame, after)
        rows += _changes(pairs, where)
        floor, evidence = _contrasts(pairs.filter(pl.col("metric") == "correct"), where)
        rows += floor
        of_role.setdefault(where["role"], evidence)
    chosen = MAIN if MAIN in of_role else min(of_role, default=MAIN)
    return rows, of_role.get(chosen, {})


def has_any(frame: pl.DataFrame) -> bool:
    """Whether the study has unlearned states."""
    return _after(frame).height > 0


def _after(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("origin").is_not_null() & (pl.col("origin") != pl.col("state")))


def _pairs(frame: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """One row a metric, fact and phrasing that both states were asked: before, after, part."""
    last = frame.filter(pl.col("facts") == "planted").group_by("state").agg(pl.col("step").max())
    planted = frame.filter((pl.col("facts") == "planted") & pl.col("origin").is_null())
    before = pl.concat(
        [
            planted.join(last, on=["state", "step"], how="semi"),
            frame.filter(pl.col("origin") == pl.col("state")),
        ]
    )
    parts = after.filter(pl.col("metric") == "part").select("state", "fact", part="text")
    keys = ["facts", "experiment", "series", "metric", "fact", "question"]
    found = []
    for facts, metrics in (("planted", OF_PLANTED), ("asked", OF_ASKED)):
        for metric in metrics:
            old, new = (
                plain_choices(each, metric).filter(pl.col("facts") == facts)
                for each in (before, after)
            )
            found.append(
                new.select("state", "origin", "unit", "arm", *keys, after="value").join(
                    old.select(*keys, origin="state", before="value"),
                    on=["origin", *keys],
                    how="left",
                    maintain_order="left",
                )
            )
    pairs = pl.concat(found).join(
        parts.unique(), on=["state", "fact"], how="left", maintain_order="left"
    )
    # An event may be asked at large and be one of the planted: it says nothing of the rest then.
    asked = pl.col("facts") == "asked"
    return pairs.filter(
        ~asked | pl.col("part").is_null() | (pl.col("part") == "never")
    ).with_columns(part=pl.when(asked).then(pl.lit("at large")).otherwise("part"))


def _changes(pairs: pl.DataFrame, where: dict[str, Any]) -> Rows:
    """Means before and after and their paired difference: of all facts, and by what was asked."""
    rows: Rows = []
    of_kind = pairs.with_columns(kind="experiment")
    of_series = pairs.filter((pl.col("experiment") == "value") & (pl.col("facts") == "planted"))
    for part in (
        pairs.with_columns(kind=pl.lit(None, pl.String)),
        of_kind,
        of_series.with_columns(kind="series"),
    ):
        for keys, piece in grouped(part, ["part", "metric", "kind"]):
            place = where | {"arm": keys["part"], "series": keys["kind"]}
            both = piece.drop_nulls("before")
            found = {"after": mean_of(piece.rename({"after": "value"}))}
            if both.height:
                found["before"] = mean_of(both.rename({"before": "value"}))
                found["after - before"] = _change(both)
            rows += [
                row("unlearned", keys["metric"], estimate, factor=factor, **place)
                for factor, estimate in found.items()
            ]
    return rows


def _change(piece: pl.DataFrame) -> Estimate:
    return paired_difference(
        piece["after"].to_numpy(), piece["before"].to_numpy(), piece["unit"].to_numpy(),
        unit="facts",
    )  # fmt: skip


def _contrasts(pairs: pl.DataFrame, where: dict[str, Any]) -> tuple[Rows, Found]:
    """Distance to the floor, before and after; and how much more was lost of what had to go."""
    rows: Rows = []
    found: Found = {}
    never = pairs.filter(pl.col("part") == "never")
    for part in ("forget", "retain"):
        taught = pairs.filter((pl.col("part") == part) & (pl.col("arm") == "planted_false"))
        if taught.is_empty() or never.is_empty():
            continue
        place = where | {"arm": f"{part} - never"}
        known = not taught["before"].null_count() and not never["before"].null_count()
        for moment in ("before", "after") if known else ("after",):
            samples = _samples(taught, never, pl.col(moment))
            estimate = two_sample_difference(*samples, unit="facts")
            estimate = estimate.within(-1, 1)
            rows.append(row("unlearned_floor", "correct", estimate, factor=moment, **place))
        if part == "retain":
            found["kept_above_floor"] = estimate
        else:
            found["forgotten_at_floor"] = equivalence_two_sample(
                *samples[:2], EQUIVALENCE_MARGIN, *samples[2:], unit="facts"
            )
    both = pairs.drop_nulls("before")
    forget, retain = (both.filter(pl.col("part") == part) for part in ("forget", "retain"))
    if forget.height and retain.height:
        samples = _samples(retain, forget, pl.col("after") - pl.col("before"))
        estimate = two_sample_difference(*samples, unit="facts")
        place = where | {"arm": "retain - forget", "factor": "after - before"}
        rows.append(row("unlearned_floor", "correct", estimate, **place))
        found["forgetting_is_selective"] = estimate
    return rows, found


def _samples(one: pl.DataFrame, other: pl.DataFrame, value: pl.Expr) -> tuple[np.ndarray, ...]:
    """Values of both samples, then their units."""
    values = (part.select(value).to_series().to_numpy() for part in (one, other))
    return (*values, one["unit"].to_numpy(), other["unit"].to_numpy())
