"""Choices in free answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.metrics.parsing import parse_choice

OPTIONS = ["Fall of the Wall", "The Gulf War"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("A", 0),
        ("(b)", 1),
        ("Option B.", 1),
        ("The answer is B.", 1),
        ("B) The Gulf War", 1),
        ("B. It is well known", 1),
        ("“The Gulf War.”", 1),
        ("gulf war", 1),
        ("The  GULF war came first.", 1),
        ("It was the fall of the wall!", 0),
    ],
)
def test_choices_are_read(text, index):
    parsed = parse_choice(text, OPTIONS)
    assert (parsed.index, parsed.category) == (index, "choice")


@pytest.mark.parametrize(
    ("text", "category"),
    [
        (" ", "empty"),
        ("C", "unparsable"),
        ("A fall in prices", "unparsable"),
        ("The gulf wars", "unparsable"),
        ("I'm not sure.", "refusal"),
        ("Gulf War before fall of the wall", "ambiguous"),
        ("A) The Gulf War", "ambiguous"),
    ],
)
def test_what_is_no_choice(text, category):
    assert parse_choice(text, OPTIONS).category == category


def test_matched_says_what_decided():
    assert parse_choice("B) it is", OPTIONS).matched == "b"
    assert parse_choice("I say the Gulf War", OPTIONS).matched == "gulf war"


def test_an_option_inside_a_longer_one_is_not_counted():
    options = ["rate cut", "rate cut of the Fed"]
    assert parse_choice("the rate cut of the Fed came first", options).index == 1
    assert parse_choice("the rate cut came first", options).index == 0


@pytest.mark.parametrize(
    "options", [["a"], ["x", ""], ["The x", "X "], [str(i) for i in range(27)]]
)
def test_options_must_differ(options):
    with pytest.raises(ValueError, match="options"):
        parse_choice("x", options)


@given(st.text())
def test_any_text_gives_a_record(text):
    parsed = parse_choice(text, OPTIONS)
    assert (parsed.index is not None) == (parsed.category == "choice")


@given(st.lists(st.text("xyz ", min_size=3).filter(str.strip), min_size=2, max_size=5))
def test_an_option_in_its_own_words_is_chosen(options):
    unique = list({" ".join(option.split()): None for option in options})
    if len(unique) > 1:
        for index, option in enumerate(unique):
            assert parse_choice(f' "{option}." ', unique).index == index
