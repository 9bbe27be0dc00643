"""The numbers of the explorer: from the probe's view to means with intervals, by SQL."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.special import stdtrit

from palimpsest.evidence.database import Database
from palimpsest.evidence.factors import replicate_sql

#: Rows that a page holds, all replicates together; beyond, dimensions with the most values are
#: averaged over. Single replicates are added where no more rows than the second come out.
ROWS, ROWS_OF_REPLICATES = 4_000, 9_000
#: A number at the end of a metric's name, such as that of a layer.
TAIL = r"^(.+?)[/_](\d+)$"

_GENERIC = """
SELECT c.study, c.role, c.model, c.state, c.seed, o.step, c.experiment, o.grp, o.item, o.metric,
  o.value, o.cell
FROM observations o JOIN cells c USING (study, cell) WHERE c.status = 'done'
"""


_SHARES = "SELECT metric FROM explored GROUP BY metric HAVING min(value) >= 0 AND max(value) <= 1"


def gathered(database: Database, study: str, probe: str) -> list[str]:
    """Keep the study's finite numbers as table ``explored``; returns its columns."""
    views = database.frame("SELECT view_name FROM duckdb_views() WHERE NOT internal")
    named = probe in views["view_name"].to_list()
    quoted = probe.replace('"', '""')
    source = f'"{quoted}"' if named else f"({_GENERIC})"
    have = database.frame(f"DESCRIBE SELECT * FROM {source}")["column_name"].to_list()
    needed = {"study", "cell", "metric", "value"}
    if not needed <= set(have):
        source, have = (
            f"({_GENERIC})",
            database.frame(f"DESCRIBE {_GENERIC}")["column_name"].to_list(),
        )
    database.keep(
        "explored",
        f"""
        WITH unit AS (SELECT cell, concat_ws(' ', 'seed ' || seed, nullif({replicate_sql()}, ''))
                      AS unit FROM cells WHERE study = $study),
        base AS (
          SELECT stem FROM (
            SELECT DISTINCT metric, regexp_extract(metric, '{TAIL}', 1) AS stem
            FROM observations WHERE study = $study) WHERE stem <> ''
          GROUP BY stem HAVING count(*) > 1
        ),
        moving AS (
          SELECT metric FROM observations WHERE study = $study AND isfinite(value)
          GROUP BY metric HAVING min(value) < max(value)
        )
        SELECT v.* REPLACE (CASE WHEN base.stem IS NULL THEN v.metric ELSE base.stem END AS metric),
          CASE WHEN base.stem IS NOT NULL
            THEN regexp_extract(v.metric, '{TAIL}', 2)::BIGINT END AS level,
          unit.unit
        FROM {source} v JOIN unit USING (cell) SEMI JOIN moving USING (metric)
        LEFT JOIN base ON base.stem = regexp_extract(v.metric, '{TAIL}', 1)
        WHERE v.study = $study AND isfinite(v.value) AND abs(v.value) < 1e150
        """,
        {"study": study},
    )
    return [*have, "level"]


def counted(database: Database, columns: list[str]) -> dict[str, int]:
    """How many values each column takes, an absent value among them."""
    asked = ", ".join(
        f'count(DISTINCT "{c}") + (count("{c}") < count(*))::INT AS "{c}"' for c in columns
    )
    return database.frame(f"SELECT {asked} FROM explored").row(0, named=True)


def fitting(
    database: Database, dimensions: list[str], counts: dict[str, int], wanted: set[str | None]
) -> tuple[list[str], list[str]]:
    """Dimensions that fit into :data:`ROWS` rows, and those to be averaged over.

    Dimensions with the most values go first, those in ``wanted`` last.
    """
    kept, averaged = list(dimensions), []
    while kept:
        listed = ", ".join(f'"{name}"' for name in kept)
        sql = f"SELECT count(*) FROM (SELECT DISTINCT metric, {listed} FROM explored)"
        if database.frame(sql).item() <= ROWS:
            break
        largest = max(kept, key=lambda name: (name not in wanted, counts[name]))
        kept.remove(largest)
        averaged.append(largest)
    return kept, averaged


def query(dimensions: list[str], items: list[str]) -> str:
    """Means by dimension over replicates and over items; single replicates where they fit."""
    by = ", ".join(f'"{name}"' for name in ("metric", *dimensions))
    item = ", ".join(f'"{name}"' for name in items) or "NULL"
    return f"""
WITH item AS (
  SELECT {by}, unit, concat_ws('/', {item}) AS item, avg(value) AS value
  FROM explored GROUP BY ALL
),
unit AS (
  SELECT {by}, unit, avg(value) AS mean, var_samp(value) AS variance, count(*) AS n,
    bool_and(value IN (0, 1)) AS share
  FROM item GROUP BY ALL
)
SELECT {by}, NULL AS replicate, avg(mean) AS mean, var_samp(mean) AS variance, count(*) AS n,
  false AS share, 'replicates' AS unit
FROM unit GROUP BY ALL HAVING count(*) > 1
UNION ALL
SELECT {by}, NULL, avg(value), var_samp(value), count(*), bool_and(value IN (0, 1)), 'items'
FROM (SELECT {by}, item, avg(value) AS value FROM item GROUP BY ALL) GROUP BY ALL
UNION ALL
SELECT {by}, unit, mean, variance, n, share, 'items' FROM unit
WHERE (SELECT count(DISTINCT unit) FROM unit) > 1
  AND (SELECT count(*) FROM unit) <= {ROWS_OF_REPLICATES}
ORDER BY ALL
""".strip()


def with_intervals(frame: pl.DataFrame, shares: list[str]) -> pl.DataFrame:
    """95% intervals: Student's t, cut to [0, 1] for ``shares``; Wilson's for items of 0 and 1."""
    mean, variance, n = (frame[c].cast(pl.Float64).to_numpy() for c in ("mean", "variance", "n"))
    share = frame["share"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stdtrit(n - 1, 0.975) * np.sqrt(variance / n)
        q2 = 1.959964**2
        centre = (mean + q2 / (2 * n)) / (1 + q2 / n)
        wide = 1.959964 / (1 + q2 / n) * np.sqrt(mean * (1 - mean) / n + q2 / (4 * n**2))
        low = np.where(share, np.maximum(centre - wide, 0), mean - half)
        high = np.where(share, np.minimum(centre + wide, 1), mean + half)
    within = frame["metric"].is_in(shares).to_numpy()
    low, high = (
        np.where(within, np.maximum(low, 0), low),
        np.where(within, np.minimum(high, 1), high),
    )
    # Equal means of few units say nothing of their spread.
    known = share | (variance > 0)
    return frame.drop("variance", "share").with_columns(
        low=pl.Series(np.where(known, low, np.nan)).fill_nan(None),
        high=pl.Series(np.where(known, high, np.nan)).fill_nan(None),
    )


def means(database: Database, dimensions: list[str], items: list[str]) -> pl.DataFrame:
    """Means of ``explored``: metric, dimensions, replicate (null: all), mean, interval,
    n and unit."""
    shares = database.frame(_SHARES)["metric"].to_list()
    return with_intervals(database.frame(query(dimensions, items)), shares)
