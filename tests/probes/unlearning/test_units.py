"""Models and facts as units: what is paired, what is graded, and what areas rest on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from palimpsest.probes.unlearning.analyses.contrasts import mean_of
from palimpsest.probes.unlearning.analyses.facts import Facts
from palimpsest.probes.unlearning.analyses.frames import MEMBERSHIP, _rises, _scores, averaged
from palimpsest.probes.unlearning.analyses.fronts import _points
from palimpsest.probes.unlearning.analyses.guards import _kept
from palimpsest.probes.unlearning.analyses.relearning import _more
from palimpsest.probes.unlearning.analyses.units import Models
from palimpsest.statistics.recognition import auc

KEYS = ["world", "model", "arm", "run", "metric", "group", "value"]


class _Data:
    taught, retrained = "taught", "retrained"

    def __init__(self, scores=None):
        self.scores = scores


def models(values):
    """Models as units, from (arm, metric) -> run -> value."""
    rows = [
        ("w", "m", arm, run, metric, "utility", float(value))
        for (arm, metric), runs in values.items()
        for run, value in runs.items()
    ]
    return Models(_Data(), pl.DataFrame(rows, schema=KEYS, orient="row"))


def test_models_are_paired_by_the_taught_model_that_they_come_from():
    """A cell of each of two methods has failed: of five and five models three are left in pairs."""
    units = models(
        {
            ("npo", "kept probability"): {1: 0.5, 2: 0.6, 3: 0.7, 4: 0.8},
            ("grad_ascent", "kept probability"): {0: 0.1, 1: 0.5, 2: 0.6, 3: 0.6},
        }
    )
    one, other = units.together(("npo", "kept probability"), ("grad_ascent", "kept probability"))
    assert one.tolist() == [0.5, 0.6, 0.7]
    assert other.tolist() == [0.5, 0.6, 0.6]


def test_points_of_the_front_are_of_the_same_taught_models():
    whole = dict.fromkeys(range(5), 0.9)
    values = {("taught", "forget probability"): whole | {0: 0.8}}
    values |= {("retrained", "forget probability"): {0: 0.01, 1: 0.02, 2: 0.03}}
    values |= {(arm, "kept probability"): whole for arm in ("retrained", "npo", "ssd")}
    values |= {("npo", "forget probability"): {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}}
    values |= {("ssd", "forget probability"): {1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5}}
    found = _points(models(values), ["npo", "ssd"])
    assert {point.shape for point in found.values()} == {(3, 3)}
    np.testing.assert_array_equal(found["npo"], found["ssd"])


@pytest.mark.parametrize("level", [1.0, 0.99])
def test_a_guard_that_costs_nothing_is_shown_to(level):
    """One number a model is no answer of right or wrong, though all of them be 1."""
    values = dict.fromkeys(range(5), 1.0)
    after = values | {0: level}
    found = _kept(
        models({("guard", "kept rouge_l"): after, ("taught", "kept rouge_l"): values}), "guard"
    )
    assert -0.1 < found.low <= found.high < 0.1
    assert found.p < 0.05


def test_a_mean_of_models_is_graded_even_where_each_scores_zero_or_one():
    values = np.array([0.0, 1, 1, 1, 1, 1, 1, 1])
    found = mean_of(values, "models")
    half = stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    # What has not changed at all has not, and no share of successes is estimated.
    nothing = mean_of(np.zeros(5), "models")
    assert (nothing.low, nothing.high) == (0.0, 0.0)


def test_differences_of_models_that_all_score_zero_are_narrow():
    none, few = dict.fromkeys(range(5), 0.0), dict.fromkeys(range(10), 0.0)
    found = models({("guard", "forget rouge_l"): none, ("retrained", "forget rouge_l"): few})
    apart = found.against("guard", "forget rouge_l")
    assert (apart.low, apart.high) == (0.0, 0.0)


def facts(seed=0, forget=12, holdout=12, runs=3):
    """Facts as units, with scores of membership of three arms."""
    rng = np.random.default_rng(seed)
    rows = []
    for arm, shift in (("taught", 3.0), ("npo", 1.0), ("retrained", 0.0)):
        for run in range(runs):
            for part, n in (("forget", forget), ("holdout", holdout)):
                for item in range(n):
                    value = rng.normal(shift if part == "forget" else 0.0, 1.0)
                    rows.append(("w", "m", arm, run, part, f"i{item:02}", "loss", value))
    names = ["world", "model", "arm", "run", "part", "item", "metric", "value"]
    items = pl.DataFrame(rows, schema=names, orient="row")
    return Facts(_Data(), items.clear(), averaged(_Data(_scores(items, "retrained"))))


def test_areas_rest_on_facts_that_nobody_was_told_too():
    units = facts()
    sides = units._sides("npo", "loss")
    found = units.level("npo", "membership loss")
    expected = auc(*sides, unit="facts")
    assert (found.estimate, found.low, found.high) == (
        expected.estimate, expected.low, expected.high,
    )  # fmt: skip
    assert found.n == 24
    gone, left = units.gone("npo", "membership loss"), units.left("npo", "membership loss", 0.0)
    assert gone.estimate == pytest.approx(-left.estimate)
    assert gone.level == 0.95
    assert gone.high - gone.low > left.high - left.low


def test_retrained_models_have_no_mean_reference_score():
    """Each beside the mean of the others: their mean is 0 for every fact, and ranks are rounding.
    Of two models one is the other's mirror image."""
    units = facts()
    assert units.against("npo", "membership reference") is None
    assert units.left("npo", "membership reference", 0.8) is None
    assert units.against("npo", "membership loss") is not None
    assert "reference" in MEMBERSHIP
    few = facts(runs=2).scores.filter(pl.col("metric") == "reference")
    assert set(few["arm"]) == {"taught", "npo"}


