"""What all analyses share: reading, grouping, and an estimate as a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import equivalence_paired, paired_difference
from palimpsest.statistics.intervals import clustered_mean

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.economic_recall.settings import Settings

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]
Analysis = Callable[[pl.DataFrame, "Settings"], tuple[Rows, Found]]

EQUIVALENCE_MARGIN = 0.1


def read(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """All observations of a study, with a name for the fact and for its cluster."""
    query = "SELECT * FROM economic_recall WHERE study = ? ORDER BY ALL"
    frame = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    fact = pl.concat_str(
        pl.col("series"),
        pl.col("date").cast(pl.String),
        pl.col("event").fill_null(""),
        separator="|",
        ignore_nulls=True,
    )
    return frame.with_columns(fact=fact, unit=pl.format("{}|{}", pl.col("seed"), fact))


def standing(analysis: Analysis) -> Analysis:
    """The analysis without unlearned states and without what was asked to judge them.

    They are no positive control: what was planted there may be gone.
    """

    @wraps(analysis)
    def restricted(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
        return analysis(frame.filter(pl.col("origin").is_null()), settings)

    return restricted


def plain_choices(frame: pl.DataFrame, metric: str = "correct") -> pl.DataFrame:
    """Rows of the plain question, one a fact and phrasing."""
    return frame.filter(
        (pl.col("metric") == metric)
        & pl.col("question").is_in(["t0", "t1"])
        & pl.col("experiment").is_in(["value", "event_date", "event_entity"])
    )


def mean_of(frame: pl.DataFrame, level: float = 0.95) -> Estimate:
    """Mean over facts, facts as clusters; the interval of a share is cut to what shares can be."""
    found = clustered_mean(
        frame["value"].to_numpy(), frame["unit"].to_numpy(), level=level, unit="facts"
    )
    named = frame["metric"].unique().to_list() if "metric" in frame.columns else []
    return found.within(0, 1) if named and all(m.startswith("share") for m in named) else found


def above(frame: pl.DataFrame, chance: float) -> Estimate:
    """Mean minus chance with its t test, facts as clusters."""
    values = frame["value"].to_numpy()
    return paired_difference(
        values, np.full_like(values, chance), frame["unit"].to_numpy(), unit="facts"
    )


def at(frame: pl.DataFrame, chance: float) -> Estimate:
    """Mean minus chance with its equivalence test at the margin, facts as clusters."""
    values = frame["value"].to_numpy()
    return equivalence_paired(
        values,
        np.full_like(values, chance),
        EQUIVALENCE_MARGIN,
        frame["unit"].to_numpy(),
        unit="facts",
    )


def chance_of(frame: pl.DataFrame, settings: Settings) -> float:
    """Chance of the forced choice: planted facts bring their own number of alternatives."""
    found = frame.filter(pl.col("metric") == "choices")["value"]
    return 1 / float(found[0]) if found.len() else 1 / settings.choices


def largest_dose(frame: pl.DataFrame) -> pl.DataFrame:
    """Planted facts at the largest number of exposures."""
    planted = frame.filter(pl.col("facts") == "planted")
    return planted.filter(pl.col("step") == pl.col("step").max())


def widened(frame: pl.DataFrame, metrics: list[str], keys: tuple[str, ...] = ()) -> pl.DataFrame:
    """One row a question with a column a metric; questions without all of them are left out."""
    chosen = frame.filter(pl.col("metric").is_in(metrics))
    if chosen.is_empty():
        return pl.DataFrame(schema={"unit": pl.String, **dict.fromkeys(metrics, pl.Float64)})
    wide = chosen.pivot(
        on="metric",
        index=["state", "unit", "question", *keys],
        values="value",
        aggregate_function="mean",
    )
    if set(metrics) - set(wide.columns):
        return wide.clear().with_columns(pl.lit(None, pl.Float64).alias(m) for m in metrics)
    return wide.drop_nulls(metrics).sort("state", "unit", "question")


def before_cutoff() -> pl.Expr:
    """Facts from before the knowledge cutoff, or all where it is not known."""
    return pl.col("cutoff").is_null() | (pl.col("date") < pl.col("cutoff"))


def is_random() -> pl.Expr:
    return pl.col("role").str.starts_with("random")
