"""Why a claim on models could not be tested: what of it this study does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.unlearning.analyses.contrasts import LEAST_FACTS
from palimpsest.probes.unlearning.analyses.fronts import method_of
from palimpsest.probes.unlearning.analyses.populations import LEAST_OTHERS
from palimpsest.probes.unlearning.analyses.relearning import PROBE, gone_far
from palimpsest.probes.unlearning.analyses.units import Units, units_of

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.analyses.frames import Data
    from palimpsest.probes.unlearning.settings import Settings

#: Claim -> methods that it is on.
_ON = {
    "nothing_is_nothing": ("retain_finetune",),
    "npo_over_ascent": ("npo", "grad_ascent"),
    "ssd_competitive": ("ssd",),
    "iau_balance": ("iau",),
    "guard_hides": ("guard",),
    "guard_keeps": ("guard",),
}


def lacks(data: Data, settings: Settings) -> dict[str, str]:
    """Claim -> reason, where one is known; claims with evidence never ask for it."""
    worlds = [part for _, part in data.worlds()]
    if not worlds:
        return {}
    part = worlds[0]
    units = units_of(data, part, settings.judged_by)
    methods = data.methods(part)
    there = {method_of(settings, arm) for arm in methods}
    found = {
        claim: f"no state was made by {missing[0]}"
        for claim, names in _ON.items()
        if (missing := [name for name in names if name not in there])
    }
    for claim in ("ssd_competitive", "iau_balance"):
        found.setdefault(claim, "needs taught models that went through several methods")
    runs = part.filter(pl.col("arm") == data.retrained)["run"].n_unique()
    found["calibrated"] = (
        f"needs retrained models to hold out and {LEAST_OTHERS} others; here are {runs}"
    )
    if not (data.probabilities["requests"] > 0).any():
        found["requests_add_up"] = "no method met one request after another"
    gone = gone_far(units, methods, settings)
    if not gone:
        none = f"no method has gone {settings.enough:.0%} of the way where asked directly"
        return found | dict.fromkeys(("relearning_undoes", "hidden_not_gone"), none)
    risen = data.rises.filter(pl.col("arm") == gone[0])
    facts = risen.filter(pl.col("number") == pl.col("number").max())["item"].n_unique()
    found["relearning_undoes"] = _few(facts, units, "no facts were taught again")
    read = len(units.values(gone[0], PROBE))
    found["hidden_not_gone"] = _few(read, units, "no hidden states were read")
    return found


def _few(count: int, units: Units, none: str) -> str:
    if not count:
        return none
    if units.unit != "facts":
        return "needs two models"
    only = "one fact" if count == 1 else f"{count} facts"
    return (
        f"with so few models facts are the units, and only {only} can be compared; a test needs "
        f"{LEAST_FACTS}"
    )
