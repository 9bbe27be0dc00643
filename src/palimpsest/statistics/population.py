"""A method against a population of models that never knew, metric by metric.

R models retrained without the forget set give R values of a metric: the null distribution, with the
noise of seeds in it. A method whose values lie where these lie cannot be told from retraining by
that metric; that it is like retraining is shown by an equivalence test, never by a large p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from palimpsest.statistics.comparisons import equivalence_two_sample, two_sample_difference
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import proportion

UNIT = "models"
#: The margin uses the lower end of a one-sided interval of this level for the deviation of the
#: population. With the deviation as estimated the test passes methods at its margin in 7 to 10 of
#: 100 studies (10 or 20 retrained models, 3 to 10 runs); with this end in 2 to 4.
CONFIDENCE_OF_DEVIATION = 0.8


def distance(value: float, population: ArrayLike, level: float = 0.95) -> Estimate:
    """One model's value minus the mean of R retrained ones, with its prediction interval.

    Under normality (value - mean) / (sd sqrt(1 + 1/R)) is t distributed with R - 1 degrees of
    freedom for one more retrained model, so that p is exact for it. ``n`` is R.

    Raises:
        ValueError: fewer than two retrained models.
    """
    values = _population(population)
    r, gap = len(values), float(value) - float(values.mean())
    width = float(values.std(ddof=1)) * np.sqrt(1 + 1 / r)
    method = "t prediction interval of one more model"
    if width == 0:
        same = gap == 0
        note = "all retrained models alike: no variance"
        return Estimate(gap, gap, gap, r, "retrained models", method, level,
                        1.0 if same else None, note)  # fmt: skip
    half = width * stats.t.ppf(0.5 + level / 2, r - 1)
    p = float(2 * stats.t.sf(abs(gap) / width, r - 1))
    return Estimate(gap, gap - half, gap + half, r, "retrained models", method, level, p)


def difference(values: ArrayLike, population: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of a method's S runs minus that of R retrained models (Welch)."""
    return two_sample_difference(values, _population(population), level=level, unit=UNIT)


def margin(population: ArrayLike, widths: float) -> float:
    """``widths`` deviations of the population, the deviation taken at its lower confidence end.

    The margin comes from the same retrained models as the comparison; see
    :data:`CONFIDENCE_OF_DEVIATION`.
    """
    values = _population(population)
    freedom = len(values) - 1
    shrink = np.sqrt(freedom / stats.chi2.ppf(CONFIDENCE_OF_DEVIATION, freedom))
    return float(widths * values.std(ddof=1) * shrink)


def equivalence(
    values: ArrayLike, population: ArrayLike, widths: float = 2.0, alpha: float = 0.05
) -> Estimate:
    """Two one-sided tests that a method's mean lies within :func:`margin` of the population's.

    Raises:
        ValueError: fewer than two retrained models, or all alike: they give no margin.
    """
    limit = margin(population, widths)
    if limit <= 0:
        raise ValueError("all retrained models alike: they give no margin")
    return equivalence_two_sample(values, _population(population), limit, alpha=alpha, unit=UNIT)


def left_out(population: ArrayLike) -> NDArray[np.float64]:
    """(R,) p of each retrained model against the others: what calibration is read from.

    Raises:
        ValueError: fewer than three retrained models.
    """
    values = _population(population)
    if len(values) < 3:
        raise ValueError(f"leaving one out needs three models, not {len(values)}")
    found = [distance(values[k], np.delete(values, k)).p for k in range(len(values))]
    return np.array([np.nan if p is None else p for p in found])


def calibration(p_values: ArrayLike, alpha: float = 0.05) -> Estimate:
    """Share of held-out retrained models that are rejected at ``alpha``, Wilson interval."""
    values = np.asarray(p_values, dtype=float)
    values = values[np.isfinite(values)]
    return proportion(int((values <= alpha).sum()), len(values), unit="models and metrics")


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """(n,) whether no other point is at least as high in both columns and higher in one.

    Args:
        points: (n, 2), higher is better.
    """
    at = np.asarray(points, dtype=float)
    as_high = (at[None] >= at[:, None]).all(-1)
    higher = (at[None] > at[:, None]).any(-1)
    return ~(as_high & higher).any(1)


def pareto_shares(
    first: ArrayLike, second: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """(methods,) share of bootstrap samples of runs in which each method is on the front.

    Args:
        first: (methods, runs), higher is better; runs are paired: a run is one taught model.
        second: the same of the other criterion.
        n_resamples: number of samples.
        seed: of the samples.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    chosen = np.random.default_rng(seed).integers(a.shape[1], size=(n_resamples, a.shape[1]))
    means = np.stack([a[:, chosen].mean(-1), b[:, chosen].mean(-1)], axis=-1)
    return np.mean([pareto_front(means[:, k]) for k in range(n_resamples)], axis=0)


def rank_intervals(
    values: ArrayLike, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> list[Estimate]:
    """Rank of each method by its mean over runs (1 is the highest), percentile bootstrap over runs.

    Args:
        values: (methods, runs), higher is better, paired by run.
        level: of the intervals.
        n_resamples: number of samples.
        seed: of the samples.
    """
    given = np.asarray(values, dtype=float)
    runs = given.shape[1]
    chosen = np.random.default_rng(seed).integers(runs, size=(n_resamples, runs))
    ranks = stats.rankdata(-given[:, chosen].mean(-1), axis=0)
    low, high = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=1)
    place = stats.rankdata(-given.mean(1))
    return [
        Estimate(float(at), float(a), float(b), runs, "taught models",
                 "percentile bootstrap over taught models", level)
        for at, a, b in zip(place, low, high, strict=True)
    ]  # fmt: skip


def _population(population: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(population, dtype=float)
    if len(values) < 2:
        raise ValueError(f"a population needs two retrained models, not {len(values)}")
    return values
