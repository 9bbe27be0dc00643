"""How English writes months, years and days: pieces of regular expressions.

To be compiled with :data:`FLAGS`. Names are spelled out rather than taken from the locale: results
must not depend on the machine.
"""

from __future__ import annotations

import re

#: ASCII, or ``IGNORECASE`` would let a long s or the Kelvin sign into a month's name.
FLAGS = re.IGNORECASE | re.ASCII | re.MULTILINE

_NAMES = (
    "jan(?:uary)?",
    "feb(?:ruary)?",
    "mar(?:ch)?",
    "apr(?:il)?",
    "may",
    "june?",
    "july?",
    "aug(?:ust)?",
    "sep(?:t(?:ember)?)?",
    "oct(?:ober)?",
    "nov(?:ember)?",
    "dec(?:ember)?",
)
_FIRST_LETTERS = tuple(name[:3] for name in _NAMES)

#: A month's name or abbreviation, with or without a full stop.
MONTH = rf"\b(?:{'|'.join(_NAMES)})\b\.?"
#: A year that can stand in a question about economic history: 1500 to 2199.
YEAR = r"(?:1[5-9]|2[01])[0-9]{2}"
#: Day of a month, with or without its ordinal ending.
DAY = r"(?:3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)?"
#: Not preceded by more of the same number or word.
NUMBER_STARTS = r"(?<![0-9A-Za-z_])(?<![0-9][.,])"
#: Not followed by more of the same number or word.
NUMBER_ENDS = r"(?![0-9A-Za-z_]|[.,][0-9])"


def month_number(name: str) -> int:
    """1 to 12 for text that :data:`MONTH` matches."""
    return _FIRST_LETTERS.index(name[:3].lower()) + 1
