"""Two databases side by side: which cells they share, and how far their numbers differ."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from palimpsest.evidence.database import Database, EvidenceError
from palimpsest.evidence.factors import condition_sql, family_sql, replicate_sql
from palimpsest.threads import granted

#: Items of two runs are the same where at least this share of the smaller set is in both.
COMMON = 0.5

_CELLS = f"""
WITH trained AS (SELECT DISTINCT state FROM {{run}}.provenance WHERE rule = 'intervene')
SELECT '{{run}}' AS run, c.study, c.cell, c.state, c.role, c.model, c.seed, c.experiment, c.status,
  {condition_sql()} AS condition, {replicate_sql()} AS replicate, {family_sql()} AS family,
  replicate <> '' OR trained.state IS NOT NULL AS random
FROM {{run}}.cells c LEFT JOIN trained USING (state)
"""

# A sum of hashes does not depend on the order of the rows.
_PRINTS = """
SELECT '{run}' AS run, study, cell, count(*) AS rows,
  sum(hash(item, grp, step, metric, value, text)::HUGEINT) AS print
FROM {run}.observations GROUP BY study, cell
"""

_SHARED = """
CREATE TEMP TABLE shared AS
WITH printed AS ({prints}),
machine AS (
  SELECT run, study, state, array_agg(DISTINCT started ORDER BY started) AS started,
    array_agg(DISTINCT concat_ws(' ', device, threads, versions)
              ORDER BY concat_ws(' ', device, threads, versions)) AS machine
  FROM (SELECT 'old' AS run, * FROM old.provenance UNION ALL
        SELECT 'new' AS run, * FROM new.provenance)
  WHERE rule = 'probe' GROUP BY run, study, state
)
SELECT a.study, a.cell, a.state, a.role, a.model,
  p.rows IS NOT DISTINCT FROM q.rows AND p.print IS NOT DISTINCT FROM q.print AS equal,
  m.machine IS NOT NULL AND m.machine IS NOT DISTINCT FROM n.machine AS same_machine,
  m.started IS NOT NULL AND m.started IS NOT DISTINCT FROM n.started AS carried_over
FROM cell a JOIN cell b ON (a.study, a.cell) = (b.study, b.cell)
LEFT JOIN printed p ON p.run = 'old' AND (p.study, p.cell) = (a.study, a.cell)
LEFT JOIN printed q ON q.run = 'new' AND (q.study, q.cell) = (a.study, a.cell)
LEFT JOIN machine m ON m.run = 'old' AND (m.study, m.state) = (a.study, a.state)
LEFT JOIN machine n ON n.run = 'new' AND (n.study, n.state) = (a.study, a.state)
WHERE a.run = 'old' AND b.run = 'new' AND a.status = 'done' AND b.status = 'done'
"""

# Rows of one cell may have the same names: they are numbered in the order of their values.
_NUMBERED = """
SELECT study, cell, item, grp, step, metric, value, text, row_number() OVER (
  PARTITION BY study, cell, item, grp, step, metric ORDER BY value, text) AS number
FROM {run}.observations SEMI JOIN (FROM shared WHERE NOT equal) USING (study, cell)
"""

_UNEQUAL = f"""
WITH a AS ({_NUMBERED.format(run="old")}), b AS ({_NUMBERED.format(run="new")}),
pair AS (
  SELECT study, cell, metric, grp, item, a.value AS old, b.value AS new,
    a.number IS NULL OR b.number IS NULL AS alone,
    a.value IS DISTINCT FROM b.value AS number_differs,
    a.text IS DISTINCT FROM b.text AS text_differs,
    abs(b.value - a.value) AS difference
  FROM a FULL JOIN b USING (study, cell, item, grp, step, metric, number)
)
SELECT study, metric, grp, count(*) AS rows,
  count(*) FILTER (number_differs AND NOT alone) AS numbers,
  count(*) FILTER (text_differs AND NOT alone) AS texts, count(*) FILTER (alone) AS alone,
  max(difference) FILTER (isfinite(difference)) AS largest,
  arg_max(item, difference) FILTER (isfinite(difference)) AS item,
  arg_max(old, difference) FILTER (isfinite(difference)) AS old,
  arg_max(new, difference) FILTER (isfinite(difference)) AS new
