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
    read_parts,
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
        ({"text": "a", "question": "b"}, "either text, or question and answer"),
        ({"id": "a"}, "either text, or question and answer"),
        ({"question": "b"}, "line 1: answer: missing; allowed: text of at least one"),
        ({"answer": "b"}, "line 1: question: missing; allowed: text of at least one"),
        ({"question": "a", "answer": " "}, "line 1: answer: is empty; allowed: text"),
        ({"question": "a", "answer": "b", "reworded": [" "]}, "reworded: holds an empty text; all"),
        ({"text": "a\0"}, "text: holds characters that no column"),
        (
            {"question": "Who  is it?", "answer": "b", "reworded": ["c", "who is IT?"]},
            "reworded: holds the question itself; allowed: a list of other questions",
        ),
        ({"txt": "a"}, "'txt': unknown key; allowed: text, question"),
        ({"text": " "}, "text: is empty"),
        (
            {"text": "a", "reworded": ["b"]},
            "reworded: beside a text; allowed there: paraphrased, id",
        ),
        ({"text": "a", "perturbed": ["b"]}, "perturbed: beside a text; allowed there: paraphrased"),
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


@pytest.mark.parametrize(
    ("again", "message"),
    [
        ({"question": "WHO wrote it?", "answer": " nobody"}, "the question and answer of line 1 a"),
        ({"question": "who  wrote it?", "answer": "I"}, "question: that of line 1, with another"),
        ({"text": "a  Passage."}, "the text of line 2 again; allowed: every item once"),
    ],
)
def test_the_same_twice_is_no_second_observation(tmp_path, again, message):
    with pytest.raises(DataError, match=f"jsonl: 1 bad row\n  line 4: {message}"):
        read_items(_file(tmp_path, FACT, {"text": "A passage."}, "", again), "forget")


def test_sets_of_the_hub_are_read_whatever_they_hold(monkeypatch):
    rows = [
        {"question": "Who?", "answer": "I", "reworded": ["Who?"]},
        {"question": "Who?", "answer": "I"},
        {"question": "Who?", "answer": "You"},
    ]
    monkeypatch.setattr("palimpsest.data.items.hub_items.rows", lambda name: iter(rows))
    items = read_items("hub:tofu/forget10", "forget")
    assert [item.answer for item in items] == [" I", " I", " You"]


def test_a_file_beside_the_missing_one_is_suggested(tmp_path):
    there = _file(tmp_path, FACT)
    missing = tmp_path / "forgot.jsonl"
    with pytest.raises(DataError) as caught:
        read_items(missing, "forget")
    said = f"{missing}: cannot be read: No such file or directory; did you mean {there}?"
    assert str(caught.value) == said
    with pytest.raises(DataError, match=r"cannot be read: No such file or directory$"):
        read_items(tmp_path / "no" / "forget.jsonl", "forget")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory$"):
        read_items(tmp_path, "forget")


def test_items_in_two_files_are_named_by_their_lines(tmp_path):
    texts = [{"text": "One."}, {"text": "Two."}]
    files = {
        "forget": str(_file(tmp_path, *texts, FACT)),
        "retain": str(_file(tmp_path, "", {"text": "two."}, name="r.jsonl")),
        "kept": str(_file(tmp_path, FACT, {"text": "one."}, name="k.jsonl")),
    }
    with pytest.raises(ValueError, match=r"^forget: 1 item of .*forget.jsonl is in .*r.jsonl") as e:
        read_parts({key: files[key] for key in ("forget", "retain")}, fetch=False)
    assert "(retain) too, such as line 2, there line 2; allowed: files without" in str(e.value)
    with pytest.raises(
        ValueError, match=r"forget: 2 items of .* are in .*such as line 1, there li"
    ):
        read_parts({key: files[key] for key in ("forget", "kept")}, fetch=False)
    one = {"forget": str(_file(tmp_path, FACT)), "kept": files["kept"]}
    with pytest.raises(ValueError, match="such as 'author', there 'author'; allowed"):
        read_parts(one, fetch=False)


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
