"""Means with cluster-robust variance: the arithmetic under every mean and difference here.

For a mean (an intercept-only regression) the bias-reduced "CR2" variance of Bell & McCaffrey (2002)
and its Satterthwaite degrees of freedom have closed forms in the cluster sizes, so that nothing
larger than a vector is built. The degrees of freedom follow Imbens & Kolesár (2016, eq. 10 ff.):
the working model is one random effect a cluster, its intraclass correlation estimated by ANOVA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class RobustMean:
    """A mean (or difference of means), its CR2 variance, degrees of freedom and cluster count.

    ``variance`` and ``dof`` are nan with fewer than two clusters. ``binary`` says that every value
    was 0 or 1.
    """

    mean: float
    variance: float
    dof: float
    n_clusters: int
    binary: bool = False

    @property
    def t_dof(self) -> float | None:
        """``dof`` where an interval can rest on them: there is a variance."""
        return float(self.dof) if self.variance > 0 else None

    def t_interval(self, level: float) -> tuple[float, float]:
        """Two-sided t interval."""
        half = t_quantile(level, self.dof) * float(np.sqrt(self.variance))
        return self.mean - half, self.mean + half

    def p_above(self, threshold: float) -> float:
        """One-sided p-value of the null "the mean is at most ``threshold``"."""
        if self.variance == 0:
            return sign_flip_p(self.mean > threshold, self.n_clusters)
        return float(stdtr(self.dof, (threshold - self.mean) / np.sqrt(self.variance)))

    def p_below(self, threshold: float) -> float:
        """One-sided p-value of the null "the mean is at least ``threshold``"."""
        if self.variance == 0:
            return sign_flip_p(self.mean < threshold, self.n_clusters)
        return float(stdtr(self.dof, (self.mean - threshold) / np.sqrt(self.variance)))


def robust_mean(values: ArrayLike, clusters: ArrayLike | None = None) -> RobustMean:
    """CR2 mean of ``values`` (shape (rows,)), clusters resampled whole.

    Every row has equal weight, so a cluster weighs as much as it has rows. ``clusters`` None makes
    every row its own cluster; the interval is then the ordinary one-sample t interval.

    Raises ValueError on empty input, unequal lengths or values that are not finite.
    """
    values, codes = coded(values, clusters)
    sizes = np.bincount(codes).astype(float)
    total, m = sizes.sum(), len(sizes)
    mean = values.mean()
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    if m < 2:
        return RobustMean(float(mean), np.nan, np.nan, m, binary)
    residual = values - mean
    residual_sums = np.bincount(codes, weights=residual)
    if np.ptp(values) == 0:
        return RobustMean(float(mean), 0.0, float(m - 1), m, binary)
    variance = np.sum(residual_sums**2 / (1 - sizes / total)) / total**2
    dof = _satterthwaite(sizes, intraclass_correlation(residual, codes))
    return RobustMean(float(mean), float(variance), dof, m, binary)


def robust_difference(
    a: ArrayLike, b: ArrayLike, clusters_a: ArrayLike | None, clusters_b: ArrayLike | None
) -> RobustMean:
    """CR2 difference mean(a) - mean(b) of two samples (shapes (rows_a,), (rows_b,)).

    Equal labels in ``clusters_a`` and ``clusters_b`` are the same cluster (a series asked before
    and after the cutoff), whose covariance then enters the variance. With no label in common the
    degrees of freedom are Welch's, each arm with its own; otherwise they are Bell & McCaffrey's.
    """
    if (clusters_a is None) != (clusters_b is None):
        raise ValueError("clusters for one sample only")
    one, two = robust_mean(a, clusters_a), robust_mean(b, clusters_b)
    shared = clusters_a is not None and np.intersect1d(clusters_a, clusters_b).size > 0
    if shared:
        return _shared_difference(a, b, clusters_a, clusters_b)
    variances = np.array([one.variance, two.variance])
    dofs = np.array([one.dof, two.dof])
    spread = np.sum(variances**2 / dofs)
    dof = variances.sum() ** 2 / spread if spread > 0 else dofs.sum()
    n = one.n_clusters + two.n_clusters
    return RobustMean(one.mean - two.mean, float(variances.sum()), float(dof), n)


def coded(values: ArrayLike, clusters: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """``values`` as floats and clusters as integers 0..m-1, both of shape (rows,), checked."""
    values = np.asarray(values, dtype=float).ravel()
    if values.size == 0:
        raise ValueError("no values")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: drop or count the missing ones first")
    if clusters is None:
        return values, np.arange(len(values))
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(codes) != len(values):
        raise ValueError(f"{len(values)} values but {len(codes)} cluster labels")
    return values, codes


def t_quantile(level: float, dof: float) -> float:
    """Two-sided quantile of Student's t for an interval of ``level``."""
    return float(stdtrit(dof, (1 + level) / 2))


