"""Cards of methods: what each is, how strongly it was applied and what it cost."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest import interventions
from palimpsest.probes.unlearning.pages.applied import applied
from palimpsest.probes.unlearning.pages.budgets import COSTS
from palimpsest.reports.blocks import Column, Table

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings

#: Operations a weight and token: of a pass forward, and of the pass back.
_FORWARD, _BACK = 2, 4


#: Of the costs of an arm.
_MEANS = ", ".join(
    f"avg(CAST(json_extract(costs, '$.{name}') AS DOUBLE)) AS {name}"
    for name in (
        "updates",
        "backward_passes",
        "backward_tokens",
        "tokens",
        "weights",
        "seconds",
        "peak_mb",
        "seconds_per_token",
        "seconds_per_token_without",
    )
)


def cards(database: Database, study: str, used: Settings) -> Table:
    """The table of methods of a study.

    Args:
        database: the evidence.
        study: its name.
        used: the settings that were used.
    """
    rows = [
        f"({_quoted(each.arm)}, {each.made}, {_quoted(_first_sentence(each.method))}, "
        f"{_quoted(each.strength)})"
        for each in applied(database, study, used)
    ]
    values = f"VALUES {', '.join(rows)}" if rows else "SELECT '', true, '', '' WHERE false"
    return Table(
        "cards-table",
        "The methods",
        "What each method is and how strongly it was applied, where that is not its default. "
        "Costs are means over models, of the method alone; all but seconds and MB are counted, not "
        "estimated. updates: steps of an optimiser; backward: passes that were differentiated; "
        "methods that take no step may make some too; "
        f"tokens: put through the model. GFLOP: {_FORWARD} operations a weight and token, and "
        f"{_BACK} more where the pass was differentiated; attention and the optimiser's own work "
        "are not in it, and where only low-rank additions learn it is up to half too much. MB: the "
        "most that was held at a time, on a CPU by the whole process with its libraries. writing: "
        "what a token takes that is written under a guard, and without it.",
        f"""WITH cards(arm, made, what, strength) AS ({values}),
{COSTS},
numbers AS (
  SELECT arm, made, count(*) AS n, {_MEANS}
  FROM costs WHERE costs IS NOT NULL GROUP BY arm, made)
SELECT replace(arm, '_', ' ') AS method, what, strength, updates, backward_passes AS backward,
  tokens / 1000 AS tokens,
  weights * ({_FORWARD} * tokens + {_BACK} * backward_tokens) / 1e9 AS work,
  seconds, peak_mb AS memory, n,
  round(1000 * seconds_per_token, 1) || ' ms, ' || round(1000 * seconds_per_token_without, 1)
    || ' without' AS writing
FROM numbers JOIN cards USING (arm, made) ORDER BY method, made""",
        {
            "method": Column("method"),
            "what": Column("what it is"),
            "strength": Column("applied with"),
            "updates": Column("updates", "number", digits=0),
            "backward": Column("backward", "number", digits=0),
            "tokens": Column("thousand tokens", "number", digits=1),
            "work": Column("GFLOP", "number", digits=1),
            "seconds": Column("seconds", "number", digits=2),
            "memory": Column("MB", "number", digits=0),
            "n": Column("models", "number", digits=0),
            "writing": Column("writing"),
        },
    )


@cache
def _first_sentence(name: str) -> str:
    """The first sentence of a method's module, read without importing it."""
    path = Path(interventions.__file__).parent / "unlearning" / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
