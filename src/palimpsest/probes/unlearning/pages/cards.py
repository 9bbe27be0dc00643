"""Cards of methods: what each is, how strongly it was applied and what it cost."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from palimpsest import discovery, interventions
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.reports.blocks import Column, Table

#: Operations a weight and token: one pass forward; a pass back is about two more.
_FORWARD, _BOTH = 2, 6


def cards(used: Settings) -> Table:
    """The table of methods of a study.

    Args:
        used: the settings that were used; the methods of states are told from their names.
    """
    named = {arm: (m.name, _strength(m.block)) for arm, m in used.scratch.methods.items()}
    for name in discovery.names("interventions"):
        if name.startswith("unlearning."):
            named.setdefault(name.removeprefix("unlearning."), (name.split(".")[1], ""))
    values = ", ".join(
        f"({_quoted(arm)}, {_quoted(_first_sentence(name))}, {_quoted(strength)})"
        for arm, (name, strength) in sorted(named.items())
    )
    return Table(
        "cards-table",
        "The methods",
        "What each method is and how strongly it was applied, where that is not its default. "
        "updates: steps of an optimiser; tokens: put through the model by the method. GFLOP: "
        f"{_FORWARD} operations a weight and token where the method takes no step, {_BOTH} where "
        "it trains: an upper bound, as parts of it need no gradient. seconds and MB: of the job, "
        "where a method has one of its own. Means over models (MB: the most); what a method was "
        "set to do is counted, not estimated.",
        f"""WITH cards(arm, what, strength) AS (VALUES {values}),
arms AS (
  SELECT arm, avg(value) FILTER (metric = 'updates') AS updates,
    avg(value) FILTER (metric = 'tokens') AS tokens,
    avg(value) FILTER (metric = 'weights') AS weights, count(DISTINCT cell) AS n
  FROM unlearning WHERE study = $study AND requests = 0 GROUP BY arm),
jobs AS (
  SELECT c.role AS arm, avg(p.work_seconds) AS seconds, max(p.peak_memory_mb) AS memory,
    avg(p.tokens) AS tokens
  FROM (SELECT DISTINCT role, state FROM cells WHERE study = $study) c
  JOIN provenance p USING (state) WHERE p.rule = 'intervene' GROUP BY c.role)
SELECT replace(a.arm, '_', ' ') AS method, what, strength, updates,
  coalesce(a.tokens, j.tokens) / 1000 AS tokens,
  CASE WHEN updates > 0 THEN {_BOTH} ELSE {_FORWARD} END * weights * a.tokens / 1e9 AS work,
  seconds, memory, a.n
FROM arms a JOIN cards USING (arm) LEFT JOIN jobs j USING (arm) ORDER BY method""",
        {
            "method": Column("method"),
            "what": Column("what it is"),
            "strength": Column("applied with"),
            "updates": Column("updates", "number", digits=0),
            "tokens": Column("thousand tokens", "number", digits=1),
            "work": Column("GFLOP", "number", digits=0),
            "seconds": Column("seconds", "number", digits=0),
            "memory": Column("MB", "number", digits=0),
            "n": Column("models", "number", digits=0),
        },
    )


def _strength(block: object) -> str:
    given = block.model_dump(exclude_defaults=True)
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in given.items())


@cache
def _first_sentence(name: str) -> str:
    """The first sentence of a method's module, read without importing it."""
    path = Path(interventions.__file__).parent / "unlearning" / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
