"""What changed between two runs: known cases, calibration, positive and negative control."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from palimpsest.statistics.run_differences import (
    compared,
    independent_difference,
    inference,
    one_sample,
    two_samples,
)

N = 2000


def moments(old, new, *, random=True, common=True, numbered=False):
    """Moments of comparisons from values of shape (comparisons, replicates, items)."""
    a, b = old.mean(axis=1), new.mean(axis=1)
    pair = b - a if common else np.zeros((len(a), 1))
    runs = {}
    for name, values in (("old", old), ("new", new)):
        replicates, items = values.mean(axis=2), values.mean(axis=1)
        runs |= {
            f"{name}_units": replicates.shape[1],
            f"{name}_mean": replicates.mean(axis=1),
            f"{name}_variance": replicates.var(axis=1, ddof=1) if replicates.shape[1] > 1 else 0.0,
            f"{name}_items": items.shape[1],
            f"{name}_item_mean": items.mean(axis=1),
            f"{name}_item_variance": items.var(axis=1, ddof=1),
        }
    matched = new.mean(axis=2) - old.mean(axis=2) if old.shape == new.shape else pair
    within = (old.var(axis=(1, 2), ddof=1) + new.var(axis=(1, 2), ddof=1)) / 2
    columns = {
        "same_cells": False,
        "metric": np.arange(len(a)),
        "random": random,
        "numbered": numbered,
        "same_states": not random,
        "least": np.minimum(old.min(axis=(1, 2)), new.min(axis=(1, 2))),
        "most": np.maximum(old.max(axis=(1, 2)), new.max(axis=(1, 2))),
        "spread": np.sqrt(within),
        "common": common,
        "pairs": pair.shape[1] if common else 0,
        "pair_old": a.mean(axis=1),
        "pair_mean": pair.mean(axis=1),
        "pair_variance": pair.var(axis=1, ddof=1) if common else 0.0,
        "families": 1,
        "family_old": a.mean(axis=1),
        "family_mean": pair.mean(axis=1),
        "family_variance": np.nan,
        "unequal": (old != new).sum(axis=(1, 2)) if old.shape == new.shape else 1,
        "matched": matched.shape[1],
        "matched_old": a.mean(axis=1),
        "matched_mean": matched.mean(axis=1),
        "matched_variance": matched.var(axis=1, ddof=1) if matched.shape[1] > 1 else np.nan,
    } | runs
    return pl.DataFrame(
        {name: np.broadcast_to(value, len(a)).copy() for name, value in columns.items()}
    )


def drawn(rng, shape, items, replicate=0.5, item=1.0, residual=1.0, shift=0.0):
    """Values with effects of replicates, of the given items (comparisons, items), and residuals."""
    comparisons, replicates, n = shape
    return (
        shift
        + replicate * rng.normal(size=(comparisons, replicates, 1))
        + item * items[:, None, :]
        + residual * rng.normal(size=(comparisons, replicates, n))
    )


def covered(frame, truth=0.0):
    return ((frame["low"] <= truth) & (frame["high"] >= truth)).mean()


def test_contrasts_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=7), rng.normal(1, 3, size=5)
    contrast = two_samples((a.mean(), a.var(ddof=1), 7), (b.mean(), b.var(ddof=1), 5))
    found = inference(contrast, 1.0, 10.0, 7)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert found["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found["low"], found["high"]) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
    )
    d = rng.normal(size=9)
    found = inference(one_sample(d.mean(), d.var(ddof=1), 9), 0.8, 10.0, 9)
    assert found["p"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    sides = (
        stats.ttest_1samp(d, -0.8, alternative="greater").pvalue,
        stats.ttest_1samp(d, 0.8, alternative="less").pvalue,
    )
    assert found["p_same"] == pytest.approx(max(sides))


def test_without_spread_the_number_of_units_decides():
    still = inference(one_sample([0.0, 0.0], [0.0, 0.0], [10, 100]), 0.05, 1.0, [10, 100])
    assert still["p"].tolist() == [1, 1]
    assert still["p_same"] == pytest.approx([0.95**10, 0.95**100])
    assert still["high"] == pytest.approx([1 - 0.025**0.1, 1 - 0.025**0.01])
    moved = inference(one_sample([0.5, 0.5], [0.0, 0.0], [3, 10]), 0.05, 1.0, [3, 10])
    assert moved["p"] == pytest.approx([2 / 8, 2 / 1024])
    assert np.isnan(moved["low"][0])
    assert moved["low"][1] == 0.5
    apart = inference(two_samples((0.0, 0.0, [2, 5]), (1.0, 0.0, [2, 5])), 0.05, 1.0, [2, 5])
    assert apart["p"] == pytest.approx([2 / 6, 2 / 252])


def test_unknown_variance_gives_no_interval_and_no_p():
    found = inference(one_sample([1.0], [np.nan], [1]), 0.05, 1.0, [1])
    assert all(np.isnan(values).all() for values in found.values())


@pytest.mark.parametrize("replicates", [(5, 5), (3, 6)])
def test_coverage_over_replicates_on_common_items(replicates):
    rng = np.random.default_rng(5)
    items = rng.normal(size=(2 * N, 20))
    old, new = (drawn(rng, (2 * N, n, 20), items) for n in replicates)
    frame = compared(moments(old, new))
    assert set(frame["unit"]) == {"replicates"}
    assert 0.93 < covered(frame) < 0.97


def test_coverage_over_paired_items():
    rng = np.random.default_rng(7)
    items = rng.normal(size=(2 * N, 30))
    old, new = (drawn(rng, (2 * N, 1, 30), items, replicate=0.0) for _ in range(2))
    frame = compared(moments(old, new, random=False))
    assert set(frame["unit"]) == {"items"}
    assert frame["paired"].all()
    assert 0.93 < covered(frame) < 0.97


def test_coverage_with_other_items_and_other_seeds():
    """All replicates of a run share its items: their common error is not between replicates."""
    rng = np.random.default_rng(8)
    old, new = (
        drawn(rng, (2 * N, 4, 25), rng.normal(size=(2 * N, 25)), replicate=0.3, residual=0.5)
        for _ in range(2)
    )
    frame = compared(moments(old, new, common=False))
    assert set(frame["unit"]) == {"replicates and items"}
    assert 0.93 < covered(frame) < 0.97
    only_replicates = compared(moments(old, new, common=True))
    assert covered(only_replicates) < 0.9


def test_numbered_replicates_are_paired():
    rng = np.random.default_rng(9)
    hard = 3 * rng.normal(size=(N, 6, 1))
    old, new = (hard + rng.normal(size=(N, 6, 5)) for _ in range(2))
    frame = compared(moments(old, new, numbered=True))
    assert frame["paired"].all()
    assert 0.93 < covered(frame) < 0.97
    apart = compared(moments(old, new))
    width = (frame["high"] - frame["low"]).mean()
    assert width < (apart["high"] - apart["low"]).mean() / 2


@pytest.mark.parametrize("replicates", [2, 5])
@pytest.mark.parametrize("roles", [1, 4])
@pytest.mark.parametrize("shared", [0.2, 0.7])
def test_runs_with_equal_truth_show_no_change_at_the_nominal_rate(replicates, roles, shared):
    """2,000 pairs of runs, 10 metrics of each role: any false alarm counts.

    Replicates of a role move all its metrics together (``shared``); noise differs between metrics.
    """
    rng = np.random.default_rng(10 * replicates + roles)
    runs = []
    n = 10 * roles
    own = np.tile(10 ** rng.uniform(-0.5, 0, n), N)[:, None]
    for _ in range(2):
        together = shared * np.repeat(rng.normal(size=(N * roles, replicates)), 10, axis=0)
        means = together + own * rng.normal(size=(n * N, replicates))
        runs.append(means[:, :, None] + 0.5 * rng.normal(size=(n * N, replicates, 5)))
    frame = compared(moments(*runs))
    p = np.sort(frame.sort("metric")["p"].to_numpy().reshape(N, n), axis=1)
    alarms = (p * n / np.arange(1, n + 1) <= 0.05).any(axis=1)
    assert alarms.mean() <= 0.06
    assert 0.04 < (p <= 0.05).mean() < 0.06


def test_one_shifted_metric_is_found_and_nothing_else():
    rng = np.random.default_rng(13)
    items = rng.normal(size=(40, 12))
    old, new = (drawn(rng, (40, 5, 12), items) for _ in range(2))
    new[17] += 4.0
    frame = compared(moments(old, new))
    found = frame.filter(pl.col("verdict") == "changed")
    assert found["metric"].to_list() == [17]
    assert frame["metric"][0] == 17
    assert found["low"].item() < 4.0 < found["high"].item()


def test_the_same_needs_evidence():
    rng = np.random.default_rng(14)
    items = rng.uniform(size=(30, 200))
    tight = [np.clip(drawn(rng, (30, 8, 200), items, 0.003, 1, 0.02), 0, 1) for _ in range(2)]
    assert set(compared(moments(*tight))["verdict"]) == {"the same"}
    loose = [np.clip(drawn(rng, (30, 2, 6), items[:, :6], 0.2, 1, 0.2), 0, 1) for _ in range(2)]
    assert set(compared(moments(*loose))["verdict"]) == {"cannot tell"}


def test_equal_numbers_and_single_replicates_say_so():
    rng = np.random.default_rng(15)
    old = rng.normal(size=(2, 4, 10))
    frame = compared(moments(old, old.copy()))
    assert frame["verdict"].to_list() == ["the same"] * 2
    assert frame["note"].to_list() == ["every number is the same"] * 2
    assert frame["high"].to_list() == [0.0, 0.0]
    one = compared(moments(old[:, :1], old[:, :1] + 5 + rng.normal(size=(2, 1, 10))))
    assert one["verdict"].to_list() == ["cannot tell"] * 2
    assert one["p"].to_list() == [None, None]
    assert "another seed" in one["note"][0]
    assert one["low"].min() > 0


def test_a_margin_must_be_positive():
    frame = moments(np.zeros((1, 2, 2)), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="margin_share must be positive, not 0"):
        compared(frame, margin_share=0)


def test_independent_estimates_from_their_intervals():
    rng = np.random.default_rng(16)
    samples = [rng.normal(mean, sd, size=(N, n)) for mean, sd, n in ((1, 1, 12), (3, 2, 20))]
    sides = []
    for sample in samples:
        n = sample.shape[1]
        half = stats.t.ppf(0.975, n - 1) * sample.std(axis=1, ddof=1) / np.sqrt(n)
        mean = sample.mean(axis=1)
        sides.append((mean, mean - half, mean + half, np.full(N, n)))
    found = independent_difference(*sides)
    inside = (found["low"] <= 2) & (found["high"] >= 2)
    assert 0.93 < inside.mean() < 0.97
    excluded = (found["low"] > 0) | (found["high"] < 0)
    assert (excluded == (found["p"] < 0.05)).all()


def test_proportions_reduce_to_newcombe():
    """MOVER on two Wilson intervals is Newcombe's (1998) hybrid score interval, his example (a)."""
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

    sides = []
    for count, n in ((56, 70), (48, 80)):
        low, high = proportion_confint(count, n, method="wilson")
        sides.append((count / n, low, high, n))
    found = independent_difference(sides[1], sides[0])
    expected = confint_proportions_2indep(56, 70, 48, 80, method="newcomb", compare="diff")
    assert (found["low"], found["high"]) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_estimates_without_interval_have_no_p():
    found = independent_difference((0.5, np.nan, np.nan, 8), (0.6, 0.5, 0.7, 8))
    assert np.isnan(found["p"])
    assert np.isnan(found["low"])
    assert found["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize("n", [3, 12])
def test_changes_of_the_size_that_could_be_found_are_found(n):
    rng = np.random.default_rng(n)
    size = inference(one_sample(0.0, 1.0, n), 0.1, 9.0, n)["detectable"]
    draws = rng.normal(size, 1.0, (20_000, n))
    each = one_sample(draws.mean(axis=1), draws.var(axis=1, ddof=1), n)
    assert np.mean(inference(each, 0.1, 9.0, n)["p"] <= 0.05) == pytest.approx(0.8, abs=0.01)


def test_without_spread_or_with_one_unit_nothing_is_said_of_what_could_be_found():
    still = inference(one_sample([0.0, 0.3], [0.0, np.nan], [9, 1]), 0.1, 1.0, [9, 1])
    assert np.isnan(still["detectable"]).all()
