"""Does recall rise with exposure? A binomial dose-response curve and a trend test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, xlog1py, xlogy
from scipy.stats import chi2, norm, rankdata

from palimpsest.statistics.estimate import Estimate

#: the fit is sought with intercept and slope inside these; at an edge it has no finite maximum
INTERCEPT_BOUND, SLOPE_BOUND = 25.0, 15.0
#: (intercepts, slope) -> minus log likelihood, shape of the intercepts
Loss = Callable[[ArrayLike, float], np.ndarray]
#: entries of the batch of matrix products held at once in the Jonckheere permutations
PERMUTED_ENTRIES = 20_000_000


@dataclass(frozen=True)
class DoseResponse:
    """A fitted curve: rate = chance + (1 - chance) expit(intercept + slope log(1 + dose)).

    ``slope`` carries the profile-likelihood interval and the one-sided p of slope > 0;
    ``intercept`` is nan and ``converged`` false where the likelihood has no finite maximum.
    """

    slope: Estimate
    intercept: float
    chance: float
    log_likelihood: float
    converged: bool

    def rate(self, dose: ArrayLike) -> np.ndarray:
        """Fitted rate at each dose."""
        x = np.log1p(np.asarray(dose, dtype=float))
        return self.chance + (1 - self.chance) * expit(self.intercept + self.slope.estimate * x)


def dose_response(
    dose: ArrayLike,
    successes: ArrayLike,
    n: ArrayLike,
    chance: float = 0.0,
    level: float = 0.95,
    unit: str = "items",
) -> DoseResponse:
    """Logistic curve in log(1 + dose) above a floor at ``chance``, by maximum likelihood.

    ``dose``, ``successes`` and ``n`` have shape (groups,): n independent trials at each dose. The
    floor is the guessing rate of Abbott's formula (Finney 1971, Probit Analysis, ch. 7). Interval:
    profile likelihood; p: signed-root likelihood ratio, one-sided. When recall never leaves the
    floor, or jumps from floor to ceiling between two doses, the slope is not identified: nan, with
    the reason in the note (``trend_permutation`` still applies).

    Raises ValueError on successes outside 0..n, negative doses or a single distinct dose.
    """
    dose, successes, n = (np.asarray(x, dtype=float) for x in (dose, successes, n))
    if np.any((successes < 0) | (successes > n)) or np.any(dose < 0):
        raise ValueError("need 0 <= successes <= n and dose >= 0")
    if np.unique(dose).size < 2:
        raise ValueError("a slope needs at least two doses")
    if not 0 <= chance < 1:
        raise ValueError(f"chance must lie in [0, 1), not {chance}")
    x = np.log1p(dose)

    def loss(intercept: ArrayLike, slope: float) -> np.ndarray:
        curve = expit(np.asarray(intercept)[..., None] + slope * x)
        rate = np.clip(chance + (1 - chance) * curve, 1e-12, 1 - 1e-12)
        return -np.sum(xlogy(successes, rate) + xlog1py(n - successes, -rate), axis=-1)

    total = int(n.sum())
    method = "binomial logistic curve with floor, profile likelihood"
    best = _maximise(loss, x, successes, n, chance)
    if best is None:
        note = "did not converge: no finite slope fits best (floor, ceiling or a jump)"
        slope = Estimate(np.nan, np.nan, np.nan, total, unit, method, level, note=note)
        return DoseResponse(slope, np.nan, chance, np.nan, False)

    intercept, slope, minimum = best
    excess = _profile(loss, minimum)
    root = np.sqrt(2 * max(0.0, excess(0.0))) * np.sign(slope)
    drop = chi2.ppf(level, 1) / 2
    low = _crossing(excess, slope, -SLOPE_BOUND, drop)
    high = _crossing(excess, slope, SLOPE_BOUND, drop)
    open_ended = "likelihood flat: interval open" if np.isinf([low, high]).any() else None
    p = float(norm.sf(root))
    estimate = Estimate(slope, low, high, total, unit, method, level, p, open_ended)
    return DoseResponse(estimate, intercept, chance, -minimum, True)


def trend_permutation(
    dose: ArrayLike,
    values: ArrayLike,
    method: Literal["spearman", "jonckheere"] = "spearman",
    n_permutations: int = 9999,
    seed: int = 0,
    unit: str = "rows",
) -> Estimate:
    """Monotone trend of ``values`` with ``dose`` (both (rows,)): one-sided permutation p of a rise.

    "spearman" reports the rank correlation; "jonckheere" (Jonckheere 1954, Biometrika 41, 133)
    reports (concordant - discordant) / all pairs of rows with different doses. Doses are permuted
    over rows, so rows must be exchangeable: average the repeats of an item first. A constant dose
    gives ValueError, constant values nan.
    """
    dose, values = np.asarray(dose, dtype=float), np.asarray(values, dtype=float)
    if dose.shape != values.shape or np.ptp(dose) == 0:
        raise ValueError("need one dose per value and at least two doses")
    label = f"{method} trend, permutation, N={n_permutations}"
    if np.ptp(values) == 0:
        note = "all values equal"
        return Estimate(np.nan, np.nan, np.nan, len(values), unit, label, note=note)
    rng = np.random.default_rng(seed)
    if method == "spearman":
        observed, null = _spearman(dose, values, n_permutations, rng)
    else:
        observed, null = _jonckheere(dose, values, n_permutations, rng)
    p = (1 + np.sum(null >= observed - 1e-12)) / (1 + n_permutations)
    note = "a permutation test: no interval"
    return Estimate(
        float(observed), np.nan, np.nan, len(values), unit, label, p=float(p), note=note
    )


def _maximise(
    loss: Loss, x: np.ndarray, successes: np.ndarray, n: np.ndarray, chance: float
) -> tuple[float, float, float] | None:
    """(intercept, slope, minimal loss), or None when the best fit is at the edge of the box."""
    crude = np.clip((successes / np.maximum(n, 1) - chance) / (1 - chance), 0.02, 0.98)
    logit = np.log(crude / (1 - crude))
    slope, intercept = np.polyfit(x, logit, 1)
    starts = [(intercept, slope), (float(logit.mean()), 0.0), (-2.0, 1.0)]
    box = [(-INTERCEPT_BOUND, INTERCEPT_BOUND), (-SLOPE_BOUND, SLOPE_BOUND)]
    fits = [
        minimize(lambda v: float(loss(*v)), np.clip(start, *zip(*box, strict=True)), bounds=box)
        for start in starts
    ]
    fit = min(fits, key=lambda result: result.fun)
    flattest = float(np.min(loss(np.array([-INTERCEPT_BOUND, INTERCEPT_BOUND]), 0.0)))
    at_edge = np.any(np.abs(fit.x) > 0.98 * np.array([INTERCEPT_BOUND, SLOPE_BOUND]))
    if at_edge or not np.isfinite(fit.fun) or fit.fun > flattest - 1e-6:
        return None
    return float(fit.x[0]), float(fit.x[1]), float(fit.fun)


def _profile(loss: Loss, minimum: float) -> Callable[[float], float]:
    """Rise of the loss above its minimum as a function of the slope, intercept fitted anew."""

    def excess(slope: float) -> float:
        # a steep curve turns far from dose 0, and with a floor the loss can have two valleys
        grid = np.linspace(-1, 1, 161) * (INTERCEPT_BOUND + 5 * abs(slope))
        best = int(np.argmin(loss(grid, slope)))
        around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        fit = minimize_scalar(
            lambda intercept: float(loss(intercept, slope)), bounds=around, method="bounded"
        )
        return float(fit.fun) - minimum

    return excess


def _crossing(excess: Callable[[float], float], slope: float, edge: float, drop: float) -> float:
    """Slope between the estimate and ``edge`` at which the profile has risen by ``drop``."""
    if excess(edge) < drop:
        return float(np.copysign(np.inf, edge))
    return float(brentq(lambda s: excess(s) - drop, slope, edge, xtol=1e-6))


def _spearman(
    dose: np.ndarray, values: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    x, y = rankdata(dose), rankdata(values)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std() / len(y)
    permuted = rng.permuted(np.broadcast_to(x, (n_permutations, len(x))), axis=1)
    return x @ y, permuted @ y


def _jonckheere(
    dose: np.ndarray, values: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    codes = np.unique(dose, return_inverse=True)[1]
    sizes = np.bincount(codes)
    pairs = (len(codes) ** 2 - np.sum(sizes**2)) / 2
    sign = np.sign(values[None, :] - values[:, None])  # [i, j] = 1 where j exceeds i

    def statistic(codes: np.ndarray) -> np.ndarray:
        total = np.zeros(len(codes))
        for level in range(1, len(sizes)):
            total += np.sum((codes < level) @ sign * (codes == level), axis=1)
        return total / pairs

    chunk = max(1, PERMUTED_ENTRIES // len(codes))
    null = [
        statistic(rng.permuted(np.broadcast_to(codes, (size, len(codes))), axis=1))
        for size in np.diff([*range(0, n_permutations, chunk), n_permutations])
    ]
    return statistic(codes[None])[0], np.concatenate(null)
