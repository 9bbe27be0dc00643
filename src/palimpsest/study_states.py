"""Whether the states of a study fit each other and its settings, before any job starts.

A probe says in its ``settings.py`` which settings name states (``NAMES_STATES``: setting -> what is
left out where there is no such state; empty where nothing can be said without it), and which two
of them must have been made in the same way (``MADE_ALIKE``: the first as it is, the second without
what is to be forgotten); states on which more was done must begin as the first. Its
``check_states`` looks at what only the probe knows; the key that is wrong comes first in its
message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from palimpsest import discovery
from palimpsest.config_errors import ConfigError, message, nearest, shown
from palimpsest.models.entry import kind

#: What tells the state that knows from the one that never did, and nothing else.
_MAY_DIFFER = "leave_out"
_PROBLEMS = 5


def check_states(study: Any, models: Mapping[str, Any], path: str | Path, where: str) -> None:
    """All checks that need several states, or a state and its model.

    Args:
        study: a study of the configuration.
        models: name -> entry of the models file.
        path: file that the configuration was read from.
        where: key of the study, such as ``studies.mine``.

    Raises:
        ConfigError: the first that fails.
    """
    module = discovery.probe(study.probe)
    _check_layers(study.states, models, path, where)
    if any(kind(models[state.model]) == "language" for state in study.states.values()):
        _check_names(module, study, path, where)
        _check_alike(module, study, path, where)
    if hasattr(module, "check_states"):
        kinds = {role: kind(models[state.model]) for role, state in study.states.items()}
        chains = {role: steps_of(state) for role, state in study.states.items()}
        try:
            module.check_states(study.settings, kinds, chains)
        except ValueError as error:
            raise ConfigError(f"{path}: {where}.settings.{error}") from None


def check_distinct(states: Mapping[str, Any], path: str | Path, where: str) -> None:
    """Two roles with the same state would be measured once and counted twice."""
    first: dict[str, str] = {}
    for role, state in states.items():
        made = state.model_dump_json(exclude={"seeds"}, exclude_defaults=True)
        for seed in state.seed_list() if state.interventions else [0]:
            other = first.setdefault(f"{made} {seed}", role)
            if other != role:
                allowed = "another model, other interventions or other seeds"
                raise ConfigError(message(path, f"{where}.{role}", f"the state {other}", allowed))


def steps_of(state: Any) -> list[tuple[str, Any]]:
    """Names of a state's interventions with their settings, in their order."""
    return [(step.name, step.block) for step in state.interventions]


def missing_states(module: Any, settings: Any, roles: Collection[str]) -> list[str]:
    """What is left out of a study since no state has the name that a setting gives, in words."""
    return [
        f"no state is called {getattr(settings, key)} (settings.{key}): {without} are left out"
        for key, without in getattr(module, "NAMES_STATES", {}).items()
        if without and getattr(settings, key) not in roles
    ]


def _check_names(module: Any, study: Any, path: str | Path, where: str) -> None:
    for key, without in getattr(module, "NAMES_STATES", {}).items():
        name = getattr(study.settings, key)
        # A study may lack such a state, but nobody names one by chance.
        if name in study.states or (without and name == getattr(type(study.settings)(), key)):
            continue
        allowed = f"a state of this study: {', '.join(study.states)}"
        near = nearest(name, study.states)
        raise ConfigError(message(path, f"{where}.settings.{key}", shown(name), allowed, near))


def _check_alike(module: Any, study: Any, path: str | Path, where: str) -> None:
    roles = [getattr(study.settings, key) for key in getattr(module, "MADE_ALIKE", ())]
    if not roles or roles[0] not in study.states:
        return
    known, never = roles
    for role, state in study.states.items():
        if role != known and (role == never or len(state.interventions) > 1):
            differences = _differences(study.states[known], state, f"{where}.states.{role}")
            lines = [
                message(path, key, shown(given), f"{shown(wanted)}, as in the state {known}")
                for key, wanted, given in differences
            ]
            if lines:
                why = (
                    f"  {known} and {role} are held against each other, so that all but what is to "
                    "be forgotten (leave_out: forget) must be taught in the same way"
                )
                raise ConfigError("\n".join([*lines[:_PROBLEMS], why]))


def _differences(one: Any, other: Any, where: str) -> list[tuple[str, Any, Any]]:
    """Keys by which the second state begins in another way than the first, with both values; none
    where they were taught by different means."""
    if not (one.interventions and other.interventions):
        return []
    first, second = one.interventions[0], other.interventions[0]
    if first.name != second.name or not hasattr(first.block, _MAY_DIFFER):
        return []
    pairs = [(f"{where}.model", one.model, other.model)]
    pairs += [
        (f"{where}.interventions[0].{first.name}.{key}", wanted, given)
        for key, wanted, given in _pairs(first.block.model_dump(), second.block.model_dump())
        if key != _MAY_DIFFER
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _pairs(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Keys of two blocks of the same form, with both values."""
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(other[key], dict):
            yield from ((f"{key}.{name}", *values) for name, *values in _pairs(value, other[key]))
        else:
            yield key, value, other[key]


def _check_layers(
    states: Mapping[str, Any], models: Mapping[str, Any], path: str | Path, where: str
) -> None:
    """Of most models the number of layers is known only when they are there."""
    for role, state in states.items():
        layers = getattr(models[state.model], "layers", None)
        for position, (name, block) in enumerate(steps_of(state)):
            layer = getattr(block, "layer", None)
            if layers is not None and layer is not None and layer >= layers:
                key = f"{where}.states.{role}.interventions[{position}].{name}.layer"
                allowed = f"0 to {layers - 1}, the layers of {state.model}"
                raise ConfigError(message(path, key, shown(layer), allowed))
