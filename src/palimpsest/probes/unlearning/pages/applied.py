"""Which method every arm went through, and how strongly, as jobs have recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palimpsest import discovery
from palimpsest.reports.evidence import changed
from palimpsest.reports.sentences import settings_in_words

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings

_PREFIX = "unlearning."


@dataclass(frozen=True)
class Applied:
    """A method and its settings.

    Attributes:
        arm: of models that the probe made, or role of states.
        made: whether the probe made the models.
        method: name of the method.
        settings: all of its settings.
        strength: those that are not its defaults, in words.
    """

    arm: str
    made: bool
    method: str
    settings: dict[str, Any]
    strength: str


def applied(database: Database, study: str, used: Settings) -> list[Applied]:
    """All methods that models of a study went through, by arm; the last one of a state's chain."""
    arms = database.frame(
        "SELECT DISTINCT json_extract_string(parameters, '$.arm') AS arm FROM cells "
        "WHERE study = ? AND status = 'done' ORDER BY arm",
        [study],
    )["arm"]
    found = [
        _applied(arm, True, used.scratch.methods[arm].name, used.scratch.methods[arm].block)
        for arm in arms
        if arm in used.scratch.methods
    ]
    for state in changed(database, study):
        name = state.chain[-1]
        if name.startswith(_PREFIX):
            # What was used has been checked; the files it names need not lie here.
            block = discovery.intervention(name).Settings.model_construct(**state.given)
            found.append(_applied(state.role, False, name.removeprefix(_PREFIX), block))
    return sorted(found, key=lambda each: (each.arm, each.made))


def _applied(arm: str, made: bool, method: str, block: Any) -> Applied:
    strength = settings_in_words(block.model_dump(exclude_defaults=True))
    return Applied(arm, made, method, block.model_dump(), strength)
