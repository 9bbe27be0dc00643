"""A method against a population of models that never knew, metric by metric.

R models retrained without the forget set give R values of a metric: the null distribution, with the
noise of seeds in it. A method whose values lie where these lie cannot be told from retraining by
that metric; that it is like retraining is shown by an equivalence test, never by a large p.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from palimpsest.statistics.comparisons import equivalence_two_sample, two_sample_difference
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import ONE_CLUSTER, clustered_mean
from palimpsest.statistics.resampling import expanded_tail

UNIT = "models"
#: The margin uses the lower end of a one-sided interval of this level for the deviation of the
#: population. How often a method at two deviations passes at 5%, in 100 studies (10 or 20 retrained
#: models, 3 to 10 runs of half, equal or double their deviation): with the deviation as estimated
#: 5 to 10, with this end 2 to 4; where values are skewed (gamma of shape 4) towards the method
#: 13 to 14, and 6 to 8. An interval for the difference and the margin together (MOVER) is nearer
#: to 5 in normal populations, with 8 points more power, but reaches 8 to 10 in skewed ones.
CONFIDENCE_OF_DEVIATION = 0.8
#: Values that differ by less than this share of the largest differ by rounding alone.
ROUNDING = 1e-12
#: As :data:`ROUNDING`, as a share of the spread over all models, for variances of relabelled ones.
FLAT = 1e-5


def alike(values: ArrayLike) -> bool:
    """Whether values differ by no more than rounding: three times 0.1 has a deviation above 0."""
    given = np.asarray(values, dtype=float)
    return bool(np.ptp(given) <= ROUNDING * np.abs(given).max())


def difference(values: ArrayLike, population: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of a method's S runs minus that of R retrained models (Welch).

    Simulated level at 5% with R = 10: 5% from S = 5, but 6.5% with S = 3 (exponential values: 8%).
    One run gives no interval. Where a method's models began from the weights that some of the
    retrained ones began from, what these share is in both means and the test errs less: with S = 5
    of R = 10 and values of such pairs correlated at 0.3 (0.6) in 3.3% (1.8%).

    Raises:
        ValueError: fewer than two retrained models, or values that are not finite.
    """
    return two_sample_difference(
        values, _population(population), level=level, unit=UNIT, graded=True
    )


def margin(population: ArrayLike, widths: float) -> float:
    """``widths`` deviations of the population, the deviation taken at its lower confidence end.

    The margin comes from the same retrained models as the comparison; see
    :data:`CONFIDENCE_OF_DEVIATION`. 0 where all are alike.

    Raises:
        ValueError: fewer than two retrained models.
    """
    values = _population(population)
    if alike(values):
        return 0.0
    freedom = len(values) - 1
    shrink = np.sqrt(freedom / stats.chi2.ppf(CONFIDENCE_OF_DEVIATION, freedom))
    return float(widths * values.std(ddof=1) * shrink)


def equivalence(
    values: ArrayLike, population: ArrayLike, widths: float = 2.0, alpha: float = 0.05
) -> Estimate:
    """Two one-sided tests that a method's mean lies within :func:`margin` of the population's.

    The margin is an estimate too, as uncertain as a deviation of R values is (a quarter of itself
    with R = 10): it is taken small enough for the test to keep its level all the same. Simulated
    power at two deviations for a method just like the population: with R = 10 43% for 3 runs, 69%
    for 5 and 90% for 10; with R = 5 29, 44 and 62%; with R = 20 49, 81 and 98%.

    Raises:
        ValueError: fewer than two retrained models, or all alike: they give no margin.
    """
    limit = margin(population, widths)
    if limit <= 0:
        raise ValueError("all retrained models alike: they give no margin")
    return equivalence_two_sample(
        values, _population(population), limit, alpha=alpha, unit=UNIT, graded=True
    )


