"""Free answers of a model read by fixed rules: numbers, dates, choices and refusals.

Each reader takes any string, never raises on it, and returns a frozen record whose ``category``
says what was found. Nothing is guessed: an answer that can be read in two ways is "ambiguous".
"""

from palimpsest.metrics.parsing.choices import (
    MOST_CHOICES,
    ParsedChoice,
    distinct,
    parse_choice,
    read_choice,
)
from palimpsest.metrics.parsing.dates import ParsedDate, parse_month_year
from palimpsest.metrics.parsing.numbers import DEFAULT_UNITS, ParsedNumber, parse_number
from palimpsest.metrics.parsing.refusals import REFUSAL_PATTERNS, is_refusal

__all__ = [
    "DEFAULT_UNITS",
    "MOST_CHOICES",
    "REFUSAL_PATTERNS",
    "ParsedChoice",
    "ParsedDate",
    "ParsedNumber",
    "distinct",
    "is_refusal",
    "parse_choice",
    "parse_month_year",
    "parse_number",
    "read_choice",
]
