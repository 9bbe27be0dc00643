"""Typographic variants of a character brought to one form, length unchanged."""

from __future__ import annotations

import re

#: The one space that groups digits; other spaces become a plain one.
GROUPING_SPACE = "\u00a0"
_HARD_SPACES = "\u00a0\u2007\u2009\u202f"
_OTHER_SPACES = "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u200a\u205f\u3000"

_TO_ONE_FORM = str.maketrans(
    {
        **dict.fromkeys(_HARD_SPACES, GROUPING_SPACE),
        **dict.fromkeys(_OTHER_SPACES, " "),
        **dict.fromkeys("\u0085\u2028\u2029", "\n"),
        # minus sign, small and full-width hyphen-minus, hyphen, non-breaking hyphen
        **dict.fromkeys("\u2212\ufe63\uff0d\u2010\u2011", "-"),
        # figure dash and horizontal bar to en dash
        **dict.fromkeys("\u2012\u2015", "\u2013"),
        # curly and modifier apostrophes, curly quotation marks
        **dict.fromkeys("\u2018\u2019\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
    }
)
_DOES_NOT_GROUP = re.compile(rf"(?<![0-9]){GROUPING_SPACE}|{GROUPING_SPACE}(?![0-9]{{3}}(?![0-9]))")


def one_form(text: str) -> str:
    """``text`` with its variants of minus, apostrophe, quotation mark and space unified.

    A non-breaking, thin or figure space stays, as :data:`GROUPING_SPACE`, only where it can be a
    thousands separator: after a digit and before exactly three. One character is replaced by one,
    so positions stay valid. En and em dashes stay too: between numbers they mark a range.
    """
    return _DOES_NOT_GROUP.sub(" ", text.translate(_TO_ONE_FORM))
