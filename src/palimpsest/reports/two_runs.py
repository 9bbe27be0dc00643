"""What the page that compares two runs reads from both databases."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from palimpsest.evidence.two_runs import TwoRuns
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.run_differences import independent_difference

RUNS = ("old", "new")


def run_facts(database: TwoRuns, run: str) -> dict[str, Any]:
    """Facts of one run: table ``run``, counts of cells and observations, machines, versions."""
    facts = dict(database.frame(f"SELECT key, value FROM {run}.run ORDER BY key").iter_rows())
    counts = database.frame(
        f"""
        SELECT count(*) AS planned, count(*) FILTER (status = 'done') AS done,
          (SELECT count(*) FROM {run}.observations) AS observations FROM {run}.cells
        """
    ).to_dicts()[0]
    machines = database.frame(
        f"""
        SELECT DISTINCT concat(device, ', ', threads, ' thread', CASE WHEN threads > 1 THEN 's' END)
        FROM {run}.provenance WHERE device IS NOT NULL ORDER BY 1
        """
    )
    return facts | counts | {"machines": machines.to_series().to_list()}


def by_study(shared: pl.DataFrame) -> pl.DataFrame:
    """Cells of ``TwoRuns.shared`` by study: how many are equal, were measured again, are broken."""
    again = ~pl.col("carried_over")
    return shared.group_by("study").agg(
        pl.len().alias("cells"),
        pl.col("equal").sum(),
        (~pl.col("equal")).sum().alias("unequal"),
        again.sum().alias("again"),
        (again & pl.col("same_machine")).sum().alias("same_machine"),
        (again & pl.col("same_machine") & ~pl.col("equal")).sum().alias("broken"),
    ).sort("study")  # fmt: skip


def alone(database: TwoRuns) -> list[dict[str, Any]]:
    """Studies, models, states, replicates, conditions, metrics and groups that one run lacks.

    One row a kind and study, with what only the old and only the new run has. What a study that is
    in one run alone holds is not listed again.
    """
    there = """
        SELECT run, study, 'model' AS kind, model AS name FROM cell UNION
        SELECT run, study, 'state', role FROM cell UNION
        SELECT run, study, 'seed', concat('seed ', seed, ' of ', role) FROM cell UNION
        SELECT run, study, 'replicate', replicate FROM cell WHERE replicate <> '' UNION
        SELECT run, study, 'condition', concat_ws(': ', nullif(experiment, ''),
          nullif(condition, '')) FROM cell UNION
        SELECT 'old', study, 'metric', metric FROM old.observations UNION
        SELECT 'new', study, 'metric', metric FROM new.observations UNION
        SELECT 'old', study, 'group', grp FROM old.observations WHERE grp <> '' UNION
        SELECT 'new', study, 'group', grp FROM new.observations WHERE grp <> ''
    """
    return database.frame(
        f"""
        WITH there AS ({there}),
        study AS (SELECT study FROM cell GROUP BY study HAVING count(DISTINCT run) = 2),
        one AS (
          SELECT 'study' AS kind, '' AS study, study AS name, any_value(run) AS run
          FROM cell GROUP BY study HAVING count(DISTINCT run) = 1
          UNION ALL
          SELECT kind, study, name, any_value(run) FROM there SEMI JOIN study USING (study)
          WHERE name IS NOT NULL AND name <> '' GROUP BY ALL HAVING count(DISTINCT run) = 1
        )
        SELECT study, kind,
          coalesce(list_sort(list(name) FILTER (run = 'old')), []) AS old,
          coalesce(list_sort(list(name) FILTER (run = 'new')), []) AS new
        FROM one GROUP BY study, kind
        ORDER BY study, array_position(['study', 'model', 'state', 'seed', 'replicate',
          'condition', 'group', 'metric'], kind)
        """
    ).to_dicts()


def made_differently(database: TwoRuns) -> list[dict[str, str]]:
    """Settings, code, models and versions that differ: what, of what, key, old, new."""
    rows: list[dict[str, str]] = []
    described = [
        {item["study"]: item for item in json.loads(run_facts(database, run).get("studies", "[]"))}
        for run in RUNS
    ]
    for study in sorted(described[0].keys() & described[1].keys()):
        sides = (_flat(run[study].get("settings") or {}) for run in described)
        rows += _different("settings of the study", study, *sides)
    states = _mapping(
        database,
        """
        SELECT concat(c.study, ': ', c.role) AS name, any_value(p.settings) AS value
        FROM (SELECT DISTINCT study, role, state FROM {run}.cells) c
        JOIN {run}.provenance p ON p.state = c.state AND p.rule = 'intervene' GROUP BY name
        """,
    )
    for name in sorted(states[0].keys() & states[1].keys()):
        sides = (_flat(json.loads(run[name] or "{}")) for run in states)
        rows += _different("last intervention of the state", name, *sides)
    code = _mapping(
        database,
        """
        SELECT concat_ws(' ', rule, study) AS name, string_agg(DISTINCT code, ', ' ORDER BY code)
        FROM {run}.provenance WHERE code <> '' AND rule <> 'intervene' GROUP BY name
        """,
    )
    rows += _different("code", "", *code, only_common=True)
    models = _mapping(
        database, "SELECT model, concat_ws(', ', source, revision, format) FROM {run}.models"
    )
    rows += _different("model", "", *models, only_common=True)
    versions = [
        _flat(json.loads(next(iter(found.values()), None) or "{}"))
        for found in _mapping(
            database,
            "SELECT 'versions', max_by(versions, started) FROM {run}.provenance "
            "WHERE versions IS NOT NULL",
        )
    ]
    return rows + _different("version of package", "", *versions)


def claims(database: TwoRuns, alpha: float = 0.05) -> pl.DataFrame:
    """How each claim's verdict and estimate moved.

    The interval of the difference takes both estimates as independent, which is cautious where the
    runs share items or cells. ``p_adjusted`` is Holm's over all claims with a p; ``detectable`` is
    the change that a test at 5% without that correction finds with power 80%.
    """
    frame = database.frame(
        """
        WITH same AS (
          SELECT study, bool_and(s.cell IS NOT NULL AND s.equal) AS same_observations
          FROM cell c LEFT JOIN shared s USING (study, cell) WHERE c.status = 'done' GROUP BY study
        )
        SELECT study, claim, coalesce(n.statement, o.statement, claim) AS statement,
          o.verdict AS old_verdict, n.verdict AS new_verdict,
          o.estimate AS old, o.low AS old_low, o.high AS old_high, o.n AS old_n,
          n.estimate AS new, n.low AS new_low, n.high AS new_high, n.n AS new_n,
          coalesce(n.unit, o.unit) AS unit, coalesce(n.direction, o.direction) AS direction,
          coalesce(n.threshold, o.threshold) AS threshold,
          coalesce(same_observations, false) AS same_observations,
          o.test IS DISTINCT FROM n.test AS other_test,
          coalesce(o.level, n.level) AS level
        FROM old.claims o FULL JOIN new.claims n USING (study, claim)
        LEFT JOIN same USING (study) ORDER BY study, claim
        """
    )
    sides = [
        tuple(frame[name].cast(pl.Float64).to_numpy() for name in names)
        for names in (
            ("old", "old_low", "old_high", "old_n"),
            ("new", "new_low", "new_high", "new_n"),
        )
    ]
    moved = pl.DataFrame(independent_difference(*sides, frame["level"].to_numpy()))
    ends = ("old", "new"), ("old_low", "new_low"), ("old_high", "new_high")
    equal = pl.all_horizontal(pl.col(a).eq_missing(pl.col(b)) for a, b in ends)
    frame = frame.with_columns(moved.fill_nan(None)).with_columns(
        equal=equal & pl.col("old").is_not_null(),
        comparable=pl.col("old").is_not_null()
        & pl.col("new").is_not_null()
        & ~pl.col("other_test"),
    )
    by_noise = pl.col("comparable") & ~pl.col("equal") & ~pl.col("same_observations")
    frame = frame.with_columns(
        pl.when(by_noise).then(name).alias(name) for name in ("p", "low", "high", "detectable")
    )
    adjusted = pl.Series(holm(frame["p"].fill_null(float("nan")).to_numpy())).fill_nan(None)
    return frame.with_columns(p_adjusted=adjusted).with_columns(
        change=pl.when("equal")
        .then(pl.lit("the same"))
        .when(
            (pl.col("p_adjusted") <= alpha) | (pl.col("comparable") & pl.col("same_observations"))
        )
        .then(pl.lit("changed"))
        .otherwise(pl.lit("cannot tell")),
        flipped=pl.col("old_verdict").ne_missing(pl.col("new_verdict")),
    )


def cost(database: TwoRuns) -> list[dict[str, Any]]:
    """Jobs, seconds, working seconds, tokens and peak memory by rule and study, old and new."""
    columns = "count(*) AS jobs, sum(seconds) AS seconds, sum(work_seconds) AS work, "
    columns += "sum(tokens)::BIGINT AS tokens, max(peak_memory_mb) AS memory"
    sides = (
        f"(SELECT rule, coalesce(study, '') AS study, {columns} FROM {run}.provenance GROUP BY ALL)"
        for run in RUNS
    )
    named = ", ".join(
        f"{side}.{name} AS {run}_{name}"
        for name in ("jobs", "seconds", "work", "tokens", "memory")
        for run, side in (("old", "o"), ("new", "n"))
    )
    old, new = sides
    return database.frame(
        f"""
        SELECT rule, study, {named} FROM {old} o FULL JOIN {new} n USING (rule, study)
        ORDER BY greatest(coalesce(o.seconds, 0), coalesce(n.seconds, 0)) DESC, rule, study
        """
    ).to_dicts()


def _mapping(database: TwoRuns, sql: str) -> list[dict[str, Any]]:
    return [dict(database.frame(sql.format(run=run)).iter_rows()) for run in RUNS]


def _different(
    what: str, where: str, old: dict[str, Any], new: dict[str, Any], *, only_common: bool = False
) -> list[dict[str, str]]:
    keys = old.keys() & new.keys() if only_common else old.keys() | new.keys()
    absent = "not given"
    return [
        {
            "what": what,
            "where": where,
            "key": key,
            "old": str(old.get(key, absent)),
            "new": str(new.get(key, absent)),
        }
        for key in sorted(keys)
        if old.get(key, absent) != new.get(key, absent)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys with JSON values."""
    if isinstance(value, dict) and value:
        parts = (_flat(inner, f"{prefix}.{key}" if prefix else key) for key, inner in value.items())
        return {key: text for part in parts for key, text in part.items()}
    return {prefix: json.dumps(value, ensure_ascii=False)} if prefix else {}


