"""Numbers in free answers: the strict grammar, the lenient rules, and what is never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.metrics.parsing import parse_number
from palimpsest.metrics.parsing.not_answers import cover

NBSP, THIN, MINUS = "\u00a0", "\u2009", "\u2212"


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5.3", 5.3, None),
        (" 5.3.\n", 5.3, None),
        ("5.", 5.0, None),
        (".5", 0.5, None),
        ("+0.4", 0.4, None),
        (f"{MINUS}0.3%", -0.3, "percent"),
        ("5.3 per cent", 5.3, "percent"),
        (f"5.3{NBSP}Percent.", 5.3, "percent"),
        ("1,257.64 points", 1257.64, "points"),
        (f"1{NBSP}257{NBSP}000.5", 1257000.5, None),
        (f"12{THIN}345", 12345.0, None),
        ("$72.50", 72.5, "$"),
        ("-$5", -5.0, "$"),
        ("$-5", -5.0, "$"),
        ("US$ 2.5 billion", 2.5e9, "US$"),
        ("131 million", 131e6, None),
        ("1.1 trillion", 1.1e12, None),
        ("2009", 2009.0, None),
        ('{"answer": 5.3}', 5.3, None),
        (' {"answer":-1.5e2} ', -150.0, None),
    ],
)
def test_strict_reads_the_documented_grammar(text, value, unit):
    parsed = parse_number(text)
    assert (parsed.value, parsed.category, parsed.unit) == (value, "number", unit)
    assert parse_number(text, "lenient") == parsed


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 5.3",
        "The rate was 5.3",
        "5,3",
        "0,123",
        "1,25",
        "12,34,567",
        "1,234,56",
        "1 234",
        f"1{NBSP}23",
        f"1,234{NBSP}567",
        "-$-5",
        "--5",
        "- 5",
        "$5%",
        "5 dollars",
        "5.3 5.4",
        "5.3 or 5.4",
        "1e5",
        "5.3..",
        "5.3!",
        "٥",
        "five",
        "inf",
        "nan",
        "9" * 400,
        '{"answer": "5.3"}',
        '{"answer": 5.3, "answer": 5.4}',
        '{"answer": null}',
        '{"answer": 1e999}',
    ],
)
def test_strict_refuses_everything_else(text):
    assert parse_number(text).category == "unparsable"


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("Answer: 5.3", 5.3, None),
        ("The unemployment rate in October 2009 was 10.0 percent.", 10.0, "percent"),
        ("The S&P 500 closed at 1,257.64 on March 3, 2008.", 1257.64, None),
        ("On 14 March 2008 it was 5.1", 5.1, None),
        ("On 2008-03-14: 5.1", 5.1, None),
        ("On 3/14/2008 (a Friday) it was 5.1", 5.1, None),
        ("In Q3 2009 growth was -0.3%.", -0.3, "percent"),
        ("In 2009Q3 growth was 1.3%.", 1.3, "percent"),
        ("In the third quarter of 2009 it grew 1.3%.", 1.3, "percent"),
        ("3rd quarter: 4.4", 4.4, None),
        ("In the 1990s it was 6", 6.0, None),
        ("From 2007 to 2009 it averaged 6.5", 6.5, None),
        ("The 2009 figure was 9.3", 9.3, None),
        ("2009: 9.3", 9.3, None),
        ("1. 5.3\n2. 4.4", 5.3, None),
        ("(2) It was 5.3", 5.3, None),
        ("Step 3 gives 5.3", 5.3, None),
        ("[1] It was 5.3", 5.3, None),
        ("At 10:30 it was 5.3", 5.3, None),
        ("The 10-year yield was 3.4", 3.4, None),
        ("COVID-19 raised it to 14.7", 14.7, None),
        ("CPI (1982-84=100) was 211.2", 211.2, None),
        ("In March 5 percent", 5.0, "percent"),
        ("May 9.4", 9.4, None),
        ("minus 2.5", -2.5, None),
        ("fell to –2.5%", -2.5, "percent"),
        ("It fell by 2.5 percent", 2.5, "percent"),
        ("about 5,3 %", 5.3, "percent"),
        ("es war 1.234,5", 1234.5, None),
        ("0,123", 0.123, None),
        ("roughly 3.5bn", 3.5e9, None),
        ("some 131 million people", 131e6, None),
        ('Sure: {"answer": 5.3}', 5.3, None),
        ("10.0\n9.8\n9.7", 10.0, None),
        ("10.0 percent or 10%", 10.0, "percent"),
        ("10.0 percent, or 15.7 million persons", 10.0, "percent"),
        ("I am not sure, perhaps 5.3", 5.3, None),
        ("It closed at 1900, up 2.1 percent", 1900.0, None),
    ],
)
def test_lenient_reads_the_first_number_that_is_an_answer(text, value, unit):
    parsed = parse_number(text, "lenient")
    assert (parsed.value, parsed.category, parsed.unit) == (value, "number", unit)


@pytest.mark.parametrize(
    "text",
    [
        "9.8 or maybe 10.2",
        "either 9.8 percent or 10.2 percent",
        "2-3%",
        "2%–3%",
        "2 – 3",
        "from 3.9 to 4.1",
        "3.9 to about 4.1",
        "between 3 and 4 percent",
        "9.8, 9.9, 10.0",
        "1 234",
        "5 1/2",
        "2 x 10",
        "1.234.567",
        "not 5.4 but 5.3",
        "Well, 2009 then",
        "2009 10.0",
    ],
)
def test_lenient_never_guesses_between_two_readings(text):
    parsed = parse_number(text, "lenient")
    assert (parsed.value, parsed.category) == (None, "ambiguous")
    assert parsed.matched in text


@pytest.mark.parametrize("text", ["In October 2009.", "It rose.", "Q3", "the 3rd", "about 5.3x"])
def test_lenient_without_an_answer(text):
    assert parse_number(text, "lenient").category == "unparsable"


@pytest.mark.parametrize(
    "text",
    [
        "I don’t know.",
        "I'm sorry, I can't provide that.",
        "As an AI language model, I have no access to it.",
        "I do not have data after October 2009.",
        "That figure is not available.",
    ],
)
@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_refusals_are_told_from_other_failures(text, mode):
    assert parse_number(text, mode).category == "refusal"


def test_a_refusing_phrase_with_a_number_is_no_refusal():
    assert parse_number("I don't know, 5.3?", "strict").category == "unparsable"
    assert parse_number("I don't know, 5.3?", "lenient").value == 5.3


@pytest.mark.parametrize("text", ["", " \n", NBSP])
def test_empty(text):
    assert parse_number(text).category == "empty"


def test_the_restated_question_is_passed_over():
    question = "What was the closing value of the Zeta 77 in week 9.5?"
    answer = "The Zeta 77 closed at 812.5"
    assert parse_number(answer, "lenient").value == 77
    assert parse_number(answer, "lenient", question=question).value == 812.5
    restated = "what was the closing value of the Zeta 77  in week 9.5? 812.5"
    assert parse_number(restated, "lenient", question=question).value == 812.5
    bracketed = "Which coupon followed the old one (8.25)?"
    assert parse_number(f"{bracketed} 7.5", "lenient").value == 8.25
    assert parse_number(f"{bracketed} 7.5", "lenient", question=bracketed).value == 7.5


def test_units_are_those_allowed():
    assert parse_number("72.5 a barrel", allowed_units=("a barrel",)).unit == "a barrel"
    assert parse_number("72.5 a barrel").category == "unparsable"
    assert parse_number("5.3%", allowed_units=()).category == "unparsable"
    assert parse_number("5.3 percent", allowed_units=("%",)).unit == "percent"
    assert parse_number("rose 72.5 per day", "lenient", ("a barrel",)).unit is None
    assert parse_number("rose 72.5 A barrel", "lenient", ("a barrel",)).unit == "a barrel"


def test_matched_is_the_part_that_was_read():
    text = f"It was {MINUS}1{NBSP}234.5 percent in May 2008."
    assert parse_number(text, "lenient").matched == f"{MINUS}1{NBSP}234.5 percent"


def test_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match="mode"):
        parse_number("5", "loose")


FRAGMENTS = st.sampled_from(
    [
        *"0123456789.,-–+%$€ \n()/:=",
        NBSP,
        THIN,
        MINUS,
        "2009",
        "May ",
        "Q3",
        " or ",
        " to ",
        "million",
    ]
)


@given(
    st.one_of(st.text(), st.lists(FRAGMENTS).map("".join)),
    st.sampled_from(["strict", "lenient"]),
    st.one_of(st.none(), st.text()),
    st.lists(st.text(), max_size=2),
)
def test_any_text_gives_a_record(text, mode, question, units):
    parsed = parse_number(text, mode, units, question)
    assert (parsed.value is not None) == (parsed.category == "number")
    assert parsed.matched is None or parsed.matched in text
    assert mode == "lenient" or parsed.category != "ambiguous"


@given(st.text(), st.text())
def test_covering_keeps_positions(text, question):
    assert len(cover(text, question)) == len(text)


@given(
    st.decimals(-(10**9), 10**9, places=3),
    st.sampled_from([",", NBSP, THIN, ""]),
    st.sampled_from(["", "%", " percent", " points", " million"]),
    st.sampled_from(["-", MINUS]),
    st.sampled_from(["", "."]),
)
def test_format_then_parse_gives_the_number(number, separator, suffix, minus, stop):
    text = f"{number:,.3f}".replace(",", separator).replace("-", minus) + suffix + stop
    expected = float(f"{number}e6") if suffix == " million" else float(number)
    assert parse_number(text).value == expected
    assert parse_number(f"It stood at {text}", "lenient").value == expected
