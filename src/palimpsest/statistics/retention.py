"""Forgetting curves: one form fitted by binomial likelihood, with bootstrap intervals over units.

Which form it is, is another question: see ``retention_compare``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from palimpsest.statistics import retention_forms as forms
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.resampling import expanded_tail, unit_weights
from palimpsest.statistics.retention_fit import Binomial, Data, Fits, fit_rows
from palimpsest.statistics.retention_forms import Form

DID_NOT_CONVERGE = "the fit did not converge"
#: below this many units a bootstrap interval is known to be too short
FEW_UNITS = 8


@dataclass(frozen=True)
class RetentionFit:
    """A fitted curve R(t) of retained memory, above the guessing floor, t in updates.

    ``parameters`` are a, b and c of the form. ``log_likelihood`` leaves out the binomial
    coefficients, which are the same for every form; ``k`` counts parameters (and the variance,
    where there is one) and ``n`` single observations. ``half_life`` is the delay at which R is half
    of R(0): inf when never. ``intervals`` has the names of the parameters and "half_life".
    ``scale`` is the unit of R, other than 1 for strengths that are not shares. ``band`` holds R
    with its interval at the delays that were asked for.
    """

    form: Form
    parameters: Mapping[str, float]
    log_likelihood: float
    k: int
    n: int
    converged: bool
    half_life: float
    intervals: Mapping[str, Estimate] = field(default_factory=dict)
    scale: float = 1.0
    band: tuple[Estimate, ...] = ()

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2 k - 2 log L."""
        return 2 * self.k - 2 * self.log_likelihood

    @property
    def aicc(self) -> float:
        """AIC corrected for small n (Hurvich & Tsai 1989); inf where n <= k + 1."""
        return float(corrected_aic(self.log_likelihood, self.k, self.n))

    def predict(self, delay: ArrayLike) -> np.ndarray:
        """R at each delay."""
        values = np.array([list(self.parameters.values())])
        delay = np.asarray(delay, dtype=float)
        shares = forms.rescaled(self.form, values, 1 / self.scale)
        return self.scale * forms.curve(self.form, shares, delay.ravel())[0].reshape(delay.shape)


def fit(
    delay: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    form: Form,
    floor: ArrayLike = 0.0,
) -> RetentionFit:
    """One curve through all rows by maximum likelihood: P(success) = floor + (1 - floor) R(delay).

    ``delay`` (updates), ``successes``, ``trials`` and ``floor`` (or one floor for all) have shape
    (rows,): independent trials. The floor is the guessing rate, 0.5 for two alternatives and 0 for
    recall. Raises ValueError on impossible counts, negative delays, a floor outside [0, 1) or a
    single distinct delay.
    """
    unit = np.zeros(np.size(delay))
    return pooled_fit(form, binomial_table(unit, delay, successes, trials, floor)[0])


def fit_with_intervals(
    unit: ArrayLike,
    delay: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    form: Form,
    floor: ArrayLike = 0.0,
    level: float = 0.95,
    n_replicates: int = 999,
    unit_name: str = "units",
    seed: int = 0,
    at: ArrayLike = (),
) -> RetentionFit:
    """As :func:`fit`, with intervals of a, b, c and the half-life by a bootstrap over units.

    ``at`` (m,) are delays at which R gets an interval of its own, pointwise, from the same
    replicates: the band of a drawing.

    ``unit`` (rows,) labels what is independent: items, or (item, seed) pairs, or seeds; units are
    drawn whole, so that their repeated tests may depend on each other. What is estimated is the
    curve of the average over units, which need not have the form of single units (see
    ``retention_compare``).

    Percentile intervals, tails expanded to t width (Hesterberg 2015). Simulated coverage of a,
    the exponent and the half-life is 94% with 12 units of unequal level. A half-life beyond the
    longest delay is extrapolated.
    """
    table, labels = binomial_table(unit, delay, successes, trials, floor)
    total = pooled(table)
    fitted = fit_rows(form, total)
    n = len(labels)
    result = as_result(fitted, total)
    at = np.asarray(at, dtype=float)
    names = [*result.parameters, "half_life"]
    points = [*result.parameters.values(), result.half_life, *result.predict(at)]
    method = f"{form} curve, binomial likelihood, bootstrap over units, percentile"
    if n < 2 or not result.converged:
        note = DID_NOT_CONVERGE if n > 1 else "one unit only: no variation between units"
        nothing = [np.nan] * len(points), [np.nan] * len(points)
        return _with_intervals(result, names, points, nothing, n, unit_name, method, level, note)

    weights = unit_weights(np.random.default_rng(seed), n, n_replicates)
    drawn = Binomial(table.delay, table.floor, weights @ table.successes, weights @ table.trials)
    replicates = fit_rows(form, drawn, start=fitted.theta[0])
    half_lives = forms.half_life(form, replicates.values)
    curves = forms.curve(form, replicates.values, at)
    values = np.column_stack([replicates.values, half_lives, curves])
    ends = _ends(values, expanded_tail(level, n, n - 1))
    lost = np.mean(~replicates.converged)
    note = "; ".join(
        filter(
            None,
            [
                f"{n} units: interval may be too short" if n < FEW_UNITS else None,
                f"{lost:.0%} of replicates did not converge" if lost > 0.01 else None,
            ],
        )
    )
    return _with_intervals(result, names, points, ends, n, unit_name, method, level, note or None)


