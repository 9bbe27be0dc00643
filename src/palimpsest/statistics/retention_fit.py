"""Many forgetting curves fitted at once by maximum likelihood, each row of a batch its own fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlog1py, xlogy

from palimpsest.statistics import retention_forms as forms
from palimpsest.statistics.retention_forms import Form

#: probabilities are squeezed into [LAPSE, 1 - LAPSE]: one success where a curve has vanished then
#: costs 14 nats, not infinitely many
LAPSE = 1e-6
#: the grid of starts is cut by rate into so many parts, and the best start of each is refined; the
#: logarithmic form is cut at 0 and so may have a valley between any two delays
PARTS = {"constant": 1, "logarithmic": 8}
DEFAULT_PARTS = 4
MAX_STEPS = 100
#: a fit has converged when the next step promises less than this (nats)
TOLERANCE = 1e-6
#: longest step of a coordinate; that of the rate is a log
LONGEST_STEP = 2.0


@dataclass(frozen=True)
class Binomial:
    """Counts ``successes`` of ``trials`` (fits, columns) at each delay and ``floor`` (columns,).

    P(success) = floor + (1 - floor) R, Abbott's formula for guessing.
    """

    delay: np.ndarray
    floor: np.ndarray
    successes: np.ndarray
    trials: np.ndarray
    n_scales: int = 0

    def rows(self, index: np.ndarray) -> Binomial:
        """The same columns for some of the fits."""
        return Binomial(self.delay, self.floor, self.successes[index], self.trials[index])

    def size(self) -> np.ndarray:
        """Observations of each fit, (fits,)."""
        return self.trials.sum(axis=1)

    def loss(self, r: np.ndarray) -> np.ndarray:
        """Minus log likelihood (fits,) of curves ``r`` (fits, columns), binomial constant left out.

        The constant depends on the data only, and so cancels in every comparison.
        """
        p = self._probability(r)
        return -np.sum(xlogy(self.successes, p) + xlog1py(self.trials - self.successes, -p), axis=1)

    def log_likelihood(self, r: np.ndarray) -> np.ndarray:
        """As minus :meth:`loss`."""
        return -self.loss(r)

    def held_out(self, r: np.ndarray, fitted: Binomial, k: int) -> np.ndarray:
        """Log likelihood (fits,) of these data under curves fitted to others."""
        return -self.loss(r)

    def scores(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivative of the log likelihood by R, and minus the second one, (fits, columns)."""
        p = self._probability(r)
        slope = (1 - 2 * LAPSE) * (1 - self.floor)
        right, wrong = self.successes / p, (self.trials - self.successes) / (1 - p)
        return slope * (right - wrong), slope**2 * (right / p + wrong / (1 - p))

    def _probability(self, r: np.ndarray) -> np.ndarray:
        return LAPSE + (1 - 2 * LAPSE) * (self.floor + (1 - self.floor) * r)


