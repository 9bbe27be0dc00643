"""Foils and falsehoods: conditions always kept, synthetic only where needed, deterministic."""

from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from palimpsest.metrics.candidates import false_value, sample_foils

RATES = [f"{v / 10:.1f}" for v in range(34, 109)]  # 3.4 to 10.8


def draw(values=RATES, target="5.3", k=8, seed=0, min_distance=0.5, token_length=len):
    return sample_foils(values, target, k, np.random.default_rng(seed), min_distance, token_length)


def test_foils_are_values_of_the_series_of_the_same_form():
    foils = draw()
    assert len(foils.values) == len(set(foils.values)) == 7
    assert foils.n_synthetic == 0
    for foil in foils.values:
        assert foil in RATES
        assert len(foil) == 3
        assert abs(Decimal(foil) - Decimal("5.3")) >= Decimal("0.5")


def test_the_least_distance_is_exact_in_decimals():
    # 5.3 - 5.2 is less than 0.1 in doubles
    assert draw(["5.2", "5.4", "5.3"], k=3, min_distance=0.1).n_synthetic == 0


def test_tokens_and_decimals_of_the_target():
    values = [*RATES, "10.25", "6.00", "7.25"]
    foils = draw(values, k=20, token_length=lambda text: len(text.split(".")[0]))
    assert all(len(foil) == 3 for foil in foils.values)


def test_deterministic_whatever_the_order_of_the_values():
    assert draw() == draw([*reversed(RATES), *RATES])
    assert draw() != draw(seed=1)


def test_distinct_values_are_equally_likely():
    values = ["6.0"] * 50 + ["7.0", "8.0", "9.0"]
    counts = Counter(draw(values, k=2, seed=seed).values[0] for seed in range(1200))
    # three standard errors around 300
    assert all(abs(count - 300) < 3 * np.sqrt(1200 * 0.25 * 0.75) for count in counts.values())
    assert len(counts) == 4


def test_synthetic_foils_fill_up_and_are_flagged():
    values = ["5.3", "5.9", "7.1", "10.2"]
    foils = draw(values, k=6)
    assert foils.n_synthetic == 3
    assert set(foils.values[:2]) == {"5.9", "7.1"}
    for foil in foils.values[2:]:
        assert foil not in values
        assert Decimal("5.8") <= Decimal(foil) <= Decimal("9.9")


def test_large_grids_are_searched_by_draws():
    foils = draw(["1000.00", "99999.99"], "31415.93", k=100, min_distance=10)
    assert foils.values[0] == "99999.99"
    assert foils.n_synthetic == 98
    assert all(len(foil) == 8 for foil in foils.values)


def test_impossible_is_an_error():
    with pytest.raises(ValueError, match="only 2 of 7"):
        draw(["5.2", "5.3", "5.4"], min_distance=0.1)
    with pytest.raises(ValueError, match="only 0 of 1"):
        draw(["5.3"], k=2)
    with pytest.raises(ValueError, match="only 0 of 1"):
        draw(["60", "70"], "5", k=2, min_distance=5)


@pytest.mark.parametrize("text", ["1,234.5", "", "nan", "1e3", " 5.3", "+5.3"])
def test_values_are_plain_decimals(text):
    with pytest.raises(ValueError, match="plain decimal"):
        draw([text])
    with pytest.raises(ValueError, match="plain decimal"):
        draw(target=text)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="k must"):
        draw(k=1)
    with pytest.raises(ValueError, match="k must"):
        draw(min_distance=-1.0)


@settings(max_examples=60)
@given(
    st.lists(st.integers(-2000, 2000), min_size=2, max_size=30),
    st.integers(0, 2),
    st.integers(2, 6),
    st.integers(0, 30),
    st.integers(0, 2**32 - 1),
)
def test_conditions_always_hold(steps, decimals, k, distance, seed):
    values = [f"{Decimal(step).scaleb(-decimals):f}" for step in steps]
    target, distance = values[0], distance / 10
    try:
        foils = draw(values, target, k, seed, distance)
    except ValueError:
        reject()
    numbers = [Decimal(foil) for foil in foils.values]
    assert len(set(numbers)) == k - 1
    assert all(len(foil) == len(target) for foil in foils.values)
    assert all(abs(n - Decimal(target)) >= Decimal(repr(distance)) for n in numbers)
    assert Decimal(target) not in numbers
    assert min(map(Decimal, values)) <= min(numbers) <= max(numbers) <= max(map(Decimal, values))
    n_real = k - 1 - foils.n_synthetic
    assert set(foils.values[:n_real]) <= set(values)
    assert not set(numbers[n_real:]) & set(map(Decimal, values))


@pytest.mark.parametrize("seed", range(20))
def test_a_false_value_is_at_least_a_standard_deviation_away(seed):
    sd = float(np.std([float(v) for v in RATES]))
    false = false_value(RATES, "5.3", sd, np.random.default_rng(seed), len)
    assert not false.synthetic
    assert false.value in RATES
    assert abs(float(false.value) - 5.3) >= sd
    assert len(false.value) == 3


def test_a_false_value_can_be_synthetic():
    false = false_value(["5.3", "5.4", "9.9"], "9.9", 2.0, np.random.default_rng(0), len)
    assert not false.synthetic
    false = false_value(["5.3", "5.4", "12.0"], "5.3", 2.0, np.random.default_rng(0), len)
    assert false.synthetic
    assert 7.3 <= float(false.value) <= 9.9


def test_a_quantile_distance_stands_in_for_the_standard_deviation():
    # A trend: all values lie far apart, so that 1 sd = 0.001 would allow every one of them.
    values = [str(v) for v in range(100, 200)]
    for seed in range(20):
        generator = np.random.default_rng(seed)
        false = false_value(values, "120", 0.001, generator, len, quantile_distance=0.25)
        assert int(false.value) >= 145
    with pytest.raises(ValueError, match="quantile_distance"):
        false_value(values, "120", 1.0, np.random.default_rng(0), len, quantile_distance=2)
