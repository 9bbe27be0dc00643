"""Why a figure or a table of the page has nothing to show, where that is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from palimpsest.probes.unlearning.settings import RETRAINED, TAUGHT

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.reports.blocks import Block

#: Blocks that tell methods by the way from taught to retrained models.
_WAYS = ("verdicts-table", "evidence-table", "front", "robustness")
#: Blocks that compare with retrained models.
_COMPARED = (*_WAYS, "populations", "quality-table", "distance-table")
_RELEARNING = ("relearning", "relearning-table", "back-table")


def explained(blocks: list[Block], database: Database, study: str, used: Settings) -> list[Block]:
    """``blocks`` with the reasons for which they would be empty."""
    found = _reasons(database, study, used)
    return [
        replace(block, empty=found[block.id]) if block.id in found else block for block in blocks
    ]


def _reasons(database: Database, study: str, used: Settings) -> dict[str, str]:
    """Id of a block -> why it would be empty; none where nothing was measured at all."""
    arms = database.frame(
        "SELECT arm, count(DISTINCT run) AS runs FROM unlearning WHERE study = ? GROUP BY arm",
        [study],
    )
    runs = dict(arms.iter_rows())
    if not runs:
        return {}
    facts = database.frame(
        "SELECT count(DISTINCT item) AS n FROM unlearning WHERE study = ? AND part = 'forget' "
        "AND metric = 'probability'",
        [study],
    )["n"][0]
    return _of_ways(runs, used) | _of_relearning(runs, facts, used)


def _of_ways(runs: dict[str, int], used: Settings) -> dict[str, str]:
    taught, never = (
        next((arm for arm in pair if arm in runs), None)
        for pair in ((used.untouched, TAUGHT), (used.retrained, RETRAINED))
    )
    if never is None:
        why = "no model of this study was made without the forget set, and all is judged by such"
        return dict.fromkeys(_COMPARED, why)
    if taught is None:
        return dict.fromkeys(_COMPARED, "no model of this study was taught the forget set alone")
    why = (
        "taught models and models that never knew differ too little, for their scatter, in the "
        "probability of forgotten facts and the other measures: there is no way that a method "
        "could go"
    )
    return dict.fromkeys(_WAYS, why)


def _of_relearning(runs: dict[str, int], facts: int, used: Settings) -> dict[str, str]:
    asked = used.robustness.relearn
    if not asked:
        return dict.fromkeys(_RELEARNING, "the settings ask for no relearning")
    if min(asked) >= facts:
        why = (
            f"of {facts} forgotten facts none is left to come back by itself where "
            f"{', '.join(map(str, asked))} are taught again: give relearn a smaller number"
        )
        return dict.fromkeys(_RELEARNING, why)
    if max(runs.values()) < 2:
        return dict.fromkeys(_RELEARNING, "curves are means over models, and no arm has two")
    return {}
