"""Dated economic and financial events, and the masked-entity task made from them.

The packaged table ``events.jsonl`` was written for this project: one JSON object a line, each an
event with a date that is certain to the day or to the month. Columns of every frame here:

========== ============================================================================
id         unique name of the event
date       day of the event; for month precision the first day of that month
precision  ``day`` or ``month``: how exactly the date is known
headline   short sentence that names the entity exactly once; in the packaged table in the
           present tense, 5 to 14 words, with no year and no name of a month
entity     company, institution, government, person or thing that can be masked
category   kind of event; in the packaged table one of :data:`CATEGORIES`
========== ============================================================================

Mergers carry the day of the announcement unless the headline says otherwise, laws the day of the
signature, listings the first day of trading, bankruptcies the day of the filing or failure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from palimpsest.data.errors import DataError
from palimpsest.data.json_lines import content, decoded, shown, storable, validated

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "date": pl.Date(),
    "precision": pl.String(),
    "headline": pl.String(),
    "entity": pl.String(),
    "category": pl.String(),
}

#: Kinds of event in the packaged table; a failure of a bank and its rescue count as bankruptcy.
CATEGORIES = (
    "appointment",
    "bankruptcy",
    "commodity",
    "currency",
    "debt",
    "fiscal_policy",
    "fraud",
    "listing",
    "market_move",
    "merger",
    "monetary_policy",
    "regulation",
    "trade",
)

BLANK = "____"
MAX_LINE = 100_000  # characters; longer lines are not events but another kind of file

_ALLOWED = {
    "id": "text of at least one character",
    "date": "a calendar date YYYY-MM-DD, or YYYY-MM for a month",
    "precision": "day or month",
    "headline": "text of at least one character",
    "entity": "text that stands exactly once in the headline",
    "category": "text of at least one character",
}


class _Row(BaseModel):
    """One line of a user's file, before the checks that involve two keys."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | None = None
    date: str
    precision: Literal["day", "month"] | None = None
    headline: str
    entity: str
    category: str = "other"


def load_events() -> pl.DataFrame:
    """The packaged table with the columns of :data:`SCHEMA`, sorted by date and id."""
    source = resources.files("palimpsest.data") / "events.jsonl"
    with resources.as_file(source) as path:
        return read_events(path)


