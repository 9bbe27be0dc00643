"""What forgetting one task does to the others, and whether likeness explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import norm

from palimpsest.probes.unforgettable_generalization.analyses.frames import Data, Found, Rows, runs
from palimpsest.probes.unforgettable_generalization.analyses.ratios import ratio_of
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.matrix_regression import mantel, mrqap
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unforgettable_generalization.settings import Settings

#: Fewest tasks for a regression of matrices: fewer have hardly any permutations.
LEAST_TASKS = 5
LIKENESS = ("prompts", "choices", "states")


def transfer(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """The matrix of forget ratios of every task after forgetting each, and what explains it."""
    rows: Rows = []
    found: Found = {}
    split = pl.col("split").is_in(["test"])
    for place, part in runs(data.pairs.filter((pl.col("arm") == "forget") & split), "on"):
        other = place.pop("on")
        rows.append(row("transfer", other, ratio_of(part), **place))
    judged = data.judged(data.pairs).filter(split)
    matrix, cells = _matrix(judged)
    others = {key: each for key, each in cells.items() if key[0] != key[1]}
    if others:
        found["forgetting_spills"] = _clearest(others)
    names = sorted({task for key in cells for task in key})
    if len(names) >= LEAST_TASKS:
        rows += _explained(data, matrix, names)
    return rows, found


def _matrix(judged: pl.DataFrame) -> tuple[np.ndarray, dict[tuple[str, str], Estimate]]:
    cells = {}
    for (task, on), part in judged.group_by(["task", "on"], maintain_order=True):
        estimate = ratio_of(part)
        if np.isfinite(estimate.estimate):
            cells[task, on] = estimate
    names = sorted({task for key in cells for task in key})
    matrix = np.full((len(names), len(names)), np.nan)
    for (task, on), estimate in cells.items():
        matrix[names.index(task), names.index(on)] = estimate.estimate
    return matrix, cells


def _clearest(cells: dict[tuple[str, str], Estimate]) -> Estimate:
    """The pair whose lower bound, widened for the number of pairs, is highest."""
    wider = norm.ppf(1 - 0.025 / len(cells)) / norm.ppf(0.975)
    bounds = {
        key: (
            each.estimate - wider * (each.estimate - each.low),
            each.estimate + wider * (each.high - each.estimate),
        )
        for key, each in cells.items()
        if each.low <= each.high
    }
    (task, on), (low, high) = max(bounds.items(), key=lambda entry: entry[1][0])
    return Estimate(
        cells[task, on].estimate,
        low,
        high,
        cells[task, on].n,
        "items",
        f"clearest of {len(cells)} pairs, Bonferroni",
        note=f"{on} after forgetting {task}",
    )


def _explained(data: Data, matrix: np.ndarray, names: list[str]) -> Rows:
    """Mantel correlations with each likeness, and all in one regression."""
    rows: Rows = []
    alike = {kind: _likeness(data, kind, names) for kind in LIKENESS}
    varied = {}
    for kind, other in alike.items():
        off = other[~np.eye(len(names), dtype=bool)]
        if np.isfinite(off).all() and off.std() > 0:
            varied[kind] = other
            rows.append(row("mantel", kind, mantel(matrix, other), role=data.role))
    if len(varied) > 1:
        fit = mrqap(matrix, varied)
        for kind, coefficient in fit.coefficients.items():
            rows.append(row("mrqap", kind, coefficient, role=data.role))
    return rows


def _likeness(data: Data, kind: str, names: list[str]) -> np.ndarray:
    own = data.tasks.filter((pl.col("metric") == kind) & (pl.col("role") == data.role))
    means = own.group_by(["task", "other"]).agg(pl.col("value").mean())
    found = np.full((len(names), len(names)), np.nan)
    for task, other, value in means.iter_rows():
        if task in names and other in names:
            found[names.index(task), names.index(other)] = value
    return found