FROM pair GROUP BY study, metric, grp
HAVING bool_or(number_differs OR text_differs OR alone)
ORDER BY largest DESC NULLS LAST, study, metric, grp
"""

#: What a comparison is about.
WHERE = ("study", "model", "role", "experiment", "condition", "step", "grp", "metric")

# Shared cells with equal numbers say nothing about change; with other numbers they are compared
# with themselves. A unit is a replicate; numbered replicates have items of their own.
_VALUES = """
CREATE TEMP TABLE value AS
WITH there AS (
  SELECT c.*, s.cell IS NOT NULL AS same_cells FROM cell c LEFT JOIN shared s USING (study, cell)
  WHERE c.status = 'done' AND NOT coalesce(s.equal, false)
),
observation AS (
  SELECT 'old' AS run, * FROM old.observations UNION ALL
  SELECT 'new' AS run, * FROM new.observations
)
SELECT run, same_cells, study, model, role, experiment, condition, o.step, grp, metric,
  concat_ws('/', seed, replicate) AS unit, concat_ws('/', family, replicate, item) AS item,
  family, state, bool_or(random) AS random, bool_or(replicate <> '') AS numbered,
  avg(value) AS value, min(value) AS least, max(value) AS most, count(*) AS rows,
  sum(value) AS total, sum(value ** 2) AS squares
FROM observation o JOIN there USING (run, study, cell)
WHERE isfinite(value) AND abs(value) < 1e150
GROUP BY ALL
"""

_KEYS = ", ".join(("same_cells", *WHERE))

_COMPARISONS = f"""
CREATE TEMP TABLE comparison AS
SELECT row_number() OVER (ORDER BY {_KEYS}) AS id, *
FROM (SELECT {_KEYS} FROM value WHERE run = 'old'
      INTERSECT SELECT {_KEYS} FROM value WHERE run = 'new')
"""

_MATCHED = " AND ".join(
    f"v.{name} IS NOT DISTINCT FROM c.{name}" for name in ("same_cells", *WHERE)
)

_STEPS = (
    f"""
    CREATE TEMP TABLE v AS SELECT c.id, v.* EXCLUDE ({_KEYS})
    FROM value v JOIN comparison c ON {_MATCHED}
    """,
    "CREATE TEMP TABLE item AS SELECT id, run, family, item, avg(value) AS value FROM v "
    "GROUP BY ALL",
    """
    CREATE TEMP TABLE pair AS
    SELECT id, family, item, o.value AS old, n.value - o.value AS difference
    FROM (FROM item WHERE run = 'old') o JOIN (FROM item WHERE run = 'new') n
    USING (id, family, item)
    """,
    f"""
    CREATE TEMP TABLE items AS
    SELECT id, coalesce(pairs, 0) AS pairs, c.* EXCLUDE (id),
      coalesce(pairs, 0) >= greatest(2, {COMMON} * least(old_items, new_items)) AS common
    FROM (
      SELECT id, count(*) FILTER (run = 'old') AS old_items,
        count(*) FILTER (run = 'new') AS new_items,
        avg(value) FILTER (run = 'old') AS old_item_mean,
        avg(value) FILTER (run = 'new') AS new_item_mean,
        var_samp(value) FILTER (run = 'old') AS old_item_variance,
        var_samp(value) FILTER (run = 'new') AS new_item_variance
      FROM item GROUP BY id
    ) c LEFT JOIN (SELECT id, count(*) AS pairs FROM pair GROUP BY id) USING (id)
    """,
    """
    CREATE TEMP TABLE unit AS
    SELECT id, run, unit, avg(v.value) AS value
    FROM v JOIN items USING (id) LEFT JOIN pair p USING (id, family, item)
    WHERE NOT common OR p.id IS NOT NULL
    GROUP BY ALL
    """,
)

# One row a comparison: counts, means and sample variances at the three levels of the unit.
_MOMENTS = """
WITH facts AS (
  SELECT id, bool_or(random) AS random, bool_or(numbered) AS numbered,
    min(least) AS least, max(most) AS most,
    list_sort(array_agg(DISTINCT state) FILTER (run = 'old'))
      = list_sort(array_agg(DISTINCT state) FILTER (run = 'new')) AS same_states,
    sum(rows) AS rows, sum(squares) AS squares,
    sum(total) FILTER (run = 'old') AS old_total, sum(rows) FILTER (run = 'old') AS old_rows,
    sum(total) FILTER (run = 'new') AS new_total, sum(rows) FILTER (run = 'new') AS new_rows
  FROM v GROUP BY id
),
pairs AS (
  SELECT id, avg(old) AS pair_old, avg(difference) AS pair_mean,
    var_samp(difference) AS pair_variance
  FROM pair GROUP BY id
),
families AS (
  SELECT id, count(*) AS families, avg(old) AS family_old, avg(difference) AS family_mean,
    var_samp(difference) AS family_variance
  FROM (SELECT id, family, avg(old) AS old, avg(difference) AS difference FROM pair GROUP BY ALL)
  GROUP BY id
),
units AS (
  SELECT id, count(*) FILTER (run = 'old') AS old_units,
    count(*) FILTER (run = 'new') AS new_units,
    avg(value) FILTER (run = 'old') AS old_mean, avg(value) FILTER (run = 'new') AS new_mean,
    var_samp(value) FILTER (run = 'old') AS old_variance,
    var_samp(value) FILTER (run = 'new') AS new_variance
  FROM unit GROUP BY id
),
exact AS (
  SELECT id, count(*) FILTER (o.value IS NULL OR n.value IS NULL OR o.value <> n.value) AS unequal
  FROM (FROM v WHERE run = 'old') o FULL JOIN (FROM v WHERE run = 'new') n
  USING (id, unit, family, item) GROUP BY id
),
matched AS (
  SELECT id, count(*) AS matched, avg(o.value) AS matched_old,
    avg(n.value - o.value) AS matched_mean,
    var_samp(n.value - o.value) AS matched_variance
  FROM (FROM unit WHERE run = 'old') o JOIN (FROM unit WHERE run = 'new') n USING (id, unit)
  GROUP BY id
)
SELECT c.* EXCLUDE (id),
  facts.* EXCLUDE (id, squares, old_total, new_total, old_rows, new_rows),
  sqrt(greatest(0, squares - old_total ** 2 / old_rows - new_total ** 2 / new_rows)
       / greatest(1, rows - 2)) AS spread,
  items.* EXCLUDE (id), pairs.* EXCLUDE (id), families.* EXCLUDE (id), units.* EXCLUDE (id),
  unequal, coalesce(matched, 0) AS matched, matched_old, matched_mean, matched_variance
