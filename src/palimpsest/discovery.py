"""Probes, interventions and strategies are found by the names of their modules: no list to keep."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

#: The folder of interventions that holds no interventions: how networks are trained, see there.
STRATEGIES = "interventions.continual"


def names(kind: str) -> list[str]:
    """Names of all probes or interventions, such as ``planting`` or ``unlearning.npo``.

    Folders and files that begin with an underscore (the template) are not listed.
    """
    found = []
    for name, is_package in _modules(kind):
        place = f"{kind}.{name}"
        if place == STRATEGIES:
            continue
        if kind == "interventions" and is_package:
            found += [f"{name}.{inner}" for inner, _ in _modules(place)]
        else:
            found.append(name)
    return sorted(found)


def strategies() -> list[str]:
    """Names of all strategies of continual learning, such as ``ewc``."""
    return sorted(name for name, _ in _modules(STRATEGIES))


def _modules(place: str) -> Iterator[tuple[str, bool]]:
    """Modules of a package that do not begin with an underscore, and whether each is a package."""
    package = importlib.import_module(f"palimpsest.{place}")
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_"):
            yield info.name, info.ispkg


def probe(name: str, part: str = "settings") -> ModuleType:
    """One of the four files of a probe: settings, measure, claims or figures."""
    return importlib.import_module(f"palimpsest.probes.{name}.{part}")


def intervention(name: str) -> ModuleType:
    """The module of an intervention."""
    return importlib.import_module(f"palimpsest.interventions.{name}")


def strategy(name: str) -> ModuleType:
    """The module of a strategy of continual learning."""
    return importlib.import_module(f"palimpsest.{STRATEGIES}.{name}")
