"""Two phases of forgetting: hand-made slopes, the level under each null, curves that do bend."""

import numpy as np
import pytest

from palimpsest.statistics.phases import two_phase
from tests.calibration import keeps_size, studies

DELAY = np.array([0, 1, 2, 5, 10, 20, 50, 100.0])


def rows(curves):
    n = len(curves)
    return np.repeat(np.arange(n), len(DELAY)), np.tile(DELAY, n), np.ravel(curves)


def noise(rng, n):
    """Noise of a unit: level, a common drift of neighbours, and its own of every test."""
    walk = np.cumsum(rng.normal(0, 0.02, (n, len(DELAY))), axis=1)
    return rng.normal(0, 0.1, (n, 1)) + walk + rng.normal(0, 0.03, (n, len(DELAY)))


def test_slopes_by_hand():
    kinked = np.where(DELAY <= 10, 1 - 0.05 * DELAY, 0.5 - 0.001 * (DELAY - 10))
    steeper = np.where(DELAY <= 10, 1 - 0.03 * DELAY, 0.7 - 0.001 * (DELAY - 10))
    result = two_phase(*rows([kinked, steeper]), one_phase="line")
    assert result.estimate == pytest.approx((0.049 + 0.029) / 2)
    assert result.n == 2
    assert "slope -0.04 before, -0.001 after" in result.note


def test_slopes_equal_a_polynomial_fit():
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 1, (6, len(DELAY)))
    x = np.log1p(DELAY)
    differences = [np.polyfit(x[4:], v[4:], 1)[0] - np.polyfit(x[:5], v[:5], 1)[0] for v in values]
    result = two_phase(*rows(values))
    assert result.estimate == pytest.approx(np.mean(differences))
    half = 2.5705818 * np.std(differences, ddof=1) / np.sqrt(6)
    assert result.high - result.estimate == pytest.approx(half)


@pytest.mark.parametrize("one_phase", ["logarithm", "line", "exponential"])
def test_level_under_the_stated_null(one_phase):
    rng = np.random.default_rng(2)
    fired, n = 0, studies(1500)
    for _ in range(n):
        rate = rng.gamma(4, 0.25, (12, 1))
        if one_phase == "logarithm":
            curves = 1 - 0.15 * rate * np.log1p(DELAY) + noise(rng, 12)
        elif one_phase == "line":
            curves = 1 - 0.004 * rate * DELAY + noise(rng, 12)
        else:
            curves = np.exp(-0.02 * rate * DELAY + noise(rng, 12))
        fired += two_phase(*rows(curves), one_phase=one_phase).p < 0.05
    assert fired / n >= 0.03
    assert keeps_size(f"two_phase: 12 units, one {one_phase}", fired, n)


def test_a_bend_is_found_and_one_rate_is_not_one():
    rng = np.random.default_rng(3)
    power = (1 + DELAY) ** -0.6 + 0.1 * noise(rng, 20)
    found = two_phase(*rows(power))
    assert found.low > 0
    one_rate = np.exp(-0.05 * DELAY) * np.exp(noise(rng, 20))
    # convex per update, straight once its logarithm is taken
    assert two_phase(*rows(one_rate), one_phase="line").low > 0
    assert two_phase(*rows(one_rate), one_phase="exponential").p > 0.05


def test_clusters_of_units_widen_the_interval_and_must_hold_whole_units():
    rng = np.random.default_rng(4)
    shared = np.repeat(rng.normal(0, 0.05, 6), 10)[:, None]
    curves = 1 - 0.1 * np.log1p(DELAY) + shared * (DELAY > 10) + rng.normal(0, 0.01, (60, 8))
    unit, delay, value = rows(curves)
    alone, together = (two_phase(unit, delay, value, clusters=c) for c in (None, unit // 10))
    assert together.n == 6
    assert together.high - together.low > 2 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="two clusters"):
        two_phase(unit, delay, value, clusters=np.arange(len(unit)))


def test_what_cannot_be_tested():
    unit, delay, value = rows([1 - DELAY / 200, 1 - DELAY / 300])
    short = (unit == 0) | (delay <= 10)
    assert "1 units left out" in two_phase(unit[short], delay[short], value[short]).note
    with pytest.raises(ValueError, match="no unit"):
        two_phase(unit, delay, value, breakpoint=100)
    with pytest.raises(ValueError, match="positive"):
        two_phase(unit, delay, value - 1, one_phase="exponential")
