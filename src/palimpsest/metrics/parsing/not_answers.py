"""Numbers in a free answer that are no answer: dates, list markers, names, the question itself."""

from __future__ import annotations

import re

from palimpsest.metrics.parsing.calendar_words import (
    DAY,
    FLAGS,
    MONTH,
    NUMBER_ENDS,
    NUMBER_STARTS,
    YEAR,
)

#: Stands for each covered character; neither a space nor part of a word or number.
COVER = "\x00"

_HAS_UNIT = r"(?!\s*(?:%|per\s?cent|points?\b|thousand|million|billion|trillion))"
_YEAR_ALONE = YEAR + NUMBER_ENDS + _HAS_UNIT
_DATE_NOUN = (
    r"(?:quarter|half|end|beginning|start|middle|part|rest|most|month|year|spring|summer"
    r"|autumn|fall|winter|crisis|recession)"
)

#: What is covered, in this order: the name says what it is, the pattern how it is written.
RULES: dict[str, str] = {
    "base period of an index": (
        rf"{NUMBER_STARTS}{YEAR}(?:\s*[-–/]\s*[0-9]{{2,4}})?\s*=\s*100(?:\.0+)?{NUMBER_ENDS}"
    ),
    "name of an index": (
        r"\b(?:s\s?&\s?p[-\s]?(?:100|400|500|600)|ftse[-\s]?(?:100|250)|nikkei[-\s]?225"
        r"|russell[-\s]?[123]000|nasdaq[-\s]?100|cac[-\s]?40|dax[-\s]?[34]0|stoxx[-\s]?(?:50|600)"
        rf"|dow[-\s]?30|asx[-\s]?200|csi[-\s]?300|kospi[-\s]?200){NUMBER_ENDS}"
    ),
    "marker of a list": r"^[ \t]*\(?[0-9]{1,3}[.)][ \t]+(?=\S)",
    "label with a number": (
        r"(?:#\s?|\bno\.\s?|\b(?:step|option|item|table|chapter|section|version|question|example)\s)"
        rf"[0-9]+{NUMBER_ENDS}"
    ),
    "footnote": r"\[[0-9]{1,3}\]",
    "time of day": (
        rf"{NUMBER_STARTS}[0-9]{{1,2}}(?::[0-9]{{2}}){{1,2}}{NUMBER_ENDS}"
        rf"|{NUMBER_STARTS}[0-9]{{1,2}}\s?[ap]\.?m\b\.?"
    ),
    "duration or maturity": (
        rf"{NUMBER_STARTS}[0-9]+[-\s](?:year|yr|quarter|month|week|day|hour|minute)s?\b"
    ),
    "date in figures": (
        rf"{NUMBER_STARTS}(?:{YEAR}-[01]?[0-9](?:-[0-3]?[0-9])?|{YEAR}/[0-9]{{1,2}}"
        rf"(?:/[0-9]{{1,2}})?|[0-9]{{1,2}}/[0-9]{{1,2}}/(?:{YEAR}|[0-9]{{2}})"
        rf"|[0-9]{{1,2}}/{YEAR}|[0-9]{{1,2}}\.[0-9]{{1,2}}\.{YEAR}){NUMBER_ENDS}"
    ),
    "day, month and year": rf"{NUMBER_STARTS}{DAY}\s+(?:of\s+)?{MONTH}(?:,?\s*{_YEAR_ALONE})?",
    "month, day and year": (
        rf"{MONTH}(?:\s*{DAY}{NUMBER_ENDS}{_HAS_UNIT})?(?:,?\s*(?:of\s+)?{_YEAR_ALONE})?"
    ),
    "quarter": (
        rf"{NUMBER_STARTS}{YEAR}\s?[-/:]?\s?(?:Q|quarter\s)[1-4]\b"
        rf"|\bQ[1-4](?:\s?(?:of\s|[-/:]\s?)?(?:{_YEAR_ALONE}|'[0-9]{{2}}{NUMBER_ENDS}))?"
        rf"|{NUMBER_STARTS}[1-4]Q(?:\s?'?(?:{YEAR}|[0-9]{{2}}))?{NUMBER_ENDS}"
        rf"|\b(?:quarter|half|week)\s[0-9]{{1,2}}{NUMBER_ENDS}"
    ),
    "span of years": (
        rf"{NUMBER_STARTS}{YEAR}\s*(?:[-–—/]|to|and|through|until)\s*"
        rf"(?:{YEAR}|[0-9]{{2}}){NUMBER_ENDS}{_HAS_UNIT}"
    ),
    "year after a word of time": (
        r"\b(?:in|for|during|since|until|till|before|after|years?|early|mid|late|fiscal|fy|spring"
        rf"|summer|autumn|fall|winter|{_DATE_NOUN}\sof|{_DATE_NOUN})[-\s]+{_YEAR_ALONE}"
    ),
    "year that describes a noun": rf"\bthe\s{_YEAR_ALONE}\s(?=[a-z])|{NUMBER_STARTS}{YEAR}'s\b",
    "year as a label": rf"\({_YEAR_ALONE}\)|^[ \t]*{YEAR}\s?[:|–-]\s",
}

_COMPILED = tuple(re.compile(pattern, FLAGS) for pattern in RULES.values())
_WORD_AND_NUMBER = re.compile(rf"(\w+)\s+([0-9]+(?:[.,][0-9]+)*){NUMBER_ENDS}", FLAGS)


def cover(text: str, question: str | None = None) -> str:
    """``text`` with every number that is no answer replaced by :data:`COVER`, length unchanged.

    Covered are the matches of :data:`RULES` and, where ``question`` is given, its restatement: the
    question word for word (case and spaces free), and every "word number" pair that stands in it,
    such as the "P 500" of "S&P 500".
    """
    for pattern in (*_restatements(question or ""), *_COMPILED):
        text = pattern.sub(lambda match: COVER * len(match.group()), text)
    return text


def _restatements(question: str) -> list[re.Pattern[str]]:
    words = question.split()
    verbatim = [r"\s+".join(re.escape(word) for word in words)] if words else []
    pairs = [
        rf"\b{re.escape(match[1])}\s+{re.escape(match[2])}{NUMBER_ENDS}"
        for match in _WORD_AND_NUMBER.finditer(question)
    ]
    return [re.compile(pattern, FLAGS) for pattern in (*verbatim, *pairs)]
