"""What every page reads from the database, whatever the probe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import polars as pl
import polars.selectors as cs

from palimpsest.evidence.database import Database
from palimpsest.statistics.headlines import ANALYSIS as HEADLINE
from palimpsest.statistics.weaknesses import weakness

#: Watts that one busy CPU thread, and one accelerator, are taken to draw; both are stated.
WATTS_PER_THREAD = 15.0
WATTS_PER_ACCELERATOR = 400.0


#: Accelerators of a job, by what ``engine.devices.describe`` wrote: none, one, or ``4 x name``;
#: of a job that had nothing left to compute the device is ``none, ...``.
_ACCELERATORS = """CASE WHEN coalesce(lower(device), 'cpu') LIKE 'cpu%'
    OR device LIKE 'none%' THEN 0
    ELSE coalesce(try_cast(regexp_extract(device, '^([0-9]+) x ', 1) AS INTEGER), 1) END"""

#: In the order in which they are told.
VERDICTS = ("supported", "contradicted", "inconclusive", "not tested")


@dataclass(frozen=True)
class StudyEntry:
    """A study as the run describes it; ``page`` is the file name of its page, ``after`` gives the
    interventions of each role, in order."""

    study: str
    probe: str
    title: str
    question: str
    settings: Any
    page: str
    after: dict[str, list[str]]


def run_facts(database: Database) -> dict[str, str]:
    """Table ``run`` as a mapping, without the list of studies."""
    facts = dict(database.frame("SELECT key, value FROM run ORDER BY key").iter_rows())
    return {key: value for key, value in facts.items() if key != "studies"}


def studies(database: Database) -> list[StudyEntry]:
    """The studies of the run: as ``run`` lists them, then any that only have cells."""
    stored = database.frame("SELECT value FROM run WHERE key = 'studies'")
    listed = json.loads(stored.item()) if stored.height and stored.item() else []
    entries = [_entry(item) for item in listed]
    known = {entry.study for entry in entries}
    others = database.frame("SELECT study, min(probe) FROM cells GROUP BY study ORDER BY study")
    return entries + [
        _entry({"study": study, "probe": probe})
        for study, probe in others.iter_rows()
        if study not in known
    ]


def study_entry(database: Database, study: str) -> StudyEntry:
    """One study of the run.

    Raises:
        KeyError: the run knows no such study.
    """
    found = {entry.study: entry for entry in studies(database)}
    return found[study]


@dataclass(frozen=True)
class Changed:
    """A state that interventions have made.

    Attributes:
        role: its name in the study.
        chain: names of the interventions, in order.
        given: settings of the last of them that are not its defaults.
    """

    role: str
    chain: list[str]
    given: dict[str, Any]


def changed(database: Database, study: str) -> list[Changed]:
    """States of a study that were changed before they were measured, by role."""
    stored = database.frame(
        "SELECT c.role, min(p.settings) AS settings FROM cells c JOIN provenance p "
        "ON p.state = c.state AND p.rule = 'intervene' WHERE c.study = ? AND c.status = 'done' "
        "GROUP BY c.role ORDER BY c.role",
        [study],
    )
    if stored.is_empty():
        return []
    after = study_entry(database, study).after
    return [
        Changed(role, after[role], json.loads(settings))
        for role, settings in stored.iter_rows()
        if after.get(role)
    ]


def claims(database: Database, study: str | None = None) -> list[dict[str, Any]]:
    """Claims of ``study`` (None: of all), in the order in which they were stored."""
    where, parameters = ("", []) if study is None else (" WHERE study = ?", [study])
    frame = database.frame(f"SELECT * FROM claims{where}", parameters)
    return frame.with_columns(cs.float().fill_nan(None)).to_dicts()


def gaps(database: Database, study: str) -> pl.DataFrame:
    """Groups of cells that are not all done: role, model, experiment, planned, failed, missing."""
    return database.frame(
        """
        SELECT role, model, experiment, count(*) AS planned,
               count(*) FILTER (status = 'failed') AS failed,
               count(*) FILTER (status NOT IN ('failed', 'done')) AS missing
        FROM cells WHERE study = ?
        GROUP BY role, model, experiment HAVING count(*) FILTER (status <> 'done') > 0
        ORDER BY failed + missing DESC, role, model, experiment
        """,
        [study],
    )


def reasons(database: Database, study: str) -> list[dict[str, Any]]:
    """Why cells are not done: status, reason, number of cells, most frequent first."""
    return database.frame(
        """
        SELECT status, coalesce(nullif(reason, ''), 'no reason recorded') AS reason,
               count(*) AS cells
        FROM cells WHERE study = ? AND status <> 'done'
        GROUP BY ALL ORDER BY cells DESC, status, reason
        """,
        [study],
    ).to_dicts()


def unsound(database: Database, study: str) -> list[dict[str, Any]]:
    """What takes from the numbers of a study: analysis, note, rows, most rows first.

    Fits that did not converge or are not determined, intervals of too few units, and verdicts that
    are "cannot tell".
    """
    frame = database.frame(
        """
        SELECT note, string_agg(DISTINCT analysis, ', ' ORDER BY analysis) AS analysis,
               count(*) AS rows
        FROM (SELECT analysis, CASE WHEN factor = 'cannot tell'
                THEN 'cannot tell: too few to find what was looked for' ELSE note END AS note
              FROM statistics WHERE study = ? AND analysis <> ?)
        WHERE note IS NOT NULL GROUP BY note ORDER BY rows DESC, note
        """,
        [study, HEADLINE],
    )
    return [row for row in frame.to_dicts() if weakness(row["note"])]


def has_low_power(claim: dict[str, Any]) -> bool:
    """An inconclusive claim of a study that cannot find the smallest effect that matters."""
    size, smallest = claim["detectable"], claim["smallest"]
    known = size is not None and smallest is not None
    return claim["verdict"] == "inconclusive" and known and size > smallest


def counts(database: Database, study: str) -> dict[str, int]:
    """Numbers of cells (planned, done, failed, missing) and of observations of ``study``."""
    row = database.frame(
        """
        SELECT count(*) AS planned, count(*) FILTER (status = 'done') AS done,
               count(*) FILTER (status = 'failed') AS failed,
               count(*) FILTER (status NOT IN ('failed', 'done')) AS missing,
               (SELECT count(*) FROM observations WHERE study = $1) AS observations
        FROM cells WHERE study = $1
        """,
        [study],
    )
    return row.to_dicts()[0]


def coverage(database: Database) -> pl.DataFrame:
    """Cells, observations and the number that matters, by model, role and study: the map of the
    run. A headline without a role is that of all states of its model."""
    return database.frame(
        """
        WITH n AS (SELECT study, cell, count(*) AS n FROM observations GROUP BY ALL),
        there AS (
            SELECT model, role, study, count(DISTINCT state) AS states, min(state) AS state,
                   count(*) AS planned, count(*) FILTER (status = 'done') AS done,
                   count(*) FILTER (status = 'failed') AS failed,
                   count(*) FILTER (status NOT IN ('failed', 'done')) AS missing,
                   coalesce(sum(n), 0)::BIGINT AS observations
            FROM cells LEFT JOIN n USING (study, cell) GROUP BY model, role, study
        ),
        headline AS (
            SELECT study, role, model, metric, estimate, low, high, n, unit, note
            FROM statistics WHERE analysis = ?
        )
        SELECT there.*, h.metric, h.estimate, h.low, h.high, h.n, h.unit, h.note
        FROM there LEFT JOIN headline h
          ON h.study = there.study AND coalesce(h.model, there.model) = there.model
          AND coalesce(h.role, there.role) = there.role
        QUALIFY row_number() OVER (
            PARTITION BY there.study, there.role, there.model ORDER BY h.role NULLS LAST) = 1
        ORDER BY there.model, there.role = 'untouched' DESC, there.role, there.study
        """,
        [HEADLINE],
    )


def jobs(database: Database, study: str) -> pl.DataFrame:
    """Jobs of ``study`` and jobs that made a state it read, with seconds, memory and command."""
    return database.frame(
        """
        SELECT job, rule, started, seconds, device, threads, peak_memory_mb, tokens,
               cells_computed, cells_reused, command, code, versions
        FROM provenance
        WHERE study = $1 OR (study IS NULL AND state IN
              (SELECT state FROM cells WHERE study = $1))
        ORDER BY started, job
        """,
        [study],
    )


def cost(database: Database) -> pl.DataFrame:
    """Cost of the run by rule: jobs, seconds, GPU hours, tokens, memory, cells, energy (kWh, as
    assumed). A job holds its accelerators for all of its time, so that GPU hours count that."""
    return database.frame(
        f"""
        SELECT rule, count(*) AS jobs, sum(seconds) AS seconds,
               sum(tokens)::BIGINT AS tokens, max(peak_memory_mb) AS peak_memory_mb,
               sum(cells_computed)::BIGINT AS cells_computed,
               sum(cells_reused)::BIGINT AS cells_reused,
               coalesce(sum(seconds * {_ACCELERATORS}), 0) / 3600 AS gpu_hours,
               sum(seconds * (coalesce(threads, 1) * {WATTS_PER_THREAD}
                   + {_ACCELERATORS} * {WATTS_PER_ACCELERATOR})) / 3.6e6 AS energy_kwh
        FROM provenance GROUP BY rule ORDER BY seconds DESC NULLS LAST, rule
        """
    )


def paid(database: Database) -> list[dict[str, Any]]:
    """What the jobs of the run have asked of endpoints, by model; USD also of all runs."""
    counts = ("requests", "cache_hits", "tokens_in", "tokens_out", "usd")
    sums = ", ".join(f"sum((usage::JSON->>'{key}')::DOUBLE) AS {key}" for key in counts)
    return database.frame(
        f"""
        SELECT model, {sums}, max((usage::JSON->>'usd_so_far')::DOUBLE) AS usd_so_far
        FROM provenance JOIN (SELECT DISTINCT state, model FROM cells) USING (state)
        WHERE usage IS NOT NULL GROUP BY model ORDER BY model
        """
    ).to_dicts()


def models(database: Database) -> pl.DataFrame:
    """Table ``models``; of networks that a probe makes the weights of one, where its cells tell and
    all have as many."""
    return database.frame(
        """
        SELECT * REPLACE (coalesce(nullif(parameters, 0), (
            SELECT CASE WHEN min(weights) = max(weights) THEN max(weights) END
            FROM (SELECT try_cast(json_extract(costs, '$.weights') AS BIGINT) AS weights
                  FROM cells WHERE cells.model = models.model))) AS parameters)
        FROM models ORDER BY model
        """
    )


def _entry(item: dict[str, Any]) -> StudyEntry:
    study = str(item["study"])
    page = PurePosixPath(str(item.get("page") or "")).name
    return StudyEntry(
        study=study,
        probe=str(item.get("probe") or ""),
        title=str(item.get("title") or study.replace("_", " ").capitalize()),
        question=str(item.get("question") or ""),
        settings=item.get("settings"),
        page=page if page.endswith(".html") else f"{study}.html",
        after=item.get("after") or {},
    )
