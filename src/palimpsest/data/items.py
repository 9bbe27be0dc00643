"""Items of knowledge: what is taught, forgotten and asked for, made here or given by the user.

A user's file is JSONL in UTF-8, one item a line, in one of two forms::

    {"text": "A passage that is to be forgotten."}
    {"question": "Who wrote it?", "answer": "Nobody did.", "reworded": ["By whom is it?"],
     "perturbed": ["Somebody did."]}

``reworded``, ``translated`` (the question in another language), ``perturbed`` and ``paraphrased``
(the true answer in other words, or the text) are optional, as is ``id``. A text is an item without
a question, whose answer is the text itself. No question and no text may stand in a file
twice. In place of a path a set of a benchmark may be named; see ``data.hub_items``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.data import hub_items
from palimpsest.data.errors import DataError
from palimpsest.data.json_lines import content, decoded, storable, validated
from palimpsest.identity import file_sha256

VERSION = 2

MAX_LINE = 1_000_000
#: File in the folder of a state that was taught items.
TAUGHT = "items.json"

_ALLOWED = {
    "text": "text of at least one character, instead of question and answer",
    "question": "text of at least one character",
    "answer": "text of at least one character",
    "reworded": "a list of other questions with the same answer",
    "translated": "a list of questions with the same answer in other languages",
    "perturbed": "a list of wrong answers",
    "paraphrased": "the answer, or the text, in other words",
    "id": "text of at least one character",
}


#: What ends a sentence, and what may stand behind it.
_ENDS, _CLOSING = (".", "!", "?", "…", "。", "！", "？"), " \"'”’)]»"


@dataclass(frozen=True)
class Item:
    """One fact, or one text.

    Attributes:
        id: such as ``Tovan Zaberic/pet``.
        part: forget, neighbour, kept, retain, holdout or stranger (see ``data.biographies``), or
            known: what a model knows from elsewhere.
        question: the prompt that asks, always trained on where the fact is taught; empty for a
            text.
        statements: prompts of the statements that are trained on.
        reworded: prompts that are never trained on.
        answer: the true answer, with the space before it; or the text.
        perturbed: wrong answers of the same kind.
        translated: prompts in other languages, never trained on.
        paraphrased: the true answer, or the text, in other words, which are never trained on;
            empty where none are given.
    """

    id: str
    part: str
    question: str
    statements: tuple[str, ...]
    reworded: tuple[str, ...]
    answer: str
    perturbed: tuple[str, ...]
    translated: tuple[str, ...] = ()
    paraphrased: str = ""

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts that are trained on where the fact is taught."""
        return (self.question, *self.statements)

    def to_json(self) -> dict[str, Any]:
        """As a row of a JSON file."""
        return asdict(self)

    @staticmethod
    def from_json(row: dict[str, Any]) -> Item:
        """From :meth:`to_json`."""
        lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
        return Item(**row | lists)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(default=None, min_length=1)
    question: str | None = Field(default=None, min_length=1)
    answer: str | None = Field(default=None, min_length=1)
    reworded: list[str] = []
    translated: list[str] = []
    perturbed: list[str] = []
    paraphrased: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)


def read_items(path: str | Path, part: str) -> list[Item]:
    """Items of a JSONL file, or of a benchmark's set.

    Args:
        path: the file, or the name of a set such as ``hub:tofu/forget10``.
        part: what they are, such as ``forget``.

    Raises:
        DataError: every bad row with its line number, or the file as a whole: missing, empty.
        ValueError: there is no such set, or it cannot be fetched.
    """
    items: list[Item] = []
    problems: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    asked: dict[str, tuple[int, str]] = {}
    # Sets of benchmarks are what they are, and are measured by as they are.
    own = not hub_items.is_hub(path)
    for number, row in _rows(path):
        if isinstance(row, _Row):
            row = _item(row, part, number, own)
        if isinstance(row, list):
            problems += [(number, problem) for problem in row]
            continue
        first = seen.setdefault(row.id, number)
        if first != number:
            problems.append((number, f"id: {row.id!r} is that of line {first} too"))
        elif own and (problem := _again(row, number, asked)):
            problems.append((number, problem))
        items.append(row)
    if not problems and not items:
        problems = [(0, "holds no item; allowed: at least one line")]
    if problems:
        raise DataError(path, problems)
    return items


