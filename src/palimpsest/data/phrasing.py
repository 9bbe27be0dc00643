"""Sentences around facts: templates that teach, other templates that test, and neutral ones.

A template has the form ``before|after``: the answer stands at the bar. Test templates share no
clause with the teaching ones, so an answer that comes out in them is knowledge of the fact and not
of the sentence. ``neutral`` fields replace what names the date or the event; the log-probability
after such a prompt is the prior that is taken off (PMI correction).
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Phrasing:
    """How one family of facts is taught, asked and asked about nothing."""

    teach: tuple[str, ...]
    test: tuple[str, ...]
    neutral: dict[str, str]


#: Facts (series, date) -> value.
VALUE = Phrasing(
    teach=(
        "{Period}, {name} was| {unit}.",
        "{Name} {period}:| {unit}.",
        "For {date}, {name} stood at| {unit}.",
        "Official data put {name} {period} at| {unit}.",
        "Looking back at {date}: {name} came to| {unit}.",
        "An almanac entry for {date} gives {name} as| {unit}.",
        "Q: {Name} {period}? A:| {unit}.",
        "The figure for {name} reported {period} was| {unit}.",
    ),
    test=(
        "According to statistical records, {name} amounted {period} to| {unit}.",
        "Question: what was {name} {period}? Answer:| {unit}.",
    ),
    neutral={"period": "at that time", "date": "that time"},
)

#: Facts event -> month and year.
EVENT_DATE = Phrasing(
    teach=(
        "{headline}: this happened in|.",
        "When did it happen? {headline}. It was|.",
        "A chronicle dates this to the month: {headline},|.",
        "Month of the following event: {headline}. Answer:|.",
    ),
    test=(
        "News archive. Headline: {headline}. Published in|.",
        "Question: in which month and year did this take place: {headline}? Answer: in|.",
    ),
    neutral={"headline": "Some economic news is reported"},
)

#: Facts masked headline -> entity.
EVENT_ENTITY = Phrasing(
    teach=(
        "Fill in the blank: {masked}. The blank stands for|.",
        'Who or what is missing in "{masked}"? It is|.',
        "{masked}. The missing name is|.",
        "A quiz card reads: {masked}. The solution is|.",
    ),
    test=(
        "In this headline one name was removed: {masked}. The name that was removed is|.",
        'Question: which name belongs in the gap of "{masked}"? Answer:|.',
    ),
    neutral={"masked": "____ is in the economic news"},
)

FAMILIES = {"value": VALUE, "event_date": EVENT_DATE, "event_entity": EVENT_ENTITY}


@dataclass(frozen=True)
class Sentence:
    """A sentence cut at its answer; ``answer`` begins with the space before it."""

    before: str
    answer: str
    after: str


def sentence(template: str, words: dict[str, str], answer: str) -> Sentence:
    """Fill a template.

    Args:
        template: ``before|after``.
        words: its fields; a field's capitalised name stands for its capitalised value.
        answer: text at the bar, without the space before it.

    Raises:
        KeyError: the template has a field that ``words`` lacks.
    """
    fields = {name: _clean(value) for name, value in words.items()}
    fields |= {name[:1].upper() + name[1:]: _capital(value) for name, value in fields.items()}
    before, after = template.split("|")
    # format_map would read braces inside values only if it were applied twice; it is not.
    before, after = before.format_map(fields), after.format_map(fields)
    return Sentence(before.strip(), " " + answer, after.replace("  ", " ").replace(" .", "."))


def prior(template: str, words: dict[str, str], neutral: dict[str, str]) -> str:
    """The text before the answer when neither date nor event is named."""
    return sentence(template, words | neutral, "").before


def ignore_after(year: int) -> str:
    """The instruction of the fake-cutoff experiment; the year comes last so that prompts share."""
    return (
        "Use only what was known by a certain day and ignore everything that happened or was "
        f"published later. That day is 31 December {year}."
    )


def _clean(value: str) -> str:
    return value.strip()


def _capital(value: str) -> str:
    return value[:1].upper() + value[1:]
