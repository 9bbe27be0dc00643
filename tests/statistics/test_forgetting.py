"""Forget ratios: by hand, by the delta method, where there are none, and coverage."""

import numpy as np
import pytest
from scipy.stats import norm

from palimpsest.metrics import forgetting as metric
from palimpsest.statistics.forgetting import Answers, forget_ratio, generalisation
from tests.calibration import covers, studies

SEEDS, ITEMS = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)


def forgotten(rng, taught, ratio, chance=0.5, n=80):
    """Answers right with rate ``taught``; each is forgotten with rate ``ratio`` and guessed."""
    before = rng.random(n) < taught
    after = np.where(rng.random(n) < ratio, rng.random(n) < chance, before)
    return before.astype(float), after.astype(float)


def of_item(rng, taught, ratio, chance=0.5):
    """As :func:`forgotten` for two seeds asked the same items, some of which are hard for both."""
    hard, loose = rng.standard_normal((2, 40))[:, ITEMS]
    before = rng.standard_normal(80) + hard < norm.ppf(taught) * np.sqrt(2)
    lost = rng.standard_normal(80) + loose < norm.ppf(ratio) * np.sqrt(2)
    return before.astype(float), np.where(lost, rng.random(80) < chance, before).astype(float)


def test_by_hand():
    before, after = np.repeat([1, 1, 0], [10, 26, 4]), np.repeat([0, 1, 1], [10, 28, 2])
    found = forget_ratio(before, after, 0.5)
    assert found.estimate == pytest.approx((0.9 - 0.75) / (0.9 - 0.5))
    assert found.low < found.estimate < found.high
    assert (found.n, found.unit) == (40, "items")


def test_the_point_value_is_the_metric():
    rng = np.random.default_rng(0)
    choices = rng.integers(2, 5, 60)
    for taught in np.linspace(0.3, 0.7, 30):
        before, after = forgotten(rng, taught, 0.5, n=60)
        expected = metric.forget_ratio(before.mean(), after.mean(), choices)
        found = forget_ratio(before, after, 1 / choices, n_replicates=10).estimate
        assert found == pytest.approx(expected, nan_ok=True)


def test_with_many_items_the_interval_is_that_of_the_delta_method():
    before, after = forgotten(np.random.default_rng(1), 0.9, 0.6, n=2000)
    found = forget_ratio(before, after, 0.5)
    residual = (before - after) - found.estimate * (before - 0.5)
    half = 1.96 * residual.std() / np.sqrt(2000) / (before.mean() - 0.5)
    assert found.low == pytest.approx(found.estimate - half, abs=half / 10)
    assert found.high == pytest.approx(found.estimate + half, abs=half / 10)


def test_an_item_asked_twice_is_one_item():
    before, after = forgotten(np.random.default_rng(2), 0.9, 0.6, n=400)
    once = forget_ratio(before, after, 0.5)
    twice = [np.tile(x, 2) for x in (before, after)]
    labels = np.tile(np.arange(400), 2)
    named, unnamed = forget_ratio(*twice, 0.5, items=labels), forget_ratio(*twice, 0.5)
    assert (named.n, unnamed.n) == (400, 800)
    assert named.high - named.low == pytest.approx(once.high - once.low, rel=0.07)
    assert unnamed.high - unnamed.low < 0.8 * (once.high - once.low)


def test_what_was_not_taught_has_no_ratio():
    before, after = forgotten(np.random.default_rng(3), 0.55, 0.5, n=40)
    found = forget_ratio(before, after, 0.5)
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert "nothing to forget" in found.note


def test_seeds_asked_the_same_items_do_not_add_evidence_that_they_were_taught():
    before = np.repeat([1, 0], [13, 7])  # 0.65: clear of 0.5 in 80 items, not in 20
    labels = np.tile(np.arange(20), 4)
    rows = np.tile(before, 4)
    assert np.isnan(forget_ratio(rows, rows, 0.5, np.repeat(range(4), 20), labels).estimate)
    assert forget_ratio(rows, rows, 0.5).estimate == 0


def test_no_flip_is_not_certainty():
    found = forget_ratio(np.ones(40), np.ones(40), 0.5)
    assert found.estimate == 0
    assert -0.2 < found.low < -0.02
    assert 0.02 < found.high < 0.2


def test_other_runs_vary_more_than_other_items():
    """Seed 0 forgets everything, seed 1 nothing."""
    rng = np.random.default_rng(4)
    before = np.ones(80)
    after = np.where(SEEDS == 0, rng.random(80) < 0.5, before)
    for items in (None, ITEMS):
        these = forget_ratio(before, after, 0.5, SEEDS, items)
        other = forget_ratio(before, after, 0.5, SEEDS, items, resample="both")
        assert other.high - other.low > 2 * (these.high - these.low)
        assert these.note is None
        assert "2 seeds" in other.note


