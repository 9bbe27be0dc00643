"""Probes, interventions and strategies are found by the names of their modules: no list to keep."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

KINDS = ("probes", "interventions")


def names(kind: str) -> list[str]:
    """Names of all probes or interventions, such as ``planting`` or ``unlearning.npo``.

    Folders and files that begin with an underscore (the template) are not listed.
    """
    package = importlib.import_module(f"palimpsest.{kind}")
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        if kind == "interventions" and info.name == "continual":
            continue  # strategies are no interventions: they say how an intervention trains
        if kind == "interventions" and info.ispkg:
            inner = importlib.import_module(f"palimpsest.{kind}.{info.name}")
            found += [
                f"{info.name}.{module.name}"
                for module in pkgutil.iter_modules(inner.__path__)
                if not module.name.startswith("_")
            ]
        else:
            found.append(info.name)
    return sorted(found)


def probe(name: str, part: str = "settings") -> ModuleType:
    """One of the four files of a probe: settings, measure, claims or figures."""
    return importlib.import_module(f"palimpsest.probes.{name}.{part}")


def intervention(name: str) -> ModuleType:
    """The module of an intervention."""
    return importlib.import_module(f"palimpsest.interventions.{name}")


def strategies() -> list[str]:
    """Names of all strategies of continual learning, such as ``ewc``."""
    package = importlib.import_module("palimpsest.interventions.continual")
    found = [info.name for info in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in found if not name.startswith("_"))


def strategy(name: str) -> ModuleType:
    """The module of a strategy of continual learning."""
    return importlib.import_module(f"palimpsest.interventions.continual.{name}")
