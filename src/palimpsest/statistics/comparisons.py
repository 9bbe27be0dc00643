"""Two conditions compared: differences with intervals, permutation, equivalence."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar

from palimpsest.statistics.cluster_robust import (
    RobustMean,
    coded,
    robust_difference,
    robust_mean,
)
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import NO_SPREAD, ONE_CLUSTER, mean_interval, no_width
from palimpsest.statistics.share_differences import ShareDifference, p_two_sided, paired_shares

Alternative = Literal["two-sided", "greater", "less"]
#: permuted labels held in memory at once
PERMUTED_ENTRIES = 20_000_000


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    unit: str = "pairs",
) -> Estimate:
    """Mean of a - b over the same items (shapes (items,)), with its test against 0.

    ``clusters`` (items,) keeps items of one cluster together (CR2 variance, Satterthwaite degrees
    of freedom); None makes pairs independent. Graded values get the t interval and test. Values
    that are all 0 or 1 (or 0 or 1 against one number) get the MOVER interval of
    ``share_differences``, whose ``p`` is the smallest alpha whose interval leaves out 0. Raises
    ValueError on unequal lengths.
    """
    a, b = _pairs(a, b)
    fit = robust_mean(a - b, clusters)
    shares = paired_shares(a, b, clusters, fit, exact=False)
    low, high, note = _paired_interval(fit, shares, level)
    method = "paired CR2 t interval" if shares is None else "paired MOVER of CR2 Wilson intervals"
    p = _two_sided(fit) if shares is None else p_two_sided(shares.interval)
    return _of_fit(fit, low, high, unit, method, level, p, note)


def mean_of_differences(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    unit: str = "pairs",
    null: float = 0.0,
) -> Estimate:
    """Mean of graded differences (rows,), such as one number a task, with its t test of ``null``.

    As :func:`paired_difference`, but where all are equal the interval has no width, given as many
    as a sign-flip test needs: nothing says that they are differences of proportions.
    """
    fit = _graded(robust_mean(differences, clusters))
    low, high, note = mean_interval(fit, level)
    method = "CR2 t interval of differences"
    p = None if np.isnan(fit.variance) else 2 * min(fit.p_above(null), fit.p_below(null), 0.5)
    return replace(_of_fit(fit, low, high, unit, method, level, p, note), null=null)


def equivalence_of_differences(
    differences: ArrayLike,
    margin: float,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    unit: str = "pairs",
) -> Estimate:
    """As :func:`equivalence_paired` for graded differences (rows,) themselves."""
    fit = _graded(robust_mean(differences, clusters))
    ends = mean_interval(fit, 1 - 2 * alpha)
    return _equivalence(fit, fit, ends, margin, alpha, unit, "TOST of differences")


def two_sample_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters_a: ArrayLike | None = None,
    clusters_b: ArrayLike | None = None,
    level: float = 0.95,
    unit: str = "clusters",
    graded: bool = False,
) -> Estimate:
    """mean(a) - mean(b) for two samples of rows (shapes (rows_a,), (rows_b,)).

    Equal labels in both samples are the same cluster, and their covariance counts. With no label in
    common: graded values get a Welch t interval on CR2 variances; values that are all 0 or 1 get
    the difference of the two CR2 Wilson intervals by MOVER (Zou & Donner 2008, Stat. Med. 27, 1693;
    Newcombe's interval when every row is its own cluster). ``p`` is two-sided and always agrees
    with the interval: it is the smallest alpha whose interval leaves out 0. ``graded`` as of
    ``intervals.clustered_mean``.
    """
    fit = robust_difference(a, b, clusters_a, clusters_b)
    one, two = robust_mean(a, clusters_a), robust_mean(b, clusters_b)
    disjoint = fit.n_clusters == one.n_clusters + two.n_clusters
    if np.isnan(fit.variance):
        result = (np.nan, np.nan, None, ONE_CLUSTER)
        method = "CR2 t interval"
    elif disjoint and one.binary and two.binary and not graded:
        shares = ShareDifference(one, two, (np.size(a), np.size(b)))
        result = (*shares.interval(level), p_two_sided(shares.interval), None)
        method = "MOVER of CR2 Wilson intervals"
    else:
        low, high = fit.t_interval(level) if fit.variance > 0 else no_width(fit, level)
        note = NO_SPREAD if fit.variance == 0 else None
        result = (low, high, _two_sided(fit), note)
        method = "CR2 t interval, Welch" if disjoint else "CR2 t interval, shared clusters"
    low, high, p, note = result
    return _of_fit(fit, low, high, unit, method, level, p, note)


def mcnemar(
    a_correct: ArrayLike, b_correct: ArrayLike, level: float = 0.95, unit: str = "pairs"
) -> Estimate:
    """Difference of two accuracies on the same independent items (shapes (items,), 0 or 1).

    ``p`` is McNemar's exact test (statsmodels); the interval is Bonett & Price (2012, J. Educ.
    Behav. Stat. 37, 479): Wald after one pair is added to each kind of disagreement.
    """
    a, b = _pairs(a_correct, b_correct)
    if not np.isin([a, b], (0.0, 1.0)).all():
        raise ValueError("mcnemar needs values 0 or 1")
    only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
    table = [[int(np.sum(a * b)), only_a], [only_b, int(np.sum((1 - a) * (1 - b)))]]
    p = float(exact_mcnemar(table, exact=True).pvalue)
    n = len(a)
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_a - share_b
    half = norm.isf((1 - level) / 2) * np.sqrt((share_a + share_b - centre**2) / (n + 2))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    note = f"{only_a} right only in a, {only_b} only in b"
    method = "McNemar exact, Bonett-Price interval"
    return Estimate(float(np.mean(a - b)), low, high, n, unit, method, level, min(p, 1.0), note)


def permutation_difference(
    values: ArrayLike,
    labels: ArrayLike,
    strata: ArrayLike | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    unit: str = "rows",
) -> Estimate:
    """Mean under label 1 minus mean under label 0, labels permuted within strata.

    ``values``, ``labels`` (0 or 1) and ``strata`` have shape (rows,). The estimate weighs strata by
    n1 n0 / (n1 + n0), which makes it linear in the labels. p = (1 + #as extreme) / (1 + N), so it
    is never 0 (Phipson & Smyth 2010); the two-sided p compares absolute values.

    The interval inverts the two one-sided tests under a constant shift, in closed form: a permuted
    labelling with statistic T* and overlap C* reaches the observed T once the shift is
    (T - T*) / (C - C*). Raises ValueError when no stratum holds both labels.
    """
    values, codes = coded(values, strata if strata is not None else np.zeros(np.size(values)))
    labels = np.asarray(labels).astype(float)
    if labels.shape != values.shape or not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1, one per value")
    sizes = np.bincount(codes)
    share = np.bincount(codes, weights=labels) / sizes
    overlap = np.sum(sizes * share * (1 - share))
    if overlap == 0:
        raise ValueError("no stratum holds both labels")
    centred = values - (np.bincount(codes, weights=values) / sizes)[codes]
    observed = labels @ centred
    permuted, permuted_overlap = _permuted_statistics(
        centred, labels, labels - share[codes], codes, n_permutations, seed
    )

    slack = 1e-9 * max(np.abs(centred).sum(), 1e-300)  # equal sums may differ by rounding
    as_extreme = {
        "greater": permuted >= observed - slack,
        "less": permuted <= observed + slack,
        "two-sided": np.abs(permuted) >= abs(observed) - slack,
    }[alternative]
    p = (1 + as_extreme.sum()) / (1 + n_permutations)
    low, high = _shift_interval(observed - permuted, overlap - permuted_overlap, level)
    note = None if np.isfinite([low, high]).all() else "too few permutations for the interval"
    method = f"permutation within {len(sizes)} strata, {alternative}, N={n_permutations}"
    return Estimate(
        float(observed / overlap), low, high, len(values), unit, method, level, float(p), note
    )


def equivalence_paired(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    unit: str = "pairs",
) -> Estimate:
    """Two one-sided t tests that the mean of a - b lies inside (-margin, margin).

    Schuirmann (1987, J. Pharmacokinet. Biopharm. 15, 657). ``p`` is the larger of the two; the
    interval has level 1 - 2 alpha, and lies inside the margin exactly when p < alpha. The margin
    must be fixed before the data are seen. Answers of 0 or 1 get exact limits by MOVER (see
    ``share_differences``), since t tests call rare differences none far too often.
    """
    a, b = _pairs(a, b)
    fit = robust_mean(a - b, clusters)
    shares = paired_shares(a, b, clusters, fit, exact=True)
    ends = _paired_interval(fit, shares, 1 - 2 * alpha)
    method = "paired TOST" if shares is None else "paired TOST, MOVER of exact intervals"
    return _equivalence(fit, shares or fit, ends, margin, alpha, unit, method)


def equivalence_two_sample(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    clusters_a: ArrayLike | None = None,
    clusters_b: ArrayLike | None = None,
    alpha: float = 0.05,
    unit: str = "clusters",
    graded: bool = False,
) -> Estimate:
    """As :func:`equivalence_paired` for two samples, such as unlearned and retrained models.

    Answers of 0 or 1 get exact limits where no cluster has rows in both samples. ``graded`` as of
    ``intervals.clustered_mean``.
    """
    fit = robust_difference(a, b, clusters_a, clusters_b)
    one, two = robust_mean(a, clusters_a), robust_mean(b, clusters_b)
    disjoint = fit.n_clusters == one.n_clusters + two.n_clusters
    shares = disjoint and one.binary and two.binary and not graded
    if shares and not np.isnan(fit.variance):
        shares = ShareDifference(one, two, (np.size(a), np.size(b)), exact=True)
        ends = (*shares.interval(1 - 2 * alpha), None)
        method = "two-sample TOST, MOVER of exact intervals"
        return _equivalence(fit, shares, ends, margin, alpha, unit, method)
    ends = mean_interval(fit, 1 - 2 * alpha)
    return _equivalence(fit, fit, ends, margin, alpha, unit, "two-sample TOST")


def noninferiority(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    unit: str = "pairs",
) -> Estimate:
    """One-sided paired test that a is worse than b by less than ``margin`` (higher is better).

    The null is mean(a - b) <= -margin. The interval has level 1 - 2 alpha; its lower end exceeds
    -margin exactly when p < alpha. Answers of 0 or 1 get exact limits, as in
    :func:`equivalence_paired`.
    """
    _check_margin(margin)
    a, b = _pairs(a, b)
    fit = robust_mean(a - b, clusters)
    shares = paired_shares(a, b, clusters, fit, exact=True)
    low, high, note = _paired_interval(fit, shares, 1 - 2 * alpha)
    p = None if np.isnan(fit.variance) else (shares or fit).p_above(-margin)
    note = "; ".join(filter(None, [f"margin {margin:g}, one-sided", note]))
    method = "paired noninferiority "
    method += "t test" if shares is None else "test, MOVER of exact intervals"
    return replace(_of_fit(fit, low, high, unit, method, 1 - 2 * alpha, p, note), null=-margin)


def against_best(
    own: ArrayLike,
    others: ArrayLike,
    null: float = 0.0,
    level: float = 0.95,
    unit: str = "pairs",
) -> Estimate:
    """Mean of ``own`` (n,) minus that of the best of ``others`` (k, n), paired, higher is better.

    Which one is best is not known: the one that came out best is so by chance too, and a test
    against it alone calls a method worse in 15% where 18 are equal. The true difference is the
    smallest of all k: it is at least the least lower end, at the level of one, since each of them
    holds (Berger 1982, Technometrics 24, 295), and at most the least upper end, where one of them
    is enough, so that these have the level of k (Bonferroni; Hsu 1996, Multiple Comparisons, ch. 4,
    has exact ones for normal values). ``p`` is two-sided, of ``null``, by the same two rules.
    """
    own, others = coded(own, None)[0], np.atleast_2d(np.asarray(others, dtype=float))
    fits = [_graded(robust_mean(own - other)) for other in others]
    each = 1 - (1 - level) / len(fits)
    ends = [(mean_interval(fit, level)[0], mean_interval(fit, each)[1]) for fit in fits]
    low, high = np.min(ends, axis=0).tolist()
    above = max(fit.p_above(null) for fit in fits)
    below = min(1.0, len(fits) * min(fit.p_below(null) for fit in fits))
    method = f"paired t intervals against each of {len(fits)}, the best unknown"
    nearest = min(fit.mean for fit in fits)
    p = None if np.isnan(low) else min(1.0, 2 * min(above, below))
    return Estimate(nearest, low, high, len(own), unit, method, level, p, null=null)


def _equivalence(
    fit: RobustMean,
    test: RobustMean | ShareDifference,
    ends: tuple[float, float, str | None],
    margin: float,
    alpha: float,
    unit: str,
    method: str,
) -> Estimate:
    _check_margin(margin)
    low, high, note = ends
    p = None if np.isnan(fit.variance) else max(test.p_above(-margin), test.p_below(margin))
    note = "; ".join(filter(None, [f"margin {margin:g}", note]))
    return _of_fit(fit, low, high, unit, method, 1 - 2 * alpha, p, note)


def _of_fit(
    fit: RobustMean,
    low: float,
    high: float,
    unit: str,
    method: str,
    level: float,
    p: float | None,
    note: str | None,
) -> Estimate:
    n = fit.n_clusters
    return Estimate(fit.mean, low, high, n, unit, method, level, p, note, dof=fit.t_dof)


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"margin must be positive, not {margin}")


def _pairs(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = coded(a, None)[0], coded(b, None)[0]
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} values paired with {len(b)}")
    return a, b


def _paired_interval(
    fit: RobustMean, shares: ShareDifference | None, level: float
) -> tuple[float, float, str | None]:
    """Interval of a mean difference and its note."""
    if shares is None:
        return mean_interval(_graded(fit), level)
    if fit.variance == 0:
        return *shares.interval(level), "all pairs alike: the interval has one pair a cluster"
    return *shares.interval(level), mean_interval(_graded(fit), level)[2]


def _graded(fit: RobustMean) -> RobustMean:
    """Differences are never proportions, even where all of them happen to be 0 or 1."""
    return RobustMean(fit.mean, fit.variance, fit.dof, fit.n_clusters)


def _two_sided(fit: RobustMean) -> float | None:
    if np.isnan(fit.variance):
        return None
    return min(1.0, 2 * min(fit.p_above(0.0), fit.p_below(0.0)))


def _permuted_statistics(
    centred: np.ndarray,
    labels: np.ndarray,
    centred_labels: np.ndarray,
    codes: np.ndarray,
    n_permutations: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Statistic and overlap with the true labels of every permutation, shapes (permutations,)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(codes, kind="stable")
    edges = np.cumsum(np.bincount(codes))[:-1]
    against = np.column_stack([centred, centred_labels])
    sums = np.zeros((n_permutations, 2))
    for members in np.split(order, edges):
        chunk = max(1, PERMUTED_ENTRIES // len(members))
        for start in range(0, n_permutations, chunk):
            stop = min(start + chunk, n_permutations)
            block = np.broadcast_to(labels[members], (stop - start, len(members)))
            sums[start:stop] += rng.permuted(block, axis=1) @ against[members]
    return sums[:, 0], sums[:, 1]


def _shift_interval(gap: np.ndarray, overlap_gap: np.ndarray, level: float) -> tuple[float, float]:
    """Shifts that neither one-sided permutation test rejects at (1 - level) / 2."""
    identical = overlap_gap <= 1e-12
    shifts = gap[~identical] / overlap_gap[~identical]
    n_same = int(identical.sum())
    low_side = np.sort(np.concatenate([np.full(n_same, -np.inf), shifts]))
    high_side = np.sort(np.concatenate([shifts, np.full(n_same, np.inf)]))
    rank = int(np.floor((1 - level) / 2 * (len(gap) + 1) + 1e-9))
    if rank < 1:
        return -np.inf, np.inf
    return float(low_side[rank - 1]), float(high_side[-rank])
