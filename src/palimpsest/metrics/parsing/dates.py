"""The date in a free answer: year, or month and year, or day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from palimpsest.metrics.parsing.calendar_words import (
    DAY,
    FLAGS,
    MONTH,
    NUMBER_STARTS,
    YEAR,
    month_number,
)
from palimpsest.metrics.parsing.characters import one_form
from palimpsest.metrics.parsing.refusals import is_refusal

DateCategory = Literal["date", "refusal", "unparsable", "empty", "ambiguous"]

# A quarter may be glued to the year ("2009Q3"); decimals and more digits may not follow.
_ENDS = r"(?![0-9A-PR-Za-pr-z_]|[.,][0-9])"
_YEAR = rf"(?P<year>{YEAR}){_ENDS}"
_FIGURES = r"[0-9]{1,2}"
_GAP = r"[,\s-]+(?:of\s+)?"

#: Where two forms start at the same character, the one that comes first here is taken.
_PATTERNS = (
    rf"{NUMBER_STARTS}(?P<year>{YEAR})[-/](?P<month>{_FIGURES})"
    rf"(?:[-/](?P<day>{_FIGURES}))?{_ENDS}",
    rf"{NUMBER_STARTS}(?P<one>{_FIGURES})/(?P<other>{_FIGURES})/{_YEAR}",
    rf"{NUMBER_STARTS}(?P<day>{_FIGURES})\.(?P<month>{_FIGURES})\.{_YEAR}",
    rf"{NUMBER_STARTS}(?P<month>{_FIGURES})[-/]{_YEAR}",
    rf"{NUMBER_STARTS}(?P<day>{DAY})[\s-]+(?:of\s+)?(?P<name>{MONTH}){_GAP}{_YEAR}",
    rf"(?P<name>{MONTH})\s*(?P<day>{DAY})[,\s]+{_YEAR}",
    rf"(?P<name>{MONTH})(?:{_GAP})?{_YEAR}",
    rf"{NUMBER_STARTS}(?P<year>{YEAR}){_GAP}(?P<name>{MONTH})(?:\s*(?P<day>{DAY}){_ENDS})?",
    rf"{NUMBER_STARTS}{_YEAR}",
    rf"(?P<name>{MONTH})",
)
_FORMS = tuple(re.compile(pattern, FLAGS) for pattern in _PATTERNS)
# One pass over the text finds where a date stands; ten would be slow on long answers.
_ANY_FORM = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", p) for p in _PATTERNS), FLAGS)
_OFFERS_ANOTHER = re.compile(
    r"[\s,]*(?:[-–—/]|or\b(?:\s\w+){0,3}|(?:and|to|through|until)\b)\s*", FLAGS
)


@dataclass(frozen=True)
class ParsedDate:
    """When, according to an answer; fields it does not give are None.

    ``year`` is None unless ``category`` is "date".
    """

    year: int | None
    month: int | None
    day: int | None
    category: DateCategory


def parse_month_year(text: str, day_first: bool | None = None) -> ParsedDate:
    """Read the first date of ``text``.

    Accepted are years from 1500 to 2199 alone ("in 2008", "2008Q1": the month stays None) and

    ========================  ==================================================================
    month in words            "March 2008", "Mar. 2008", "March of 2008", "2008 March",
                              "March 14, 2008", "14 March 2008", "the 14th of March, 2008"
    ISO 8601                  "2008-03", "2008-03-14", also with slashes
    day, month, year          "14.03.2008"
    month, year               "03/2008", "3-2008"
    two numbers and a year    "3/14/2008": read if it is a date in one order only, or the same in
                              both; otherwise in the order told by ``day_first``, or ambiguous
    ========================  ==================================================================

    A month without a year is no date. The date is ambiguous if a different one follows it in a
    range or after "or" or "and" ("March or April 2008", "2007-2008", "between 2007 and 2009").

    Args:
        text: any string; none raises.
        day_first: order of "3/4/2008": True for 3 April, False for March 4.

    Returns:
        The category is "empty" for white space, "refusal" if there is a refusing phrase and no
        date, "unparsable" if there is neither or the first date does not exist (31/2/2008).
    """
    if not text.strip():
        return _none("empty")
    body = one_form(text)
    before, first, after = _first_with_year(body)
    if first is None:
        return _none("refusal" if is_refusal(text) else "unparsable")
    answer = _read(first, day_first)
    for one, other in ((before, first), (first, after)):
        if one and other and _OFFERS_ANOTHER.fullmatch(body[one.end() : other.start()]):
            rival = _read(one if other is first else other, day_first)
            if (rival.year, rival.month) != (answer.year, answer.month):
                return _none("ambiguous")
    return answer


def _first_with_year(body: str) -> tuple[re.Match[str] | None, ...]:
    """The first mention of a date with a year, and the mentions just before and after it."""
    before, mention = None, _next_mention(body, 0)
    while mention is not None and "year" not in mention.groupdict():
        before, mention = mention, _next_mention(body, mention.end())
    after = _next_mention(body, mention.end()) if mention is not None else None
    return before, mention, after


def _next_mention(body: str, start: int) -> re.Match[str] | None:
    found = _ANY_FORM.search(body, start)
    if found is None:
        return None
    return next(match for form in _FORMS if (match := form.match(body, found.start())))


def _read(mention: re.Match[str], day_first: bool | None) -> ParsedDate:
    """The fields of a mention; a month alone gives a record without a year."""
    groups = {key: value for key, value in mention.groupdict().items() if value is not None}
    if "name" in groups:
        month = month_number(groups["name"])
    else:
        month = int(groups["month"]) if "month" in groups else None
    if "year" not in groups:
        return ParsedDate(None, month, None, "unparsable")
    year = int(groups["year"])
    if "one" in groups:
        return _in_either_order(year, int(groups["one"]), int(groups["other"]), day_first)
    day = int(groups["day"].rstrip("dhnrstDHNRST")) if "day" in groups else None
    return (
        ParsedDate(year, month, day, "date") if _exists(year, month, day) else _none("unparsable")
    )


def _in_either_order(year: int, one: int, other: int, day_first: bool | None) -> ParsedDate:
    day_month = {(one, other), (other, one)} if day_first is None else {(one, other)}
    if day_first is False:
        day_month = {(other, one)}
    existing = [(day, month) for day, month in day_month if _exists(year, month, day)]
    if len(existing) != 1:
        return _none("ambiguous" if existing else "unparsable")
    day, month = existing[0]
    return ParsedDate(year, month, day, "date")


def _exists(year: int, month: int | None, day: int | None) -> bool:
    try:
        date(year, 1 if month is None else month, 1 if day is None else day)
    except ValueError:
        return False
    return True


def _none(category: DateCategory) -> ParsedDate:
    return ParsedDate(None, None, None, category)
