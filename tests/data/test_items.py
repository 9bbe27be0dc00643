"""Items that users give: both forms, every fault with its line, sets that overlap."""

from __future__ import annotations

import json

import pytest

from palimpsest.data.errors import DataError
from palimpsest.data.items import (
    TAUGHT,
    Item,
    overlap,
    read_items,
    request,
    taught_items,
)

FACT = {
    "question": "Who wrote it? ",
    "answer": "Nobody",
    "reworded": ["By whom is it?"],
    "perturbed": ["Somebody"],
    "id": "author",
}


def _file(folder, *rows, name="forget.jsonl"):
    path = folder / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def test_both_forms_are_read(tmp_path):
    fact, text = read_items(_file(tmp_path, FACT, "", {"text": "A passage."}), "forget")
    assert fact == Item(
        "author", "forget", "Who wrote it?", (), ("By whom is it?",), " Nobody", (" Somebody",)
    )
    assert fact.prompts == ("Who wrote it?",)
    assert (text.id, text.question, text.answer) == ("row-3", "", "A passage.")
    assert Item.from_json(json.loads(json.dumps(fact.to_json()))) == fact


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 1: not JSON"),
        ({"text": "a", "question": "b", "answer": "c"}, "either text, or question and answer"),
        ({"question": "b"}, "either text, or question and answer"),
        ({"txt": "a"}, "'txt': unknown key; allowed: text, question"),
        ({"text": " "}, "empty text"),
        ({"question": "a", "answer": 3}, "answer: given 3; allowed: text"),
        ({"question": "a", "answer": "b ", "perturbed": ["b"]}, "holds the true answer"),
        ({"question": "a", "answer": "b", "perturbed": "c"}, "perturbed: given 'c'; allowed: a li"),
    ],
)
def test_every_fault_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(DataError, match=r"forget\.jsonl") as caught:
        read_items(_file(tmp_path, row), "forget")
    assert message in str(caught.value)


def test_files_without_items_and_ids_given_twice(tmp_path):
    with pytest.raises(DataError, match="holds no item"):
        read_items(_file(tmp_path, ""), "forget")
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path / "missing.jsonl", "forget")
    with pytest.raises(DataError, match="line 2: id: 'author' is that of line 1 too"):
        read_items(_file(tmp_path, FACT, FACT), "forget")


def test_overlap_is_seen_without_case_and_spaces(tmp_path):
    forget = read_items(_file(tmp_path, FACT, {"text": "One  passage."}), "forget")
    other = FACT | {"question": "WHO  wrote it?"}
    retain = read_items(_file(tmp_path, other, {"text": "Another."}, name="r.jsonl"), "retain")
    assert overlap(forget, retain) == ["author"]
    assert overlap(forget, retain[1:]) == []


def test_requests_keep_people_whole():
    items = [
        Item(f"{name}/{what}", "forget", "q", (), (), " a", ())
        for name in ("A", "B", "C")
        for what in ("pet", "dish")
    ]
    parts = [request(items, number, 2) for number in (1, 2)]
    assert [item.id for item in parts[0]] == ["A/pet", "A/dish", "C/pet", "C/dish"]
    assert [item.id for item in parts[1]] == ["B/pet", "B/dish"]
    assert request(items, 4, 4) == []


def test_what_a_state_was_taught_is_found_up_the_chain(tmp_path):
    base, taught, after = (tmp_path / name for name in ("base", "taught", "after"))
    for folder in (base, taught, after):
        folder.mkdir()
    item = Item("A/pet", "forget", "q", ("s",), (), " a", (" b",))
    (taught / TAUGHT).write_text(json.dumps([item.to_json()]))
    for folder, parent in ((taught, base / "model.json"), (after, taught / "state.json")):
        (folder / "state.json").write_text(json.dumps({"parent": str(parent)}))
    assert taught_items(after) == taught_items(taught) == [item]
    with pytest.raises(ValueError, match="neither this state nor one before it was taught"):
        taught_items(base)
