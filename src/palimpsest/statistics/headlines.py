"""The one number of each state that the overview of a run shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Name of the analysis under which headlines lie in the table ``statistics``.
ANALYSIS = "headline"


@dataclass(frozen=True)
class Headline:
    """Which of a probe's statistics says most about a state.

    Args:
        label: what the number is, a few words; ``{step}`` and ``{metric}`` stand for those of the
            row, and the names of settings for their values.
        where: column of ``statistics`` -> its value; what is not named may be anything.
        roles: states that it is for; empty: all.
        role_in: column that holds the role where ``role`` is null, such as ``arm``; None where the
            number is that of a model, whatever its states.
    """

    label: str
    where: Mapping[str, Any]
    roles: Sequence[str] = field(default=())
    role_in: str | None = "role"

    def role(self, row: Mapping[str, Any]) -> str | None:
        """The state that a row is of."""
        return row.get("role") or (row.get(self.role_in) if self.role_in else None)

    def fits(self, row: Mapping[str, Any]) -> bool:
        """True where a row has an estimate and all that is asked for."""
        role = self.role(row)
        return (
            (role is not None or self.role_in is None)
            and (not self.roles or role in self.roles)
            and row.get("estimate") is not None
            and all(row.get(column) == value for column, value in self.where.items())
        )


def headlines(
    statistics: Sequence[Mapping[str, Any]], stated: Sequence[Headline], settings: Any = None
) -> list[dict[str, Any]]:
    """Rows of the table ``statistics`` with ``analysis`` = ``headline``, one a role and model.

    The first headline that fits a state decides; of its rows the one with the highest step, and of
    those the first.
    """
    found: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    names = settings.model_dump() if settings is not None else {}
    for headline in stated:
        of_state: dict[tuple[str | None, str | None], Mapping[str, Any]] = {}
        for row in filter(headline.fits, statistics):
            state = (headline.role(row), row.get("model"))
            best = of_state.get(state)
            if best is None or (row.get("step") or 0) > (best.get("step") or 0):
                of_state[state] = row
        for (role, model), row in of_state.items():
            own = {"step": row.get("step"), "metric": row.get("metric")}
            label = headline.label.format(**names | own)
            new = dict(row) | {"analysis": ANALYSIS, "role": role, "metric": label}
            found.setdefault((role, model), new)
    return list(found.values())
