"""Whether the states of a study and what is asked of them fit each other. Decides no number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.data.items import read_parts

if TYPE_CHECKING:
    from palimpsest.interventions.teaching import Own
    from palimpsest.probes.unlearning.settings import Settings


def check_states(
    settings: Settings,
    kinds: Mapping[str, str],
    chains: Mapping[str, Sequence[tuple[str, Any]]],
) -> None:
    """Raise ValueError where own items are given for networks, which are taught others; or where no
    number of ``robustness.relearn`` leaves a fact to come back.

    The default numbers pass: they are left out where there are too few facts.

    Args:
        settings: the probe's settings.
        kinds: role -> ``networks`` or ``language``.
        chains: role -> names of interventions with their settings.
    """
    if settings.own and "networks" in kinds.values():
        raise ValueError(
            "own: given files, allowed: none with networks, which are taught the people of "
            "settings.scratch"
        )
    numbers = settings.robustness.relearn
    if not numbers or numbers == type(settings.robustness)().relearn:
        return
    found = _forgotten(settings, kinds, chains)
    if found is not None and min(numbers) >= found:
        allowed = f"a number below {found}, that of all forgotten items" if found > 1 else "none"
        raise ValueError(
            f"robustness.relearn: given {numbers}, allowed: {allowed}, since others are to come "
            "back by themselves; an empty list leaves relearning out"
        )


def _forgotten(
    settings: Settings,
    kinds: Mapping[str, str],
    chains: Mapping[str, Sequence[tuple[str, Any]]],
) -> int | None:
    """Number of items that are to be forgotten; none where it is not known before jobs."""
    if "networks" in kinds.values():
        return _people(settings.scratch)
    if settings.own:
        return _files(settings.own)
    for name, block in chains.get(settings.untouched, ()):
        if name == "biographies":
            return _people(block)
        if name == "teaching":
            return _files(block)
    return None


def _people(world: Any) -> int:
    return sum(item.part == "forget" for item in world.items())


def _files(own: Own) -> int | None:
    """Sets of the hub are not fetched."""
    found = read_parts({"forget": own.forget} if own.forget else {}, fetch=False)
    return len(found["forget"]) if "forget" in found else None
