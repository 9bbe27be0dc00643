"""What changed between two runs: known cases, calibration, positive and negative control."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from palimpsest.statistics.comparisons import equivalence_paired, paired_difference
from palimpsest.statistics.run_differences import (
    compared,
    independent_difference,
    inference,
    one_sample,
    two_samples,
)
from tests.calibration import covers, covers_at_least, keeps_equivalence, keeps_size

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
    return ((frame["low"] <= truth) & (frame["high"] >= truth)).sum()


def wrongly_the_same(frame, truth):
    """How many are called the same at 5% although the truth is not below their margin."""
    return ((frame["p_same"] <= 0.05) & (frame["margin"] <= abs(truth))).sum()


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
    what = "run_differences: {} and {} replicates, common items".format(*replicates)
    assert covers(what, covered(frame), 2 * N)


def test_coverage_over_paired_items():
    rng = np.random.default_rng(7)
    items = rng.normal(size=(2 * N, 30))
    old, new = (drawn(rng, (2 * N, 1, 30), items, replicate=0.0) for _ in range(2))
    frame = compared(moments(old, new, random=False))
    assert set(frame["unit"]) == {"items"}
    assert frame["paired"].all()
    assert covers("run_differences: 30 paired items", covered(frame), 2 * N)


def test_coverage_with_other_items_and_other_seeds():
    """All replicates of a run share its items: their common error is not between replicates."""
    rng = np.random.default_rng(8)
    old, new = (
        drawn(rng, (2 * N, 4, 25), rng.normal(size=(2 * N, 25)), replicate=0.3, residual=0.5)
        for _ in range(2)
    )
    frame = compared(moments(old, new, common=False))
    assert set(frame["unit"]) == {"replicates and items"}
    what = "run_differences: 4 replicates, 25 other items"
    assert covers(what, covered(frame), 2 * N)
    only_replicates = compared(moments(old, new, common=True))
    assert covered(only_replicates) / (2 * N) < 0.9


def test_numbered_replicates_are_paired():
    rng = np.random.default_rng(9)
    hard = 3 * rng.normal(size=(N, 6, 1))
    old, new = (hard + rng.normal(size=(N, 6, 5)) for _ in range(2))
    frame = compared(moments(old, new, numbered=True))
    assert frame["paired"].all()
    assert covers("run_differences: 6 matched replicates", covered(frame), N)
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
    design = f"{replicates} replicates, {roles} roles of 10 metrics, shared {shared:g}"
    assert keeps_size(f"run_differences, any change: {design}", alarms.sum(), N)
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


@pytest.mark.parametrize("unit", ["items", "replicates", "matched replicates"])
def test_the_same_is_not_said_at_the_margin(unit):
    """Graded values with a true change of 0.2 deviations: false where the row's margin is less."""
    rng = np.random.default_rng(17)
    replicates = {"items": 1, "replicates": 6, "matched replicates": 8}[unit]
    items = rng.normal(size=(4 * N, 20))
    settings = {"replicate": 0.0 if unit == "items" else 0.1, "residual": 0.2}
    shape = (4 * N, replicates, 20)
    old = drawn(rng, shape, items, **settings)
    spread = np.sqrt(sum(value**2 for value in settings.values()) + 1)
    new = drawn(rng, shape, items, shift=0.2 * spread, **settings)
    frame = compared(
        moments(old, new, random=unit != "items", numbered=unit == "matched replicates")
    )
    assert set(frame["unit"]) == {unit.removeprefix("matched ")}
    false = wrongly_the_same(frame, 0.2 * spread)
    assert keeps_equivalence(f"run_differences, the same: {unit}", false, 4 * N)


RARE = {
    "60 pairs, 0.05 differ, all one way": (60, 0.0, 0.05),
    "200 pairs, 0.05 differ, all one way": (200, 0.0, 0.05),
    "300 pairs, 0.15 and 0.1 differ": (300, 0.1, 0.15),
}


def answers(rng, n, more, less, size):
    """Answers (size, 1, n) of two runs; the new alone is right with rate ``more``."""
    u = rng.random((size, 1, n))
    return (u > 1 - less).astype(float), (u < more).astype(float)


