"""Which form? Power laws are found, and averaged exponentials are never taken for one."""

from collections import Counter

import numpy as np
import pytest

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.retention import binomial_table, corrected_aic
from palimpsest.statistics.retention_compare import _deal, compare_forms, decide, fit_strength
from palimpsest.statistics.retention_forms import curve
from tests.calibration import covers, studies

DELAY = np.array([0, 1, 2, 5, 10, 20, 50, 100.0])
CLOSE = ("power", "exponential", "logarithmic")


def rows(successes, trials):
    units, delays = np.indices(successes.shape)
    return units.ravel(), DELAY[delays.ravel()], successes.ravel(), np.full(successes.size, trials)


def rates(rng, n_units, spread):
    return np.exp(rng.normal(np.log(0.1), spread, n_units))


def counts(rng, form, trials, a, *others):
    values = np.column_stack([a, *(np.broadcast_to(x, a.shape) for x in others)])
    return rows(rng.binomial(trials, curve(form, values, DELAY)), trials)


def verdicts(n_studies, data, **settings):
    rng = np.random.default_rng(6)
    return [compare_forms(*data(rng), n_folds=2, **settings) for _ in range(n_studies)]


def test_exponentials_of_many_rates_are_not_called_a_power_law():
    """Rates over a factor of 10 each way: the average does look like a power law, or a logarithm.

    0 of 160 puts the share of false power laws below 2.3% (Clopper-Pearson, 95%).
    """
    n = studies(160)
    found = verdicts(
        n,
        lambda rng: counts(rng, "exponential", 40, rng.uniform(0.85, 1, 12), rates(rng, 12, 1.2)),
        candidates=CLOSE,
    )
    assert Counter(result.verdict for result in found).keys() <= {"undecided", "exponential"}
    assert all(result.best == "exponential" for result in found)
    # and the pooled curve alone would have been wrong
    pooled = [max(r.pooled_weights, key=r.pooled_weights.get) for r in found]
    assert np.mean([form != "exponential" for form in pooled]) > 0.6
    assert any("the pooled curve says power" in result.reason for result in found)


def test_margins_and_held_out_gains_cover_their_mean():
    """Power laws with 15 units of 20 trials; what all studies give on average is the truth."""
    n, rng = studies(40), np.random.default_rng(15)
    found = [
        compare_forms(
            *counts(rng, "power", 20, rng.uniform(0.7, 1, 15), 0.4),
            candidates=("power", "exponential"),
        )
        for _ in range(n)
    ]  # fmt: skip
    assert all(result.best == "power" for result in found)
    for name in ("margins", "held_out"):
        each = [getattr(result, name)["exponential"] for result in found]
        truth = np.mean([one.estimate for one in each])
        hits = sum(one.low <= truth <= one.high for one in each)
        assert covers(f"compare_forms, {name}: power against exponential, 15 units", hits, n)


def test_nor_where_single_units_say_little():
    found = verdicts(
        15,
        lambda rng: counts(rng, "exponential", 3, rng.uniform(0.85, 1, 60), rates(rng, 60, 1.0)),
        candidates=CLOSE,
    )
    assert not any(result.verdict == "power" for result in found)


def test_what_differs_inside_units_cannot_be_seen():
    """The limit that the file names: a list of unlike items is one unit and gets a wrong form."""
    rng = np.random.default_rng(7)
    items = np.exp(-np.exp(rng.normal(np.log(0.1), 1.5, (12, 400, 1))) * DELAY)
    result = compare_forms(*rows(rng.binomial(1, items).sum(axis=1), 400), n_folds=2)
    assert result.verdict != "exponential"
    assert result.best != "exponential"


def test_power_laws_are_recovered():
    """20 units of 40 trials at each of 8 delays, every form a candidate: at least 90% of 40."""
    found = verdicts(40, lambda rng: counts(rng, "power", 40, rng.uniform(0.85, 1, 20), 0.4))
    assert np.mean([result.verdict == "power" for result in found]) >= 0.9


@pytest.mark.parametrize(
    ("form", "others"),
    [
        ("exponential", (0.05,)),
        ("logarithmic", (0.15,)),
        ("permastore", (0.8, 0.4)),
        ("constant", ()),
    ],
)
def test_other_forms_are_recovered(form, others):
    found = verdicts(10, lambda rng: counts(rng, form, 40, rng.uniform(0.8, 0.95, 20), *others))
    assert sum(result.verdict == form for result in found) >= 8
    assert not any(result.verdict not in (form, "undecided") for result in found)


def test_evidence_is_laid_open_and_adds_up():
    rng = np.random.default_rng(8)
    result = compare_forms(*counts(rng, "power", 40, rng.uniform(0.85, 1, 9), 0.4))
    assert sum(result.unit_weights.values()) == pytest.approx(1)
    assert sum(result.pooled_weights.values()) == pytest.approx(1)
    rival = "exponential"
    assert result.margins[rival].estimate * 9 == pytest.approx(
        result.unit_aicc[rival] - result.unit_aicc[result.best]
    )
    ratio = np.exp(-(result.pooled[rival].aicc - result.pooled["power"].aicc) / 2)
    assert result.pooled_weights[rival] == pytest.approx(ratio * result.pooled_weights["power"])
    assert result.unit_parameters["permastore"].shape == (9, 3)
    assert result.margins[rival].n == 9
    assert result.held_out[rival].low > 0


