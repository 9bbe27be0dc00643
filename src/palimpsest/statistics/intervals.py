"""Intervals for proportions, means and medians, with the unit that was resampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.proportion import proportion_confint

from palimpsest.statistics.cluster_robust import RobustMean, coded, robust_mean, t_quantile
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.resampling import (
    WeightedStatistic,
    bca_interval,
    expanded_tail,
    nested_weights,
    percentile_interval,
    unit_weights,
    weighted_median,
)

ONE_CLUSTER = "one cluster only: the variation between clusters cannot be estimated"
NO_SPREAD = "all values equal: the interval has no width"


def proportion(successes: int, n: int, level: float = 0.95, unit: str = "items") -> Estimate:
    """Wilson score interval of a proportion (Wilson 1927) of ``n`` independent units.

    ``n`` = 0 gives nan with a note. Raises ValueError unless 0 <= successes <= n.
    """
    return _proportion(successes, n, level, unit, "wilson", "Wilson interval")


def exact_proportion(successes: int, n: int, level: float = 0.95, unit: str = "items") -> Estimate:
    """Clopper-Pearson interval of a proportion: never below nominal coverage, hence wider."""
    return _proportion(successes, n, level, unit, "beta", "Clopper-Pearson interval")


def clustered_mean(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    unit: str = "clusters",
    graded: bool = False,
) -> Estimate:
    """Mean over rows of ``values`` (rows,) when rows of one cluster are not independent.

    Variance CR2 with Satterthwaite degrees of freedom (see ``cluster_robust``). Graded values get
    the t interval. Values that are all 0 or 1 get Wilson's interval with the effective sample size
    p(1-p)/variance and the t quantile (Franco, Little, Louis & Slud 2019, J. Surv. Stat. Methodol.
    7, 334), which stays in [0, 1]. Simulated coverage is 93-97% from 8 clusters of unequal size
    (5 to 20 rows); 92% for 10 clusters with exponential effects. Below 5 clusters it rests wholly
    on effects that are near normal, and the note says so.

    Where all rows are equal, binary values get Wilson's interval with one row a cluster (the most
    cautious reading), graded ones an interval without width, and the note says so. ``graded``:
    values are no answers even where all of them happen to be 0 or 1, such as one mean a model.
    """
    fit = robust_mean(values, clusters)
    fit = replace(fit, binary=fit.binary and not graded)
    low, high, note = mean_interval(fit, level)
    method = "CR2 Wilson interval" if fit.binary else "CR2 t interval"
    return Estimate(
        fit.mean, low, high, fit.n_clusters, unit, method, level, note=note, dof=fit.t_dof
    )


def mean_interval(fit: RobustMean, level: float) -> tuple[float, float, str | None]:
    """Interval of a robust mean, and the note that goes with it."""
    if np.isnan(fit.variance):
        return np.nan, np.nan, ONE_CLUSTER
    few = "fewer than 5 clusters: rests on normal effects" if fit.n_clusters < 5 else None
    if fit.variance > 0 and not fit.binary:
        return *fit.t_interval(level), few
    if fit.variance > 0:
        effective = fit.mean * (1 - fit.mean) / fit.variance
        return *wilson(fit.mean, effective, t_quantile(level, fit.dof)), few
    if fit.binary:
        note = "all rows equal: Wilson interval with one row a cluster"
        return *wilson(fit.mean, fit.n_clusters, t_quantile(level, np.inf)), note
    return *no_width(fit, level), NO_SPREAD


def no_width(fit: RobustMean, level: float) -> tuple[float, float]:
    """[mean, mean], or nan where a sign-flip test of so few clusters cannot reach ``level``."""
    reachable = 2 * 0.5**fit.n_clusters <= 1 - level
    return (fit.mean, fit.mean) if reachable else (np.nan, np.nan)


def wilson(p: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for a share ``p`` of a possibly fractional ``n``, any quantile."""
    q2 = quantile**2
    centre = (p + q2 / (2 * n)) / (1 + q2 / n)
    half = quantile / (1 + q2 / n) * np.sqrt(p * (1 - p) / n + q2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def hierarchical_bootstrap(
    values: ArrayLike,
    outer: ArrayLike,
    inner: ArrayLike | None = None,
    statistic: Literal["mean"] | WeightedStatistic = "mean",
    resample: Literal["outer", "both", "inner"] = "outer",
    interval: Literal["percentile", "bca"] = "percentile",
    level: float = 0.95,
    n_replicates: int = 2000,
    unit: str = "outer units",
    seed: int = 0,
) -> Estimate:
    """Bootstrap of rows nested as inner units (items) within outer units (seeds).

    ``values``, ``outer`` and ``inner`` have shape (rows,); inner labels need to be unique only
    within their outer unit, None makes every row an inner unit. ``statistic`` maps whole-number
    row weights (replicates, rows) to (replicates,).

    ``resample`` states what the claim is about. "outer": outer units are a sample, drawn whole
    (Davison & Hinkley 1997, section 3.8: drawn units already carry their inner noise, so drawing
    inner units again would count it twice). "both": inner units are redrawn too, the customary
    two-level bootstrap; cautious where inner noise dominates (coverage above nominal). "inner":
    the claim is about these outer units only, and inner units are drawn within each.

    Tails are expanded to t width for the number of outer units (Hesterberg 2015; not for "inner").
    With "bca", bias and skewness are corrected from a jackknife over the outer (or inner) units.
    Coverage of "outer" is 93-97% from 8 outer units on, but 91% with 5 and 76% with 3 (few units
    have few resamples): the note says so, and for a mean ``clustered_mean`` holds its level there.
    """
    values, outer_codes = coded(values, outer)
    rows = np.arange(len(values)) if inner is None else coded(values, inner)[1]
    pairs, inner_codes = np.unique(
        np.column_stack([outer_codes, rows]), axis=0, return_inverse=True
    )
    inner_codes = inner_codes.ravel()
    units = outer_codes if resample == "outer" else inner_codes
    n_outer = int(outer_codes.max()) + 1
    n = len(pairs) if resample == "inner" else n_outer
    method = f"hierarchical bootstrap ({resample} resampled), {interval}"
    compute = _of_units(values, units, statistic)
    estimate = float(compute(np.ones((1, units.max() + 1), dtype=np.int64))[0])
    if n < 2:
        return Estimate(estimate, np.nan, np.nan, n, unit, method, level, note=ONE_CLUSTER)

    rng = np.random.default_rng(seed)
    if resample == "inner":
        drawn, tail, note = np.ones((n_replicates, n_outer), int), (1 - level) / 2, None
    else:
        drawn = unit_weights(rng, n_outer, n_replicates)
        tail, note = expanded_tail(level, n_outer, n_outer - 1), _few(n_outer)
    weights = drawn if resample == "outer" else nested_weights(rng, drawn, pairs[:, 0])
    replicates = compute(weights)
    if interval == "percentile":
        low, high = percentile_interval(replicates, tail)
    else:
        group = np.arange(len(pairs)) if resample == "inner" else np.arange(n_outer)
        member = group if resample != "both" else pairs[:, 0]
        left_out = compute((group[:, None] != member).astype(np.int64))
        low, high = bca_interval(replicates, estimate, left_out, tail)
    return Estimate(estimate, low, high, n, unit, method, level, note=note)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike | None = None,
    statistic: Literal["mean"] | WeightedStatistic = "mean",
    interval: Literal["percentile", "bca"] = "bca",
    level: float = 0.95,
    n_replicates: int = 2000,
    unit: str = "pairs",
    seed: int = 0,
) -> Estimate:
    """Mean (or another ``statistic``) of a - b over the same items, pairs drawn whole.

    :func:`hierarchical_bootstrap` of the differences, with clusters (rows,) or single pairs (None)
    for outer units: 93-97% of simulated studies are covered with 30 skewed pairs, and with 15
    clusters of near normal effects; 92% with 15 clusters of skewed ones. Raises ValueError on
    unequal lengths.
    """
    a, b = coded(a, None)[0], coded(b, None)[0]
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} values paired with {len(b)}")
    outer = np.arange(len(a)) if clusters is None else clusters
    drawn = hierarchical_bootstrap(
        a - b, outer, None, statistic, "outer", interval, level, n_replicates, unit, seed
    )
    return replace(drawn, method=f"paired bootstrap, {interval}")


