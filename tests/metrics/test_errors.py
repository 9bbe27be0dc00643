"""Errors and accuracies: hand-computed values, oracle and persistence limits, injected slips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from palimpsest.metrics.errors import (
    absolute_error,
    directional_accuracy,
    exact_match,
    expanding_median,
    percent_error,
    precision_floor,
    recall_gain,
    summarise_errors,
    threshold_accuracy_side,
    threshold_accuracy_tolerance,
    unit_slip,
)

NAN = np.nan
SERIES = np.array([5.0, 5.2, 5.2, 4.9, 4.9, 4.9, 6.1])
finite = st.floats(-1e6, 1e6)


def test_errors_by_hand():
    answer, truth = [5.5, NAN, 3.0, -1.1], [5.0, 5.0, 0.0, -1.0]
    assert_allclose(absolute_error(answer, truth), [0.5, NAN, 3.0, 0.1])
    assert_allclose(percent_error(answer, truth), [0.1, NAN, NAN, 0.1])
    assert absolute_error(5.5, 5.0) == 0.5
    assert np.isnan(percent_error(1.0, 0.0))


def test_an_oracle_has_no_error_and_full_accuracy():
    truth, previous = SERIES[1:], SERIES[:-1]
    threshold = expanding_median(SERIES)[1:]
    assert summarise_errors(absolute_error(truth, truth)).mean == 0
    assert exact_match(truth, truth, 1).mean() == 1
    assert threshold_accuracy_side(truth, truth, threshold).mean() == 1
    assert threshold_accuracy_tolerance(truth, truth, 0, relative=False).mean() == 1
    assert directional_accuracy(truth, previous, truth, previous).mean() == 1
    assert_array_equal(unit_slip(truth, truth, 1), 0)


def test_missing_answers_are_wrong_and_counted_but_have_no_error():
    missing, truth = np.full(4, NAN), np.array([5.0, 5.2, 4.9, 5.5])
    assert_array_equal(exact_match(missing, truth, 1), 0)
    assert_array_equal(threshold_accuracy_side(missing, truth, 5.0), 0)
    assert_array_equal(threshold_accuracy_tolerance(missing, truth, 10, relative=False), 0)
    assert_array_equal(directional_accuracy(missing, 5.0, truth, 5.0), 0)
    assert_array_equal(directional_accuracy(truth, missing, truth, 5.1), 0)
    assert_array_equal(unit_slip(missing, truth, 1), 0)
    summary = summarise_errors(absolute_error([5.0, NAN, 5.1, 6.0], truth))
    assert (summary.n_answered, summary.n_asked) == (3, 4)
    assert_allclose([summary.mean, summary.median], [0.7 / 3, 0.2])
    empty = summarise_errors(missing)
    assert (empty.n_answered, empty.n_asked) == (0, 4)
    assert np.isnan(empty.mean)


def test_exact_match_compares_printed_decimals():
    # 0.1 + 0.2 is not the double 0.3; 2.675 is a double below the decimal 2.675.
    assert_array_equal(
        exact_match([0.1 + 0.2, 2.675, 2.665, 10.04], [0.3, 2.68, 2.66, 10.0], 2), [1, 1, 1, 0]
    )
    assert_array_equal(exact_match([10.04, 10.06], 10.0, 1), [1, 0])
    assert_array_equal(exact_match(10.04, 10.0, [1, 2]), [1, 0])
    assert_array_equal(exact_match([np.inf, 1e300, -0.01], [1.0, 1e300, 0.0], 1), [0, 1, 1])
    with pytest.raises(ValueError, match="decimals"):
        exact_match(1.0, 1.0, -1)


@given(st.integers(-(10**9), 10**9), st.integers(-3, 3), st.integers(0, 4))
def test_exact_match_is_equality_of_integers_of_last_units(units, error, decimals):
    truth, answer = float(f"{units}e-{decimals}"), float(f"{units + error}e-{decimals}")
    assert exact_match(answer, truth, decimals) == (error == 0)


def test_sides_of_a_threshold():
    # equal to the threshold is "not above"; an item without threshold cannot be scored
    answer, truth = [5.1, 4.9, 5.0, 5.0, 5.1], [5.2, 5.2, 4.0, 5.2, 5.2]
    result = threshold_accuracy_side(answer, truth, [5.0, 5.0, 5.0, 5.0, NAN])
    assert_array_equal(result, [1, 0, 1, 0, NAN])


def test_tolerance_includes_its_limit():
    # 5.4 - 5.3 exceeds 0.1 in doubles
    assert_array_equal(
        threshold_accuracy_tolerance([5.4, 5.2, 5.41, np.inf], 5.3, 0.1, relative=False),
        [1, 1, 0, 0],
    )
    assert_array_equal(
        threshold_accuracy_tolerance([101, 99, 101.1, -101], [100, 100, 100, -100], 0.01, True),
        [1, 1, 0, 1],
    )
    with pytest.raises(ValueError, match="tolerance"):
        threshold_accuracy_tolerance(1.0, 1.0, -0.1, relative=False)


def test_direction_by_hand():
    truth, previous = [5.2, 5.2, 4.9, 6.0], [5.0, 5.2, 5.2, NAN]
    answer = [5.1, 5.3, 5.3, 6.0]
    assert_array_equal(directional_accuracy(answer, previous, truth, previous), [1, 0, 0, NAN])
    # the model's own previous answers: 5.3 after 5.4 falls, as the truth does
    assert directional_accuracy(5.3, 5.4, 4.9, 5.2) == 1


def test_persistence_scores_the_share_of_unchanged_values():
    truth, previous = SERIES[1:], SERIES[:-1]  # + = - = = +
    assert directional_accuracy(previous, previous, truth, previous).mean() == 3 / 6
    excluded = directional_accuracy(previous, previous, truth, previous, zero_change="exclude")
    assert_array_equal(excluded, [0, NAN, 0, NAN, NAN, 0])
    with pytest.raises(ValueError, match="zero_change"):
        directional_accuracy(1.0, 1.0, 1.0, 1.0, zero_change="up")


def test_injected_slips_are_flagged():
    powers = np.array([k for k in range(-9, 10) if k])
    assert_array_equal(unit_slip(131_212 * 10.0**powers, 131_212, 0), powers)
    assert_array_equal(unit_slip(-0.3 * 10.0**powers, -0.3, 1), powers)
    assert unit_slip(131e6, 131_212) == 3
    assert unit_slip(5340.0, 5.3, 1) == 3
    assert unit_slip(5340.0, 5.3) == 0


def test_what_is_no_slip():
    answers = [5.3, 5.34, 50.0, -53.0, 0.0, 5.3e10]
    assert_array_equal(unit_slip(answers, 5.3, 1), 0)
    assert unit_slip(10.0, 0.0, 1) == 0
    # half a unit would take every answer from 0.5 to 1.5 for ten times 0.1
    assert_array_equal(unit_slip([0.7, 1.0, 1.2], 0.1, 1), [0, 1, 0])
    with pytest.raises(ValueError, match="relative_tolerance"):
        unit_slip(1.0, 1.0, relative_tolerance=0.5)


@given(st.integers(1, 10**6), st.integers(0, 3), st.integers(-9, 9), st.floats(-0.0049, 0.0049))
def test_slips_are_found_whatever_the_precision(units, decimals, k, deviation):
    truth = float(f"{units}e-{decimals}")
    assert unit_slip(truth * (1 + deviation) * 10.0**k, truth, decimals) == k


def test_recall_gain():
    floor = precision_floor(1)
    assert floor == 0.05
    assert_allclose(recall_gain(0.2, 0.4, floor), np.log(2))
    assert_allclose(recall_gain(0.0, 0.5, floor), np.log(10))
    assert_allclose(recall_gain([0.4, 0.01, 0.0], [0.2, 0.02, 0.0], floor), [-np.log(2), 0, 0])
    assert np.isnan(recall_gain(NAN, 0.4, floor))
    # an answer that is the interpolation gains nothing
    errors = np.abs(np.random.default_rng(0).normal(size=50))
    assert_array_equal(recall_gain(errors, errors, floor), 0)
    for arguments in ((-0.1, 0.1, 0.1), (0.1, -0.1, 0.1), (0.1, 0.1, 0.0)):
        with pytest.raises(ValueError, match="must"):
            recall_gain(*arguments)


@given(st.lists(finite, max_size=30))
def test_expanding_median_is_that_of_the_past(values):
    expected = [np.median(values[:t]) if t else NAN for t in range(len(values))]
    assert_allclose(expanding_median(values), expected)


@given(st.lists(finite, min_size=1, max_size=20), st.data())
def test_expanding_median_does_not_look_ahead(values, data):
    t = data.draw(st.integers(0, len(values) - 1))
    changed = values[:t] + data.draw(
        st.lists(finite, min_size=len(values) - t, max_size=len(values) - t)
    )
    assert_array_equal(expanding_median(values)[: t + 1], expanding_median(changed)[: t + 1])


def test_input_is_checked():
    for function in (absolute_error, percent_error, unit_slip):
        with pytest.raises(ValueError, match="truth"):
            function(1.0, NAN)
    for values in ([1.0, NAN], [[1.0]]):
        with pytest.raises(ValueError, match="finite"):
            expanding_median(values)
