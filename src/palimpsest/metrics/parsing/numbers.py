"""The number in a free answer.

**Strict** grammar, the whole answer, outer white space aside::

    answer    = number "."? | '{"answer": ' JSON number '}'
    number    = sign? currency? sign? magnitude scale? unit?        (one sign at most)
    sign      = "-" | "+"                              (the Unicode minus is read as "-")
    currency  = "$" | "US$" | "€" | "£" | "¥"          (excludes a percent sign)
    magnitude = digits without separators, or groups of three split by "," or by a hard space,
                then "." and decimals if any; the zero before the point may be missing
    scale     = "thousand" | "million" | "billion" | "trillion"
    unit      = one of ``allowed_units``; "percent" stands for "%", "percent", "per cent", "pct"

**Lenient**: an answer in the strict grammar is read by it. Otherwise the first number counts that
is not covered by :data:`palimpsest.metrics.parsing.not_answers.RULES` (dates, ordinals, list
markers, durations, names of indices, the restated question) nor part of a word ("3rd", "Q3").

- "minus" and "negative" before a number are signs; verbs ("fell by 2") are not.
- A comma that cannot separate thousands is a decimal comma: "5,3", "0,123", "1.234,5"; "1,234" is
  one thousand two hundred and thirty-four. Digits punctuated in any other way are ambiguous.
- "k", "mn", "bn" and "tn" are scales too. No exponents outside JSON.
- The first number is ambiguous if a *different* one of the same kind is offered with it: by "or"
  in the same sentence, in a range ("2-3", "from 2 to 3", "between 2 and 3"), in a list ("2, 3"),
  or right beside it ("1 234" with a plain space).
- A bare integer from 1500 to 2199 that stands neither as a year ("in 2009") nor as a value ("at
  1900") is ambiguous, and so is a number right after "not".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal

from palimpsest.metrics.parsing.calendar_words import FLAGS, NUMBER_STARTS, YEAR
from palimpsest.metrics.parsing.characters import GROUPING_SPACE, one_form
from palimpsest.metrics.parsing.not_answers import cover
from palimpsest.metrics.parsing.refusals import is_refusal

NumberCategory = Literal["number", "refusal", "unparsable", "empty", "ambiguous"]
DEFAULT_UNITS = ("percent", "points")

_SPELLINGS = {
    "percent": ("%", "percent", "per cent", "pct"),
    "points": ("points", "point"),
    "percentage points": ("percentage points", "percentage point"),
}
_CANONICAL = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12} | {
    "k": 3,
    "mn": 6,
    "bn": 9,
    "tn": 12,
}

_BLANK = rf"[ \t{GROUPING_SPACE}]"
_JSON = re.compile(
    r'\{\s*"answer"\s*:\s*(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*\}'
)
_PLAIN = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_GROUPED = (
    rf"[1-9][0-9]{{0,2}}(?P<separator>[,{GROUPING_SPACE}])[0-9]{{3}}(?:(?P=separator)[0-9]{{3}})*"
    r"(?:\.[0-9]+)?"
)
_DECIMAL_COMMA = (
    rf"[0-9]+,[0-9]+|[1-9][0-9]{{0,2}}(?P<separator>[.{GROUPING_SPACE}])[0-9]{{3}}"
    r"(?:(?P=separator)[0-9]{3})*,[0-9]+"
)
# Atomic: giving digits back would read the 5 of "5.3x".
_ANY_DIGITS = rf"(?>[0-9]+(?:[.,][0-9]+|{GROUPING_SPACE}[0-9]{{3}})*|(?<!\.)\.[0-9]+)"
_MONEY = rf"(?P<currency>(?:US)?\$|€|£|¥){_BLANK}*(?P<inner_sign>[-+])?"

_BARE_YEAR = re.compile(YEAR)
_STANDS_AS_VALUE = re.compile(
    r"(?:\b(?:at|was|is|were|are|be|been|reached|hit|to|value|answer|equals?|about|around|exactly"
    r"|approximately|roughly|nearly|almost)|[:=≈~])\s*$",
    FLAGS,
)
_NEGATED = re.compile(r"\bnot\s+$", FLAGS)
_OPENS_RANGE = re.compile(r"\bbetween\b[^.;\n]{0,20}$", FLAGS)
_JOINS = re.compile(
    rf"{_BLANK}*(?:,|[-–—/×x*^]|(?:up\s)?to(?:\s\w+ly|\s(?:about|around|almost|maybe))?)?{_BLANK}*",
    FLAGS,
)
_OR = re.compile(r"[^.;!?\n]{0,60}\bor\b[^.;!?\n]{0,60}", FLAGS)
_AND = re.compile(r"\s*,?\s*and\b[^.;!?\n]{0,20}", FLAGS)


@dataclass(frozen=True)
class ParsedNumber:
    """What an answer says in figures.

    ``value`` is None unless ``category`` is "number"; scale words are applied to it, units are
    not (5.3 for "5.3%"). ``matched`` is the part of the answer that was read, None where there is
    none; ``unit`` the canonical unit, such as "percent", or else the currency sign.
    """

    value: float | None
    category: NumberCategory
    matched: str | None = None
    unit: str | None = None


def parse_number(
    text: str,
    mode: Literal["strict", "lenient"] = "strict",
    allowed_units: Sequence[str] = DEFAULT_UNITS,
    question: str | None = None,
) -> ParsedNumber:
    """Read the number that ``text`` gives as its answer; grammar and rules at the module's head.

    Args:
        text: any string.
        mode: "strict" reads answers that are a number and nothing else, "lenient" the first number
            of a sentence.
        allowed_units: units that may follow the number, replacing the default; case is free. In
            lenient mode other words after the number are passed over.
        question: what was asked; its restatement is passed over in lenient mode, and it has no
            part in strict mode.

    Returns:
        The category is "empty" for white space; "refusal" if there is a refusing phrase and no
        number, in either mode; "ambiguous" (lenient only) if two readings compete; "unparsable"
        otherwise. No string raises.

    Raises:
        ValueError: unknown ``mode``.
    """
    if mode not in ("strict", "lenient"):
        raise ValueError(f"mode must be strict or lenient, got {mode!r}")
    if not text.strip():
        return ParsedNumber(None, "empty")
    units = tuple(allowed_units)
    strict = _read_strict(text, units)
    if strict is not None:
        return strict
    lenient = _read_lenient(text, units, question)
    if lenient is None:
        return ParsedNumber(None, "refusal" if is_refusal(text) else "unparsable")
    return lenient if mode == "lenient" else ParsedNumber(None, "unparsable")


def _read_strict(text: str, units: tuple[str, ...]) -> ParsedNumber | None:
    answer, body = text.strip(), one_form(text).strip()
    json = _JSON.fullmatch(body)
    if json:
        return _number(float(json[1]), answer, None)
    match = _strict_grammar(units).fullmatch(body)
    candidate = _candidate(match) if match else None
    if candidate is None or candidate.value is None or (match["currency"] and candidate.is_percent):
        return None
    return _number(candidate.value, answer[: candidate.end], candidate.unit)


def _read_lenient(text: str, units: tuple[str, ...], question: str | None) -> ParsedNumber | None:
    body = one_form(text)
    json = _JSON.search(body)
    if json:
        return _number(float(json[1]), text[json.start() : json.end()], None)
    body = cover(body, one_form(question or ""))
    candidates = [_candidate(match) for match in islice(_lenient_grammar(units).finditer(body), 2)]
    if not candidates:
        return None
    first = candidates[0]
    if len(candidates) == 2 and _compete(body, *candidates):
        return ParsedNumber(None, "ambiguous", text[first.start : candidates[1].end])
    matched = text[first.start : first.end]
    if first.value is None or _is_unclear(body, first):
        return ParsedNumber(None, "ambiguous", matched)
    return _number(first.value, matched, first.unit)


def _number(value: float, matched: str, unit: str | None) -> ParsedNumber | None:
    """The record, or None for a number beyond the range of floats; a zero carries no sign."""
    return ParsedNumber(value + 0.0, "number", matched, unit) if math.isfinite(value) else None


@dataclass(frozen=True)
class _Candidate:
    """A number in the text; ``value`` is None where its digits or signs have no one reading."""

    value: float | None
    start: int
    end: int
    unit: str | None
    is_bare: bool
    is_percent: bool
    is_amount: bool


def _candidate(match: re.Match[str]) -> _Candidate:
    signs = [sign for sign in (match["sign"], match["inner_sign"]) if sign]
    digits = _plain_digits(match["digits"])
    power = _POWERS[match["scale"].lower()] if match["scale"] else 0
    minus = "-" if signs and signs[0] != "+" else ""
    unit = _CANONICAL.get(_words(match["unit"]), _words(match["unit"])) if match["unit"] else None
    return _Candidate(
        value=float(f"{minus}{digits}e{power}") if digits and len(signs) < 2 else None,
        start=match.start("core"),
        end=match.end("core"),
        unit=unit or match["currency"],
        is_bare=match["core"] == match["digits"],
        is_percent=unit in ("percent", "percentage points"),
        is_amount=bool(match["currency"] or match["scale"]),
    )


def _plain_digits(digits: str) -> str | None:
    """``digits`` without separators and with a decimal point; None if the grammar has no such."""
    if re.fullmatch(_PLAIN, digits):
        return digits
    if re.fullmatch(_GROUPED, digits):
        return digits.replace(",", "").replace(GROUPING_SPACE, "")
    if re.fullmatch(_DECIMAL_COMMA, digits):
        return digits.replace(".", "").replace(GROUPING_SPACE, "").replace(",", ".")
    return None


def _is_unclear(body: str, candidate: _Candidate) -> bool:
    before = body[: candidate.start]
    could_be_year = candidate.is_bare and _BARE_YEAR.fullmatch(
        body[candidate.start : candidate.end]
    )
    return bool(_NEGATED.search(before) or (could_be_year and not _STANDS_AS_VALUE.search(before)))


def _compete(body: str, first: _Candidate, second: _Candidate) -> bool:
    """Whether ``second`` is offered instead of ``first``, or both are ends of a range."""
    if first.value is not None and first.value == second.value:
        return False
    if (first.is_percent and second.is_amount) or (first.is_amount and second.is_percent):
        return False
    between = body[first.end : second.start]
    opens_range = _OPENS_RANGE.search(body[: first.start])
    return bool(
        _JOINS.fullmatch(between)
        or _OR.fullmatch(between)
        or (opens_range and _AND.fullmatch(between))
    )


@lru_cache(maxsize=64)
def _strict_grammar(units: tuple[str, ...]) -> re.Pattern[str]:
    scales = "thousand|million|billion|trillion"
    return re.compile(
        rf"(?P<core>(?P<sign>[-+])?(?:{_MONEY})?(?P<digits>{_GROUPED}|{_PLAIN})"
        rf"{_after_digits(scales, units)})\.?",
        FLAGS,
    )


@lru_cache(maxsize=64)
def _lenient_grammar(units: tuple[str, ...]) -> re.Pattern[str]:
    # A sign is no sign after a number or word ("2-3", "COVID-19"), a number no part of a word.
    sign = r"(?<![0-9A-Za-z_)%])[-+–]|\b(?:minus|negative)\s+"
    return re.compile(
        rf"(?P<core>(?:(?P<sign>{sign})|{NUMBER_STARTS}(?<![A-Za-z]-))(?:{_MONEY})?"
        rf"(?P<digits>{_ANY_DIGITS})"
        rf"{_after_digits('|'.join(_POWERS), units)}(?![0-9A-Za-z_]))",
        FLAGS,
    )


def _after_digits(scales: str, units: tuple[str, ...]) -> str:
    """Pattern of an optional scale and an optional unit."""
    spellings = sorted({s for unit in units for s in _spellings(unit)}, key=len, reverse=True)
    unit = "|".join(r"\s".join(map(re.escape, s.split())) for s in spellings) or r"(?!)"
    return (
        rf"(?:{_BLANK}*(?P<scale>{scales})\b)?"
        rf"(?:{_BLANK}*(?P<unit>{unit})(?![0-9A-Za-z_]))?"
    )


def _spellings(unit: str) -> tuple[str, ...]:
    return _SPELLINGS.get(_CANONICAL.get(_words(unit), ""), (_words(unit),))


def _words(unit: str) -> str:
    return " ".join(unit.lower().split())