def read_events(path: str | Path) -> pl.DataFrame:
    """Events of a JSONL file in UTF-8 with the columns of :data:`SCHEMA`, sorted by date and id.

    Every line is an object with ``date``, ``headline`` and ``entity``; optional are ``id``
    (default ``row-<line>``), ``precision`` (default ``day``) and ``category`` (default ``other``).
    A date ``YYYY-MM`` means month precision; a full date with precision ``month`` is moved to the
    first of its month. Blank lines are skipped. Raises :class:`DataError` listing every bad row.
    """
    rows: list[dict[str, Any]] = []
    problems: list[tuple[int, str]] = []
    first_line: dict[str, int] = {}
    lines = content(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, wrong = _parse(line, number)
        if row is not None:
            earlier = first_line.setdefault(row["id"], number)
            if earlier != number:
                wrong = [
                    f"id: given {shown(row['id'])}, already used on line {earlier}; "
                    "allowed: a unique id"
                ]
        if wrong:
            problems += [(number, text) for text in wrong]
        else:
            rows.append(row)
    if not rows and not problems:
        problems.append((0, "the file holds no events; allowed: one JSON object a line"))
    if problems:
        raise DataError(path, problems)
    return pl.DataFrame(rows, schema=SCHEMA).sort("date", "id")


def mask_entity(headline: str, entity: str, blank: str = BLANK) -> str:
    """``headline`` with its one occurrence of ``entity`` replaced by ``blank``.

    Raises ValueError unless the entity stands in the headline exactly once.
    """
    count = headline.count(entity) if entity else 0
    if count != 1:
        raise ValueError(f"{entity!r} stands {count} times in {headline!r}, not once")
    return headline.replace(entity, blank)


def distractors(
    events: pl.DataFrame, event_id: str, k: int, generator: np.random.Generator
) -> list[str]:
    """``k`` wrong but plausible entities for the event, the most plausible first.

    Candidates are the entities of other events: those of the same category before all others,
    within that the nearest in date; ``generator`` decides between equals. Left out, ignoring case,
    is whatever equals, contains or is contained in the true entity or already stands in the
    headline (the buyer is no plausible answer for the firm it buys).

    Raises ValueError for an unknown event, for ``k`` below 1, and if fewer than ``k`` are left.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    event = events.filter(pl.col("id") == event_id)
    if event.height != 1:
        raise ValueError(f"{event.height} events have the id {event_id!r}, not one")
    truth = event.row(0, named=True)
    ranked = (
        events.filter(pl.col("id") != event_id)
        .sort("id")  # the answer depends on the table, not on the order of its rows
        .with_columns(
            other_kind=pl.col("category") != truth["category"],
            distance=(pl.col("date") - truth["date"]).dt.total_days().abs(),
        )
        .with_columns(tie=pl.Series(generator.random(events.height - 1)))
        .sort("other_kind", "distance", "tie")
    )
    right, headline = truth["entity"].casefold(), truth["headline"].casefold()
    chosen: dict[str, str] = {}
    for entity in ranked["entity"]:
        name = entity.casefold()
        if name in right or right in name or name in headline:
            continue
        chosen.setdefault(name, entity)
        if len(chosen) == k:
            return list(chosen.values())
    raise ValueError(f"only {len(chosen)} of {k} distractors can be found for {event_id!r}")


def tfidf_floor(
    events: pl.DataFrame,
    masked_headlines: Sequence[str],
    candidates: Sequence[Sequence[str]],
    blank: str = BLANK,
) -> list[int]:
    """Answers to the masked-entity task by word overlap alone: the floor a memory must beat.

    A candidate is described by the words of its name and of its headlines in ``events``, except
    the event that was masked (recognised by its masked headline, so ``blank`` must be the one used
    for masking). The candidate whose description has the largest TF-IDF cosine with the masked
    headline is chosen; document frequencies come from the headlines of the table. Ties go to the
    lowest index. Returns one index into each list of candidates.

    Raises ValueError if the two sequences differ in length or a list of candidates is empty.
    """
    # Imported here: it takes seconds, and most jobs never ask for the floor.
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(masked_headlines) != len(candidates):
        raise ValueError(f"{len(masked_headlines)} headlines, {len(candidates)} candidate lists")
    if any(len(names) == 0 for names in candidates):
        raise ValueError("every headline needs at least one candidate")
    if not masked_headlines:
        return []
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)  # entity -> (masked, headline)
    for headline, entity in events.select("headline", "entity").iter_rows():
        told[entity.casefold()].append((mask_entity(headline, entity, blank), headline))
    questions = [masked.replace(blank, " ") for masked in masked_headlines]
    descriptions = [
        " ".join([name, *(full for own, full in told[name.casefold()] if own != masked)])
        for masked, names in zip(masked_headlines, candidates, strict=True)
        for name in names
    ]
    vectorizer = TfidfVectorizer().fit(events["headline"].to_list())
    asked = vectorizer.transform(questions)
    described = vectorizer.transform(descriptions)
    sizes = np.array([len(names) for names in candidates])
    owner = np.repeat(np.arange(len(sizes)), sizes)
    # Rows have unit length, so the product is the cosine; rounding keeps equal texts tied.
    cosine = np.asarray(asked[owner].multiply(described).sum(axis=1)).ravel().round(12)
    return [int(np.argmax(part)) for part in np.split(cosine, np.cumsum(sizes)[:-1])]


def _parse(line: bytes, number: int) -> tuple[dict[str, Any] | None, list[str]]:
    """The row of a line, or None and what is wrong with it."""
    try:
        text = decoded(line, MAX_LINE)
    except ValueError as error:
        return None, [str(error)]
    if "\0" in text:
        return None, ["holds a NUL byte; allowed: text"]
    row = validated(text, _Row, _ALLOWED)
    if isinstance(row, list):
        return None, row
    return _check(row, number)


def _check(row: _Row, number: int) -> tuple[dict[str, Any] | None, list[str]]:
    """The checks of content, and of keys that depend on each other."""
    values = row.model_dump()
    wrong = [
        f"{key}: given {shown(value)}; allowed: {_ALLOWED[key]}"
        for key, value in values.items()
        if isinstance(value, str) and (not value.strip() or not storable(value))
    ]
    if wrong:
        return None, wrong
    if (count := row.headline.count(row.entity)) != 1:
        wrong.append(
            f"entity: given {shown(row.entity)}, which stands {count} times in the headline "
            f"{shown(row.headline)}; allowed: {_ALLOWED['entity']}"
        )
    day = _date(row.date)
    if day is None:
        wrong.append(f"date: given {shown(row.date)}; allowed: {_ALLOWED['date']}")
    month_only = len(row.date) == len("YYYY-MM")
    if day is not None and month_only and row.precision == "day":
        wrong.append(f"precision: given 'day' with the date {row.date!r}; allowed: month")
    if day is None or wrong:
        return None, wrong
    by_month = month_only or row.precision == "month"
    values["id"] = row.id or f"row-{number}"
    values["date"] = day.replace(day=1) if by_month else day
    values["precision"] = "month" if by_month else "day"
    return values, []


def _date(text: str) -> date | None:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?", text):
        return None  # date.fromisoformat alone also takes 20240229 and week dates
    try:
        return date.fromisoformat(text if len(text) == len("YYYY-MM-DD") else f"{text}-01")
    except ValueError:
        return None