@pytest.mark.parametrize("by", ["run", "item"])
def test_what_comes_back_is_the_rise_and_not_where_it_ends(by):
    """A method that ends below models that never knew, having begun far below them, has brought
    facts back; one that ends above, having begun there, has not."""
    rng = np.random.default_rng(1)
    rows = [
        ("w", "m", arm, run, 5, f"i{item}", rise + rng.normal(0, 0.01))
        for arm, rise in (("back", 0.1), ("level", 0.0), ("retrained", 0.0))
        for run in range(5)
        for item in range(6)
    ]
    names = ["world", "model", "arm", "run", "number", "item", "value"]
    rises = pl.DataFrame(rows, schema=names, orient="row")
    units = models({("back", "x"): {0: 0.0}}) if by == "run" else facts()
    back, level = (_more(units, rises, arm, "retrained") for arm in ("back", "level"))
    assert back.estimate == pytest.approx(0.1, abs=0.02)
    assert back.p < 0.001 < 0.01 < level.p


def test_rises_are_of_each_fact_that_was_not_taught_again():
    keys = ("w", "m", "npo", 0)
    again = [
        (*keys, "others", 0.2, 5, 1, "a"), (*keys, "others", 0.5, 5, 8, "a"),
        (*keys, "shown", 0.9, 5, 8, "b"),
    ]  # fmt: skip
    columns = ["world", "model", "arm", "run", "metric", "value", "number", "updates", "item"]
    items = [
        (*keys, "forget", item, "probability", value) for item, value in (("a", 0.1), ("b", 0))
    ]
    names = ["world", "model", "arm", "run", "part", "item", "metric", "value"]
    found = _rises(
        pl.DataFrame(again, schema=columns, orient="row"),
        pl.DataFrame(items, schema=names, orient="row"),
    )
    assert found.select("number", "item").rows() == [(5, "a")]
    assert found["value"].item() == pytest.approx(0.4)
