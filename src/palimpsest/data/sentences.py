"""Values and dates in words, exactly: what is printed in a prompt is what was published."""

from __future__ import annotations

import calendar
from datetime import date as Date
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

#: Frequencies of a series, finest first.
FREQUENCIES = ("day", "month", "quarter", "year")

# Set by name, not taken from the locale: prompts must not depend on the machine.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
ORDINALS = ("first", "second", "third", "fourth")

_PERIOD_MONTHS = {"month": 1, "quarter": 3, "year": 12}
# Wide enough for every double with 400 decimals; the default of 28 digits would raise.
_CONTEXT = Context(prec=800, rounding=ROUND_HALF_EVEN)


def format_value(value: float, decimals: int) -> str:
    """``value`` in decimal notation with exactly ``decimals`` decimals.

    No thousands separators, no exponent, never ``-0.0``. The shortest decimal that names the float
    is rounded half to even, so that 2.675 is the published 2.675 (to 2.68), not the binary number
    just below it.

    Raises:
        ValueError: ``value`` is infinite or nan, or ``decimals`` is negative.
    """
    if decimals < 0:
        raise ValueError(f"decimals must not be negative, got {decimals}")
    number = Decimal(repr(float(value)))
    if not number.is_finite():
        raise ValueError(f"cannot print {value!r}: not a finite number")
    rounded = number.quantize(Decimal(1).scaleb(-decimals), context=_CONTEXT)
    return f"{abs(rounded) if rounded.is_zero() else rounded:f}"


def format_date(date: Date, frequency: str) -> str:
    """The period as a noun phrase.

    "14 March 2008", "March 2008", "the first quarter of 2008" or "2008".

    Raises:
        ValueError: unknown frequency, or ``date`` is not the first day of its period.
    """
    _check_start(date, frequency)
    if frequency == "day":
        return f"{date.day} {MONTHS[date.month - 1]} {date.year}"
    if frequency == "month":
        return f"{MONTHS[date.month - 1]} {date.year}"
    if frequency == "quarter":
        return f"the {ORDINALS[(date.month - 1) // 3]} quarter of {date.year}"
    return str(date.year)


def format_period(date: Date, frequency: str) -> str:
    """The period with its preposition, as it stands in a sentence.

    "on 14 March 2008", "in March 2008", "in the first quarter of 2008" or "in 2008". Raises as
    :func:`format_date` does.
    """
    return f"{'on' if frequency == 'day' else 'in'} {format_date(date, frequency)}"


def period_start(date: Date, frequency: str) -> Date:
    """First day of the period that holds ``date``; the day itself for daily series."""
    _check_frequency(frequency)
    if frequency == "day":
        return date
    length = _PERIOD_MONTHS[frequency]
    return Date(date.year, (date.month - 1) // length * length + 1, 1)


def period_end(date: Date, frequency: str) -> Date:
    """Last day of the period that holds ``date``; the day itself for daily series."""
    start = period_start(date, frequency)
    if frequency == "day":
        return start
    month = start.month + _PERIOD_MONTHS[frequency] - 1
    return Date(start.year, month, calendar.monthrange(start.year, month)[1])


def add_periods(date: Date, frequency: str, k: int) -> Date:
    """First day of the period ``k`` periods after (before, if negative) that of ``date``.

    Days are calendar days: the result need not be a trading day.

    Raises:
        ValueError: unknown frequency.
        OverflowError: the result lies outside the years 1 to 9999.
    """
    start = period_start(date, frequency)
    if frequency == "day":
        return start + timedelta(days=k)
    months = start.year * 12 + start.month - 1 + k * _PERIOD_MONTHS[frequency]
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(f"{k} periods from {date} lie outside the years 1 to 9999")
    return Date(year, month + 1, 1)


def _check_frequency(frequency: str) -> None:
    if frequency not in FREQUENCIES:
        raise ValueError(f"frequency must be one of {', '.join(FREQUENCIES)}, got {frequency!r}")


def _check_start(date: Date, frequency: str) -> None:
    if period_start(date, frequency) != date:
        raise ValueError(f"{date} is not the first day of a {frequency}")