def binomial_table(
    unit: ArrayLike,
    delay: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    floor: ArrayLike = 0.0,
) -> tuple[Binomial, np.ndarray]:
    """Long rows as counts (units, columns), a column for each pair of delay and floor; and labels.

    Rows of one unit and column are added up. Raises ValueError as :func:`fit` says.
    """
    delay, successes, trials = (
        np.asarray(x, dtype=float).ravel() for x in (delay, successes, trials)
    )
    floor = np.broadcast_to(np.asarray(floor, dtype=float), delay.shape)
    labels, of_unit = np.unique(np.asarray(unit), return_inverse=True)
    if not len(of_unit) == len(delay) == len(successes) == len(trials) or delay.size == 0:
        raise ValueError("need rows, and one unit, delay, successes and trials for each")
    if not np.isfinite([delay, successes, trials]).all():
        raise ValueError("delays and counts must be finite: drop or count the missing ones first")
    if np.any((successes < 0) | (successes > trials)) or np.any(delay < 0):
        raise ValueError("need 0 <= successes <= trials and delay >= 0")
    if not np.all((floor >= 0) & (floor < 1)):
        raise ValueError("a floor must lie in [0, 1)")
    columns, of_column = np.unique(np.stack([delay, floor]), axis=1, return_inverse=True)
    if np.unique(columns[0]).size < 2:
        raise ValueError("a curve needs at least two different delays")
    counts = np.zeros((2, len(labels), columns.shape[1]))
    np.add.at(counts, (slice(None), of_unit, of_column.ravel()), np.stack([successes, trials]))
    if not (counts[1].sum(axis=1) > 0).all():
        raise ValueError("a unit without trials")
    return Binomial(columns[0], columns[1], counts[0], counts[1]), labels


def pooled_fit(form: Form, table: Binomial) -> RetentionFit:
    """One curve for all units of a table."""
    total = pooled(table)
    return as_result(fit_rows(form, total), total)


def corrected_aic(log_likelihood: ArrayLike, k: int, n: ArrayLike) -> np.ndarray:
    """AICc = 2 k - 2 log L + 2 k (k + 1) / (n - k - 1), inf where n <= k + 1; shapes broadcast."""
    spare = np.asarray(n, dtype=float) - k - 1
    with np.errstate(divide="ignore"):
        correction = np.where(spare > 0, 2 * k * (k + 1) / np.maximum(spare, 0), np.inf)
    return 2 * k - 2 * np.asarray(log_likelihood) + correction


def pooled(table: Binomial) -> Binomial:
    """The counts of all units added up, (1, columns)."""
    successes, trials = (x.sum(axis=0, keepdims=True) for x in (table.successes, table.trials))
    return Binomial(table.delay, table.floor, successes, trials)


def as_result(fitted: Fits, data: Data, scale: float = 1.0) -> RetentionFit:
    """The first row of a batch as a result, data having been divided by ``scale``."""
    values = forms.rescaled(fitted.form, fitted.values, scale)
    names = forms.parameter_names(fitted.form)
    curves = forms.retained(fitted.form, fitted.theta, data.delay)
    return RetentionFit(
        form=fitted.form,
        parameters=dict(zip(names, map(float, values[0]), strict=True)),
        log_likelihood=float(data.log_likelihood(curves)[0] - data.size()[0] * np.log(scale)),
        k=len(names) + data.n_scales,
        n=int(data.size()[0]),
        converged=bool(fitted.converged[0]),
        half_life=float(forms.half_life(fitted.form, fitted.values)[0]),
        scale=scale,
    )


def _ends(values: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile ends of each column; order statistics, as half-lives may be inf.

    The k-th smallest of B replicates has k / (B + 1) below it.
    """
    ordered = np.sort(values, axis=0)  # nan, where nothing was ever retained, sorts last
    k = max(1, int(tail * (len(values) + 1)))
    return ordered[k - 1], ordered[-k]


def _with_intervals(
    result: RetentionFit,
    names: list[str],
    points: list[float],
    ends: tuple[ArrayLike, ArrayLike],
    n: int,
    unit: str,
    method: str,
    level: float,
    note: str | None,
) -> RetentionFit:
    found = [
        Estimate(float(point), float(low), float(high), n, unit, method, level, note=note)
        for point, low, high in zip(points, *ends, strict=True)
    ]
    intervals = dict(zip(names, found, strict=False))
    return replace(result, intervals=intervals, band=tuple(found[len(names) :]))
