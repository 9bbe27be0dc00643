"""What methods cost, and how long each was trained: from what jobs have recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings

#: Costs of each model after a method: of its cell where the probe makes it, or of its state.
COSTS = """costs AS (
  SELECT coalesce(json_extract_string(c.parameters, '$.arm'), c.role) AS arm, p.settings,
    coalesce(c.costs, p.costs) AS costs
  FROM cells c LEFT JOIN provenance p ON p.state = c.state AND p.rule = 'intervene'
  WHERE c.study = $study AND c.status = 'done'
    AND coalesce(try_cast(json_extract_string(c.parameters, '$.requests') AS BIGINT), 0) = 0)"""


def budget(database: Database, study: str, used: Settings) -> list[str]:
    """A sentence on the length of training of every method; none where no method was applied."""
    made = {arm: method.block.model_dump() for arm, method in used.scratch.methods.items()}
    rows = database.frame(
        f"WITH {COSTS.replace('$study', '?')} "
        "SELECT arm, max(settings) AS settings, "
        "avg(CAST(json_extract(costs, '$.updates') AS DOUBLE)) AS updates "
        "FROM costs GROUP BY arm ORDER BY arm",
        [study],
    ).to_dicts()
    groups: dict[tuple[str, int | None], list[str]] = {}
    for row in rows:
        settings = json.loads(row["settings"]) if row["settings"] else made.get(row["arm"])
        # Of all interventions methods of unlearning alone come in requests.
        if settings is not None and "requests" in settings:
            updates = None if row["updates"] is None else round(row["updates"])
            groups.setdefault((_passes(settings), updates), []).append(row["arm"])
    if not groups:
        return []
    each = "; ".join(
        f"{passes}{_updates(updates)}: {', '.join(arms).replace('_', ' ')}"
        for (passes, updates), arms in sorted(groups.items(), key=lambda group: group[1])
    )
    equal = (
        "Budgets are not equal: a method that was trained for longer has had more of a chance."
        if len({passes for passes, _ in groups} - {_NONE}) > 1
        else "Methods that train do so for as many passes each."
    )
    return [f"Length of training, in passes over the forget set: {each}. {equal}"]


_NONE = "no pass"


def _passes(settings: dict[str, Any]) -> str:
    if "epochs" not in settings:
        return _NONE
    copy = settings.get("reinforce_epochs")
    said = f"{settings['epochs']} {'pass' if settings['epochs'] == 1 else 'passes'}"
    return said + (f" after {copy} of a copy" if copy else "")


def _updates(number: int | None) -> str:
    if number is None:
        return ""
    return f", {number or 'no'} {'update' if number == 1 else 'updates'}"
