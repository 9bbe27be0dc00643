"""One word for each method, by rules that are fixed in the settings, and the evidence for it.

============= =====================================================================================
did nothing   the interval of the way gone lies below ``nothing``
damaged       facts that must stay, of other people, of relatives or from elsewhere, lost
              ``utility_margin`` or more of their probability, of their written answers or of their
              choices, or are declined so much more often, or so much of prose is lost, and one of
              these is told from no loss, after Holm's correction over all of them
forgot        every direct and hidden measure that can decide has gone ``enough`` of the way, and
              membership no more than as much too far; what must stay is shown to be kept within
              ``utility_margin``
suppressed    gone where asked directly, but another direct measure, a hidden one, or membership
              has not, after Holm's correction over these measures; or gone from written answers,
              with probabilities that did nothing
partly        in between, by the interval of the way gone
cannot tell   none of these is shown
============= =====================================================================================

"Forgot" is an equivalence: nothing counts as gone for want of evidence (see ``evidence``). How
often further retrained models of the default study are said to have forgot, held against ten
others and five taught ones: 70% of 200 draws of five models from 26, 53% of draws of three; with
twenty to be held against 83%. All other draws end as "cannot tell", mostly for the area under the
curve of membership or the measure after a prefix. With twenty facts as units that area is too
uncertain to show likeness, and no method is said to have forgot.

Units are models where there are enough of them, otherwise facts; see ``units``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from palimpsest.probes.unlearning.analyses.contrasts import mean_of
from palimpsest.probes.unlearning.analyses.evidence import Evidence, evidence
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.probes.unlearning.analyses.units import Units, units_of
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

DIRECT = "forget probability"
#: What is left of the truth in a written answer.
WRITTEN = "rouge_l"


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
            estimate = mean_of(way, units.unit)
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


def verdict(units: Units, settings: Settings, arm: str, way: Estimate) -> tuple[str, str]:
    """The word, and the evidence for it; ``way`` is that of the direct measure."""
    found = evidence(units, settings, arm)
    gone = f"{way.estimate:.0%} of the way to models that never knew"
    still = way.high < settings.nothing
    written = _written(units, settings, arm) if still else None
    told = "told from models that never knew by " + "; ".join(found.told)
    if found.lost:
        hidden = [told] if found.told and not still else []
        return "damaged", "; ".join([*found.lost, _SILENT if written == "gone" else gone, *hidden])
    if still:
        if written == "gone":
            return "suppressed", _SILENT
        if written == "unsure":
            return "cannot tell", f"{gone}; whether written answers changed is not shown"
        return "did nothing", gone
    rest = units.left(arm, DIRECT, settings.enough)
    if rest is not None and rest.high < 0:
        if found.told:
            return "suppressed", told
        if against := found.against_forgot:
            return "cannot tell", "not shown: " + "; ".join(against)
        return "forgot", _all_gone(settings, found)
    if way.low > settings.nothing and way.high < settings.enough:
        return "partly", gone
    reasons = [f"{gone}, and its interval reaches over the limits", *([told] if found.told else [])]
    return "cannot tell", "; ".join(reasons)


#: Evidence against a method that changes what is written and nothing else.
_SILENT = "gone from written answers alone: probabilities are as before"


def _written(units: Units, settings: Settings, arm: str) -> str:
    """Where probabilities are as before: is the truth gone from written answers too?"""
    rest = units.left(arm, f"forget {WRITTEN}", settings.enough)
    if rest is None:
        return "as before"
    if rest.high < 0:
        return "gone"
    moved = units.left(arm, f"forget {WRITTEN}", settings.nothing)
    return "as before" if moved is not None and moved.low > 0 else "unsure"


def _all_gone(settings: Settings, found: Evidence) -> str:
    """What a forgetting method is called so for, and what could not be read."""
    _, last = max(found.gone)
    parts = [
        f"{len(found.gone)} measures have gone at least {settings.enough:.0%} of the way of models "
        f"that never knew, membership no more than {2 - settings.enough:.0%}; hardest to show: "
        f"{last}",
        f"nothing that must stay lost {settings.utility_margin:g}",
    ]
    if found.unread:
        parts.append("too coarse to decide: " + ", ".join(found.unread))
    return "; ".join(parts)
