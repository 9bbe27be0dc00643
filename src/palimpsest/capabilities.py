"""Whether a model can do what a probe wants of it, before any job starts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from palimpsest import discovery
from palimpsest.config_errors import ConfigError, message, shown
from palimpsest.models.entry import CAPABILITIES, capabilities, kind


def check_capabilities(
    study: Any, state: Any, models: dict[str, Any], path: str | Path, where: str
) -> None:
    """A model behind an endpoint can be asked, and that is all.

    Raises:
        ConfigError: the probe, or an intervention, needs more; the message names what can do it.
    """
    module = discovery.probe(study.probe)
    needs = getattr(module, "NEEDS", CAPABILITIES)
    gives = _capabilities(models[state.model])
    behind = f"{state.model} is behind an endpoint and gives {_words(gives)} alone"
    if missing := [name for name in needs if name not in gives]:
        fitting = sorted(
            name
            for name, entry in models.items()
            if kind(entry) == "language" and not set(needs) - set(_capabilities(entry))
        )
        allowed = f"for the probe {study.probe}, which needs {_words(missing)}: "
        allowed += f"{', '.join(fitting)} ({behind})"
        raise ConfigError(message(path, f"{where}.model", shown(state.model), allowed))
    if state.interventions and "gradients" not in gives:
        given = ", ".join(step.name for step in state.interventions)
        allowed = f"none, since interventions change weights ({behind})"
        raise ConfigError(message(path, f"{where}.interventions", given, allowed))
    if hasattr(module, "check_capabilities"):
        try:
            module.check_capabilities(study.settings, gives)
        except ValueError as error:
            why = "" if gives == CAPABILITIES else f" ({behind})"
            raise ConfigError(f"{path}: {where}.model: {error}{why}") from None


def _capabilities(entry: Any) -> tuple[str, ...]:
    return capabilities(entry.model_dump(exclude_defaults=True))


def _words(names: Collection[str]) -> str:
    said = {"gradients": "gradients to train it"}
    words = [said.get(name, name.replace("_", " ")) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