def held_out(
    population: ArrayLike, runs: int, n_draws: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """(groups, M) p of :func:`difference` of groups of retrained models against all others.

    Every group of so many models, or ``n_draws`` of them where there are more. Retrained models
    can be exchanged, so that the share of groups with p at or below 5% is what a method that is
    retraining would be told with by this test, whatever the distribution.

    Args:
        population: (R, M) values of the retrained models, one column a metric.
        runs: models in a group: as many as a method has.
        n_draws: groups drawn where there are more.
        seed: of the draws.

    Raises:
        ValueError: fewer than two models in or outside a group, or values that are not finite.
    """
    values = _finite(population)
    r = len(values)
    if values.ndim != 2 or min(runs, r - runs) < 2:
        raise ValueError(f"no groups of {runs} of values of shape {values.shape}")
    return _welch_p(values, _labellings(r, runs, n_draws, seed))


def _welch_p(values: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(groups, M) two-sided p of Welch's test, for labels of equally many models."""
    r, runs = len(values), int(labels[0].sum())
    centred = values - values.mean(0)
    means, parts = [], []
    for side, n in ((labels, runs), (1 - labels, r - runs)):
        mean = side @ centred / n
        variance = (side @ centred**2 - n * mean**2) / (n - 1) / n
        # A difference of two sums of squares: what is left of equal values is rounding.
        flat = variance <= FLAT**2 * centred.var(0)
        means.append(mean)
        parts.append(np.where(flat, 0.0, variance))
    error = parts[0] + parts[1]
    spread = parts[0] ** 2 / (runs - 1) + parts[1] ** 2 / (r - runs - 1)
    apart = np.abs(means[0] - means[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(apart / np.sqrt(error), error**2 / spread)
    equal = apart <= ROUNDING * np.abs(values).max(0)
    return np.where(error > 0, p, np.where(equal, 1.0, min(1.0, 2 * 0.5**r)))


def calibration(
    population: ArrayLike, runs: int, alpha: float = 0.05, n_draws: int = 2000, seed: int = 0
) -> Estimate:
    """Share of metrics by which a group of retrained models is told from the others at ``alpha``.

    Mean over :func:`held_out`, with a jackknife interval over models: the share is read again
    without each of them, from the groups that it is not in, and its pseudo-values have a t interval
    (Efron & Tibshirani 1993, section 11.5). Groups overlap, so that they are no units. The share
    itself hardly varies (standard deviation 0.3 to 0.9 points in simulated studies of 10 models,
    groups of 3 or 5 and 30 metrics correlated at 0.5 or 0.9), and the interval is wide for it.

    Args:
        population: (R, M) values of the retrained models, one column a metric.
        runs: models in a group.
        alpha: at or below this p a group is told.
        n_draws: groups drawn where there are more.
        seed: of the draws.

    Raises:
        ValueError: fewer than three models outside a group, or as in :func:`held_out`.
    """
    whole = float((held_out(population, runs, n_draws, seed) <= alpha).mean())
    values = _finite(population)
    r = len(values)
    if r - runs < 3:
        raise ValueError(f"groups of {runs} of {r} models: at least three others are needed")
    labels = _labellings(r, runs, n_draws, seed)
    without = []
    for k in range(r):
        outside = np.delete(labels[labels[:, k] == 0], k, axis=1)
        without.append((_welch_p(np.delete(values, k, axis=0), outside) <= alpha).mean())
    without = np.array(without)
    found = clustered_mean(r * whole - (r - 1) * without, unit="retrained models")
    half = (found.high - found.low) / 2
    low, high = max(0.0, whole - half), min(1.0, whole + half)
    method = f"groups of {runs} held out, jackknife over models"
    return Estimate(whole, low, high, r, "retrained models", method, dof=float(r - 1), uncut=half)


def global_distance(
    vectors: ArrayLike,
    population: ArrayLike,
    n_draws: int = 9999,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Several metrics at once: mean square of a method's distances in deviations of the population.

    For each metric (mean of the runs - mean of the population) / sd of the population; the estimate
    is the mean of their squares. p exchanges the labels of all S + R models, so that it keeps its
    level whatever the distributions and however the metrics go together: exact where there are at
    most ``n_draws`` + 1 labellings, else (1 + as extreme) / (1 + draws) (Phipson & Smyth 2010). It
    is small for methods whose runs scatter more, too: they are not like retrained models either.
    Simulated power at 5% with R = 10, S = 3 and 8 metrics correlated at 0.3 (0.8): 54% (35%) for
    one deviation on all of them, 69% (38%) for three on one, 43% (22%) for twice the scatter.

    A metric on which as many models as the population has are alike cannot be standardised under
    every labelling and is left out: the note says how many. The estimate has no interval; the note
    says how large it is by chance, and how small p can be.

    Args:
        vectors: (S, M) values of the method's runs, or (M,) of one.
        population: (R, M) of the retrained models, the same metrics.
        n_draws: labellings drawn where there are more.
        seed: of the draws.
        level: of what is called chance.

    Raises:
        ValueError: fewer than two retrained models, unequal metrics, or values not finite.
    """
    runs, others = np.atleast_2d(_finite(vectors)), _finite(population)
    if others.ndim != 2 or others.shape[1] != runs.shape[1]:
        raise ValueError(f"metrics of shapes {runs.shape} and {others.shape}")
    r, s = len(_population(others)), len(runs)
    every = np.concatenate([runs, others])
    varied = _varied(every, r)
    method = f"mean square over {varied.sum()} metrics, labels exchanged"
    left = int((~varied).sum())
    notes = [f"{left} metrics left out: models alike"] if left else []
    if not varied.any():
        return Estimate(np.nan, np.nan, np.nan, r + s, UNIT, method, level, note=notes[0])
    every = every[:, varied]
    squares = _mean_squares((every - every.mean(0)) / every.std(0), _labellings(r + s, s, n_draws,
                                                                               seed))  # fmt: skip
    p = float(np.mean(squares >= squares[0] * (1 - 1e-9)))
    notes += [
        f"by chance up to {np.quantile(squares, level):.3g} in {level:.0%}",
        f"p cannot be below {1 / len(squares):.2g}",
    ]
    note = "; ".join(notes)
    return Estimate(float(squares[0]), np.nan, np.nan, r + s, UNIT, method, level, p, note)


def _varied(values: NDArray[np.float64], r: int) -> NDArray[np.bool_]:
    """(M,) whether no ``r`` of the models (models, M) are alike: the same for every labelling."""
    ordered = np.sort(values, axis=0)
    closest = (ordered[r - 1 :] - ordered[: len(ordered) - r + 1]).min(0)
    return closest > np.maximum(FLAT * values.std(0), ROUNDING * np.abs(values).max(0))


def _labellings(n: int, s: int, n_draws: int, seed: int) -> NDArray[np.float64]:
    """(labellings, n) with 1 for the method's runs; the first is the true one, ``s`` ones first."""
    if comb(n, s) <= n_draws + 1:
        chosen = np.array(list(combinations(range(n), s)))
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.permuted(np.tile(np.arange(n), (n_draws, 1)), axis=1)[:, :s]
        chosen = np.concatenate([np.arange(s)[None], drawn])
    labels = np.zeros((len(chosen), n))
    np.put_along_axis(labels, chosen, 1.0, axis=1)
    return labels


def _mean_squares(values: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(labellings,) mean over metrics of squared distances, ``values`` (models, M) centred."""
    s, n = int(labels[0].sum()), len(values)
    r, rest = n - s, 1 - labels
    mean = rest @ values / r
    variance = (rest @ values**2 - r * mean**2) / (r - 1)
    return ((labels @ values / s - mean) ** 2 / variance).mean(1)


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

    nan where there is one run only: how it would have gone with another is not known.

    Args:
        first: (methods, runs), higher is better; runs are paired: a run is one taught model.
        second: the same of the other criterion.
        n_resamples: number of samples.
        seed: of the samples.

    Raises:
        ValueError: unequal shapes, or values that are not finite.
    """
    a, b = _paired_runs(first), _paired_runs(second)
    if a.shape != b.shape:
        raise ValueError(f"criteria of shapes {a.shape} and {b.shape}")
    if a.shape[1] < 2:
        return np.full(len(a), np.nan)
    chosen = np.random.default_rng(seed).integers(a.shape[1], size=(n_resamples, a.shape[1]))
    means = np.stack([a[:, chosen].mean(-1), b[:, chosen].mean(-1)], axis=-1)
    return np.mean([pareto_front(means[:, k]) for k in range(n_resamples)], axis=0)


def rank_intervals(
    values: ArrayLike, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> list[Estimate]:
    """Rank of each method by its mean over runs (1 is the highest), percentile bootstrap over runs.

    Tails are expanded to t width (Hesterberg 2015). Simulated coverage of the true ranks of six
    methods, steps of 0.2 to 2 deviations of a run apart: 95% and more from 5 runs; with 3 runs 83%
    and with 2 runs 63% where steps are small, and the note says so.

    Args:
        values: (methods, runs), higher is better, paired by run.
        level: of the intervals.
        n_resamples: number of samples.
        seed: of the samples.

    Raises:
        ValueError: values that are not finite.
    """
    given = _paired_runs(values)
    runs, place = given.shape[1], stats.rankdata(-given.mean(1))
    unit, method = "taught models", "percentile bootstrap over taught models"
    if runs < 2:
        return [
            Estimate(float(at), np.nan, np.nan, runs, unit, method, level, note=ONE_CLUSTER)
            for at in place
        ]
    chosen = np.random.default_rng(seed).integers(runs, size=(n_resamples, runs))
    ranks = stats.rankdata(-given[:, chosen].mean(-1), axis=0)
    tail = expanded_tail(level, runs, runs - 1)
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=1)
    note = f"{runs} runs: coverage is not assured below 5" if runs < 5 else None
    return [
        Estimate(float(at), float(a), float(b), runs, unit, method, level, note=note)
        for at, a, b in zip(place, low, high, strict=True)
    ]


def _population(population: ArrayLike) -> NDArray[np.float64]:
    values = _finite(population)
    if len(values) < 2:
        raise ValueError(f"a population needs two retrained models, not {len(values)}")
    return values


def _paired_runs(values: ArrayLike) -> NDArray[np.float64]:
    given = _finite(values)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"values of shape {given.shape} are not those of methods and runs")
    return given


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=float)
    if not np.isfinite(given).all():
        raise ValueError("values must be finite: drop or count the missing ones first")
    return given