def test_generalisation_by_hand():
    train = Answers(np.ones(40), np.repeat([0, 1], 20), 0.5)
    test = Answers(np.ones(40), np.repeat([0, 1], [5, 35]), 0.5)
    found = generalisation(train, test)
    assert found.estimate == pytest.approx(0.25 / 1.0)
    assert 0 < found.low < 0.25 < found.high < 1


def test_generalisation_is_cut_to_its_bounds_and_says_so():
    half, more = np.repeat([0, 1], [10, 30]), np.repeat([0, 1], 20)
    found = generalisation(Answers(np.ones(40), half, 0.5), Answers(np.ones(40), more, 0.5))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert "quotient 2" in found.note
    none = generalisation(Answers(np.ones(40), more, 0.5), Answers(np.ones(40), np.ones(40), 0.5))
    assert (none.estimate, none.low, none.note) == (0.0, 0.0, None)
    assert none.high < 0.3


def test_what_was_not_forgotten_cannot_generalise():
    rng = np.random.default_rng(5)
    train, test = (Answers(*forgotten(rng, 0.9, r), 0.5) for r in (0.03, 0.5))
    found = generalisation(train, test)
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert "cannot be told from none" in found.note


@pytest.mark.parametrize("which", ["training", "test"])
def test_sets_that_were_not_taught_say_which(which):
    rng = np.random.default_rng(6)
    good, bad = (Answers(*forgotten(rng, taught, 0.8), 0.5) for taught in (0.95, 0.5))
    found = generalisation(*((bad, good) if which == "training" else (good, bad)))
    assert np.isnan(found.estimate)
    assert found.note.startswith(which)


def test_seeds_that_forget_alike_on_both_sets_leave_the_quotient_alone():
    """Seeds are drawn together: what varies between them cancels in the quotient."""
    rng = np.random.default_rng(7)
    seeds = np.repeat(np.arange(8), 300)
    share = np.linspace(0.3, 0.9, 8)[seeds]
    sets = [Answers(*forgotten(rng, 1.0, r, n=2400), 0.5, seeds) for r in (share, share / 2)]
    ratio = forget_ratio(*sets[0], resample="both", n_replicates=500)
    quotient = generalisation(*sets, resample="both", n_replicates=500)
    assert (ratio.high - ratio.low) / ratio.estimate > 0.35
    assert (quotient.high - quotient.low) / quotient.estimate < 0.35  # 0.7 if drawn apart


def covered(what, truth, study, n_studies):
    rng = np.random.default_rng(9)
    found = [study(rng) for _ in range(studies(n_studies))]
    hits = [e.low <= truth <= e.high for e in found if np.isfinite(e.low)]
    return covers(what, sum(hits), len(hits))


@pytest.mark.parametrize("ratio", [0.1, 0.6])
@pytest.mark.parametrize("shared", [False, True])
def test_intervals_cover(ratio, shared):
    """40 items, 2 seeds."""

    def study(rng):
        answers = (of_item if shared else forgotten)(rng, 0.9, ratio)
        return forget_ratio(*answers, 0.5, SEEDS, ITEMS if shared else None, n_replicates=300)

    what = f"forget_ratio: 40 items, 2 seeds{' of the same items' * shared}, ratio {ratio:g}"
    assert covered(what, ratio, study, 400)


def test_generalisation_covers():
    def study(rng):
        sets = [Answers(*forgotten(rng, 0.9, r), 0.5, SEEDS) for r in (0.8, 0.4)]
        return generalisation(*sets, n_replicates=200)

    assert covered("generalisation: 40 items, 2 seeds", 0.5, study, 300)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"after": [1, 0]}, "4 answers before and 2"), ({"before": [2, 0, 1, 1]}, "between 0 and 1"),
     ({"chance": 0.0}, "chance"), ({"chance": 1.0}, "chance"), ({"clusters": [1]}, "labels"),
     ({"resample": "seeds"}, "'items' or 'both'"), ({"before": [], "after": []}, "no values")],
)  # fmt: skip
def test_bad_input_is_refused(change, match):
    given = {"before": [1, 1, 1, 1], "after": [1, 0, 1, 0], "chance": 0.1}
    with pytest.raises(ValueError, match=match):
        forget_ratio(**(given | change))


def test_both_needs_the_same_seeds():
    sets = [Answers(np.ones(40), np.repeat([0, 1], 20), 0.5, np.arange(40) % k) for k in (2, 3)]
    with pytest.raises(ValueError, match="same seeds"):
        generalisation(*sets, resample="both")
