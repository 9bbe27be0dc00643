"""The observations of a study as frames; a network, that is a seed, is the unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.statistics import Estimate
from palimpsest.statistics.rows import grouped

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.power_law_rehearsal.settings import Settings

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: What names a stream and its networks, apart from what is compared.
FACTORS = ["role", "model", "benchmark", "tasks", "width", "compute"]
CONTROLS = ("identical", "shuffled")


@dataclass(frozen=True)
class Data:
    """Frames of one study, with the columns of ``FACTORS``, condition and network_seed.

    Attributes:
        summary: metric and value, one number a network.
        matrix: after, on, metric, value, and tested, the test examples of task ``on``; after is
            -1 before the first task.
        learning: task, metric and value.
        gap: step and value, accuracy on old tasks after a switch above that before it.
        returned: lag, drawn and expected examples of a network.
    """

    summary: pl.DataFrame
    matrix: pl.DataFrame
    learning: pl.DataFrame
    gap: pl.DataFrame
    returned: pl.DataFrame

    def main(self, frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
        """Rows that claims are judged on: the first of every factor, as the settings list them."""
        if frame.is_empty():
            return frame
        benchmark = settings.benchmarks[0]
        return frame.filter(
            (pl.col("benchmark") == benchmark)
            & (pl.col("role") == frame["role"].min())
            & (pl.col("tasks") == settings.lengths(benchmark)[0])
            & (pl.col("width") == settings.sizes()[0])
            & (pl.col("compute") == settings.compute[0])
        )

    def control(self, frame: pl.DataFrame, benchmark: str) -> pl.DataFrame:
        """Rows of a stream whose answer is known."""
        return frame.filter(pl.col("benchmark") == benchmark)


def read(connection: duckdb.DuckDBPyConnection, study: str, settings: Settings) -> Data:
    """All observations of a study."""
    query = "SELECT * FROM power_law_rehearsal WHERE study = ? ORDER BY ALL"
    frame = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    keys = [*FACTORS, "condition", "network_seed"]
    parts = {
        kind: frame.filter(pl.col("kind") == kind)
        for kind in ("summary", "matrix", "learning", "gap", "returned", "tested")
    }
    tested = parts["tested"].select(*keys, on="place", tested=pl.col("value").cast(pl.Int64))
    returned = parts["returned"].select(*keys, "metric", "value", lag="place")
    drawn = returned.filter(pl.col("metric") == "drawn").drop("metric").rename({"value": "drawn"})
    expected = returned.filter(pl.col("metric") == "expected").drop("metric")
    return Data(
        parts["summary"].select(*keys, "metric", "value"),
        parts["matrix"]
        .select(*keys, "metric", "value", after="place", on="task")
        .join(tested, on=[*keys, "on"], maintain_order="left"),
        parts["learning"].select(*keys, "metric", "value", task="place"),
        parts["gap"].select(*keys, "value", step="place"),
        drawn.join(
            expected.rename({"value": "expected"}), on=[*keys, "lag"], maintain_order="left"
        ),
    )


def where(values: dict[str, Any]) -> dict[str, Any]:
    """The factors as columns of the table ``statistics``."""
    factors = (f"{values['tasks']} tasks", f"width {values['width']}", values["compute"])
    return {
        "role": values["role"],
        "model": values["model"],
        "series": values["benchmark"],
        "factor": ", ".join(factors),
    }


def settings_of(
    frame: pl.DataFrame, keys: list[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], pl.DataFrame]]:
    """Groups by all factors and ``keys``: columns for statistics, values, rows."""
    for values, part in grouped(frame, [*FACTORS, *keys]):
        yield where(values), values, part


def paired(one: pl.DataFrame, other: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Values of both by seed, and the seeds; the columns network_seed and value are read."""
    both = one.select("network_seed", "value").join(
        other.select("network_seed", other="value"), on="network_seed", maintain_order="left"
    )
    both = both.drop_nulls().filter(pl.col("value").is_not_nan() & pl.col("other").is_not_nan())
    return both["value"], both["other"], both["network_seed"]


def with_note(estimate: Estimate, text: str) -> Estimate:
    """The estimate with a remark before its own."""
    return replace(estimate, note="; ".join(filter(None, [text, estimate.note])))


def least(estimates: dict[Any, Estimate]) -> tuple[Any, Estimate]:
    """Of several differences that must all be above something: the one that is least so."""
    name = min(estimates, key=lambda key: estimates[key].low)
    return name, estimates[name]
