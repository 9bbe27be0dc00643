"""Environments at their limits, against the published table, and what they draw against the law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from palimpsest.interventions.continual._environments import (
    Environment,
    by_lag,
    counts,
    draw,
    history,
    need_odds,
    odds,
    total,
    weights,
)

#: Rehearsed examples by lag, as published with arXiv 2401.10393's predecessor.
TABLE = [57927, 33969, 20867, 13329, 8802, 5981, 4167, 2968, 2155, 1592]
PUBLISHED = Environment(kind="power", shift=10, exponent=5.6, budget=None)
UNIFORM, RECENT = Environment(kind="uniform"), Environment(kind="recent_only")
PURE = [Environment(kind="power", exponent=b) for b in (0.5, 1.0, 2.0)]
LAWS = [
    UNIFORM,
    RECENT,
    *PURE,
    Environment(kind="power", shift=10, exponent=5.6),
    Environment(kind="exponential", scale=2.0),
    Environment(kind="everything"),
    PUBLISHED,
    Environment(kind="exponential", budget=None),
    Environment(kind="none"),
]
ANY = st.tuples(st.sampled_from(LAWS), st.floats(0, 3), st.sampled_from([None, 1, 2, 7])).map(
    lambda parts: Environment(
        **parts[0].model_dump()
        | {"visits": parts[2]}
        | ({} if parts[0].budget is None else {"budget": parts[1]})
    )
)
TASKS = np.arange(1, 25)


def test_the_published_table():
    assert np.abs(TABLE[0] * weights(PUBLISHED, np.arange(10)) - TABLE).max() <= 1
    phase = counts(PUBLISHED, 9, TABLE[0])
    assert np.abs(phase - TABLE[:0:-1]).max() <= 1
    assert total(PUBLISHED, 9, TABLE[0]) / TABLE[0] == pytest.approx(1.62, abs=0.005)
    # With a budget, the same odds are scaled to it.
    scaled = Environment(kind="power", shift=10, exponent=5.6, budget=0.5)
    assert total(scaled, 9, 2000) == 1000
    assert by_lag(scaled, 9) == pytest.approx(np.array(TABLE[:0:-1]) / sum(TABLE[1:]), abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_limits_of_the_laws(task):
    uniform, recent = by_lag(UNIFORM, task), by_lag(RECENT, task)
    assert np.array_equal(uniform, np.full(task, 1 / task))
    assert np.array_equal(recent, np.eye(task)[-1])
    for shift in (0, 10):
        flat = Environment(kind="power", exponent=0, shift=shift)
        steep = Environment(kind="power", exponent=1e4, shift=shift)
        assert np.array_equal(by_lag(flat, task), uniform)
        assert np.array_equal(by_lag(steep, task), recent)
    slow, fast = (Environment(kind="exponential", scale=scale) for scale in (1e15, 1e-3))
    assert np.allclose(by_lag(slow, task), uniform, rtol=0, atol=1e-12)
    assert np.array_equal(by_lag(fast, task), recent)
    assert np.array_equal(by_lag(Environment(kind="everything"), task), uniform)


def test_laws_by_hand():
    assert odds(PURE[1], [1, 2, 4]) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert odds(PURE[2], [[1, 2], [3, 3]]) == pytest.approx(np.array([[0.8, 0.2], [0.5, 0.5]]))
    ratio = np.exp(-0.5)
    assert by_lag(Environment(kind="exponential", scale=2), 3) == pytest.approx(
        np.array([ratio**2, ratio, 1]) / (1 + ratio + ratio**2)
    )


@pytest.mark.parametrize("law", LAWS[:7])
def test_no_budget_is_nothing(law):
    nothing = Environment(**law.model_dump() | {"budget": 0})
    generator = np.random.default_rng(0)
    for task in (0, 1, 6):
        none = np.zeros(task)
        for environment in (nothing, Environment(kind="none")):
            assert np.array_equal(by_lag(environment, task), none)
            assert np.array_equal(counts(environment, task, 100), none)
            assert np.array_equal(draw(environment, task, 100, generator), none)
    assert generator.random() == np.random.default_rng(0).random()  # no chance was used


def test_everything_grows_with_the_past_and_nothing_precedes_the_first_task():
    half = Environment(kind="everything", budget=0.5)
    assert [total(half, task, 30) for task in range(4)] == [0, 15, 30, 45]
    assert counts(half, 3, 30).tolist() == [15, 15, 15]
    for law in LAWS:
        assert total(law, 0, 100) == 0
        assert by_lag(law, 0).shape == counts(law, 0, 100).shape == (0,)


def test_equal_remainders_favour_the_more_recent_task():
    assert counts(Environment(kind="uniform", budget=0.5), 4, 12).tolist() == [1, 1, 2, 2]


@given(ANY, st.integers(0, 12), st.integers(0, 500), st.integers(0, 2**32))
def test_totals_are_exact(environment, task, new, seed):
    wanted = total(environment, task, new)
    exact = counts(environment, task, new)
    assert exact.sum() == wanted
    assert (exact >= 0).all()
    assert (np.abs(exact - wanted * by_lag(environment, task)) < 1 + 1e-9).all()
    assert draw(environment, task, new, np.random.default_rng(seed)).sum() == wanted
    rows = history(environment, task + 1, new, np.random.default_rng(seed)).counts.sum(1)
    assert rows.tolist() == [total(environment, phase, new) for phase in range(task + 1)]


@pytest.mark.parametrize("visits", [None, 10_000])
@pytest.mark.parametrize("law", LAWS[:7])
def test_what_is_drawn_follows_the_law(law, visits):
    environment = Environment(**law.model_dump() | {"visits": visits})
    drawn = draw(environment, 8, 10_000, np.random.default_rng(1))
    law_odds = by_lag(environment, 8)
    possible = law_odds > 0
    assert drawn[~possible].sum() == 0
    if possible.sum() > 1:
        assert chisquare(drawn[possible], 10_000 * law_odds[possible]).pvalue > 1e-3
        other = odds(Environment(kind="power", exponent=0.25), np.arange(8, 0, -1))
        assert chisquare(drawn, 10_000 * other).pvalue < 1e-6  # the test can tell laws apart


@pytest.mark.parametrize("law", PURE)
def test_the_slope_of_drawn_lags_is_the_exponent(law):
    drawn = draw(law, 20, 400_000, np.random.default_rng(2))
    x = np.log(np.arange(20, 0, -1))
    centred = x - np.average(x, weights=drawn)
    spread = (drawn * centred**2).sum()
    slope = (drawn * centred * np.log(drawn)).sum() / spread
    error = 1 / np.sqrt(spread)  # counts have the variance 1 / n on the scale of logarithms
    assert error < 0.01
    assert abs(slope + law.exponent) < 2 * error


def test_a_history_by_the_clock_of_lag():
    law = PURE[1]
    past = history(law, 6, 600, np.random.default_rng(3))
    task, other = np.indices((6, 6))
    assert np.array_equal(past.lags, np.maximum(task - other, 0))
    assert past.drawn().shape == (past.counts.sum(),) == (3000,)
    assert np.bincount(past.drawn())[5] == past.counts[5, 0]
    again = history(law, 6, 600, np.random.default_rng(3))
    assert np.array_equal(past.counts, again.counts)
    assert not np.array_equal(past.counts, history(law, 6, 600, np.random.default_rng(4)).counts)


def test_visits_bring_equal_parts():
    environment = Environment(kind="uniform", visits=3)
    for seed in range(50):
        drawn = draw(environment, 5, 100, np.random.default_rng(seed))
        assert set(drawn) <= {0, 33, 34, 66, 67, 100}
        assert drawn.sum() == 100
    # More visits than examples: as many as there are.
    few = draw(Environment(kind="uniform", visits=9), 5, 2, np.random.default_rng(0))
    assert few.sum() == 2


def recency(exponent, visits, budget=1.0):
    return Environment(
        kind="power", exponent=exponent, clock="recency", visits=visits, budget=budget
    )


def test_recency_is_the_clock_of_lag_where_nothing_is_drawn():
    task, other = np.indices((9, 9))
    for nothing in (recency(1, 1, 0), Environment(kind="none", clock="recency", visits=1)):
        past = history(nothing, 9, 50, np.random.default_rng(0))
        assert np.array_equal(past.lags, np.maximum(task - other, 0))
        assert past.counts.sum() == 0


def test_recency_with_a_visit_for_each_example_is_uniform():
    past = history(recency(3.0, 10**6), 9, 5000, np.random.default_rng(0))
    assert set(past.drawn()) == {1}
    for task in range(2, 9):
        share = np.full(task, 5000 / task)
        assert chisquare(past.counts[task, :task], share).pvalue > 1e-4


def test_a_return_sets_the_clock_back_at_the_end_of_its_phase():
    past = history(recency(1.0, 2), 40, 10, np.random.default_rng(5))
    last = np.arange(40)
    for task in range(1, 40):
        assert np.array_equal(past.lags[task, :task], task - last[:task])
        last[past.counts[task] > 0] = task
    assert (past.lags[past.counts > 0] > 1).any()


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_need_odds_by_recency_with_one_visit_by_hand(exponent):
    """In phase 1 task 0 returns; in phase 2 both stand at 1; in phase 3 one of them stands at 2."""
    streams, law = 4000, recency(exponent, 1)
    generator = np.random.default_rng(6)
    lags, met, returned = need_odds(history(law, 4, 10, generator) for _ in range(streams))
    assert lags.tolist() == [1, 2]
    assert met.tolist() == [5 * streams, streams]
    rare = 2**-exponent / (2 + 2**-exponent)
    assert abs(returned[1] / streams - rare) < 3 * np.sqrt(rare * (1 - rare) / streams)
    assert returned.sum() == 3 * streams  # one visit a phase


def test_need_odds_by_the_clock_of_lag_follow_the_law():
    """One visit in the last phase of a stream: the share that returned is the odds themselves."""
    law = Environment(kind="power", exponent=1.0, visits=1)
    generator = np.random.default_rng(7)
    streams = [history(law, 7, 10, generator) for _ in range(6000)]
    last = [type(one)(one.lags[-1:], one.counts[-1:]) for one in streams]
    lags, met, returned = need_odds(last)
    assert lags.tolist() == [1, 2, 3, 4, 5, 6]
    assert chisquare(returned, met * odds(law, lags)).pvalue > 1e-3


def test_need_odds_by_recency_are_near_the_law():
    """Counted, not derived: with one visit a phase they fall about as steeply as the law."""
    generator = np.random.default_rng(8)
    streams = (history(recency(1.0, 1), 30, 10, generator) for _ in range(300))
    lags, met, returned = (part[:15] for part in need_odds(streams))
    slope = np.polyfit(np.log(lags), np.log(returned / met), 1, w=np.sqrt(returned))[0]
    assert slope == pytest.approx(-1.0, abs=0.2)


def test_impossible_environments_raise():
    with pytest.raises(ValueError, match="needs a budget"):
        Environment(kind="uniform", budget=None)
    with pytest.raises(ValueError, match="shift above 0"):
        Environment(kind="power", budget=None)
    with pytest.raises(ValueError, match="needs visits"):
        Environment(kind="power", clock="recency")
    for field in ("exponent", "scale", "budget", "shift"):
        for value in (-1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match=field):
                Environment(kind="power", **{field: value})
    for function in (by_lag, lambda e, t: counts(e, t, 5)):
        with pytest.raises(ValueError, match="draw a history"):
            function(recency(1, 1), 3)
    assert total(recency(1, 1), 3, 5) == 5
    with pytest.raises(ValueError, match="at least 1"):
        odds(UNIFORM, [0, 1])
    with pytest.raises(ValueError, match="at least 0"):
        weights(PUBLISHED, [-1])
    with pytest.raises(ValueError, match="no odds at lag 0"):
        weights(PURE[0], [1])