def test_held_out_trials_are_each_trial_once():
    rng = np.random.default_rng(9)
    unit, delay, successes, trials = counts(rng, "power", 7, np.full(5, 0.9), 0.4)
    table, _ = binomial_table(unit, delay, successes, trials)
    folds = _deal(table, 3, rng)
    for part in ("successes", "trials"):
        whole = getattr(table, part)
        assert np.array_equal(sum(getattr(test, part) for _, test in folds), whole)
        for training, test in folds:
            assert np.array_equal(getattr(training, part) + getattr(test, part), whole)
    sizes = np.stack([test.trials for _, test in folds])
    assert sizes.min() == 2
    assert sizes.max() == 3


def test_held_out_likelihood_sees_what_was_not_fitted():
    """A permastore fitted to what is constant has the higher likelihood, and predicts worse."""
    rng = np.random.default_rng(10)
    data = counts(rng, "constant", 6, np.full(60, 0.5))
    result = compare_forms(*data, n_folds=2, candidates=("constant", "permastore"))
    inside = result.unit_aicc["permastore"] - result.unit_aicc["constant"]
    penalty = 60 * (corrected_aic(0, 3, 48) - corrected_aic(0, 1, 48))
    assert inside < penalty - 20  # the fit to what was seen is better
    assert result.best == "constant"
    assert result.held_out["permastore"].low > 0


def interval(low, high, n=20):
    return Estimate((low + high) / 2, low, high, n, "units", "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"margins": {"power": interval(-0.1, 2)}}, "not clearly better than power"),
        ({"margins": {"power": interval(np.nan, np.nan)}}, "not clearly better than power"),
        ({"held_out": {"power": interval(-2, -0.1)}}, "power predicts better"),
        ({"pooled_aicc": {"exponential": 12.1, "power": 10.0}}, "pooled curve says power"),
        ({"converged": 0.5}, "50% of the fits"),
        ({"margins": {"power": interval(1, 2, n=4)}}, "4 units"),
    ],
)
def test_every_condition_of_the_rule_can_forbid_a_verdict(change, reason):
    clear = {
        "best": "exponential",
        "margins": {"power": interval(1, 2)},
        "held_out": {"power": interval(-0.1, 1)},
        "pooled_aicc": {"exponential": 11.9, "power": 10.0},
        "converged": 1.0,
    }
    assert decide(**clear)[0] == "exponential"
    verdict, why = decide(**(clear | change))
    assert verdict == "undecided"
    assert reason in why


def strengths(rng, form, noise, n_units, a, *others):
    values = np.column_stack([a, *(np.broadcast_to(x, a.shape) for x in others)])
    y = curve(form, values, DELAY) + rng.normal(0, noise, (n_units, 8))
    return np.repeat(np.arange(n_units), 8), np.tile(DELAY, n_units), 3 * y.ravel()


def test_strength_is_decided_by_the_same_rule():
    rng = np.random.default_rng(11)
    power = [
        fit_strength(*strengths(rng, "power", 0.03, 20, rng.uniform(0.5, 1, 20), 0.4))
        for _ in range(10)
    ]
    assert sum(result.verdict == "power" for result in power) >= 9
    mixed = [
        fit_strength(
            *strengths(rng, "exponential", 0.03, 20, np.ones(20), rates(rng, 20, 1.2)),
            candidates=CLOSE,
        )
        for _ in range(20)
    ]
    assert not any(result.verdict == "power" for result in mixed)


def test_strength_has_units_of_its_own():
    rng = np.random.default_rng(12)
    unit, delay, value = strengths(rng, "power", 1e-3, 6, np.full(6, 0.8), 0.4)
    result = fit_strength(unit, delay, value)
    fit = result.pooled["power"]
    assert fit.parameters == pytest.approx({"a": 2.4, "b": 0.4}, rel=0.01)
    assert fit.predict(DELAY) == pytest.approx(2.4 * (1 + DELAY) ** -0.4, rel=0.01)
    # Gaussian likelihood by hand, the variance counted as a parameter
    residual = value - fit.predict(delay)
    n, variance = len(value), np.mean(residual**2)
    assert fit.log_likelihood == pytest.approx(-n / 2 * (np.log(2 * np.pi * variance) + 1))
    assert fit.k == 3
    larger = fit_strength(unit, delay, 10 * value)
    assert larger.margins["exponential"].estimate == pytest.approx(
        result.margins["exponential"].estimate, rel=1e-3
    )
    assert larger.unit_parameters["logarithmic"] == pytest.approx(
        10 * result.unit_parameters["logarithmic"], rel=1e-3
    )


def test_strength_that_cannot_be_compared():
    unit, delay = np.repeat(np.arange(6), 4), np.tile(DELAY[:4], 6)
    value = np.random.default_rng(13).uniform(0.1, 1, 24)
    result = fit_strength(unit, delay, value, n_folds=2)
    assert result.verdict == "undecided"
    assert "too few observations" in result.margins["permastore"].note
    with pytest.raises(ValueError, match="no strength"):
        fit_strength(unit, delay, -value)