def methods(tested: int, margins: tuple[float, float]) -> list[str]:
    """How runs are compared, to paste into a paper.

    Args:
        tested: number of comparisons with a p-value.
        margins: of metrics in [0, 1], and of others in standard deviations of single values.
    """
    return [
        "Runs were compared metric by metric within study, model, state, experiment, condition, "
        "step and group. Cells of one identity with equal numbers were left out; those with other "
        "numbers were compared with themselves. Numbers of different conditions were never pooled.",
        "Where a state is trained or a cell numbers its replicates, and both runs have at least "
        "two of them, replicates are the unit: means over the items that both runs asked were "
        "compared by Student's t test (Welch's where the runs have unequally many), paired where "
        "replicates have items of their own and at least three agree. Where the runs asked other "
        "items, the variance between items was added. Where nothing is random, items are the unit, "
        "paired where both runs have them, or families of items from five families on. With one "
        "replicate in a run nothing is concluded about other seeds.",
        "“Changed” controls the false discovery rate at 5% over all "
        f"{tested:,} comparisons that have a p-value (Benjamini and Hochberg). “The same” means "
        "equivalent by two one-sided tests, at the same rate, within "
        f"{margins[0]} where all values lie between 0 and 1 and within {margins[1]} standard "
        "deviations of single values elsewhere, or exactly equal. Everything else is “cannot "
        "tell”: too few units, not evidence of no change. What each comparison could have found is "
        "the true change that its t test detects with power 80% at 5%, uncorrected, by the "
        "noncentral t.",
    ]
