"""What each measure says of a method: gone, still there, or not shown; lost, kept, or not shown.

All limits are shares of the gap between taught and retrained models (``enough``), or losses of what
must stay (``utility_margin``), and every answer is a one-sided test at 5%. That all of several
measures are gone needs no correction (Berger 1982, Technometrics 24, 295); that any one of them is
not is corrected by Holm's method, and so is that anything at all was lost. A measure that could
seldom pass even for one more retrained arm is not asked whether it is gone, and is listed; which
these are the method has no part in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.probes.unlearning.analyses.frames import in_words
from palimpsest.statistics.multiplicity import holm

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.analyses.units import Units
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

ALPHA = 0.05
#: Parts that no method trains on again, and what they are called.
DAMAGED = {
    "kept": "other people's facts",
    "neighbour": "relatives' facts",
    "known": "what was known before",
}
#: What of them can be lost: the measure, whether it falls or rises, and words for the loss.
LOSSES = {
    "probability": (-1, "{part} lost {size:.2f} of their probability"),
    "rouge_l": (-1, "{part} lost {size:.2f} of their written answers"),
    "refusal": (1, "{part} are declined {size:.0%} more often"),
    "chosen": (-1, "{part} lost {size:.2f} of their multiple choices"),
    "verbatim": (-1, "{part} lost {size:.2f} of their texts"),
}
#: Groups of measures that all must be gone, and what they are called where none can decide.
GROUPS = {
    "forgetting": "measures that ask directly",
    "hidden": "hidden measures",
    "membership": "membership",
}
#: Declining is a way of answering: it is told apart, but there is no way to go.
REFUSAL = "forget refusal"


@dataclass
class Evidence:
    """What is shown of a method.

    Attributes:
        gone: measures that are shown to have gone far enough, with how far the surest is from the
            limit: (upper end of what is left, words).
        told: words on measures that are shown not to have.
        unsure: words on measures that could decide and do not.
        unread: names of measures that could not decide.
        lacking: groups of measures of which none could decide.
        lost: words on what is shown to be lost.
        open: words on what is not shown to be kept.
    """

    gone: list[tuple[float, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @property
    def against_forgot(self) -> list[str]:
        """Why the method cannot be said to have forgotten, apart from what tells it."""
        return self.unsure + [f"no {group} can decide" for group in self.lacking] + self.open


def evidence(units: Units, settings: Settings, arm: str) -> Evidence:
    """All of it."""
    found = Evidence()
    _forgetting(units, settings, arm, found)
    found.told = _told(units, settings, arm)
    _keeping(units, settings, arm, found)
    return found


def _forgetting(units: Units, settings: Settings, arm: str, found: Evidence) -> None:
    for group, words in GROUPS.items():
        asked = _asked(units, settings, arm, group, found)
        if not asked:
            found.lacking.append(words)
        for metric in asked:
            rest = units.left(arm, metric, settings.enough)
            assert rest is not None
            reach = rest.high
            if group == "membership":
                beyond = units.left(arm, metric, 2 - settings.enough)
                reach = np.nan if beyond is None else max(reach, -beyond.low)
            shown = f"{_name(metric)} {settings.enough - rest.estimate:.0%} of the way"
            if reach < 0:
                found.gone.append((reach, shown))
            else:
                found.unsure.append(shown)


def _asked(units: Units, settings: Settings, arm: str, group: str, found: Evidence) -> list[str]:
    """The measures of a group that can decide, at any rate the one that can best. Scores of
    membership say much the same of a model, so that it alone is asked there; truth ratios are no
    attack on membership, and can only tell a model apart."""
    room = 1 - settings.enough
    least = {}
    for metric, own in units.metrics().items():
        no_attack = group == "membership" and not metric.startswith("membership ")
        if own != group or metric == REFUSAL or no_attack or not len(units.values(arm, metric)):
            continue
        asked = units.left(arm, metric, settings.enough) is not None
        least[metric] = units.least_left(arm, metric, settings.enough) if asked else np.inf
    best = min(least, key=least.__getitem__, default=None)
    chosen = [
        metric
        for metric, reach in least.items()
        if np.isfinite(reach) and (metric == best or (reach <= room and group != "membership"))
    ]
    if group != "membership":
        found.unread += [_name(metric) for metric in least if metric not in chosen]
    return chosen


def _told(units: Units, settings: Settings, arm: str) -> list[str]:
    """Measures that are shown to be less than enough of the way, or membership beyond it."""
    compared = []
    for metric, group in units.metrics().items():
        if group in GROUPS and (apart := units.against(arm, metric)) is not None:
            p = _short(units, settings, arm, metric, group, apart)
            if p is not None:
                compared.append((f"{_name(metric)} {apart.estimate:+.2f}", p))
    adjusted = holm([p for _, p in compared])
    return [words for (words, _), q in zip(compared, adjusted, strict=True) if q <= ALPHA]


def _short(
    units: Units, settings: Settings, arm: str, metric: str, group: str, apart: Estimate
) -> float | None:
    """p of "gone far enough", for membership of "and not much further"; None: not asked."""
    rest = None if metric == REFUSAL else units.left(arm, metric, settings.enough)
    if rest is not None and rest.p is not None:
        if group != "membership":
            return rest.p
        beyond = units.left(arm, metric, 2 - settings.enough)
        if beyond is None or beyond.p is None:
            return None
        return min(1.0, 2 * min(rest.p, 1 - beyond.p))
    if metric != REFUSAL and group != "membership":
        return None
    # Here taught and retrained models are alike: there is no way, but there is a distance.
    far = units.far(metric, apart, settings.width)
    return apart.p if far or apart.p is None else 1.0


def _keeping(units: Units, settings: Settings, arm: str, found: Evidence) -> None:
    kept = 0
    compared: list[tuple[str | None, float]] = []
    for metric, (sign, words, limit) in _losses(units, settings).items():
        apart, against = units.apart(arm, metric), units.against(arm, metric)
        if apart is None or against is None:
            continue
        size = sign * against.estimate
        shown = against.low > 0 if sign > 0 else against.high < 0
        # Where both are alike to the bit there is no test.
        if against.p is not None and against.estimate:
            lost = size >= limit and shown
            compared.append((words.format(size=size) if lost else None, against.p))
        if units.apart_at_best(arm, metric) > limit:
            found.unread.append(_name(metric))
            continue
        kept += 1
        if not (apart.high if sign > 0 else -apart.low) < limit:
            found.open.append(f"that {_name(metric)} is kept is not shown")
    # Any one of them is enough, so that all are a family.
    adjusted = holm([p for _, p in compared])
    found.lost = [
        words for (words, _), q in zip(compared, adjusted, strict=True) if words and q <= ALPHA
    ]
    if not kept:
        found.open.append("nothing that must stay can be shown to be kept")


def _losses(units: Units, settings: Settings) -> dict[str, tuple[int, str, float]]:
    """Metric -> direction of a loss, words for it, and the loss that counts as damage."""
    limit = settings.utility_margin
    found = {
        f"{part} {metric}": (sign, words.replace("{part}", name), limit)
        for part, name in DAMAGED.items()
        for metric, (sign, words) in LOSSES.items()
    }
    found["prose loss"] = (1, "a token of prose costs {size:.2f} nats more", limit)
    level = units.values(units.data.retrained, "prose fluency")
    if len(level):
        words = "what is written lost {size:.2f} bits of its variety"
        found["prose fluency"] = (-1, words, limit * float(level.mean()))
    there = units.metrics()
    return {metric: loss for metric, loss in found.items() if metric in there}


def _name(metric: str) -> str:
    return in_words(metric.removeprefix("forget "))