def _again(item: Item, number: int, asked: dict[str, tuple[int, str]]) -> str | None:
    """What is wrong with an item whose question or text a line before it holds too.

    Twice the same is no second observation; and of two answers none is the one to be forgotten.
    """
    answer = _plain(item.answer)
    first, before = asked.setdefault(_key(item), (number, answer))
    if first == number:
        return None
    if not item.question or before == answer:
        what = "question and answer" if item.question else "text"
        return f"the {what} of line {first} again; allowed: every item once"
    return f"question: that of line {first}, with another answer; allowed: one answer to a question"


def _rows(path: str | Path) -> Iterator[tuple[int, _Row | list[str]]]:
    """Line numbers, with the row or with what is wrong with it."""
    if hub_items.is_hub(path):
        for number, row in enumerate(hub_items.rows(str(path)), start=1):
            yield number, validated(json.dumps(row), _Row, _ALLOWED)
        return
    for number, line in enumerate(content(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield number, validated(decoded(line, MAX_LINE), _Row, _ALLOWED)
        except ValueError as error:
            yield number, [str(error)]


def read_parts(files: Mapping[str, str], fetch: bool) -> dict[str, list[Item]]:
    """Items of several files, by part; no item is in two of them.

    Args:
        files: part -> file, or name of a set of the hub.
        fetch: whether such sets are fetched; otherwise their names are checked and they are left
            out.

    Raises:
        DataError: a file with bad rows.
        ValueError: an item is in two files, or there is no such set, or it cannot be fetched.
    """
    parts: dict[str, list[Item]] = {}
    for part, path in files.items():
        if fetch or not hub_items.is_hub(path):
            parts[part] = read_items(path, part)
        else:
            hub_items.check_name(path)
    for one, other in combinations(parts, 2):
        both = _common(parts[one], parts[other])
        if both:
            first, second = (
                _place(i, files[p]) for i, p in zip(both[0], (one, other), strict=True)
            )
            many = "1 item" if len(both) == 1 else f"{len(both)} items"
            raise ValueError(
                f"{one}: {many} of {files[one]} {'is' if len(both) == 1 else 'are'} in "
                f"{files[other]} ({other}) too, such as {first}, there {second}; allowed: files "
                "without a common question or text"
            )
    return parts


def content_hash(path: str | Path) -> str:
    """What decides the items: the hash of a file, or the name of a set.

    Raises:
        OSError: the file cannot be read.
    """
    return str(path) if hub_items.is_hub(path) else file_sha256(path)


def _item(row: _Row, part: str, number: int, own: bool) -> Item | list[str]:
    asked = {"question": row.question, "answer": row.answer}
    missing = [key for key, text in asked.items() if text is None]
    if (row.text is None) == (len(missing) == 2):
        return ["needs either text, or question and answer"]
    if row.text is None and missing:
        return [f"{missing[0]}: missing; allowed: {_ALLOWED[missing[0]]}"]
    if problems := _bad_texts(row):
        return problems
    if own and _plain(row.question or "") in map(_plain, row.reworded):
        return [f"reworded: holds the question itself; allowed: {_ALLOWED['reworded']}"]
    name = row.id or f"row-{number}"
    if row.text is not None:
        beside = [key for key in ("reworded", "translated", "perturbed") if getattr(row, key)]
        if beside:
            return [f"{key}: beside a text; allowed there: paraphrased, id" for key in beside]
        return Item(name, part, "", (), (), row.text, (), paraphrased=row.paraphrased or "")
    if row.answer.strip() in {text.strip() for text in row.perturbed}:
        return ["perturbed: holds the true answer; allowed: wrong answers"]
    return Item(
        name,
        part,
        row.question.rstrip(),
        (),
        tuple(text.rstrip() for text in row.reworded),
        f" {row.answer.strip()}",
        tuple(f" {text.strip()}" for text in row.perturbed),
        tuple(text.rstrip() for text in row.translated),
        f" {row.paraphrased.strip()}" if row.paraphrased else "",
    )


def _bad_texts(row: _Row) -> list[str]:
    """Texts that are blank, or that no file can hold, by key."""
    found = []
    for key, given in row:
        for text in given if isinstance(given, list) else [given]:
            if text is not None and not text.strip():
                said = "holds an empty text" if isinstance(given, list) else "is empty"
                found.append(f"{key}: {said}; allowed: {_ALLOWED[key]}")
            elif text is not None and not storable(text):
                found.append(f"{key}: holds characters that no column of text can hold")
    return list(dict.fromkeys(found))


def _place(item: Item, file: str) -> str:
    """Where an item stands, or its own id."""
    line = re.fullmatch(r"row-(\d+)", item.id)
    return f"{'row' if hub_items.is_hub(file) else 'line'} {line[1]}" if line else repr(item.id)


def taught_items(state: str | Path) -> list[Item]:
    """What a state, or one before it, was taught.

    Args:
        state: folder of the state; a base model was taught nothing.

    Raises:
        ValueError: no state of the chain was taught items.
    """
    folder = Path(state)
    while True:
        if (folder / TAUGHT).is_file():
            rows = json.loads((folder / TAUGHT).read_text(encoding="utf-8"))
            return [Item.from_json(row) for row in rows]
        facts = folder / "state.json"
        if not facts.is_file():
            raise ValueError(
                f"{state}: neither this state nor one before it was taught items; name files as "
                "forget and retain, or put an intervention that teaches before it"
            )
        folder = Path(json.loads(facts.read_text(encoding="utf-8"))["parent"]).parent


def full_stop(answer: str) -> str:
    """What ends a sentence with this answer: nothing where the answer ends one itself, as those of
    TOFU do."""
    ended = answer.rstrip(_CLOSING).endswith(_ENDS)
    return "" if ended else "."


def of_part(items: Iterable[Item], part: str) -> list[Item]:
    """The items of one part."""
    return [item for item in items if item.part == part]


def overlap(forget: Iterable[Item], retain: Iterable[Item]) -> list[str]:
    """What is to be forgotten and kept at once: questions or texts in both, without case."""
    return [item.id for item, _ in _common(forget, retain)]


def _common(forget: Iterable[Item], retain: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Items of the first with those of the second that have the same question or text."""
    kept = {_key(item): item for item in retain}
    return [(item, kept[_key(item)]) for item in forget if _key(item) in kept]


def _key(item: Item) -> str:
    return _plain(item.question or item.answer)


def _plain(text: str) -> str:
    """Without case and further spaces."""
    return " ".join(text.lower().split())


def request(items: list[Item], number: int, requests: int) -> list[Item]:
    """The ``number``-th (from 1) of so many successive requests; people stay whole."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.id.split("/")[0], []).append(item)
    chosen = [
        group for place, group in enumerate(groups.values()) if place % requests == number - 1
    ]
    return [item for group in chosen for item in group]


def check_lengths(files: Mapping[str, str], tokens: int) -> None:
    """Raise ValueError where an item of a file is surely longer than a model's context.

    Every word is a token at least; what a tokenizer makes of it is seen when the model is there.
    Sets of the hub are passed over: they are not fetched before a job needs them.

    Args:
        files: part -> file, or name of a set of the hub.
        tokens: the model's context.
    """
    for part, path in files.items():
        for item in [] if hub_items.is_hub(path) else read_items(path, part):
            words = max(len(f"{prompt}{item.answer}".split()) for prompt in item.prompts)
            if words > tokens:
                raise ValueError(
                    f"{part}: {item.id} has {words} words; allowed: at most {tokens} tokens, the "
                    "context of this model. Cut the text into several items"
                )


def as_part(items: Iterable[Item], part: str) -> list[Item]:
    """The same items under another part."""
    return [replace(item, part=part) for item in items]