FROM comparison c JOIN facts USING (id) JOIN items USING (id) JOIN units USING (id)
JOIN exact USING (id)
LEFT JOIN pairs USING (id) LEFT JOIN families USING (id) LEFT JOIN matched USING (id)
ORDER BY c.id
"""


class TwoRuns(Database):
    """Two gathered databases, ``old`` and ``new``, read together; also a context manager.

    Neither file is written to. For :meth:`frame` tables are ``old.cells``, ``new.cells`` and so on.
    Raises :class:`EvidenceError` as :class:`Database` does, for either file.
    """

    def __init__(self, old: str | Path, new: str | Path) -> None:
        for path in (old, new):
            Database(path).close()
        self.path = Path(new)
        number = granted()
        self._connection = duckdb.connect(config={"threads": number} if number else {})
        try:
            for name, path in (("old", old), ("new", new)):
                place = str(path).replace("'", "''")
                self._connection.execute(f"ATTACH '{place}' AS {name} (READ_ONLY)")
            cells, prints = (
                " UNION ALL ".join(f"({sql.format(run=run)})" for run in ("old", "new"))
                for sql in (_CELLS, _PRINTS)
            )
            self._connection.execute(f"CREATE TEMP TABLE cell AS {cells}")
            self._connection.execute(_SHARED.format(prints=prints))
        except duckdb.Error as error:
            self._connection.close()
            raise EvidenceError(f"{old} and {new} cannot be read together: {error}") from error

    def shared(self) -> pl.DataFrame:
        """Cells that are done in both runs: study, cell, state, role, model, equal (bit by bit, in
        any order of rows), same_machine (device, threads and versions), carried_over (the very
        same measurement, not a rerun)."""
        return self.frame("SELECT * FROM shared ORDER BY study, cell")

    def common_studies(self) -> list[str]:
        """Studies that have cells in both runs, sorted."""
        sql = "SELECT study FROM cell GROUP BY study HAVING count(DISTINCT run) = 2 ORDER BY study"
        return self.frame(sql)["study"].to_list()

    def unequal(self) -> pl.DataFrame:
        """What differs inside cells of one identity: by study, metric and group the number of
        rows, of other numbers, of other texts, of rows in one run alone, and the largest
        difference with its item and both values."""
        return self.frame(_UNEQUAL)

    def moments(self) -> pl.DataFrame:
        """One row a comparison: where it is, and counts, means and variances of its units.

        A comparison is everything that both runs measured under the same study, model, role,
        experiment, condition, step, group and metric, without shared cells whose numbers are equal.
        Columns are those that ``statistics.run_differences.compared`` asks for.
        """
        self._connection.execute(_VALUES)
        self._connection.execute(_COMPARISONS)
        for step in _STEPS:
            self._connection.execute(step)
        return self.frame(_MOMENTS)