def sign_flip_p(beyond: bool, n_clusters: int) -> float:
    """One-sided p when all clusters agree exactly: the sign-flip test, 2^-m, else 1."""
    return 0.5**n_clusters if beyond else 1.0


def intraclass_correlation(residual: np.ndarray, codes: np.ndarray) -> float:
    """ANOVA estimate of the intraclass correlation, cut to [0, 1]; 0 where no cluster repeats."""
    sizes = np.bincount(codes)
    total, m = sizes.sum(), len(sizes)
    if total == m:
        return 0.0
    means = np.bincount(codes, weights=residual) / sizes
    within = np.sum((residual - means[codes]) ** 2) / (total - m)
    between = np.sum(sizes * means**2) / (m - 1)
    typical_size = (total - np.sum(sizes**2) / total) / (m - 1)
    component = max(0.0, (between - within) / typical_size)
    return component / (component + within) if component + within > 0 else 0.0


def _satterthwaite(sizes: np.ndarray, rho: float) -> float:
    """Degrees of freedom tr(K)^2 / tr(K K) of the CR2 variance of a mean.

    K = G' W G, where W is the working covariance with intraclass correlation ``rho`` and column g
    of G is what cluster g contributes. K is diagonal plus rank two: (d) + k1 uu' - k2 (uv' + vu').
    """
    total = sizes.sum()
    c2 = 1 / (1 - sizes / total)
    u, v = np.sqrt(c2) * sizes, np.sqrt(c2) * sizes**2
    d = c2 * sizes * ((1 - rho) + rho * sizes)
    k1 = -(1 - rho) / total + rho * np.sum(sizes**2) / total**2
    k2 = rho / total
    uu, uv, vv = u @ u, u @ v, v @ v
    trace = d.sum() + k1 * uu - 2 * k2 * uv
    low_rank = k1**2 * uu**2 - 4 * k1 * k2 * uu * uv + 2 * k2**2 * (uu * vv + uv**2)
    cross = 2 * (k1 * np.sum(d * u**2) - 2 * k2 * np.sum(d * u * v))
    return float(trace**2 / (np.sum(d**2) + cross + low_rank))


def _shared_difference(
    a: ArrayLike, b: ArrayLike, clusters_a: ArrayLike, clusters_b: ArrayLike
) -> RobustMean:
    """Difference of means when some clusters have rows in both samples."""
    values_a, _ = coded(a, clusters_a)
    values_b, _ = coded(b, clusters_b)
    labels = np.concatenate([np.asarray(clusters_a), np.asarray(clusters_b)])
    codes = np.unique(labels, return_inverse=True)[1]
    m = int(codes.max()) + 1
    codes_a, codes_b = codes[: len(values_a)], codes[len(values_a) :]
    difference = float(values_a.mean() - values_b.mean())
    if m < 2:
        return RobustMean(difference, np.nan, np.nan, m)
    residual_a, residual_b = values_a - values_a.mean(), values_b - values_b.mean()
    sum_a, independent_a, block_a = _arm(residual_a, codes_a, m)
    sum_b, independent_b, block_b = _arm(residual_b, codes_b, m)
    rho = intraclass_correlation(np.concatenate([residual_a, residual_b]), codes)
    block = block_a - block_b
    working = (1 - rho) * (independent_a + independent_b) + rho * block.T @ block
    dof = np.trace(working) ** 2 / np.sum(working**2)
    return RobustMean(difference, float(np.sum((sum_a - sum_b) ** 2)), float(dof), m)


def _arm(
    residual: np.ndarray, codes: np.ndarray, m: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One sample's part: CR2 scores (m,), G'G (m, m) and B'G (m, m), B the cluster indicators."""
    sizes = np.bincount(codes, minlength=m).astype(float)
    total = sizes.sum()
    if sizes.max() == total:
        raise ValueError("one sample lies in a single cluster: its variance cannot be estimated")
    c = 1 / np.sqrt(1 - sizes / total)
    scores = c * np.bincount(codes, weights=residual, minlength=m) / total
    centred = np.diag(sizes) - np.outer(sizes, sizes) / total
    return scores, np.outer(c, c) * centred / total**2, centred * c / total
