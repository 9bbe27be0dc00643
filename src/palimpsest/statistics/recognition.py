"""Signal detection: how well does a score tell what was studied from what was not?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri
from scipy.stats import norm, rankdata

from palimpsest.statistics.cluster_robust import coded
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.intervals import exact_proportion, proportion
from palimpsest.statistics.share_differences import joined, p_two_sided

#: negatives needed = this / false positive rate, so that some 10 of them lie beyond the threshold
#: and the rate that it realises is known to about a third of itself
NEGATIVES_BEYOND = 10


def auc(
    positive: ArrayLike, negative: ArrayLike, level: float = 0.95, unit: str = "items"
) -> Estimate:
    """Area under the ROC curve: P(positive > negative) + P(equal) / 2, higher means studied.

    ``positive`` (m,) and ``negative`` (n,) are scores of independent items. Variance: DeLong,
    DeLong & Clarke-Pearson (1988, Biometrics 44, 837), by midranks in O(n log n) (Sun & Xu 2014,
    IEEE Signal Process. Lett. 21, 1389, eq. 6 ff.). The interval is normal on the logit scale and
    so lies in [0, 1].

    Where the variance is 0 (perfect separation, or all scores equal) the interval is the exact one
    of k = min(m, n) disjoint pairs: all of them had this outcome, so its probability is at least
    ((1 - level) / 2)^(1/k). That is never below its level, and the note says so. Fewer than two
    items on a side give no interval. Raises ValueError on empty or infinite scores.
    """
    of_positive, of_negative = placements(positive, negative)
    m, n = len(of_positive), len(of_negative)
    area = float(of_positive.mean())
    method = "DeLong, logit interval"
    if min(m, n) < 2:
        note = "fewer than two items on a side: no variance"
        return Estimate(area, np.nan, np.nan, m + n, unit, method, level, note=note)
    variance = _delong(of_positive, of_negative)
    low, high = _area_limits(area, variance, min(m, n), level)
    note = None
    if variance <= 0:
        note = f"no variance: exact bound from {min(m, n)} disjoint pairs, wider than needed"
        method = "exact bound of pairs"
    return Estimate(area, low, high, m + n, unit, method, level, note=note)


def auc_difference(
    positive_a: ArrayLike,
    negative_a: ArrayLike,
    positive_b: ArrayLike,
    negative_b: ArrayLike,
    level: float = 0.95,
    unit: str = "items",
) -> Estimate:
    """AUC of score a minus AUC of score b on the same items, two-sided p against 0.

    Entry i of ``positive_a`` and ``positive_b`` (m,) is the same item, likewise the negatives (n,):
    the covariance of the two areas counts (DeLong et al. 1988, eq. 4). MOVER of both intervals of
    :func:`auc` with that correlation (Zou 2007, Psychol. Methods 12, 399): near 1 a normal interval
    of the difference covers 92%. ``p`` agrees with it. Where the difference has no variance a bound
    from disjoint pairs as in :func:`auc`, without p.
    Raises ValueError where the two scores have unequal numbers of items.
    """
    a, b = placements(positive_a, negative_a), placements(positive_b, negative_b)
    m, n = len(a[0]), len(a[1])
    if (m, n) != (len(b[0]), len(b[1])):
        raise ValueError(f"{m} and {n} items paired with {len(b[0])} and {len(b[1])}")
    of_positive, of_negative = a[0] - b[0], a[1] - b[1]
    difference = float(of_positive.mean())
    method = "paired DeLong, MOVER of logit intervals"
    if min(m, n) < 2:
        note = "fewer than two items on a side: no variance"
        return Estimate(difference, np.nan, np.nan, m + n, unit, method, level, note=note)
    variance, parts = _delong(of_positive, of_negative), [_delong(*a), _delong(*b)]
    if variance <= 1e-30:
        half = 2 * (1 - _all_pairs_alike(min(m, n), level))
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
        note = f"no variance: bound from {min(m, n)} disjoint pairs, wider than needed"
        return Estimate(difference, low, high, m + n, unit, method, level, note=note)
    areas, scale = [float(a[0].mean()), float(b[0].mean())], 2 * np.sqrt(parts[0] * parts[1])
    shared = float(np.clip((sum(parts) - variance) / scale, -1, 1)) if scale > 0 else 0.0

    def interval(level: float) -> tuple[float, float]:
        (low_a, high_a), (low_b, high_b) = (
            _area_limits(area, part, min(m, n), level)
            for area, part in zip(areas, parts, strict=True)
        )
        below = joined(areas[0] - low_a, high_b - areas[1], shared)
        return difference - below, difference + joined(high_a - areas[0], areas[1] - low_b, shared)

    p = p_two_sided(interval)
    return Estimate(difference, *interval(level), m + n, unit, method, level, p)


def d_prime(
    hits: int, n_old: int, false_alarms: int, n_new: int, level: float = 0.95, unit: str = "items"
) -> Estimate:
    """Sensitivity z(hit rate) - z(false alarm rate) of yes/no recognition.

    Rates are (count + 0.5) / (n + 1), the log-linear correction of Hautus (1995, Behav. Res.
    Methods 27, 46), for every table and not only for those with a 0 or 1. Variance: Gourevitch &
    Galanter (1967, Psychometrika 32, 25). Simulated coverage is 93-97% for d' of 0 to 3 with 40
    items a side. Where a rate is 0 or 1 the estimate rests on the correction, and the note says so.

    Raises ValueError unless 0 <= counts <= n and n >= 1.
    """
    _check_counts(hits, n_old)
    _check_counts(false_alarms, n_new)
    counts, totals = np.array([hits, false_alarms]), np.array([n_old, n_new])
    rates = (counts + 0.5) / (totals + 1)
    z = ndtri(rates)
    variance = np.sum(rates * (1 - rates) / (totals * norm.pdf(z) ** 2))
    half = norm.isf((1 - level) / 2) * np.sqrt(variance)
    estimate = float(z[0] - z[1])
    edge = np.any((counts == 0) | (counts == totals))
    note = "a rate of 0 or 1: the estimate rests on the correction" if edge else None
    method = "log-linear d', Gourevitch-Galanter interval"
    n = int(totals.sum())
    return Estimate(estimate, float(estimate - half), float(estimate + half), n, unit, method,
                    level, note=note)  # fmt: skip


def d_prime_2afc(correct: int, n: int, level: float = 0.95, unit: str = "items") -> Estimate:
    """Sensitivity sqrt(2) z(share correct) of two-alternative forced choice, no response bias.

    Macmillan & Creelman (2005, Detection Theory, eq. 7.2). The interval is Wilson's for the share,
    carried over, so its upper end is inf where all ``n`` are correct; the estimate is then taken
    at (correct + 0.5) / (n + 1), and the note says so. Raises ValueError on impossible counts.
    """
    _check_counts(correct, n)
    share = proportion(correct, n, level, unit)
    edge = correct in (0, n)
    rate = (correct + 0.5) / (n + 1) if edge else share.estimate
    estimate, low, high = np.sqrt(2) * ndtri([rate, share.low, share.high])
    note = "all or none correct: estimate from the log-linear correction" if edge else None
    method = "sqrt(2) z of the Wilson interval"
    return Estimate(float(estimate), float(low), float(high), n, unit, method, level, note=note)


def true_positive_rate(
    positive: ArrayLike,
    negative: ArrayLike,
    false_positive_rate: float,
    level: float = 0.95,
    unit: str = "positives",
    few: Literal["raise", "missing"] = "raise",
) -> Estimate:
    """Share of ``positive`` (m,) above the score which that rate of ``negative`` (n,) exceed.

    What an attack finds while it accuses hardly anyone wrongly (Carlini et al. 2022, arXiv
    2112.03570, section III). The threshold is the lowest score that at most this rate of negatives
    exceed; of equal scores none is above it. Clopper-Pearson interval of the share at this
    threshold, the threshold taken as given; the note says between which bounds the false positive
    rate of the threshold lies, as the negatives are a sample too.

    Raises ValueError where the negatives cannot resolve the rate: fewer than NEGATIVES_BEYOND /
    rate of them. At a rate of 1% a hundred negatives would hang the threshold on a single one.
    With ``few`` = "missing" the estimate is nan then, and the note says why.
    """
    positive, negative = coded(positive, None)[0], coded(negative, None)[0]
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"a false positive rate lies in (0, 1), not {false_positive_rate}")
    needed = int(np.ceil(NEGATIVES_BEYOND / false_positive_rate - 1e-9))
    n = len(negative)
    lacking = f"a false positive rate of {false_positive_rate:g} needs {needed} negatives, not {n}"
    if n < needed:
        if few == "raise":
            raise ValueError(lacking)
        return Estimate(np.nan, np.nan, np.nan, len(positive), unit, "refused", level, note=lacking)
    beyond = int(np.floor(false_positive_rate * n + 1e-9))
    threshold = np.sort(negative)[n - 1 - beyond]
    realised = exact_proportion(int(np.sum(negative > threshold)), n, level)
    share = exact_proportion(int(np.sum(positive > threshold)), len(positive), level, unit)
    note = (
        f"above {threshold:.6g}, which {realised.estimate:.3g} of {n} negatives exceed "
        f"(interval {realised.low:.2g} to {realised.high:.2g})"
    )
    return Estimate(share.estimate, share.low, share.high, share.n, unit, share.method, level,
                    note=note)  # fmt: skip


def placements(positive: ArrayLike, negative: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each positive (m,), and of positives above each negative (n,).

    Ties count half. The mean of either is the AUC (Sun & Xu 2014, eq. 6-9: ranks in the union less
    ranks within the own sample).
    """
    positive, negative = coded(positive, None)[0], coded(negative, None)[0]
    m, n = len(positive), len(negative)
    together = rankdata(np.concatenate([positive, negative]))
    of_positive = (together[:m] - rankdata(positive)) / n
    of_negative = 1 - (together[m:] - rankdata(negative)) / m
    return of_positive, of_negative


def _delong(of_positive: np.ndarray, of_negative: np.ndarray) -> float:
    """Variance of a mean of placements (m,) and (n,), or of their differences."""
    parts = (np.var(each, ddof=1) / len(each) for each in (of_positive, of_negative))
    return float(sum(parts))


def _area_limits(area: float, variance: float, pairs: int, level: float) -> tuple[float, float]:
    """Normal limits on the logit scale; without variance those of so many disjoint pairs."""
    if variance <= 0:
        least = _all_pairs_alike(pairs, level)
        return area * least, 1 - (1 - area) * least
    half = -ndtri((1 - level) / 2) * np.sqrt(variance) / (area * (1 - area))
    low, high = expit(logit(area) + np.array([-half, half]))
    return float(low), float(high)


def _all_pairs_alike(k: int, level: float) -> float:
    """Clopper-Pearson lower bound of an outcome's probability when all ``k`` pairs had it."""
    return float(((1 - level) / 2) ** (1 / k))


def _check_counts(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n}")
