"""A user's sentences are read or refused with the reason, never half read."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.data.errors import DataError
from palimpsest.data.own_sentences import (
    MAX_LINE,
    MOST_CHARACTERS,
    SCHEMA,
    fingerprint,
    plain,
    read_sentences,
)
from palimpsest.identity import file_sha256

GOOD = {"text": "The ferry leaves at noon."}


def write(folder: Path, *rows: object) -> Path:
    """A JSONL file of ``rows``; bytes and text are written as they are."""
    path = folder / "mine.jsonl"
    lines = [
        row
        if isinstance(row, bytes)
        else (row if isinstance(row, str) else json.dumps(row)).encode()
        for row in rows
    ]
    path.write_bytes(b"\n".join(lines))
    return path


def problems(folder: Path, *rows: object) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as caught:
        read_sentences(write(folder, *rows))
    return caught.value.problems


def test_a_good_file(tmp_path):
    path = write(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r",
        "  ",
        {"text": " Le café ferme à midi. ", "foil": "Le café ferme à minuit.", "id": "fr"},
    )
    frame = read_sentences(path)
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.rows() == [
        ("row-1", "The ferry leaves at noon.", None),
        ("fr", "Le café ferme à midi.", "Le café ferme à minuit."),
    ]
    assert fingerprint(path) == file_sha256(path)


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        (b"\xff\xfe{", ["byte 1 is not UTF-8"]),
        ("{", ["not JSON", "one JSON object"]),
        ("[1]", ["given [1]", "a JSON object"]),
        ("[" * 50_000, ["not JSON"]),
        ('{"text": NaN}', ["NaN is not a number of JSON"]),
        ('{"text": "a", "id": Infinity}', ["Infinity"]),
        (json.dumps({"text": "x" * MAX_LINE}), ["100,000"]),
        ({"text": "x" * (MOST_CHARACTERS + 1)}, ["text: given 'xxx", "10,000"]),
        ({"text": 5}, ["text: given 5"]),
        ({"text": None}, ["text: given None"]),
        ({"text": ["a"]}, ["text: given ['a']"]),
        ({"text": ""}, ["text: given ''"]),
        ({"text": " ... "}, ["text", "letter or digit"]),
        ({"foil": "b"}, ["text: missing"]),
        ({"text": "a", "foil": 1.5}, ["foil: given 1.5"]),
        ({"text": "a", "foil": " "}, ["foil: given ' '"]),
        ({"text": "a", "id": " "}, ["id: given ' '"]),
        ({"text": "a", "label": 1}, ["'label': unknown key; allowed: text, foil, id"]),
        ({"text": "a\0b"}, ["text"]),
        ('{"text": "\\ud800 a"}', ["text"]),
        ('{"text": "a", "\\ud800": 1}', ["unknown key"]),
        ({"text": "the FERRY leaves, at noon"}, ["text: given", "already on line 1"]),
        ({"text": "a", "foil": "The ferry leaves at noon"}, ["foil: is the text of line 1"]),
        ({"text": "a", "foil": "A!"}, ["foil: is the text of line 3"]),
        ({"text": "a", "id": "row-1"}, ["id: given 'row-1', already on line 1"]),
    ],
)
def test_a_bad_row_is_named_with_what_was_given_and_what_is_allowed(tmp_path, row, fragments):
    [(line, text)] = problems(tmp_path, GOOD, "", row)
    assert line == 3
    assert all(fragment in text for fragment in fragments), text
    text.encode()


def test_every_bad_row_is_listed(tmp_path):
    found = problems(tmp_path, "{", GOOD, {"text": 1, "foil": 2}, GOOD)
    assert [line for line, _ in found] == [1, 3, 3, 4]


def test_two_rows_cannot_have_one_foil(tmp_path):
    [(line, text)] = problems(tmp_path, {"text": "a", "foil": "c"}, {"text": "b", "foil": "C."})
    assert line == 2
    assert text.startswith("foil: given 'C.', already on line 1")


@pytest.mark.parametrize("content", [b"", b"\n \n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path, content):
    assert problems(tmp_path, content) == [
        (0, "the file holds no sentences; allowed: one JSON object a line")
    ]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    for path in (tmp_path / "missing.jsonl", tmp_path, "a\0b"):
        with pytest.raises(DataError, match="cannot be read"):
            read_sentences(path)


WILD = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "row-2"]) | WILD,
        "text": st.sampled_from(["a b", "A b."]) | st.text() | WILD,
        "foil": st.sampled_from(["c", "a b"]) | WILD,
    },
)
LINES = st.binary() | WILD.map(json.dumps).map(str.encode) | ROWS.map(json.dumps).map(str.encode)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300) | st.lists(LINES, max_size=6).map(b"\n".join))
def test_any_bytes_give_a_valid_frame_or_a_data_error(tmp_path, content):
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(content)
    try:
        frame = read_sentences(path)
    except DataError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.problems
        str(refusal).encode()  # printable anywhere
        return
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame["id"].is_unique().all()
    texts = [plain(text) for text in frame["text"]]
    assert all(texts)
    assert len(set(texts)) == frame.height >= 1
    assert not set(texts) & {plain(foil) for foil in frame["foil"].drop_nulls()}
