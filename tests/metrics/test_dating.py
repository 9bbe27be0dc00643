"""Accuracies of dated answers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from palimpsest.metrics.dating import exact_month_year, exact_year, months_off, order_correct

NAN = np.nan
YEAR = [2008, 2008, 2008, 2007, NAN]
MONTH = [3, 4, NAN, 12, NAN]


def test_by_hand():
    assert_array_equal(exact_year(YEAR, 2008), [1, 1, 1, 0, 0])
    assert_array_equal(exact_month_year(YEAR, MONTH, 2008, 3), [1, 0, 0, 0, 0])
    assert_array_equal(months_off(YEAR, MONTH, 2008, 3), [0, 1, NAN, 3, NAN])
    assert months_off(2009, 1, 2007, 12) == 13


def test_order():
    dates = np.array(
        [["2007-01-01", "2008-01-01"]] * 3 + [["2009-01-01", "2008-01-01"], ["2008-01-01"] * 2],
        dtype="datetime64[D]",
    )
    choice = [0, 1, NAN, 1, 0]
    assert_array_equal(order_correct(choice, dates), [1, 0, 0, 1, NAN])
    assert_array_equal(order_correct(choice, dates.astype(float)), [1, 0, 0, 1, NAN])
    assert order_correct(2, [3, 2, 1]) == 1


def test_input_is_checked():
    for call in (
        lambda: exact_year(2008, NAN),
        lambda: months_off(2008, 3, 2008, NAN),
        lambda: order_correct(0, [1.0, NAN]),
        lambda: order_correct(2, [1.0, 2.0]),
        lambda: order_correct(0, np.array(["2008", "NaT"], dtype="datetime64[D]")),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()