def crossed_bootstrap(
    values: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    level: float = 0.95,
    n_replicates: int = 2000,
    unit: str | None = None,
    seed: int = 0,
) -> Estimate:
    """Mean of rows under two crossed factors, such as item and seed: the pigeonhole bootstrap.

    Levels of both factors are drawn independently and a row's weight is the product (Owen 2007,
    Ann. Appl. Stat. 1, 386; Owen & Eckles 2012). It never understates the variance, and counts the
    noise of single rows up to three times: where that noise dominates, coverage nears 100%. ``n``
    is the smaller number of levels. Tails are expanded (Hesterberg 2015) to a t with Satterthwaite
    degrees of freedom of the two factors' variances.
    """
    values, rows = coded(values, first)
    columns = coded(values, second)[1]
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (rows, columns), values)
    np.add.at(counts, (rows, columns), 1)
    n = min(shape)
    unit = unit or f"{shape[0]} x {shape[1]} crossed levels"
    method = "pigeonhole bootstrap, percentile"
    mean = float(values.mean())
    if n < 2:
        note = "one level of a factor only: its variation cannot be estimated"
        return Estimate(mean, np.nan, np.nan, n, unit, method, level, note=note)
    rng = np.random.default_rng(seed)
    drawn_rows = unit_weights(rng, shape[0], n_replicates)
    drawn_columns = unit_weights(rng, shape[1], n_replicates)
    totals = np.sum((drawn_rows @ counts) * drawn_columns, axis=1)
    drawn = totals > 0  # a sparse crossing can draw no row at all
    replicates = np.sum((drawn_rows @ sums) * drawn_columns, axis=1)[drawn] / totals[drawn]
    parts = [_variance_of_mean(sums, counts, axis) for axis in (0, 1)]
    spread = sum(part**2 / (k - 1) for part, k in zip(parts, shape, strict=True))
    dof = sum(parts) ** 2 / spread if spread > 0 else n - 1
    low, high = percentile_interval(replicates, expanded_tail(level, n, dof))
    return Estimate(mean, low, high, n, unit, method, level, note=_few(n))


