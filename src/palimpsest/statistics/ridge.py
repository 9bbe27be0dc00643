"""Prediction from features or from the date alone, cross-validated in blocks of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.resampling import expanded_tail, percentile_interval

ALPHAS = tuple(10.0**k for k in range(-2, 6))
#: spline columns are few and nearly collinear: a smooth curve needs next to no penalty
SPLINE_ALPHAS = tuple(10.0**k for k in range(-7, 4))
#: training rows -> features of all rows, shape (rows, features)
FeatureMaker = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BlockedPrediction:
    """Out-of-block predictions and how good they are.

    ``predictions`` and ``baseline`` (the training mean of each row's fold) have shape (rows,), in
    the order of the input; ``block`` numbers each row's test block. ``r2`` is one minus squared
    error over that of the baseline, so knowing nothing gives about 0; ``r`` is the correlation.
    Both carry a block-bootstrap interval and, where asked for, the permutation p of a better value.
    """

    predictions: np.ndarray
    baseline: np.ndarray
    block: np.ndarray
    alphas: tuple[float, ...]
    r2: Estimate
    r: Estimate


def ridge_time_blocked(
    features: ArrayLike,
    target: ArrayLike,
    dates: ArrayLike,
    n_blocks: int = 5,
    gap: int = 1,
    alphas: tuple[float, ...] = ALPHAS,
    n_permutations: int = 0,
    seed: int = 0,
) -> BlockedPrediction:
    """Ridge regression of ``target`` (rows,) on ``features`` (rows, k), tested on whole periods.

    Distinct dates are cut into ``n_blocks`` contiguous blocks; each is predicted from the others
    without the ``gap`` dates next to it, so that neighbours in time cannot leak. Features are
    standardised and alpha is chosen (blocked cross-validation again) inside each training set.

    With ``n_permutations`` the whole procedure is repeated on shuffled targets. That null has no
    trend: a feature that only encodes the date beats it. Compare with :func:`spline_time_blocked`
    by :func:`gain` before speaking of more than a trend.

    Raises ValueError when shapes disagree or a block leaves nothing to train on.
    """
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or len(features) != np.size(target):
        raise ValueError("features must have shape (rows, k), one row per target")
    settings = (n_blocks, gap, tuple(alphas), n_permutations, seed)
    return _blocked(lambda train: features, target, dates, *settings, "ridge")


def spline_time_blocked(
    dates: ArrayLike,
    target: ArrayLike,
    n_blocks: int = 5,
    gap: int = 1,
    alphas: tuple[float, ...] = SPLINE_ALPHAS,
    n_knots: int = 6,
    n_permutations: int = 0,
    seed: int = 0,
) -> BlockedPrediction:
    """What the date alone predicts: a natural cubic spline, same folds and penalty as the ridge.

    ``dates`` and ``target`` have shape (rows,). Knots lie at quantiles of the training dates, so a
    block at either end is extrapolated by a straight line.
    """
    x = np.asarray(dates, dtype=float)
    if np.ptp(x) > 0:
        x = (x - x.min()) / np.ptp(x)

    def basis(train: np.ndarray) -> np.ndarray:
        knots = np.unique(np.quantile(x[train], np.linspace(0, 1, n_knots)))
        return natural_cubic_basis(x, knots)

    settings = (n_blocks, gap, tuple(alphas), n_permutations, seed)
    return _blocked(basis, target, dates, *settings, "date spline")


def gain(
    model: BlockedPrediction,
    rival: BlockedPrediction,
    target: ArrayLike,
    dates: ArrayLike,
    level: float = 0.95,
    n_replicates: int = 2000,
    seed: int = 0,
) -> Estimate:
    """R2 of ``model`` minus R2 of ``rival`` on the same rows and folds, block bootstrap."""
    if not np.array_equal(model.block, rival.block):
        raise ValueError("the two were not tested on the same folds")
    order = np.argsort(np.asarray(dates), kind="stable")
    y = np.asarray(target, dtype=float)
    better = ((y - rival.predictions) ** 2 - (y - model.predictions) ** 2)[order]
    baseline = ((y - model.baseline) ** 2)[order]
    index = _moving_blocks(len(y), n_replicates, np.random.default_rng(seed))
    replicates = better[index].sum(axis=1) / baseline[index].sum(axis=1)
    low, high = percentile_interval(replicates, _tail(len(y), level))
    method = "difference of R2, moving-block bootstrap"
    value = float(better.sum() / baseline.sum())
    return Estimate(value, low, high, len(y), "dates in blocks", method, level)


def natural_cubic_basis(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Natural cubic spline basis without intercept, (rows, knots - 1), linear beyond the ends.

    Hastie, Tibshirani & Friedman, Elements of Statistical Learning, 2nd ed., eq. 5.4-5.5.
    """
    if len(knots) < 3:
        return x[:, None]
    cubes = np.maximum(x[:, None] - knots, 0) ** 3
    slopes = (cubes[:, :-1] - cubes[:, -1:]) / (knots[-1] - knots[:-1])
    return np.column_stack([x, slopes[:, :-1] - slopes[:, -1:]])


def time_folds(dates: np.ndarray, n_blocks: int, gap: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) row numbers: contiguous blocks of distinct dates, neighbours left out."""
    position = np.unique(dates, return_inverse=True)[1]
    folds = []
    for block in np.array_split(np.arange(position.max() + 1), n_blocks):
        if block.size == 0:
            raise ValueError(f"fewer distinct dates than {n_blocks} blocks")
        test = np.flatnonzero((position >= block[0]) & (position <= block[-1]))
        train = np.flatnonzero((position < block[0] - gap) | (position > block[-1] + gap))
        if train.size < 2:
            raise ValueError("a block leaves nothing to train on: fewer blocks or a smaller gap")
        folds.append((train, test))
    return folds


def _blocked(
    make_features: FeatureMaker,
    target: ArrayLike,
    dates: ArrayLike,
    n_blocks: int,
    gap: int,
    alphas: tuple[float, ...],
    n_permutations: int,
    seed: int,
    name: str,
) -> BlockedPrediction:
    y, dates = np.asarray(target, dtype=float), np.asarray(dates)
    if y.shape != dates.shape or y.ndim != 1:
        raise ValueError("one date per target is needed")
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.broadcast_to(y, (n_permutations, len(y))), axis=1)
    targets = np.column_stack([y, shuffled.T])  # column 0 is the real one; all share each fit
    predictions, baseline = np.empty_like(targets), np.empty_like(targets)
    block, chosen = np.empty(len(y), dtype=int), []
    for number, (train, test) in enumerate(time_folds(dates, n_blocks, gap)):
        features = make_features(train)
        alpha = _choose_alpha(features, targets, dates, train, n_blocks - 1, gap, alphas)
        predictions[test] = _fit_predict(features, targets, train, test, alpha)
        baseline[test] = targets[train].mean(axis=0)
        block[test] = number
        chosen.append(float(alpha[0]))

    order = np.argsort(dates, kind="stable")
    index = _moving_blocks(len(y), 2000, rng)
    estimates = {}
    for label, score in (("R2", _r2), ("r", _correlation)):
        scores = score(targets.T, predictions.T, baseline.T)
        replicates = score(*(z[order, 0][index] for z in (targets, predictions, baseline)))
        low, high = percentile_interval(replicates, _tail(len(y), 0.95))
        p = None
        if n_permutations:
            p = float((1 + np.sum(scores[1:] >= scores[0] - 1e-12)) / (1 + n_permutations))
        method = f"out-of-block {label} of {name}, moving-block bootstrap"
        estimates[label] = Estimate(
            float(scores[0]), low, high, len(y), "dates in blocks", method, p=p
        )
    return BlockedPrediction(
        predictions[:, 0], baseline[:, 0], block, tuple(chosen), estimates["R2"], estimates["r"]
    )


def _choose_alpha(
    features: np.ndarray,
    targets: np.ndarray,
    dates: np.ndarray,
    rows: np.ndarray,
    n_blocks: int,
    gap: int,
    alphas: tuple[float, ...],
) -> np.ndarray:
    """Best penalty for each target column by blocked cross-validation within ``rows``."""
    if len(alphas) == 1:
        return np.full(targets.shape[1], alphas[0])
    errors = np.zeros((len(alphas), targets.shape[1]))
    for train, test in time_folds(dates[rows], max(2, n_blocks), gap):
        x, x_test = _standardised(features, rows[train], rows[test])
        for i, alpha in enumerate(alphas):
            predicted = _predict(alpha, x, targets[rows[train]], x_test)
            errors[i] += np.sum((targets[rows[test]] - predicted) ** 2, axis=0)
    return np.asarray(alphas)[np.argmin(errors, axis=0)]


def _fit_predict(
    features: np.ndarray,
    targets: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    alpha: np.ndarray,
) -> np.ndarray:
    """Fit every target column on ``train`` with its own alpha, predict ``test``."""
    x, x_test = _standardised(features, train, test)
    predicted = np.empty((len(test), targets.shape[1]))
    for value in np.unique(alpha):
        columns = alpha == value
        predicted[:, columns] = _predict(value, x, targets[train][:, columns], x_test)
    return predicted


def _standardised(
    features: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of both sets on the scale of ``train`` alone."""
    scaler = StandardScaler().fit(features[train])
    return scaler.transform(features[train]), scaler.transform(features[test])


def _predict(alpha: float, x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    return Ridge(alpha=alpha).fit(x, y).predict(x_test).reshape(len(x_test), -1)


def _moving_blocks(n: int, n_replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of circular-block bootstrap samples (replicates, n), blocks ~ 2 n^(1/3)."""
    length = _block_length(n)
    starts = rng.integers(n, size=(n_replicates, -(-n // length)))
    index = (starts[:, :, None] + np.arange(length)) % n
    return index.reshape(n_replicates, -1)[:, :n]


def _block_length(n: int) -> int:
    return max(1, min(n, round(2 * n ** (1 / 3))))


def _tail(n: int, level: float) -> float:
    """Tails expanded to t width (Hesterberg 2015) for the number of blocks that are drawn."""
    blocks = max(2, n // _block_length(n))
    return expanded_tail(level, blocks, blocks - 1)


def _r2(y: np.ndarray, predicted: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    error = np.sum((y - predicted) ** 2, axis=1)
    return 1 - error / np.sum((y - baseline) ** 2, axis=1)


def _correlation(y: np.ndarray, predicted: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    a = y - y.mean(axis=1, keepdims=True)
    b = predicted - predicted.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    return np.divide(np.sum(a * b, axis=1), scale, out=np.zeros_like(scale), where=scale > 0)
