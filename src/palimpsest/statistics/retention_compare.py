"""Which form has forgetting? Unit by unit first, then pooled, then on trials held out.

An average of exponentials with different rates looks like a power law (Anderson & Tweney 1997, Mem.
Cognit. 25, 724; Kahana & Adler 2002): a pooled curve alone can never show that memory follows one.
Nor can units see what differs inside them: a unit should be the smallest thing whose trials share
one rate. An item whose trials are foils (beaten or not), templates or seeds is such a unit; a seed
whose trials are its items is one only as far as its items are alike, and a power law of seeds is
then a statement about lists.

The rule (:func:`decide`): a form is reported only if
  1. over the units, each with parameters of its own, it has the lowest sum of AICc, and against
     every rival the difference, averaged over units, has an interval above 0 (Vuong 1989,
     Econometrica 57, 307, with units for observations);
  2. on trials held out from the fits of units no rival is better, beyond its interval;
  3. the pooled curve agrees: there too its AICc is within 2 of the lowest (Burnham & Anderson 2002,
     section 2.6);
  4. its fits converged, and there are at least five units.
Otherwise the verdict is "undecided", with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from palimpsest.statistics import retention_forms as forms
from palimpsest.statistics.cluster_robust import coded, robust_mean
from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.retention import (
    RetentionFit,
    as_result,
    binomial_table,
    corrected_aic,
    pooled,
)
from palimpsest.statistics.retention_fit import Binomial, Data, Fits, Gaussian, fit_rows
from palimpsest.statistics.retention_forms import FORMS, Form

MIN_UNITS = 5
#: pooled AICc may exceed the lowest by this much and still agree
POOLED_SLACK = 2.0
#: share of units whose fit must have converged
MIN_CONVERGED = 0.9


@dataclass(frozen=True)
class FormComparison:
    """What units, the pooled curve and held-out trials say of the forms, and the verdict.

    ``unit_aicc`` sums over units, with ``k`` parameters each; ``unit_weights`` are Akaike weights
    of that sum and ``pooled_weights`` of the pooled curves. ``margins`` has, for each rival of the
    ``best`` form, rival minus best AICc per unit; ``held_out`` best minus rival log likelihood per
    held-out trial: positive speaks for the best in both. ``unit_parameters`` are a, b, c of each
    unit (units, k), in the order of ``units``.
    """

    verdict: Form | Literal["undecided"]
    reason: str
    best: Form
    unit_aicc: Mapping[Form, float]
    unit_weights: Mapping[Form, float]
    margins: Mapping[Form, Estimate]
    held_out: Mapping[Form, Estimate]
    pooled: Mapping[Form, RetentionFit]
    pooled_weights: Mapping[Form, float]
    units: np.ndarray
    unit_parameters: Mapping[Form, np.ndarray]
    converged: Mapping[Form, float]


@dataclass(frozen=True)
class _Split:
    """The same data for all units at once, unit by unit, and by folds as (training, test)."""

    labels: np.ndarray
    together: Data
    units: Data
    folds: Sequence[tuple[Data, Data]]
    scale: float = 1.0


@dataclass(frozen=True)
class _Rows:
    """Rows of strengths: unit and delay of each as codes, (rows,), and the delays, (columns,)."""

    of_unit: np.ndarray
    delays: np.ndarray
    of_delay: np.ndarray
    value: np.ndarray

    def table(self, chosen: np.ndarray) -> Gaussian:
        """Means, numbers and squares within cells of the chosen rows, for all units."""
        shape = (int(self.of_unit.max()) + 1, len(self.delays))
        cell = (self.of_unit * shape[1] + self.of_delay)[chosen]
        value, n_cells = self.value[chosen], shape[0] * shape[1]
        n = np.bincount(cell, minlength=n_cells)
        mean = np.bincount(cell, weights=value, minlength=n_cells) / np.maximum(n, 1)
        squares = np.bincount(cell, weights=(value - mean[cell]) ** 2, minlength=n_cells)
        return Gaussian(
            self.delays, mean.reshape(shape), n.reshape(shape), squares.reshape(shape).sum(axis=1)
        )


def compare_forms(
    unit: ArrayLike,
    delay: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    floor: ArrayLike = 0.0,
    candidates: Sequence[Form] = FORMS,
    n_folds: int = 4,
    level: float = 0.95,
    unit_name: str = "units",
    seed: int = 0,
) -> FormComparison:
    """Forms of forgetting compared on counts, rows as in ``retention.fit_with_intervals``.

    The trials of every unit and delay are dealt at random into ``n_folds``; each unit is fitted on
    all folds but one and scored on that one. With two folds the gains on held-out trials are skewed
    and their intervals cover 91%, not 95 (15 units, 2,000 studies); with four 95%. Single trials of
    0 or 1 carry little. Simulated power laws with exponent 0.4 at 8 delays up to 100 are found in
    at least 90% of studies with 20 units of 20 trials a delay without guessing, and with 30 units
    of 60 trials at a floor of 0.5; with less expect "undecided". Exponentials whose rates differ
    tenfold are mostly "undecided" too, as their pooled curve looks like a logarithm or a power.
    """
    table, labels = binomial_table(unit, delay, successes, trials, floor)
    folds = _deal(table, n_folds, np.random.default_rng(seed))
    split = _Split(labels, pooled(table), table, folds)
    return _compare(split, candidates, level, unit_name)


def fit_strength(
    unit: ArrayLike,
    delay: ArrayLike,
    value: ArrayLike,
    candidates: Sequence[Form] = FORMS,
    n_folds: int = 4,
    level: float = 0.95,
    unit_name: str = "units",
    seed: int = 0,
) -> FormComparison:
    """The same comparison for a graded strength, such as the share of a loss drop still there.

    ``unit``, ``delay`` and ``value`` have shape (rows,). Gaussian likelihood with a variance for
    each unit (and one for the pooled curve), which counts as a parameter. a is at most the largest
    value. Folds deal the rows of a unit, so that with one row a delay they hold out delays. Raises
    ValueError where no value is positive, and as ``fit`` does.
    """
    value, of_unit = coded(value, unit)
    delay = coded(delay, None)[0]
    if len(delay) != len(value) or np.any(delay < 0) or np.unique(delay).size < 2:
        raise ValueError("need a delay >= 0 for each value, and two different ones")
    scale = float(value.max())
    if scale <= 0:
        raise ValueError("no strength is above 0: nothing was retained at any delay")
    rows = _Rows(of_unit, *np.unique(delay, return_inverse=True), value / scale)
    fold = _dealt_rows(of_unit, n_folds, np.random.default_rng(seed))
    together = replace(rows, of_unit=np.zeros_like(of_unit)).table(np.full(len(value), True))
    folds = [(rows.table(fold != f), rows.table(fold == f)) for f in range(n_folds)]
    everything = rows.table(np.full(len(value), True))
    split = _Split(np.unique(np.asarray(unit)), together, everything, folds, scale)
    return _compare(split, candidates, level, unit_name)


def decide(
    best: Form,
    margins: Mapping[Form, Estimate],
    held_out: Mapping[Form, Estimate],
    pooled_aicc: Mapping[Form, float],
    converged: float,
) -> tuple[Form | Literal["undecided"], str]:
    """The rule at the head of this file: the verdict and the reason for it."""
    n = min((margin.n for margin in margins.values()), default=0)
    if n < MIN_UNITS:
        return "undecided", f"{n} units: at least {MIN_UNITS} are needed"
    unclear = [form for form, margin in margins.items() if not margin.low > 0]
    if unclear:
        return "undecided", f"unit by unit, {best} is not clearly better than {', '.join(unclear)}"
    beaten = [form for form, gain in held_out.items() if gain.high < 0]
    if beaten:
        return "undecided", f"on held-out trials {', '.join(beaten)} predicts better than {best}"
    lowest = min(pooled_aicc, key=pooled_aicc.__getitem__)
    if not pooled_aicc[best] - pooled_aicc[lowest] <= POOLED_SLACK:
        return "undecided", f"units say {best}, the pooled curve says {lowest}"
    if not converged >= MIN_CONVERGED:
        return "undecided", f"only {converged:.0%} of the fits of {best} converged"
    return best, "units, held-out trials and the pooled curve agree"


def _compare(
    split: _Split, candidates: Sequence[Form], level: float, unit_name: str
) -> FormComparison:
    whole = {form: fit_rows(form, split.together) for form in candidates}
    single = {form: fit_rows(form, split.units) for form in candidates}
    results = {form: as_result(fit, split.together, split.scale) for form, fit in whole.items()}
    aicc = {form: _aicc(fit, split.units) for form, fit in single.items()}
    scores = {form: _held_out(fit, split) for form, fit in single.items()}

    totals = {form: float(each.sum()) for form, each in aicc.items()}
    best = min(totals, key=totals.__getitem__)
    rivals = [form for form in candidates if form != best]
    margins = {
        form: _mean(aicc[form] - aicc[best], unit_name, level, "AICc per unit") for form in rivals
    }
    gains = {
        form: _mean(scores[best] - scores[form], unit_name, level, "log likelihood per trial")
        for form in rivals
    }
    converged = {form: float(fit.converged.mean()) for form, fit in single.items()}
    pooled_aicc = {form: result.aicc for form, result in results.items()}
    agreed = converged[best] if results[best].converged else 0.0
    verdict, reason = decide(best, margins, gains, pooled_aicc, agreed)
    return FormComparison(
        verdict=verdict,
        reason=reason,
        best=best,
        unit_aicc=totals,
        unit_weights=_weights(totals),
        margins=margins,
        held_out=gains,
        pooled=results,
        pooled_weights=_weights(pooled_aicc),
        units=split.labels,
        unit_parameters={
            form: forms.rescaled(form, fit.values, split.scale) for form, fit in single.items()
        },
        converged=converged,
    )


def _aicc(fit: Fits, data: Data) -> np.ndarray:
    """AICc of every row, (fits,)."""
    curves = forms.retained(fit.form, fit.theta, data.delay)
    k = fit.theta.shape[1] + data.n_scales
    return corrected_aic(data.log_likelihood(curves), k, data.size())


def _held_out(fit: Fits, split: _Split) -> np.ndarray:
    """Log likelihood per held-out observation of each unit, (units,)."""
    total = np.zeros(len(fit.theta))
    for training, test in split.folds:
        refit = fit_rows(fit.form, training, start=fit.theta)
        curves = forms.retained(fit.form, refit.theta, test.delay)
        total += test.held_out(curves, training, fit.theta.shape[1])
    return total / split.units.size()


def _mean(values: np.ndarray, unit: str, level: float, what: str) -> Estimate:
    """Mean over units with its t interval; where a form has no AICc there is none."""
    method = f"difference of {what}, t interval over units"
    if not np.isfinite(values).all():
        note = "too few observations in a unit for this form: leave it out, or test more"
        return Estimate(np.nan, np.nan, np.nan, len(values), unit, method, level, note=note)
    mean = robust_mean(values)
    low, high = mean.t_interval(level) if mean.n_clusters > 1 else (np.nan, np.nan)
    return Estimate(mean.mean, low, high, mean.n_clusters, unit, method, level, dof=mean.t_dof)


def _weights(aicc: Mapping[Form, float]) -> dict[Form, float]:
    """Akaike weights (Burnham & Anderson 2002, section 2.9); of equals where none is finite."""
    values = np.array(list(aicc.values()))
    with np.errstate(invalid="ignore"):
        relative = np.exp(-(values - values.min()) / 2)
    relative = np.where(np.isnan(relative), 1.0, relative)
    return dict(zip(aicc, map(float, relative / relative.sum()), strict=True))


def _deal(
    table: Binomial, n_folds: int, rng: np.random.Generator
) -> list[tuple[Binomial, Binomial]]:
    """Training and test counts of each fold: trials of a cell dealt at random, nearly equally."""
    trials, successes = table.trials.astype(int), table.successes.astype(int)
    if np.any(trials != table.trials) or np.any(successes != table.successes):
        raise ValueError("successes and trials must be whole numbers")
    # the remainder of a cell goes to folds from a random one on, one each
    first = rng.integers(0, n_folds, trials.shape)
    folds = []
    left_trials, left_successes = trials.copy(), successes.copy()
    for fold in range(n_folds):
        size = trials // n_folds + ((fold - first) % n_folds < trials % n_folds)
        won = rng.hypergeometric(left_successes, left_trials - left_successes, size)
        left_trials, left_successes = left_trials - size, left_successes - won
        test = Binomial(table.delay, table.floor, won, size)
        training = Binomial(table.delay, table.floor, successes - won, trials - size)
        folds.append((training, test))
    return folds


def _dealt_rows(of_unit: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """A fold for each row, rows of a unit dealt at random and nearly equally."""
    order = np.lexsort([rng.random(len(of_unit)), of_unit])
    sizes = np.bincount(of_unit)
    place = np.arange(len(of_unit)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    fold = np.empty(len(of_unit), dtype=int)
    fold[order] = (place + np.repeat(rng.integers(0, n_folds, len(sizes)), sizes)) % n_folds
    return fold
