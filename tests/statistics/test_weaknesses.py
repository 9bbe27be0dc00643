"""What estimates say of themselves when they rest on too little is seen as a warning."""

import numpy as np
import pytest

from palimpsest.statistics.comparisons import equivalence_two_sample, paired_difference
from palimpsest.statistics.dose import dose_response
from palimpsest.statistics.intervals import (
    clustered_mean,
    crossed_bootstrap,
    hierarchical_bootstrap,
    proportion,
)
from palimpsest.statistics.leave_one_out import spearman
from palimpsest.statistics.mixed import before_after_gee, crossed_mixed
from palimpsest.statistics.population import difference
from palimpsest.statistics.retention import DID_NOT_CONVERGE
from palimpsest.statistics.weaknesses import weakness

RNG = np.random.default_rng(5)
FIVE = RNG.normal(size=5)


def _mixed(predictors, items):
    rows = np.arange(8)
    outcome = RNG.normal(size=8)
    return crossed_mixed(outcome, predictors(rows), items(rows), rows % 2)["x"].note


WEAK = {
    "one cluster": (lambda: clustered_mean(FIVE, np.zeros(5)).note, "few"),
    "three clusters": (lambda: paired_difference(FIVE[:3], FIVE[2:]).note, "few"),
    "three against two": (lambda: equivalence_two_sample(FIVE[:2], FIVE[2:4], 1.0).note, "few"),
    "few resampled": (lambda: hierarchical_bootstrap(FIVE, np.arange(5)).note, "few"),
    "one level": (lambda: crossed_bootstrap(FIVE, np.zeros(5), np.arange(5)).note, "few"),
    "four tasks": (lambda: spearman(FIVE[:4], -FIVE[:4]).note, "few"),
    "flat doses": (lambda: dose_response([0, 1, 2], [0, 0, 0], [9, 9, 9], 0.0).slope.note, "fit"),
    "collinear": (
        lambda: _mixed(lambda rows: {"x": rows % 4, "y": 2 * (rows % 4)}, lambda rows: rows % 4),
        "fit",
    ),
    "too few items": (
        lambda: _mixed(
            lambda rows: {"x": rows // 4, "y": (rows // 4 + 1.0) * (rows % 2)}, lambda r: r // 4
        ),
        "few",
    ),
    "retention": (lambda: DID_NOT_CONVERGE, "fit"),
    "separated": (lambda: before_after_gee([1, 1, 0, 1], [0, 0, 1, 1], [0, 1, 0, 1]).note, "fit"),
}


@pytest.mark.parametrize("case", WEAK)
def test_notes_of_weak_estimates_warn(case):
    make, kind = WEAK[case]
    assert weakness(make()) == kind, make()


STRONG = {
    "many": lambda: clustered_mean(RNG.normal(size=40)).note,
    "alike": lambda: clustered_mean(np.ones(40)).note,
    "alike pairs": lambda: paired_difference(np.ones(9), np.ones(9)).note,
    "a share": lambda: proportion(3, 40).note,
    "tasks": lambda: spearman(RNG.normal(size=20), RNG.normal(size=20)).note,
    "population": lambda: difference([1.0, 2.0, 4.0], FIVE).note,
    "a remark": lambda: "rate 0.80 before, 0.12 after",
}


@pytest.mark.parametrize("case", STRONG)
def test_remarks_that_take_nothing_from_a_number_do_not(case):
    assert weakness(STRONG[case]()) is None
