"""Numbers and untrusted text as a reader sees them.

Rounding never moves a number across a line that matters: a p-value keeps digits until it stands on
its own side of 0.05, an interval until its ends keep their sign, a percentage until 0% and 100%
mean exactly none and all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape

MISSING = "–"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_DIGITS = 8
_LARGEST_IN_FULL = 1e10
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_missing(value: Any) -> bool:
    """True for None and for a float that is not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: float | None, digits: int | None = None) -> str:
    """``value`` with ``digits`` decimals; None: whole numbers whole, others 3 significant digits.

    A number that is not zero is never shown as zero: it gets the decimals it needs.

    >>> number(1234567), number(0.0412345), number(-0.5, 2), number(0.0003, 2)
    ('1,234,567', '0.0412', '−0.50', '0.0003')
    """
    if is_missing(value) or math.isinf(value):
        return rounded(value)
    if digits is None:
        digits = _decimals(value)
    if value != 0 and float(f"{value:.{digits}f}") == 0:
        digits = -math.floor(math.log10(abs(value)))
    if digits > _MOST_DIGITS:
        return _power_of_ten(value)
    return rounded(value, digits)


def rounded(value: float | None, digits: int | None = None) -> str:
    """``value`` with exactly ``digits`` decimals, without a minus before a zero.

    From 10 billion on, where digits no longer read as a size, a power of ten.
    """
    if is_missing(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= _LARGEST_IN_FULL:
        return _power_of_ten(value)
    shown = f"{value:,.{_decimals(value) if digits is None else digits}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.lstrip("-")
    return shown.replace("-", "−")


def signed(value: float | None, digits: int | None = None) -> str:
    """As :func:`rounded`, with a plus before what is above zero: for differences in sentences."""
    shown = rounded(value, digits)
    above = not is_missing(value) and value > 0 and any(c in shown for c in "123456789∞")
    return f"+{shown}" if above else shown


def percent(value: float | None, digits: int | None = None) -> str:
    """A share between 0 and 1 as a percentage; ``0%`` and ``100%`` only when exact."""
    if is_missing(value):
        return MISSING
    scaled = 100 * value
    if scaled in (0, 100):
        return f"{scaled:.0f}%"
    digits = 1 if digits is None else digits
    while digits < _MOST_DIGITS and round(scaled, digits) in (0, 100):
        digits += 1
    return rounded(scaled, digits) + "%"


def p_value(value: float | None) -> str:
    """A p-value; below a thousandth ``< 0.001``; more decimals where 3 would blur 0.05.

    >>> p_value(0.0004), p_value(0.031), p_value(0.0504)
    ('< 0.001', '0.031', '0.0504')
    """
    if is_missing(value):
        return MISSING
    if value < 0.001:
        return "< 0.001"
    digits = 3
    while digits < _MOST_DIGITS and value != 0.05 and round(value, digits) == 0.05:
        digits += 1
    if value < 1 and round(value, digits) == 1:
        return "> 0.999"
    return f"{value:.{digits}f}"


def p_equals(value: float | None) -> str:
    """A p-value with its sign, to follow the letter p: ``= 0.031`` or ``< 0.001``."""
    shown = p_value(value)
    return shown if shown[0] in "<>" else f"= {shown}"


def interval(
    estimate: float | None, low: float | None, high: float | None, digits: int | None = None
) -> str:
    """``0.71 [0.60, 0.80]``; without ends ``0.71 [no interval]``; without estimate a dash."""
    if is_missing(estimate):
        return MISSING
    if is_missing(low) or is_missing(high):
        return f"{number(estimate, digits)} [no interval]"
    shown = rounded(estimate, interval_digits((low, high), digits))
    return f"{shown} {bounds(low, high, digits)}"


def bounds(low: float | None, high: float | None, digits: int | None = None) -> str:
    """``[0.60, 0.80]``, or a dash when an end is missing."""
    if is_missing(low) or is_missing(high):
        return MISSING
    digits = interval_digits((low, high), digits)
    return f"[{rounded(low, digits)}, {rounded(high, digits)}]"


def interval_digits(
    ends: tuple[float | None, float | None],
    digits: int | None = None,
    lines: Iterable[float] = (0.0,),
) -> int | None:
    """Decimals for an interval: so many that both ends stay on their side of every line.

    ``lines`` are what an interval is held against, such as the threshold of a claim: no end that
    differs from one is shown as it. Without ``digits``: 2, or as many as the width needs for two
    figures. None without ends.
    """
    if any(is_missing(end) or math.isinf(end) for end in ends):
        return digits
    width = abs(ends[1] - ends[0])
    if digits is None:
        digits = 2 if width == 0 else max(0, min(_MOST_DIGITS, 1 - math.floor(math.log10(width))))
        digits = max(digits, 2) if width < 100 else digits
    lines = [round(line, _MOST_DIGITS) for line in lines]
    while digits < _MOST_DIGITS and any(
        end != line and (round(end, digits) - line) * (end - line) <= 0
        for end in ends
        for line in lines
    ):
        digits += 1
    return digits


def claim_lines(claim: Mapping[str, Any]) -> tuple[float, ...]:
    """Where the interval of a claim decides something: 0 and the threshold, on its sides."""
    threshold = claim.get("threshold")
    if is_missing(threshold):
        return (0.0,)
    within = claim.get("direction") == "within"
    return (0.0, threshold, -threshold) if within else (0.0, threshold)


def claim_digits(claim: Mapping[str, Any]) -> int | None:
    """Decimals for the interval of a claim, or of a row without a threshold."""
    return interval_digits((claim["low"], claim["high"]), lines=claim_lines(claim))


def share(part: float | None, whole: float | None) -> str:
    """``part`` of ``whole`` in words, such as ``12.5% of all``."""
    return "not recorded" if is_missing(part) or not whole else f"{percent(part / whole)} of all"


def unit(words: str, n: int | None) -> str:
    """What ``n`` counts, in the singular where that is one: the first word that ends in s.

    >>> unit("methods that forgot", 1), unit("taught models", 1), unit("facts", 2)
    ('method that forgot', 'taught model', 'facts')
    """
    if n != 1:
        return words
    return re.sub(r"(?<=[a-z]{2})(?<!s)(?<!serie)s\b", "", words, count=1)


def energy(kilowatt_hours: float | None) -> str:
    """Energy in Wh below 1 kWh, else in kWh, to two figures."""
    if is_missing(kilowatt_hours):
        return MISSING
    if kilowatt_hours < 1:
        return f"{1000 * kilowatt_hours:.2g} Wh"
    return f"{number(kilowatt_hours, 1)} kWh"


def duration(seconds: float | None) -> str:
    """Seconds in the unit a reader would say: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``.

    >>> duration(0.42), duration(200), duration(7500)
    ('0.4 s', '3 min 20 s', '2 h 5 min')
    """
    if is_missing(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def visible(text: Any) -> Markup:
    """``text`` escaped for HTML, with characters that cannot be seen shown as their code points.

    Control, bidirectional and zero-width characters can make an answer look like another one.
    Line breaks and tabs stay; everything else of Unicode's categories Cc, Cf, Cs, Co, Cn, Zl and
    Zp becomes ``⟨U+202E⟩`` with its name as a tooltip.
    """
    if isinstance(text, Markup):
        return text
    if text is None:
        return Markup(escape(MISSING))
    text = str(text)
    if _all_seen(text):
        return escape(text)
    parts: list[str] = []
    plain: list[str] = []
    for character in text:
        if not is_hidden(character):
            plain.append(character)
            continue
        parts.append(str(escape("".join(plain))))
        plain.clear()
        name = unicodedata.name(character, "control character")
        code = code_point(character)
        parts.append(f'<span class="hidden-character" title="{name}">{code}</span>')
    parts.append(str(escape("".join(plain))))
    return Markup("".join(parts))


def plain(text: Any) -> Markup:
    """``text`` escaped for an attribute or another place that takes no markup."""
    return escape(without_hidden(str(text)))


def is_hidden(character: str) -> bool:
    """True for a character that a reader cannot see and that may change what is seen."""
    return character not in "\n\t" and unicodedata.category(character) in _HIDDEN


def code_point(character: str) -> str:
    """``⟨U+202E⟩``."""
    return f"⟨U+{ord(character):04X}⟩"


def without_hidden(text: str) -> str:
    """``text`` with hidden characters written as code points; for places without markup."""
    if _all_seen(text):
        return text
    return "".join(code_point(c) if is_hidden(c) else c for c in text)


def _all_seen(text: str) -> bool:
    """A fast sufficient test: what Python calls printable is none of the hidden categories."""
    return text.replace("\n", "").replace("\t", "").isprintable()


def _power_of_ten(value: float) -> str:
    """Two significant digits and a power of ten, such as ``6.2×10¹¹``."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}".replace("-", "−")


def _decimals(value: float) -> int:
    """Decimals for three significant digits, none for whole numbers."""
    if float(value).is_integer():
        return 0
    return max(0, 2 - math.floor(math.log10(abs(value))))
