"""Which method every arm went through, and how strongly, as jobs have recorded it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palimpsest import discovery
from palimpsest.reports.evidence import study_entry

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
        given: those that are not its defaults.
    """

    arm: str
    made: bool
    method: str
    settings: dict[str, Any]
    given: dict[str, Any]

    def strength(self) -> str:
        """What was given, in words."""
        return in_words(self.given)


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
    for role, name, settings in _states(database, study):
        if name.startswith(_PREFIX):
            # What was used has been checked; the files it names need not lie here.
            block = discovery.intervention(name).Settings.model_construct(**settings)
            found.append(_applied(role, False, name.removeprefix(_PREFIX), block))
    return sorted(found, key=lambda each: (each.arm, each.made))


def taught(database: Database, study: str, role: str) -> str:
    """The intervention that made a state, and what was given to it, in words."""
    for other, name, settings in _states(database, study):
        if other == role:
            return f"{name}: {in_words(settings)}" if settings else name
    return "as it is"


def in_words(settings: dict[str, Any]) -> str:
    """Settings as a list that can be read."""
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({in_words(value)})"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _states(database: Database, study: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Role, name of the last intervention, and what was given to it, of states of a study."""
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
        (role, after[role][-1], json.loads(settings))
        for role, settings in stored.iter_rows()
        if after.get(role)
    ]


def _applied(arm: str, made: bool, method: str, block: Any) -> Applied:
    given = block.model_dump(exclude_defaults=True)
    return Applied(arm, made, method, block.model_dump(), given)
