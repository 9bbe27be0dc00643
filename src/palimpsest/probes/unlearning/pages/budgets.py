"""What methods cost, and how long each was trained: from what jobs have recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.pages.applied import Applied

#: Costs of each model after a method: of its cell where the probe makes it, or of its state.
COSTS = """costs AS (
  SELECT coalesce(json_extract_string(c.parameters, '$.arm'), c.role) AS arm,
    json_extract_string(c.parameters, '$.arm') IS NOT NULL AS made,
    coalesce(c.costs, p.costs) AS costs
  FROM cells c LEFT JOIN provenance p ON p.state = c.state AND p.rule = 'intervene'
  WHERE c.study = $study AND c.status = 'done'
    AND coalesce(try_cast(json_extract_string(c.parameters, '$.requests') AS BIGINT), 0) = 0)"""


def budget(database: Database, study: str, methods: Sequence[Applied]) -> list[str]:
    """A sentence on the length of training of every method; none where no method was applied."""
    rows = database.frame(
        f"WITH {COSTS.replace('$study', '?')} "
        "SELECT arm, made, avg(CAST(json_extract(costs, '$.updates') AS DOUBLE)) AS updates "
        "FROM costs GROUP BY arm, made",
        [study],
    )
    updates = {(arm, made): number for arm, made, number in rows.iter_rows()}
    groups: dict[tuple[str, int | None], list[str]] = {}
    for each in methods:
        number = updates.get((each.arm, each.made))
        number = None if number is None else round(number)
        groups.setdefault((_passes(each.settings), number), []).append(each.arm)
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