@dataclass(frozen=True)
class Gaussian:
    """Means ``value`` of ``trials`` values at each column (fits, columns), equal unknown variance.

    Values are in units in which the highest is 1. ``within`` (fits,) is the sum of squares of
    single values about those means.
    """

    delay: np.ndarray
    value: np.ndarray
    trials: np.ndarray
    within: np.ndarray
    n_scales: int = 1

    def rows(self, index: np.ndarray) -> Gaussian:
        """The same columns for some of the fits."""
        return Gaussian(self.delay, self.value[index], self.trials[index], self.within[index])

    def size(self) -> np.ndarray:
        """Observations of each fit, (fits,)."""
        return self.trials.sum(axis=1)

    def loss(self, r: np.ndarray) -> np.ndarray:
        """Minus the log likelihood with the variance at its best, (fits,)."""
        return self.size() / 2 * np.log(self._variance(r))

    def log_likelihood(self, r: np.ndarray) -> np.ndarray:
        """The whole log likelihood, (fits,)."""
        return -self.loss(r) - self.size() / 2 * (np.log(2 * np.pi) + 1)

    def held_out(self, r: np.ndarray, fitted: Gaussian, k: int) -> np.ndarray:
        """Log likelihood (fits,) of these data under curves of ``k`` parameters fitted to others.

        The variance is that of the others about the curve, over n - k.
        """
        n = fitted.size()
        variance = fitted._variance(r) * n / np.maximum(n - k, 1)
        return -self.size() / 2 * np.log(2 * np.pi * variance) - self._squares(r) / (2 * variance)

    def scores(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivative of the log likelihood by R, and minus the second one, the variance fixed."""
        precision = self.trials / self._variance(r)[:, None]
        return precision * (self.value - r), precision

    def _variance(self, r: np.ndarray) -> np.ndarray:
        # a curve through every point would have a likelihood without bound
        return np.maximum(self._squares(r) / np.maximum(self.size(), 1), 1e-12)

    def _squares(self, r: np.ndarray) -> np.ndarray:
        return self.within + np.sum(self.trials * (self.value - r) ** 2, axis=1)


Data = Binomial | Gaussian


@dataclass(frozen=True)
class Fits:
    """A batch of fits of one form: coordinates (fits, k), losses and convergence (fits,)."""

    form: Form
    theta: np.ndarray
    loss: np.ndarray
    converged: np.ndarray
    low: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """Parameters a, b, c, shape (fits, k)."""
        return forms.parameters(self.form, self.theta, self.low)


def fit_rows(form: Form, data: Data, start: np.ndarray | None = None) -> Fits:
    """Maximum likelihood of ``form`` for every row of ``data``.

    The best of a grid of starts are refined by Newton steps inside the bounds, shortened until they
    gain; ``start`` (k,) or (fits, k), where given, is refined instead (bootstrap replicates and
    folds start at the estimate). A row has converged when no step promises TOLERANCE nats more.
    """
    low, high = forms.bounds(form, data.delay)
    n = len(data.trials)
    if start is not None:
        first = np.broadcast_to(start, (n, len(low)))[None]
    else:
        first = _best_of_grid(form, data)
    shape = first.shape
    rows = np.tile(np.arange(n), shape[0])
    theta, loss, converged = _refine(
        form, data.rows(rows), np.clip(first.reshape(-1, shape[2]), low, high), low, high
    )
    best = np.argmin(loss.reshape(shape[:2]), axis=0) * n + np.arange(n)
    return Fits(form, theta[best], loss[best], converged[best], low)


def _best_of_grid(form: Form, data: Data) -> np.ndarray:
    """The most likely start in each part of the grid for each row, shape (parts, fits, k)."""
    grid = forms.starts(form, data.delay)
    curves = forms.retained(form, grid, data.delay)
    losses = np.stack([data.loss(np.broadcast_to(r, data.trials.shape)) for r in curves])
    by_rate = np.argsort(grid[:, -1] if form == "constant" else grid[:, 1], kind="stable")
    parts = np.array_split(by_rate, PARTS.get(form, DEFAULT_PARTS))
    return np.stack([grid[part[np.argmin(losses[part], axis=0)]] for part in parts])


def _refine(
    form: Form, data: Data, theta: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    theta = theta.copy()
    loss = data.loss(forms.retained(form, theta, data.delay))
    damping = np.zeros(len(theta))
    converged = np.zeros(len(theta), dtype=bool)
    active = np.arange(len(theta))
    for _ in range(MAX_STEPS):
        part = data.rows(active)
        step, promise = _newton(form, part, theta[active], low, high)
        done = promise < TOLERANCE
        converged[active[done]] = True
        proposed = np.clip(theta[active] + step / (1 + damping[active])[:, None], low, high)
        reached = part.loss(forms.retained(form, proposed, data.delay))
        better = ~done & (reached <= loss[active])
        theta[active[better]], loss[active[better]] = proposed[better], reached[better]
        damping[active] = np.where(better, damping[active] / 8, 1 + 3 * damping[active])
        active = active[~done]
        if active.size == 0:
            break
    return theta, loss, converged


def _newton(
    form: Form, data: Data, theta: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step (fits, k) inside the bounds, and the nats that it promises (fits,).

    Directions in which the likelihood is not concave are walked uphill all the same: eigenvalues
    enter with their absolute value (saddle-free Newton).
    """
    first, second = forms.derivatives(form, theta, data.delay)
    score, curvature = data.scores(forms.retained(form, theta, data.delay))
    gradient = np.einsum("ft,ftk->fk", score, first)
    stuck = ((theta <= low) & (gradient <= 0)) | ((theta >= high) & (gradient >= 0))
    gradient = np.where(stuck, 0.0, gradient)
    information = np.einsum("ft,ftj,ftk->fjk", curvature, first, first)
    information -= np.einsum("ft,ftjk->fjk", score, second)
    information = np.where(stuck[:, :, None] | stuck[:, None, :], 0.0, information)
    values, vectors = np.linalg.eigh(information)
    along = np.einsum("fkj,fk->fj", vectors, gradient)
    step = np.einsum("fkj,fj->fk", vectors, along / np.maximum(np.abs(values), 1e-9))
    longest = np.abs(step).max(axis=1, keepdims=True)
    step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))
    # a full step may leave the box: what lies outside is no promise
    inside = np.clip(theta + step, low, high) - theta
    return step, np.sum(gradient * inside, axis=1) / 2
