"""Rows of a user's JSON lines: read one by one, each with what is wrong with it."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from palimpsest.data.errors import unreadable

Row = TypeVar("Row", bound=BaseModel)


def content(path: str | Path) -> bytes:
    """What a file holds, without a byte order mark.

    Raises:
        DataError: it cannot be read; with the file beside it that may be meant.
    """
    try:
        return Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path itself
        raise unreadable(path, error) from error


def decoded(line: bytes, most: int) -> str:
    """The text of a line.

    Raises:
        ValueError: not UTF-8, or more than ``most`` characters; the message says what is allowed.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} is not UTF-8; allowed: UTF-8 text"
        raise ValueError(problem) from None
    if len(text) > most:
        raise ValueError(f"line of {len(text):,} characters; allowed: at most {most:,}")
    return text


def validated(
    text: str,
    model: type[Row],
    allowed: Mapping[str, str],
    parse_constant: Callable[[str], Any] | None = None,
) -> Row | list[str]:
    """The row of a line of JSON, or what is wrong with it.

    Args:
        text: the line.
        model: of a row.
        allowed: key -> what it may hold, in words.
        parse_constant: what reads NaN and Infinity, as in :func:`json.loads`.
    """
    try:
        given = json.loads(text, parse_constant=parse_constant)
    except (ValueError, RecursionError) as error:
        return [f"not JSON ({error}): {shown(text)}; allowed: one JSON object"]
    if not isinstance(given, dict):
        return [f"given {shown(given)}; allowed: a JSON object"]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        return [_explained(problem, allowed) for problem in error.errors(include_url=False)]


def storable(text: str) -> bool:
    """Whether a column of text can hold it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not re.search("[\ud800-\udfff]", text)


def shown(value: object) -> str:
    """A short printable form of what was given, however long or deeply nested it is."""
    text = reprlib.repr(value)
    return text if text.isprintable() else ascii(text)


def _explained(problem: Any, allowed: Mapping[str, str]) -> str:
    """A pydantic error as: key, what was given, what is allowed."""
    # A key that is no valid text has no location: the error then carries the key as its input.
    key = str(problem["loc"][0]) if problem["loc"] else problem["input"]
    if key not in allowed:
        return f"{shown(key)}: unknown key; allowed: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{key}: missing; allowed: {allowed[key]}"
    return f"{key}: given {shown(problem['input'])}; allowed: {allowed[key]}"
