"""One word for each method, by rules that are fixed in the settings, and the evidence for it.

============= =====================================================================================
did nothing   the interval of the way gone lies below ``nothing``
damaged       facts that must stay, of other people, of relatives or from elsewhere, lost
              ``utility_margin`` or more of their probability, and the interval lies below zero
forgot        the direct and every hidden measure have gone ``enough`` of the way by their
              intervals, and membership does not tell the model from retrained ones
suppressed    gone where asked directly, but a hidden measure, or membership, tells the model from
              those that never knew, after Holm's correction over these measures; or gone from
              written answers, with probabilities that did nothing
partly        in between, by the interval of the way gone
cannot tell   none of these is shown
============= =====================================================================================

Units are models where there are enough of them, otherwise facts; see ``units``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows, in_words
from palimpsest.probes.unlearning.analyses.units import Units, units_of
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

ALPHA = 0.05
DIRECT = "forget probability"
#: What is left of the truth in a written answer.
WRITTEN = "rouge_l"
#: Parts that no method trains on again, and what they are called.
DAMAGED = {
    "kept": "other people's facts",
    "neighbour": "relatives' facts",
    "known": "what was known before",
}


def verdicts(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """The verdict of each method, and of the taught models as a control."""
    rows: Rows = []
    for place, part in data.worlds():
        units = units_of(data, part, settings.judged_by)
        words = []
        for arm in (data.taught, *data.methods(part)):
            if arm == data.taught and units.unit == "facts":
                # Fact by fact the taught models are what they are compared with.
                continue
            way = units.way(arm, DIRECT)
            if way is None or len(way) < 2 or units.against(arm, DIRECT) is None:
                continue
            estimate = _mean(way, units.unit)
            word, evidence = verdict(units, settings, arm, estimate)
            if arm != data.taught:
                words.append(word)
            method = (
                f"share of the way from taught to retrained models, t interval over {units.unit}"
            )
            decided = replace(estimate, method=method, note=evidence)
            rows.append(row("verdict", word, decided, arm=arm, **place))
        rows += _counted(place, Counter(words))
    return rows, {}


def _counted(place: dict[str, Any], words: Counter[str]) -> Rows:
    """How many of the methods forgot; all of them are here, so that there is no interval."""
    if not words:
        return []
    return [
        place
        | {
            "analysis": "judged",
            "metric": "methods that forgot",
            "estimate": float(words["forgot"]),
            "n": words.total(),
            "unit": "methods",
            "method": "count",
            "note": ", ".join(f"{number} {word}" for word, number in words.most_common()),
        }
    ]


def _mean(way: np.ndarray, unit: str) -> Estimate:
    """Where nothing has changed at all, that is exact: zeros are no shares of successes."""
    estimate = clustered_mean(way, unit=unit)
    return replace(estimate, low=0.0, high=0.0) if not way.any() else estimate


def verdict(units: Units, settings: Settings, arm: str, way: Estimate) -> tuple[str, str]:
    """The word, and the evidence for it; ``way`` is that of the direct measure."""
    damage = _damage(units, settings, arm)
    gone = f"{way.estimate:.0%} of the way to models that never knew"
    if way.high < settings.nothing:
        written = units.way(arm, f"forget {WRITTEN}")
        if written is None or not written.mean() >= settings.enough:
            return "did nothing", gone
        lost = _damage(units, settings, arm, WRITTEN, "written answers")
        return "suppressed", "; ".join(filter(None, [_SILENT, lost]))
    if damage:
        return "damaged", f"{damage}; {gone}"
    told = _told(units, settings, arm)
    if way.estimate >= settings.enough and told:
        return "suppressed", "told from models that never knew by " + "; ".join(told)
    if way.low >= settings.enough:
        unsure = _unsure(units, settings, arm)
        if unsure:
            return "cannot tell", "not shown to be gone: " + "; ".join(unsure)
        return "forgot", "every measure has gone the way of models that never knew"
    if way.low > settings.nothing and way.high < settings.enough:
        return "partly", gone
    return "cannot tell", f"{gone}, and its interval reaches over the limits"


#: Evidence against a method that changes what is written and nothing else.
_SILENT = "gone from written answers alone: probabilities are as before"


def _damage(
    units: Units,
    settings: Settings,
    arm: str,
    metric: str = "probability",
    what: str = "probability",
) -> str:
    found = []
    for name, words in DAMAGED.items():
        estimate = units.against(arm, f"{name} {metric}")
        if estimate is None:
            continue
        if estimate.high < 0 and estimate.estimate <= -settings.utility_margin:
            found.append(f"{words} lost {-estimate.estimate:.2f} of their {what}")
    return "; ".join(found)


def _told(units: Units, settings: Settings, arm: str) -> list[str]:
    """Hidden measures that still show the fact, and membership that tells the model apart."""
    compared = []
    for metric, group in units.metrics().items():
        estimate = units.against(arm, metric) if group in ("hidden", "membership") else None
        if estimate is not None:
            compared.append((metric, group, estimate))
    adjusted = holm([np.nan if e.p is None else e.p for _, _, e in compared])
    found = []
    for (metric, group, estimate), q in zip(compared, adjusted, strict=True):
        if not q <= ALPHA:
            continue
        way = units.way(arm, metric)
        hidden = group == "hidden" and way is not None and way.mean() < settings.enough
        if hidden or (group == "membership" and units.far(metric, estimate, settings.width)):
            words = in_words(metric.removeprefix("forget "))
            found.append(f"{words} {estimate.estimate:+.2f}")
    return found


def _unsure(units: Units, settings: Settings, arm: str) -> list[str]:
    """Hidden measures whose interval does not reach the limit."""
    found = []
    for metric, group in units.metrics().items():
        way = units.way(arm, metric) if group == "hidden" else None
        if way is not None and len(way) > 1:
            estimate = clustered_mean(way, unit=units.unit)
            if not estimate.low >= settings.enough:
                found.append(
                    f"{in_words(metric.removeprefix('forget '))} {estimate.estimate:.0%} of the way"
                )
    return found
