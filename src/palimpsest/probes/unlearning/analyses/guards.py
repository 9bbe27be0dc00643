"""What GUARD does to written answers, the only thing that it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from palimpsest.probes.unlearning.analyses.evidence import DAMAGED
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.probes.unlearning.analyses.fronts import method_of
from palimpsest.probes.unlearning.analyses.units import Models, Units, units_of
from palimpsest.probes.unlearning.analyses.verdicts import WRITTEN
from palimpsest.statistics.comparisons import equivalence_of_differences, equivalence_paired
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

#: Share of the truth that answers to the forget set may hold above models that never knew, and that
#: answers to what must stay may lose.
ALMOST = 0.1


def guards(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """How well detectors tell prompts, and two claims on GUARD: what it hides and what it keeps."""
    rows: Rows = []
    for place, part in grouped(data.detectors, ["world", "model", "arm", "metric"]):
        if part.height > 1:
            estimate = clustered_mean(part["value"].to_numpy(), unit="models").within(0, 1)
            where = {"series": place["world"], "model": place["model"], "arm": place["arm"]}
            rows.append(row("detector", place["metric"], estimate, **where))
    found: Found = {}
    for _, part in data.worlds():
        units = units_of(data, part, settings.judged_by)
        for arm in data.methods(part):
            if method_of(settings, arm) != "guard":
                continue
            evidence = {
                "guard_hides": units.against(arm, f"forget {WRITTEN}"),
                "guard_keeps": _kept(units, arm),
            }
            found |= {claim: each for claim, each in evidence.items() if each is not None}
    return rows, found


def _kept(units: Units, arm: str) -> Estimate | None:
    """Truth in answers to what must stay, after minus before, paired by taught model or by fact."""
    taught = units.data.taught
    there = [
        metric
        for metric in (f"{part} {WRITTEN}" for part in DAMAGED)
        if len(units.values(arm, metric)) and len(units.values(taught, metric))
    ]
    if not there:
        return None
    if isinstance(units, Models):
        # One number a model, the mean over kinds of facts.
        values = units.together(*((one, metric) for one in (arm, taught) for metric in there))
        after, before = np.mean(values[: len(there)], axis=0), np.mean(values[len(there) :], axis=0)
        if len(after) < 2:
            return None
        return equivalence_of_differences(after - before, ALMOST, unit="taught models")
    pairs = [units.together((arm, metric), (taught, metric)) for metric in there]
    after, before = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return equivalence_paired(after, before, ALMOST, unit=units.unit) if len(after) > 1 else None
