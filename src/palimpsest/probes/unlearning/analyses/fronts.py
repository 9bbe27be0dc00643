"""Forgetting against what it costs: the front, ranks with intervals, and one number of balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.evidence import DAMAGED, GROUPS
from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.probes.unlearning.analyses.units import Models, Units, units_of
from palimpsest.statistics.comparisons import noninferiority, paired_difference
from palimpsest.statistics.intervals import clustered_mean
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
    shares = []
    for metric in (f"{part} probability" for part in DAMAGED):
        values, never = units.values(arm, metric), units.values(units.data.retrained, metric)
        if len(values) and len(never):
            shares.append(values / never.mean())
    if not shares:
        return None
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
                way = units.way(arm, metric) if group in GROUPS else None
                if way is not None and len(way) > 1:
                    estimate = clustered_mean(way, unit=units.unit)
                    rows.append(row("way", metric, estimate, arm=arm, factor=group, **place))
        rows += _by_units(units, methods, place)
        points = {arm: _point(data, part, arm) for arm in methods}
        points = {arm: point for arm, point in points.items() if point is not None}
        if len(points) > 1 and len({point.shape for point in points.values()}) == 1:
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
            ("forgotten", units.way(arm, "forget probability")),
            ("kept", kept(units, arm)),
        ):
            if values is not None and len(values) > 1:
                estimate = clustered_mean(values, unit=units.unit)
                rows.append(row("front", name, estimate, arm=arm, **place))
    return rows


def _point(data: Data, part: pl.DataFrame, arm: str) -> np.ndarray | None:
    """(3, runs) way gone, share kept, and balance: their harmonic mean, each within 0 and 1."""
    way = Models(data, part).way(arm, "forget probability")
    if way is None or len(way) < 2:
        return None
    stays = kept(Models(data, part), arm)
    if stays is None or not np.isfinite(stays).all():
        return None
    a, b = np.clip(way, 0, 1), np.clip(stays, 0, 1)
    return np.stack([way, stays, np.where(a + b > 0, 2 * a * b / np.maximum(a + b, 1e-12), 0.0)])


def _front(points: dict[str, np.ndarray], place: dict[str, Any]) -> Rows:
    """Balance, rank and place on the front, which need models that went through all methods."""
    rows: Rows = []
    first, second, third = np.stack(list(points.values()), axis=1)
    # To go beyond models that never knew is no better than to arrive.
    shares, ranks = pareto_shares(first.clip(0, 1), second), rank_intervals(third)
    for number, arm in enumerate(points):
        common = place | {"arm": arm}
        balance = clustered_mean(third[number], unit="models")
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
    """Claims on the balance of two methods, each against the best of the others."""
    found: Found = {}
    arm_of = {method_of(settings, arm): arm for arm in points}
    unit = "taught models"
    for claim, name in (("ssd_competitive", "ssd"), ("iau_balance", "iau")):
        if name not in arm_of:
            continue
        own = points[arm_of[name]][2]
        best = max((p[2] for arm, p in points.items() if arm != arm_of[name]), key=np.mean)
        found[claim] = (
            noninferiority(own, best, COMPETITIVE, alpha=0.025, unit=unit)
            if name == "ssd"
            else paired_difference(own, best, unit=unit)
        )
    return found


def _controls(units: Units, settings: Settings, methods: list[str]) -> Found:
    """A method that should do nothing, and one pair of methods."""
    found: Found = {}
    arm_of = {method_of(settings, arm): arm for arm in methods}
    if {"npo", "grad_ascent"} <= set(arm_of):
        values = [units.values(arm_of[name], "kept probability") for name in ("npo", "grad_ascent")]
        if len(values[0]) == len(values[1]) > 1:
            unit = "taught models" if isinstance(units, Models) else units.unit
            found["npo_over_ascent"] = paired_difference(*values, unit=unit)
    if "retain_finetune" in arm_of:
        way = units.way(arm_of["retain_finetune"], "forget probability")
        if way is not None and len(way) > 1:
            found["nothing_is_nothing"] = clustered_mean(way, level=0.9, unit=units.unit)
    return found


def method_of(settings: Settings, arm: str) -> str:
    """Which method an arm is; states of a configuration are called after theirs."""
    method = settings.scratch.methods.get(arm)
    return method.name if method else arm
