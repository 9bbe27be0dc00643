"""Forgetting curves: known optima, an independent optimiser, coverage by simulation."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom

from palimpsest.statistics import retention, retention_forms
from palimpsest.statistics.retention_fit import Binomial, fit_rows
from tests.calibration import covers, studies

DELAY = np.array([0, 1, 2, 5, 10, 20, 50, 100.0])
TRUTH = {
    "power": {"a": 0.9, "b": 0.4},
    "exponential": {"a": 0.9, "b": 0.05},
    "logarithmic": {"a": 0.9, "b": 0.15},
    "permastore": {"a": 0.9, "b": 0.8, "c": 0.3},
    "constant": {"a": 0.7},
}


def by_formula(form, t, a, b=0.0, c=0.0):
    return {
        "power": a * (1 + t) ** -b,
        "exponential": a * np.exp(-b * t),
        "logarithmic": np.maximum(a - b * np.log(1 + t), 0),
        "permastore": c + (a - c) * (1 + t) ** -b,
        "constant": a + 0 * t,
    }[form]


@pytest.mark.parametrize("form", retention_forms.FORMS)
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_a_curve_without_noise_is_recovered(form, floor):
    truth = TRUTH[form]
    p = floor + (1 - floor) * by_formula(form, DELAY, **truth)
    fit = retention.fit(DELAY, np.round(p * 10**9), np.full(8, 10**9), form, floor)
    assert fit.converged
    assert fit.parameters == pytest.approx(truth, rel=2e-3)
    assert fit.predict(DELAY) == pytest.approx(by_formula(form, DELAY, **truth), abs=1e-4)
    later = fit.predict([[7.0], [300.0]])
    assert later.shape == (2, 1)
    assert later.ravel() == pytest.approx(
        by_formula(form, np.array([7.0, 300.0]), **truth), abs=2e-3
    )


@pytest.mark.parametrize("form", retention_forms.FORMS)
def test_derivatives_equal_differences(form):
    rng = np.random.default_rng(0)
    low, high = retention_forms.bounds(form, DELAY)
    theta = rng.uniform(0.3 * low + 0.05, 0.6 * high, (5, len(low)))
    first, second = retention_forms.derivatives(form, theta, DELAY)
    for k, step in enumerate(1e-5 * np.eye(len(low))):
        up, down = theta + step, theta - step
        slope = (
            retention_forms.retained(form, up, DELAY) - retention_forms.retained(form, down, DELAY)
        ) / 2e-5
        bend = (
            retention_forms.derivatives(form, up, DELAY)[0]
            - retention_forms.derivatives(form, down, DELAY)[0]
        ) / 2e-5
        assert first[..., k] == pytest.approx(slope, abs=1e-6)
        assert second[..., k] == pytest.approx(bend, abs=1e-5)


@pytest.mark.parametrize("form", ["power", "exponential", "logarithmic", "permastore"])
@pytest.mark.parametrize(("floor", "trials"), [(0.0, 40), (0.5, 40), (0.0, 2000)])
def test_no_other_optimiser_finds_a_higher_likelihood(form, floor, trials):
    rng = np.random.default_rng(1)
    curves = [by_formula("power", DELAY, 0.95, b) for b in (0.1, 0.4, 0.9)]
    curves += [by_formula("exponential", DELAY, 0.8, 0.1), np.full(8, 0.6)]
    successes = rng.binomial(trials, floor + (1 - floor) * np.array(curves))
    data = Binomial(DELAY, np.full(8, floor), successes, np.full((5, 8), trials))
    ours = fit_rows(form, data)
    assert ours.converged.all()
    low, high = retention_forms.bounds(form, DELAY)
    for row in range(5):

        def loss(theta, row=row):
            r = retention_forms.retained(form, np.clip(theta, low, high)[None], DELAY)[0]
            p = 1e-6 + (1 - 2e-6) * (floor + (1 - floor) * r)
            return -np.sum(successes[row] * np.log(p) + (trials - successes[row]) * np.log(1 - p))

        starts = retention_forms.starts(form, DELAY)
        losses = [loss(start) for start in starts]
        nearby = [ours.theta[row], *starts[np.argsort(losses)[:3]]]
        best = min(minimize(loss, start, method="Nelder-Mead").fun for start in nearby)
        assert ours.loss[row] <= best + 1e-4


def test_likelihood_is_binomial_up_to_its_coefficient():
    successes, trials = np.array([19, 14, 9, 5.0]), np.full(4, 20.0)
    delay = DELAY[:4]
    fit = retention.fit(delay, successes, trials, "power")
    whole = binom.logpmf(successes, trials, fit.predict(delay)).sum()
    coefficient = (binom.logpmf(successes, trials, 0.5) - trials * np.log(0.5)).sum()
    assert fit.log_likelihood == pytest.approx(whole - coefficient, abs=1e-4)
    assert (fit.k, fit.n) == (2, 80)
    assert fit.aic == pytest.approx(4 - 2 * fit.log_likelihood)
    assert fit.aicc == pytest.approx(fit.aic + 12 / 77)
    assert retention.corrected_aic(0.0, 3, 4) == np.inf


def test_the_constant_is_the_share_and_more_trials_count_more():
    fit = retention.fit([0, 10], [90, 1], [100, 10], "constant")
    assert fit.parameters["a"] == pytest.approx(91 / 110, abs=1e-5)
    guessed = retention.fit([0, 10], [90, 80], [100, 100], "constant", floor=0.5)
    assert guessed.parameters["a"] == pytest.approx(0.7, abs=1e-5)


def test_floors_may_differ_between_rows():
    p = np.concatenate([by_formula("power", DELAY, 0.9, 0.3)] * 2)
    floor = np.repeat([0.0, 0.5], 8)
    successes = np.round(10**8 * (floor + (1 - floor) * p))
    fit = retention.fit(np.tile(DELAY, 2), successes, np.full(16, 10**8), "power", floor)
    assert fit.parameters == pytest.approx({"a": 0.9, "b": 0.3}, rel=1e-3)


@pytest.mark.parametrize("form", ["power", "exponential", "logarithmic", "permastore"])
def test_half_of_r_is_left_at_the_half_life(form):
    values = np.array([list(TRUTH[form].values())])
    half = retention_forms.half_life(form, values)
    start, left = (retention_forms.curve(form, values, np.array([t]))[0] for t in (0.0, half[0]))
    assert left == pytest.approx(start / 2, rel=1e-9)


def test_half_life_is_infinite_where_memory_stays():
    kept = np.array([[0.9, 0.8, 0.46]])
    assert retention_forms.half_life("permastore", kept)[0] == np.inf
    assert retention_forms.half_life("constant", np.array([[0.5]]))[0] == np.inf
    fit = retention.fit(DELAY, np.full(8, 30), np.full(8, 40), "exponential")
    assert fit.half_life == np.inf
    assert fit.parameters["b"] == 0
    gone = retention.fit(DELAY, np.zeros(8), np.full(8, 40), "constant")
    assert gone.predict(0.0) == pytest.approx(0, abs=1e-5)


def test_data_without_information_still_gives_a_fit():
    nothing = retention.fit(DELAY, np.zeros(8), np.full(8, 5), "permastore", 0.5)
    assert np.isfinite(nothing.log_likelihood)
    assert retention.fit(DELAY, np.full(8, 5), np.full(8, 5), "power").converged


def test_impossible_rows_raise():
    with pytest.raises(ValueError, match="0 <= successes"):
        retention.fit([0, 1], [3, 1], [2, 2], "power")
    with pytest.raises(ValueError, match="two different delays"):
        retention.fit([1, 1], [1, 1], [2, 2], "power")
    with pytest.raises(ValueError, match="floor"):
        retention.fit([0, 1], [1, 1], [2, 2], "power", floor=1.0)
    with pytest.raises(ValueError, match="finite"):
        retention.fit([0, 1], [np.nan, 1], [2, 2], "power")
    with pytest.raises(ValueError, match="without trials"):
        retention.fit_with_intervals([0, 0, 1], [0, 1, 1], [1, 1, 0], [2, 2, 0], "power")


def study(rng, n_units, trials=20, b=0.4):
    """Units of unequal level and one exponent: their average is a power with that exponent."""
    levels = rng.uniform(0.6, 1.0, n_units)
    p = levels[:, None] * (1 + DELAY) ** -b
    n = np.full((n_units, 8), trials)
    units = np.repeat(np.arange(n_units), 8)
    return units, np.tile(DELAY, n_units), rng.binomial(n, p).ravel(), n.ravel()


def test_bootstrap_interval_of_the_exponent_covers():
    rng = np.random.default_rng(3)
    covered = {"a": 0, "b": 0, "half_life": 0}
    truth = {"a": 0.8, "b": 0.4, "half_life": 2**2.5 - 1}
    band = {3.0: 0, 30.0: 0}
    n_studies = studies(400)
    for _ in range(n_studies):
        fit = retention.fit_with_intervals(*study(rng, 12), "power", n_replicates=199, at=[3, 30])
        for name, hits in covered.items():
            covered[name] = hits + (
                fit.intervals[name].low <= truth[name] <= fit.intervals[name].high
            )
        for delay, r in zip(band, fit.band, strict=True):
            assert r.estimate == pytest.approx(float(fit.predict(delay)))
            band[delay] += r.low <= 0.8 * (1 + delay) ** -0.4 <= r.high
    for name, hits in (covered | band).items():
        name = name if isinstance(name, str) else f"R({name:g})"
        assert covers(f"fit_with_intervals: power, 12 units, {name}", hits, n_studies)


OTHERS = {
    "exponential": {"a": 0.8, "b": 0.05},
    "logarithmic": {"a": 0.8, "b": 0.12},
    "permastore": {"a": 0.8, "b": 0.8, "c": 0.3},
    "constant": {"a": 0.7},
}


@pytest.mark.parametrize("form", OTHERS)
def test_bootstrap_intervals_of_other_forms_cover(form):
    """Units of unequal level: their average has the form, with the parameters of the mean unit."""
    rng, n_studies, truth = np.random.default_rng(6), studies(40), OTHERS[form]
    values = np.array([list(truth.values())])
    if form != "constant":
        truth = truth | {"half_life": float(retention_forms.half_life(form, values)[0])}
    r = retention_forms.curve(form, values, DELAY)[0]
    unit, at = np.repeat(np.arange(12), 8), np.tile(DELAY, 12)
    covered = dict.fromkeys([*truth, "R(30)"], 0)
    for _ in range(n_studies):
        p = np.clip(rng.uniform(0.75, 1.25, (12, 1)) * r, 0, 1)
        won = rng.binomial(40, p).ravel()
        fit = retention.fit_with_intervals(
            unit, at, won, np.full(96, 40), form, n_replicates=199, at=[30]
        )
        for name, true in truth.items():
            covered[name] += fit.intervals[name].low <= true <= fit.intervals[name].high
        later = retention_forms.curve(form, values, np.array([30.0]))[0, 0]
        covered["R(30)"] += fit.band[0].low <= later <= fit.band[0].high
    for name, hits in covered.items():
        assert covers(f"fit_with_intervals: {form}, 12 units, {name}", hits, n_studies)


def test_units_are_what_is_drawn():
    rng = np.random.default_rng(4)
    unit, delay, successes, trials = study(rng, 16)
    fit = retention.fit_with_intervals(unit, delay, successes, trials, "permastore")
    assert set(fit.intervals) == {"a", "b", "c", "half_life"}
    assert fit.intervals["b"].n == 16
    assert fit.intervals["b"].estimate == fit.parameters["b"]
    # the same trials as so many units more pretend to less variation between them
    order = rng.permutation(len(unit))
    shuffled = retention.fit_with_intervals(
        unit[order], delay[order], successes[order], trials[order], "permastore"
    )
    for name in fit.intervals:
        assert shuffled.intervals[name].low == pytest.approx(fit.intervals[name].low)
    alike = np.repeat(np.arange(4), 32)
    few = retention.fit_with_intervals(alike, delay, successes, trials, "power")
    assert "4 units" in few.intervals["a"].note
    one = retention.fit_with_intervals(np.zeros(len(unit)), delay, successes, trials, "power")
    assert np.isnan(one.intervals["b"].low)


def test_a_fit_that_did_not_converge_says_so(monkeypatch):
    monkeypatch.setattr("palimpsest.statistics.retention_fit.MAX_STEPS", 1)
    rows = study(np.random.default_rng(5), 10)
    fit = retention.fit_with_intervals(*rows, "permastore")
    assert not fit.converged
    assert "did not converge" in fit.intervals["b"].note
    assert np.isnan(fit.intervals["b"].low)