def median_bootstrap(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    n_replicates: int = 2000,
    unit: str = "clusters",
    seed: int = 0,
) -> Estimate:
    """Median of ``values`` (rows,), percentile interval with clusters (None: rows) drawn whole."""
    values, codes = coded(values, clusters)
    n = int(codes.max()) + 1
    method = "cluster bootstrap of the median, percentile"
    median = float(np.median(values))
    if n < 2:
        return Estimate(median, np.nan, np.nan, n, unit, method, level, note=ONE_CLUSTER)
    weights = unit_weights(np.random.default_rng(seed), n, n_replicates)[:, codes]
    replicates = weighted_median(values)(weights)
    low, high = percentile_interval(replicates, expanded_tail(level, n, n - 1))
    return Estimate(median, low, high, n, unit, method, level, note=_few(n))


def _proportion(
    successes: int, n: int, level: float, unit: str, kind: str, method: str
) -> Estimate:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0, unit, method, level, note=f"no {unit}")
    low, high = proportion_confint(successes, n, alpha=1 - level, method=kind)
    return Estimate(successes / n, float(low), float(high), int(n), unit, method, level)


def _of_units(
    values: np.ndarray, units: np.ndarray, statistic: Literal["mean"] | WeightedStatistic
) -> WeightedStatistic:
    """``statistic`` as a function of the weights of units; the mean needs only their sums."""
    if statistic != "mean":
        return lambda weights: statistic(weights[:, units])
    sums, counts = np.bincount(units, weights=values), np.bincount(units)
    return lambda weights: (weights @ sums) / (weights @ counts)


def _variance_of_mean(sums: np.ndarray, counts: np.ndarray, axis: int) -> float:
    """Variance of the grand mean from the spread of one factor's level means."""
    levels = sums.sum(axis=1 - axis) / counts.sum(axis=1 - axis)
    return float(np.var(levels, ddof=1) / len(levels))


def _few(n: int) -> str | None:
    return f"{n} units resampled: coverage is not assured below 8" if n < 8 else None
