"""Steep at first, then gradual? Slopes of forgetting before and after a given breakpoint."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from palimpsest.statistics.cluster_robust import coded
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.estimate import Estimate

OnePhase = Literal["logarithm", "line", "exponential"]


def two_phase(
    unit: ArrayLike,
    delay: ArrayLike,
    value: ArrayLike,
    breakpoint: float = 10.0,
    one_phase: OnePhase = "logarithm",
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    unit_name: str = "units",
) -> Estimate:
    """Slope after the breakpoint minus slope before: above 0, loss slows down. Mean over units.

    ``unit``, ``delay`` (updates), ``value`` (share or strength retained) and ``clusters`` have
    shape (rows,). Each unit gives two least-squares slopes, over its delays up to and from the
    breakpoint (a delay at the breakpoint belongs to both); their difference is tested over units,
    paired, with the two-sided t test of ``paired_difference``. ``clusters``, where units are not
    independent (items of a seed), must be constant within units.

    Every convex curve slows down per update, so the null says which one-phase curve would not:

    - "logarithm" (the default): mean value is a + b ln(1 + t), equal losses from 1 + t to
      2 (1 + t) updates. It slows down per update itself, so to beat it says more than "line". Power
      laws and asymptotes are convex on this axis too; an exponential is not straight on it and may
      have either sign, so test that one against its own null.
    - "line": mean value is a + b t, equal losses per update. Exponentials and powers are not.
    - "exponential": mean of ln(value) is a + b t, one rate throughout. Values must be positive.
      With noise that is additive and large against the value, the log bends the mean and the null
      is not met exactly.

    Under its null, whatever the noise or its correlation inside a unit, both slopes have one
    expectation, so the test holds its level as a t test over units does. The breakpoint has to be
    fixed before the data are seen.

    Units with fewer than two distinct delays on a side are left out, and the note counts them.
    Raises ValueError where none is left, or a value cannot have a logarithm.
    """
    value, of_unit = coded(value, unit)
    delay = coded(delay, None)[0]
    if len(delay) != len(value) or np.any(delay < 0):
        raise ValueError("need one delay >= 0 for each value")
    if one_phase == "exponential":
        if np.any(value <= 0):
            raise ValueError("the logarithm of a share needs positive values")
        value = np.log(value)
    clock = np.log1p(delay) if one_phase == "logarithm" else delay
    early = _slopes(of_unit, clock, value, delay <= breakpoint)
    late = _slopes(of_unit, clock, value, delay >= breakpoint)
    usable = np.isfinite(early) & np.isfinite(late)
    if not usable.any():
        raise ValueError(f"no unit has two delays on each side of {breakpoint:g}")
    groups = None if clusters is None else _of_units(of_unit, coded(value, clusters)[1])[usable]

    result = paired_difference(late[usable], early[usable], groups, level, unit_name)
    left_out = int(np.sum(~usable))
    rates = f"slope {early[usable].mean():.4g} before, {late[usable].mean():.4g} after"
    note = f"{rates}; {left_out} units left out" if left_out else rates
    method = f"slopes about {breakpoint:g} updates, null: {one_phase}; {result.method}"
    return Estimate(result.estimate, result.low, result.high, result.n, unit_name, method, level,
                    result.p, "; ".join(filter(None, [note, result.note])))  # fmt: skip


def _slopes(
    of_unit: np.ndarray, clock: np.ndarray, value: np.ndarray, side: np.ndarray
) -> np.ndarray:
    """Least-squares slope of each unit over the rows of one side, nan where there is none."""
    n_units = int(of_unit.max()) + 1
    code, x, y = of_unit[side], clock[side], value[side]

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.bincount(code, weights=weights, minlength=n_units)

    n = np.maximum(np.bincount(code, minlength=n_units), 1)
    centred = x - (sums(x) / n)[code]
    spread = sums(centred**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12, sums(centred * y) / spread, np.nan)


def _of_units(of_unit: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The cluster of each unit; ValueError where a unit lies in two."""
    pairs = np.unique(np.column_stack([of_unit, codes]), axis=0)
    if len(pairs) != int(of_unit.max()) + 1:
        raise ValueError("a unit lies in two clusters")
    return pairs[:, 1]
