"""Quantities of environments by hand, and matched environments that really match."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.interventions.continual._environments import Environment, by_lag, counts, total
from palimpsest.interventions.continual._matching import (
    QUANTITIES,
    matched,
    mean_lag,
    mean_total,
    oldest_share,
)

UNIFORM, RECENT = Environment(kind="uniform"), Environment(kind="recent_only")
PUBLISHED = Environment(kind="power", shift=10, exponent=5.6, budget=None)
EXPONENTIAL = Environment(kind="exponential", scale=1.0)
STEEPNESSES = st.one_of(
    st.tuples(st.floats(0, 6), st.sampled_from([0, 1, 10])).map(
        lambda x: Environment(kind="power", exponent=x[0], shift=x[1])
    ),
    st.floats(0.2, 50).map(lambda x: Environment(kind="exponential", scale=x)),
    st.sampled_from([UNIFORM, RECENT]),
)
FAMILIES = [
    Environment(kind="power"),
    Environment(kind="power", shift=10),
    Environment(kind="exponential"),
]


@pytest.mark.parametrize("tasks", [2, 3, 10, 37])
def test_quantities_by_hand(tasks):
    assert mean_lag(UNIFORM, tasks) == pytest.approx((tasks + 2) / 4)
    assert mean_lag(RECENT, tasks) == 1
    harmonic = sum(1 / phase for phase in range(1, tasks))
    assert oldest_share(UNIFORM, tasks) == pytest.approx(harmonic / (tasks - 1))
    assert oldest_share(RECENT, tasks) == pytest.approx(1 / (tasks - 1))
    assert mean_total(UNIFORM, tasks) == 1
    assert mean_total(Environment(kind="everything", budget=0.5), tasks) == pytest.approx(tasks / 4)
    assert mean_total(Environment(kind="none"), tasks) == 0


def test_quantities_equal_what_is_counted():
    tasks, new = 10, 10**7
    lags, shares, totals = [], [], []
    for task in range(1, tasks):
        phase = counts(PUBLISHED, task, new)
        lags.append(phase @ np.arange(task, 0, -1) / phase.sum())
        shares.append(phase[0] / phase.sum())
        totals.append(total(PUBLISHED, task, new) / new)
    assert mean_lag(PUBLISHED, tasks) == pytest.approx(np.mean(lags), abs=1e-5)
    assert oldest_share(PUBLISHED, tasks) == pytest.approx(np.mean(shares), abs=1e-5)
    assert mean_total(PUBLISHED, tasks) == pytest.approx(np.mean(totals), abs=1e-5)


@given(STEEPNESSES, st.sampled_from(FAMILIES), st.integers(2, 30))
def test_matched_environments_match(to, family, tasks):
    for match in ("mean_lag", "oldest_share"):
        found = matched(family, to, tasks, match)
        assert abs(QUANTITIES[match](found, tasks) - QUANTITIES[match](to, tasks)) <= 1e-9
        assert (found.kind, found.shift, found.budget) == (family.kind, family.shift, family.budget)


def test_a_law_is_found_again():
    for law in (Environment(kind="power", exponent=1.7, shift=3), EXPONENTIAL):
        start = Environment(**law.model_dump() | {"exponent": 0.3, "scale": 9.0})
        for match in ("mean_lag", "oldest_share"):
            found = matched(start, law, 12, match)
            assert by_lag(found, 11) == pytest.approx(by_lag(law, 11), abs=1e-9)


def test_totals_are_matched_by_the_budget():
    for environment in (UNIFORM, Environment(kind="everything"), PUBLISHED, EXPONENTIAL):
        for to in (PUBLISHED, Environment(kind="everything", budget=0.3), UNIFORM):
            found = matched(environment, to, 10, "total")
            assert abs(mean_total(found, 10) - mean_total(to, 10)) <= 1e-9
            assert np.array_equal(by_lag(found, 7), by_lag(environment, 7))
    assert matched(UNIFORM, Environment(kind="none"), 10, "total").budget == 0


def test_equal_mean_lags_are_not_equal_odds_of_the_oldest():
    """The reason for three quantities: in the end a power gives the oldest more."""
    power = Environment(kind="power", exponent=2.0)
    found = matched(EXPONENTIAL, power, 10, "mean_lag")
    assert by_lag(found, 9)[0] < 0.1 * by_lag(power, 9)[0]
    assert abs(oldest_share(found, 10) - oldest_share(power, 10)) > 1e-3
    # Early phases, in which the oldest task is recent, go the other way.
    assert by_lag(found, 2)[0] > by_lag(power, 2)[0]


def test_what_cannot_match_says_what_it_attains():
    tasks = 10
    older = Environment(kind="power", exponent=5.6, shift=10)
    with pytest.raises(ValueError, match=r"uniform attains mean_lag 3 alone"):
        matched(UNIFORM, older, tasks, "mean_lag")
    with pytest.raises(ValueError, match=r"recent_only attains oldest_share 0.111111 alone"):
        matched(RECENT, older, tasks, "oldest_share")
    with pytest.raises(ValueError, match="none attains total 0 alone"):
        matched(Environment(kind="none"), older, tasks, "total")
    with pytest.raises(ValueError, match="nothing returns has no mean_lag"):
        matched(EXPONENTIAL, Environment(kind="none"), tasks, "mean_lag")
    with pytest.raises(ValueError, match="nothing returns has no oldest_share"):
        matched(Environment(kind="power", budget=0), older, tasks, "oldest_share")
    by_recency = Environment(kind="power", clock="recency", visits=1)
    with pytest.raises(ValueError, match="draw a history"):
        matched(EXPONENTIAL, by_recency, tasks, "mean_lag")
    with pytest.raises(ValueError, match="fewer than two tasks"):
        mean_total(UNIFORM, 1)


def test_a_law_that_matches_already_is_left_alone():
    assert matched(UNIFORM, Environment(kind="power", exponent=0), 8, "mean_lag") is UNIFORM
    any_law = matched(EXPONENTIAL, UNIFORM, 2, "mean_lag")  # one past task: all laws are equal
    assert any_law == EXPONENTIAL
