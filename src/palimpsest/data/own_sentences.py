"""A user's own sentences: a JSONL file with a text in each row, and a foil for it if they like.

Columns of the frame, in the order of the file:

====  =====================================================================
id    unique name of the item; ``row-<line>`` where none is given
text  the sentence that is studied
foil  what it is to be told apart from; null where none is given
====  =====================================================================
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from palimpsest.data.errors import DataError
from palimpsest.data.json_lines import content, decoded, shown, storable, validated
from palimpsest.identity import file_sha256

SCHEMA: dict[str, pl.DataType] = {"id": pl.String(), "text": pl.String(), "foil": pl.String()}

MOST_CHARACTERS = 10_000  # of a text; no model here studies more at once
MAX_LINE = 100_000  # characters; longer lines are not sentences but another kind of file

_ALLOWED = {
    "text": f"text of 1 to {MOST_CHARACTERS:,} characters, at least one of them a letter or digit",
    "foil": f"text of 1 to {MOST_CHARACTERS:,} characters, at least one of them a letter or digit",
    "id": "text of at least one character",
}


class _Row(BaseModel):
    """One line, before the checks that involve other keys and lines."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    foil: str | None = None
    id: str | None = None


def read_sentences(path: str | Path) -> pl.DataFrame:
    """Sentences of a JSONL file in UTF-8 with the columns of :data:`SCHEMA`.

    Every line is an object with ``text`` and, optionally, ``foil`` and ``id``. Blank lines are
    skipped, a byte order mark is allowed. No text may come twice, nor may a foil be the text of
    any row or the foil of another; case, punctuation and spaces do not count for that.

    Raises:
        DataError: every bad row with its line number, or the file as a whole: missing, empty.
    """
    rows: list[tuple[int, _Row]] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(content(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        parsed = _parse(line)
        if isinstance(parsed, _Row):
            rows.append((number, parsed))
        else:
            problems += [(number, text) for text in parsed]
    problems += _repeated(rows)
    if not rows and not problems:
        problems.append((0, "the file holds no sentences; allowed: one JSON object a line"))
    if problems:
        raise DataError(path, sorted(problems))
    return pl.DataFrame(
        [
            (row.id or f"row-{number}", row.text.strip(), _stripped(row.foil))
            for number, row in rows
        ],
        schema=SCHEMA,
        orient="row",
    )


def fingerprint(path: str | Path) -> str:
    """SHA-256 of the file.

    Raises:
        OSError: the file cannot be read.
    """
    return file_sha256(path)


def plain(text: str) -> str:
    """The words of a text in lower case with single spaces: what makes two texts the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()


def _parse(line: bytes) -> _Row | list[str]:
    """The row of a line, or what is wrong with it."""
    try:
        row = validated(decoded(line, MAX_LINE), _Row, _ALLOWED, _no_number)
    except ValueError as error:
        return [str(error)]
    if isinstance(row, list):
        return row
    wrong = [
        f"{key}: given {shown(value)}; allowed: {_ALLOWED[key]}"
        for key, value in row.model_dump().items()
        if value is not None and not _usable(key, value)
    ]
    return wrong or row


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")


def _usable(key: str, value: str) -> bool:
    """Whether a column can hold the text, and a model can study it."""
    if not storable(value):
        return False
    if key == "id":
        return bool(value.strip())
    return len(value) <= MOST_CHARACTERS and bool(plain(value))


def _repeated(rows: list[tuple[int, _Row]]) -> list[tuple[int, str]]:
    """Ids, texts and foils that an earlier line has, and foils that are the text of a row."""
    texts: dict[str, int] = {}
    foils: dict[str, int] = {}
    ids: dict[str, int] = {}
    problems = []
    for number, row in rows:
        values = {"id": row.id or f"row-{number}", "text": plain(row.text)}
        if row.foil is not None:
            values["foil"] = plain(row.foil)
        for key, value in values.items():
            earlier = {"id": ids, "text": texts, "foil": foils}[key].setdefault(value, number)
            if earlier != number:
                given = shown(values["id"] if key == "id" else getattr(row, key))
                problems.append(
                    (number, f"{key}: given {given}, already on line {earlier}; allowed: a new one")
                )
    for foil, number in foils.items():
        if foil in texts:
            problems.append(
                (number, f"foil: is the text of line {texts[foil]}; allowed: a text of no row")
            )
    return problems