@pytest.mark.parametrize("design", RARE)
def test_the_same_is_not_said_of_rare_answers_at_the_margin(design):
    """Cautious, as limits are exact: a t test errs in 19% of studies with 60 pairs."""
    n, more, less = RARE[design]
    old, new = answers(np.random.default_rng(18), n, more, less, 3 * N)
    frame = compared(moments(old, new, random=False))
    assert set(frame["unit"]) == {"items"}
    # margins and truths are equal here but for rounding
    false = (frame["p_same"] <= 0.05).sum()
    assert keeps_equivalence(f"run_differences, the same, 0/1: {design}", false, 3 * N)
    t_test = inference(
        one_sample((new - old).mean(axis=(1, 2)), (new - old).var(axis=(1, 2), ddof=1), n),
        0.05, 1.0, n,
    )  # fmt: skip
    if more == 0:
        assert (t_test["p_same"] <= 0.05).mean() > 0.1


def test_the_same_is_not_said_of_other_rare_answers_at_the_margin():
    rng = np.random.default_rng(19)
    old, new = ((rng.random((3 * N, 1, 150)) < rate).astype(float) for rate in (0.02, 0.07))
    frame = compared(moments(old, new, random=False, common=False))
    false = (frame["p_same"] <= 0.05).sum()
    what = "run_differences, the same, 0/1: 150 of 0.02 and 150 others of 0.07"
    assert keeps_equivalence(what, false, 3 * N)


def test_no_difference_seen_is_not_evidence_beyond_its_number():
    """Graded values that differ in a share 0.05 / 1 of pairs, by all there is."""
    rng = np.random.default_rng(20)
    for n in (40, 58, 60):
        old = rng.uniform(0.3, 0.7, (10 * N, 1, n))
        old[:, :, 0], old[:, :, 1] = 0.0, 1.0
        changed = rng.random((10 * N, 1, n)) < 0.05
        still = ~changed.any(axis=(1, 2))
        found = inference(one_sample(np.zeros(still.sum()), 0.0, n), 0.05, 1.0, n)
        false = (found["p_same"] <= 0.05).sum()
        what = f"run_differences, the same: {n} pairs, none seen to differ"
        assert keeps_equivalence(what, false, 10 * N)


@pytest.mark.parametrize(("more", "less"), [(0.2, 0.2), (0.3, 0.1), (0.1, 0.05)])
def test_coverage_of_paired_answers(more, less):
    old, new = answers(np.random.default_rng(21), 80, more, less, 2 * N)
    frame = compared(moments(old, new, random=False))
    what = f"run_differences, 0/1: 80 pairs, {more:g} and {less:g} differ"
    assert covers(what, covered(frame, more - less), 2 * N)
    if more == less:
        rejected = (frame["p"] <= 0.05).sum()
        assert keeps_size(f"run_differences, 0/1: 80 pairs, {more:g} differ", rejected, 2 * N)


def test_coverage_of_rare_paired_answers_is_cautious():
    old, new = answers(np.random.default_rng(22), 100, 0.0, 0.05, 2 * N)
    frame = compared(moments(old, new, random=False))
    what = "run_differences, 0/1: 100 pairs, 0.05 differ, all one way"
    assert covers_at_least(what, covered(frame, -0.05), 2 * N)


def test_answers_are_compared_as_single_pairs_are():
    """The same numbers as ``comparisons`` gives, but for its t quantiles."""
    old, new = answers(np.random.default_rng(23), 400, 0.2, 0.1, 3)
    frame = compared(moments(old, new, random=False)).sort("metric")
    for row, (a, b) in zip(frame.iter_rows(named=True), zip(new, old, strict=True), strict=True):
        single = paired_difference(a[0], b[0])
        assert (row["low"], row["high"]) == pytest.approx((single.low, single.high), abs=1e-3)
        same = equivalence_paired(a[0], b[0], 0.05)
        assert row["p_same"] == pytest.approx(min(same.p, 0.5), abs=1e-4)


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
    assert covers("independent_difference: 12 and 20 values", inside.sum(), N)
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
