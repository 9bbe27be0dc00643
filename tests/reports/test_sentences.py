"""Sentences never round an interval across, or onto, what it is held against."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from palimpsest.reports import formatting as f
from palimpsest.reports.sentences import estimates, interval_and_n, percent_and_n

NUMBER = re.compile(r"[+−]?[\d,]+(?:\.\d+)?")


def _row(low, high, direction="above", threshold=None):
    return {
        "estimate": (low + high) / 2,
        "low": low,
        "high": high,
        "n": 40,
        "unit": "facts",
        "level": 0.95,
        "direction": direction,
        "threshold": threshold,
    }


def _ends(sentence, scale=1):
    words = sentence.split("interval ")[1].split(", n")[0]
    shown = [float(n.replace("−", "-").replace(",", "")) for n in NUMBER.findall(words)]
    return [value / scale for value in shown[:2]]


def _sides(value, lines):
    return [(value > line + 1e-12) - (value < line - 1e-12) for line in lines]


LINES = st.sampled_from([None, 0.0, 0.1, 0.125, 0.5, 0.9, -0.03])


#: Ends anywhere, and ends so near to a line that two decimals would put them on it.
NEAR = st.builds(
    lambda line, by: line + by,
    st.sampled_from([0.0, 0.1, 0.125, 0.5, 0.9, -0.03]),
    st.floats(-0.004, 0.004),
)


@given(
    st.one_of(st.floats(-1, 1), NEAR),
    st.floats(1e-6, 1),
    LINES,
    st.sampled_from(["above", "below", "within"]),
)
@pytest.mark.parametrize("signed", [False, True])
def test_ends_stay_on_their_side_of_zero_and_of_the_threshold(
    signed, low, width, threshold, direction
):
    if direction == "within":
        assume(threshold is not None and threshold > 0)
    row = _row(low, low + width, direction, threshold)
    lines = f.claim_lines(row)
    ends = row["low"], row["high"]
    assume(all(abs(end - line) > 1e-7 for end in ends for line in lines))
    shown = _ends(interval_and_n(row, signed=signed))
    for end, value in zip(ends, shown, strict=True):
        assert _sides(value, lines) == _sides(end, lines)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([None, 0.05, 0.125, 0.5]))
def test_percentages_too_and_none_and_all_only_when_exact(low, high, threshold):
    low, high = sorted((low, high))
    row = _row(low, high, threshold=threshold)
    lines = (*f.claim_lines(row), 1.0)
    assume(all(end == line or abs(end - line) > 1e-9 for end in (low, high) for line in lines))
    for end, value in zip((low, high), _ends(percent_and_n(row), 100), strict=True):
        assert _sides(value, lines) == _sides(end, lines)


def test_words_of_an_interval():
    row = _row(-0.004, 0.096)
    assert interval_and_n(row) == "0.046 (95% interval −0.004 to 0.096, n = 40 facts)"
    assert interval_and_n(row, ", seen once", signed=True) == (
        "+0.046 (95% interval −0.004 to +0.096, n = 40 facts, seen once)"
    )
    assert percent_and_n(row | {"low": 0.2, "high": 0.9, "estimate": 0.6}) == (
        "60% (95% interval 20 to 90%, n = 40 facts)"
    )
    assert percent_and_n(row | {"low": 0.2, "high": 0.9996, "estimate": 0.6}) == (
        "60.00% (95% interval 20.00 to 99.96%, n = 40 facts)"
    )


def test_without_an_interval_the_words_say_so():
    row = _row(0.1, 0.3) | {"low": None, "high": None}
    assert interval_and_n(row) == "0.20 (no interval, n = 40 facts)"
    assert percent_and_n(row) == "20.0% (no interval, n = 40 facts)"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "+0.50"), (-0.5, "−0.50"), (0.0, "0.00"), (0.001, "0.00")]
)
def test_a_sign_goes_with_what_is_shown(value, shown):
    assert f.signed(value, 2) == shown


SAID = {"c": ("Loss", "almost nothing is lost", "whether anything is lost is open", "much is lost")}


def _said(low, high, **more):
    claim = _row(low, high, "within", 0.1) | {"verdict": "inconclusive", "note": None} | more
    return estimates({"c": claim}, SAID, interval_and_n)[0]


def test_what_is_open_is_the_margin_where_the_interval_leaves_out_zero():
    assert _said(-0.23, -0.07).endswith(
        "; it is below 0, and whether by more than 0.1 this run cannot tell."
    )
    assert "; it is above 0, and" in _said(0.07, 0.2)
    assert _said(-0.15, 0.05).endswith("; whether anything is lost is open.")


@pytest.mark.parametrize("before", ["", "margin 0.1; "])
def test_a_claim_that_only_the_correction_leaves_open_is_said_to_be_so(before):
    note = f"{before}supported by its interval alone, not after Holm's correction"
    assert _said(-0.05, 0.05, note=note, p_adjusted=0.066).endswith(
        "; by this interval alone: almost nothing is lost; after Holm's correction for the number "
        "of claims undecided (adjusted p = 0.066)."
    )
