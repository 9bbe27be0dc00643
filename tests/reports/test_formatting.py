import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.reports import formatting as f


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0, None, "0"),
        (1234567, None, "1,234,567"),
        (24.0, None, "24"),
        (0.0412345, None, "0.0412"),
        (123.456, None, "123"),
        (-0.5, 2, "−0.50"),
        (0.0004, 2, "0.0004"),
        (-0.0004, 2, "−0.0004"),
        (2.5e-12, 2, "2.5×10⁻¹²"),
        (9_876_543_210, None, "9,876,543,210"),
        (-623999999996, None, "−6.2×10¹¹"),
        (-0.0, 2, "0.00"),
        (math.inf, None, "∞"),
        (-math.inf, 2, "−∞"),
        (None, None, "–"),
        (math.nan, 2, "–"),
    ],
)
def test_number(value, digits, shown):
    assert f.number(value, digits) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.7083, "70.8%"),
        (0.99996, "99.996%"),
        (0.0001, "0.01%"),
        (None, "–"),
    ],
)
def test_percent_says_none_and_all_only_when_exact(value, shown):
    assert f.percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.001, "0.001"),
        (0.0312, "0.031"),
        (0.05, "0.050"),
        (0.0499, "0.0499"),
        (0.0504, "0.0504"),
        (0.04996, "0.04996"),
        (0.9997, "> 0.999"),
        (1.0, "1.000"),
        (None, "–"),
    ],
)
def test_p_value(value, shown):
    assert f.p_value(value) == shown


@given(st.floats(0.001, 0.999))
def test_no_p_value_is_rounded_across_or_onto_the_threshold(p):
    shown = float(f.p_value(p))
    if abs(p - 0.05) > 1e-8:
        assert (shown < 0.05) == (p < 0.05)
        assert (shown > 0.05) == (p > 0.05)


@given(st.floats(-1, 1), st.floats(1e-6, 1))
def test_an_interval_that_excludes_zero_says_so(low, width):
    shown = f.bounds(low, low + width)[1:-1].replace("−", "-").split(", ")
    for end, text in zip((low, low + width), shown, strict=True):
        if abs(end) > 1e-7:
            assert math.copysign(1, float(text)) == math.copysign(1, end)
            assert float(text) != 0


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.708, 0.6, 0.8), "0.71 [0.60, 0.80]"),
        ((0.02, 0.0004, 0.04), "0.0200 [0.0004, 0.0400]"),
        ((0.0001, -0.061, 0.094), "0.00 [−0.06, 0.09]"),
        ((0.7083, 0.7079, 0.7086), "0.70830 [0.70790, 0.70860]"),
        ((0.7, None, 0.8), "0.700 [no interval]"),
        ((None, 0.1, 0.2), "–"),
        ((12.0, 11.0, 14.0), "12.00 [11.00, 14.00]"),
        ((1200.0, 800.0, 1900.0), "1,200 [800, 1,900]"),
    ],
)
def test_interval(values, shown):
    assert f.interval(*values) == shown


@pytest.mark.parametrize(
    ("low", "high", "direction", "threshold", "digits"),
    [
        (0.4, 0.5004, "above", 0.5, 4),  # 0.50 would be the threshold itself
        (0.4, 0.5, "above", 0.5, 2),
        (-0.0996, 0.05, "within", 0.1, 4),
        (-0.0996, 0.05, "above", 0.1, 2),
        (0.1204, 0.4, "above", 0.125, 2),  # 0.12 lies on its side of 0.125
        (0.1254, 0.4, "above", 0.125, 2),
    ],
)
def test_digits_of_a_claim_show_on_which_side_of_its_threshold_it_lies(
    low, high, direction, threshold, digits
):
    claim = {"low": low, "high": high, "direction": direction, "threshold": threshold}
    assert f.claim_digits(claim) == digits


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.4 s"),
        (12.2, "12 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3599.9, "1 h 0 min"),
        (None, "–"),
    ],
)
def test_duration(seconds, shown):
    assert f.duration(seconds) == shown


def test_energy_and_share():
    assert f.energy(0.0068) == "6.8 Wh"
    assert f.energy(12.34) == "12.3 kWh"
    assert f.share(1, 8) == "12.5% of all"
    assert f.share(None, 8) == "not recorded"


class _Text(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs).get("class")))


@given(st.text())
def test_visible_is_text_whatever_the_text(text):
    reader = _Text()
    reader.feed(str(f.visible(text)))
    reader.close()
    assert all(tag == ("span", "hidden-character") for tag in reader.tags)
    assert reader.text == f.without_hidden(text)
    assert not any(f.is_hidden(character) for character in reader.text)


def test_visible_shows_what_cannot_be_seen():
    shown = f.visible("a\u202eb\x00c\n")
    assert 'title="RIGHT-TO-LEFT OVERRIDE">⟨U+202E⟩</span>' in shown
    assert "⟨U+0000⟩" in shown
    assert shown.endswith("c\n")
    assert f.visible(None) == "–"


def test_plain_is_safe_in_an_attribute():
    assert f.plain("\"'<&\u202e") == "&#34;&#39;&lt;&amp;⟨U+202E⟩"


def test_a_unit_is_singular_where_n_is_one():
    assert f.unit("methods that forgot", 1) == "method that forgot"
    assert f.unit("retrained models", 1) == "retrained model"
    assert f.unit("series", 1) == "series"
    assert f.unit("methods that forgot", 2) == "methods that forgot"
