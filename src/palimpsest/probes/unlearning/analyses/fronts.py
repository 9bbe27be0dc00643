"""Forgetting against what it costs: the front, ranks with intervals, and one number of balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.probes.unlearning.analyses.contrasts import mean_of
from palimpsest.probes.unlearning.analyses.evidence import DAMAGED, GROUPS
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.probes.unlearning.analyses.units import Models, Units, units_of
from palimpsest.probes.unlearning.analyses.verdicts import DIRECT
from palimpsest.statistics.comparisons import against_best, paired_difference
from palimpsest.statistics.population import pareto_shares, rank_intervals
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings

#: Balance that a method may lose to the best and still be called competitive.
COMPETITIVE = 0.1


def kept(units: Units, arm: str) -> np.ndarray | None:
    """Probability of facts that must stay and were never trained on again, other people's,
    relatives' and from elsewhere, as a share of the retrained models': one number a model or fact.
    """
    usual = {
        metric: units.values(units.data.retrained, metric)
        for metric in (f"{part} probability" for part in DAMAGED)
    }
    there = [m for m, never in usual.items() if len(never) and len(units.values(arm, m))]
    if not there:
        return None
    if isinstance(units, Models):
        values = units.together(*((arm, metric) for metric in there))
    else:
        values = [units.values(arm, metric) for metric in there]
    shares = [each / usual[metric].mean() for each, metric in zip(values, there, strict=True)]
    return np.mean(shares, axis=0) if isinstance(units, Models) else np.concatenate(shares)


def fronts(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Share of the way by every metric, the front, ranks, and claims on balance."""
    rows: Rows = []
    found: Found = {}
    for place, part in data.worlds():
        methods = data.methods(part)
        units = units_of(data, part, settings.judged_by)
        for arm in methods:
            for metric, group in units.metrics().items():
                gone = units.gone(arm, metric) if group in GROUPS else None
                if gone is not None:
                    rows.append(row("way", metric, gone, arm=arm, factor=group, **place))
        rows += _by_units(units, methods, place)
        points = _points(Models(data, part), methods)
        if points:
            if isinstance(units, Models):
                rows += _front(points, place)
            found |= _balances(settings, points)
        found |= _controls(units, settings, methods)
    return rows, found


def _by_units(units: Units, methods: list[str], place: dict[str, Any]) -> Rows:
    """Both axes of the front: way gone, and what is kept of what was never trained on again."""
    rows: Rows = []
    for arm in methods:
        for name, values in (
            ("forgotten", units.way(arm, DIRECT)),
            ("kept", kept(units, arm)),
        ):
            if values is not None and len(values) > 1:
                estimate = mean_of(values, units.unit)
                rows.append(row("front", name, estimate, arm=arm, **place))
    return rows


def _points(models: Models, methods: list[str]) -> dict[str, np.ndarray]:
    """Method -> (3, runs) way gone, share kept, and balance: their harmonic mean, each within 0
    and 1; of the taught models that went through all methods. Empty for fewer than two of these."""
    taught, retrained = models.data.taught, models.data.retrained
    arms = [arm for arm in methods if models.way(arm, DIRECT) is not None]
    stays = [
        metric
        for metric in (f"{part} probability" for part in DAMAGED)
        if len(models.values(retrained, metric))
        and all(len(models.values(arm, metric)) for arm in arms)
    ]
    if len(arms) < 2 or not stays:
        return {}
    values = models.together(*((arm, metric) for arm in arms for metric in (DIRECT, *stays)))
    if len(values[0]) < 2:
        return {}
    know, never = models.values(taught, DIRECT).mean(), models.values(retrained, DIRECT).mean()
    usual = [models.values(retrained, metric).mean() for metric in stays]
    found = {}
    for number, arm in enumerate(arms):
        direct, *others = values[number * (1 + len(stays)) :][: 1 + len(stays)]
        way = (know - direct) / (know - never)
        keeps = np.mean([each / mean for each, mean in zip(others, usual, strict=True)], axis=0)
        a, b = np.clip(way, 0, 1), np.clip(keeps, 0, 1)
        balance = np.where(a + b > 0, 2 * a * b / np.maximum(a + b, 1e-12), 0.0)
        found[arm] = np.stack([way, keeps, balance])
    return found


def _front(points: dict[str, np.ndarray], place: dict[str, Any]) -> Rows:
    """Balance, rank and place on the front, which need models that went through all methods."""
    rows: Rows = []
    first, second, third = np.stack(list(points.values()), axis=1)
    # To go beyond models that never knew is no better than to arrive.
    shares, ranks = pareto_shares(first.clip(0, 1), second), rank_intervals(third)
    for number, arm in enumerate(points):
        common = place | {"arm": arm}
        balance = mean_of(third[number], "models")
        rows.append(row("front", "balance", balance, **common))
        rows.append(row("front", "rank", ranks[number], **common))
        rows.append(
            common
            | {
                "analysis": "front",
                "metric": "on the front",
                "estimate": float(shares[number]),
                "n": first.shape[1],
                "unit": "taught models",
                "method": "share of bootstrap samples of taught models",
            }
        )
    return rows


def _balances(settings: Settings, points: dict[str, np.ndarray]) -> Found:
    """Claims on balances: of two methods against the best of the others, whichever, and of one
    against another."""
    found: Found = {}
    arm_of = {method_of(settings, arm): arm for arm in points}
    unit = "taught models"
    for claim, name in (("ssd_competitive", "ssd"), ("iau_balance", "iau")):
        if name not in arm_of:
            continue
        own = points[arm_of[name]][2]
        others = [point[2] for arm, point in points.items() if arm != arm_of[name]]
        null = -COMPETITIVE if name == "ssd" else 0.0
        found[claim] = against_best(own, others, null, unit=unit)
    if {"npo", "grad_ascent"} <= set(arm_of):
        pair = [points[arm_of[name]][2] for name in ("npo", "grad_ascent")]
        found["npo_over_ascent"] = paired_difference(*pair, unit=unit)
    return found


def _controls(units: Units, settings: Settings, methods: list[str]) -> Found:
    """A method that should do nothing."""
    found: Found = {}
    arm_of = {method_of(settings, arm): arm for arm in methods}
    if "retain_finetune" in arm_of:
        way = units.way(arm_of["retain_finetune"], DIRECT)
        if way is not None and len(way) > 1:
            found["nothing_is_nothing"] = mean_of(way, units.unit, level=0.9)
    return found


def method_of(settings: Settings, arm: str) -> str:
    """Which method an arm is; states of a configuration are called after theirs."""
    method = settings.scratch.methods.get(arm)
    return method.name if method else arm
