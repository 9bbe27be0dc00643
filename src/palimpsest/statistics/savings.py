"""Savings: what seems forgotten takes fewer trials to learn again than it took at first."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import hierarchical_bootstrap


def savings(
    first: ArrayLike,
    again: ArrayLike,
    max_trials: int,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    n_replicates: int = 2000,
    unit: str = "units",
    seed: int = 0,
) -> Estimate:
    """Mean over units of (first - again) / first, in trials to criterion (Ebbinghaus 1885, ch. 7).

    ``first`` and ``again`` (units,) count trials (exposures) to criterion of the same unit, from 1;
    ``again`` may be 0, where nothing had to be learned again. A criterion that was not reached
    within ``max_trials`` (nan, inf or anything larger) is censored and recorded as max_trials + 1.
    1 is learned for good, 0 no savings, below 0 interference. Cluster bootstrap over ``clusters``
    (None: units), BCa, as savings are skewed.

    Censoring bends the mean, and the note gives its share and direction: where only the first
    learning is censored savings are understated, where only the second is they are overstated, and
    where both are, nothing is known and 0 recorded. A mean with many of those is no savings score.

    Raises ValueError on unequal lengths, negative counts, counts that are not whole or a first
    learning that took no trial.
    """
    first, first_censored = _recorded(first, max_trials)
    again, again_censored = _recorded(again, max_trials)
    if first.shape != again.shape or first.size == 0:
        raise ValueError(f"{first.size} units paired with {again.size}")
    if np.any(first < 1) or np.any(again < 0):
        raise ValueError("first learning takes at least one trial, the second at least none")
    groups = np.arange(len(first)) if clusters is None else clusters
    result = hierarchical_bootstrap(
        (first - again) / first, groups, interval="bca", level=level,
        n_replicates=n_replicates, unit=unit, seed=seed,
    )  # fmt: skip
    method = "mean savings, cluster bootstrap, BCa"
    notes = [_censoring(first_censored, again_censored, max_trials), result.note]
    return Estimate(result.estimate, result.low, result.high, result.n, unit, method, level,
                    note="; ".join(filter(None, notes)))  # fmt: skip


def _recorded(trials: ArrayLike, max_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts with censored ones at max_trials + 1, and which those are."""
    trials = np.asarray(trials, dtype=float).ravel()
    censored = ~(trials <= max_trials)
    trials = np.where(censored, max_trials + 1.0, trials)
    if np.any(trials != np.round(trials)):
        raise ValueError("trials to criterion are whole numbers")
    return trials, censored


def _censoring(first: np.ndarray, again: np.ndarray, max_trials: int) -> str:
    if not (first | again).any():
        return "nothing censored"
    parts = {
        "first only (understates)": first & ~again,
        "again only (overstates)": again & ~first,
        "both (unknown, recorded as 0)": first & again,
    }
    shares = [f"{label} {mask.mean():.1%}" for label, mask in parts.items() if mask.any()]
    return f"criterion not reached in {max_trials} trials: {', '.join(shares)}"
