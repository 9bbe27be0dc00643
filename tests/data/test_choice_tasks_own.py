"""Tasks with choices in files of the user's own: what is read, divided and refused."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from palimpsest.data.choice_tasks.items import Sizes
from palimpsest.data.choice_tasks.own import own_tasks, read_tasks
from palimpsest.data.errors import DataError

SIZES = Sizes(train=12, validation=4, test=6, near=3)
ROW = {"task": "colours", "prompt": "Grass is", "choices": ["green", "red"], "answer": "green"}


@pytest.fixture
def write(tmp_path):
    def written(*rows: dict | str | bytes) -> str:
        lines = [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows]
        path = tmp_path / "tasks.jsonl"
        path.write_bytes(b"\n".join(x.encode() if isinstance(x, str) else x for x in lines))
        return str(path)

    return written


def rows(count: int, **more) -> list[dict]:
    return [ROW | {"prompt": f"Number {n} is"} | more for n in range(count)]


def test_a_row_becomes_an_item(write):
    full = ROW | {
        "prompt": "Grass is ",
        "choices": [" green ", "red"],
        "answer": 1,
        "family": "colour",
        "template": "is",
        "topic": "plants",
        "id": "grass",
        "split": "train",
    }
    near = ROW | {"prompt": "Snow is", "split": "near", "of": "grass", "change": "edited"}
    test = ROW | {"prompt": "Blood is", "split": "test"}
    found = own_tasks(write("\ufeff" + json.dumps(full), "", near, test), 0, SIZES)
    train, test_item, near_item = found["colours"]
    assert (train.id, train.split, train.family) == ("colours/train/grass", "train", "colour")
    assert (train.template, train.topic) == ("is", "plants")
    assert (train.prompt, train.choices, train.answer) == ("Grass is", (" green", " red"), 1)
    assert (near_item.of, near_item.change, near_item.answer) == (train.id, "edited", 0)
    assert test_item.id == "colours/test/row-4"


def test_rows_without_a_split_are_divided_by_the_seed(write):
    path = write(*rows(40))
    first = own_tasks(path, 0, SIZES)["colours"]
    assert Counter(item.split for item in first) == {"train": 12, "validation": 4, "test": 6}
    assert len({item.prompt for item in first}) == 22
    assert own_tasks(path, 0, SIZES)["colours"] == first
    assert own_tasks(path, 1, SIZES)["colours"] != first


def test_few_rows_are_divided_in_proportion(write):
    found = own_tasks(write(*rows(11)), 0, SIZES)["colours"]
    assert Counter(item.split for item in found) == {"train": 6, "validation": 2, "test": 3}


@pytest.mark.parametrize("near_items", [4, 30])
def test_more_rows_than_wanted_are_drawn_and_neighbours_stay_with_their_items(write, near_items):
    train = [row | {"id": f"t{n}", "split": "train"} for n, row in enumerate(rows(30))]
    near = [
        ROW | {"prompt": f"Near {n} {change}", "split": "near", "of": f"t{n}", "change": change}
        for n in range(near_items)
        for change in ("edited", "paraphrased")
    ]
    test = [row | {"prompt": f"Test {n}", "split": "test"} for n, row in enumerate(rows(9))]
    for seed in range(10):
        found = own_tasks(write(*train, *near, *test), seed, SIZES)["colours"]
        counts = Counter(item.split for item in found)
        assert counts["train"] == 12
        assert counts["test"] == 6
        assert counts["near"] == 6
        assert {i.of for i in found if i.of} <= {i.id for i in found if i.split == "train"}


def test_a_file_may_hold_several_tasks(write):
    other = [row | {"task": "other"} for row in rows(4)]
    assert set(read_tasks(write(*rows(4), *other))) == {"colours", "other"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": ""}, "task: given ''; allowed: text of at least one character"),
        ({"task": "a/b"}, "task: given 'a/b'; allowed: .* no slash"),
        ({"task": None}, "task: given None"),
        ({"prompt": " "}, "prompt: given ' '"),
        ({"prompt": "a\0b"}, "prompt: .* text that a column can hold"),
        ({"prompt": "\ud800"}, "prompt: .* text that a column can hold"),
        ({"choices": ["green", " green"]}, "choices: .*2 to 100 different"),
        ({"choices": ["green"]}, "choices: .*2 to 100 different"),
        ({"choices": ["green", ""]}, "choices: .*2 to 100 different"),
        ({"choices": ["green", "a\0"]}, "choices: .* text that a column can hold"),
        ({"choices": [str(n) for n in range(101)], "answer": 0}, "choices: .*2 to 100 different"),
        ({"choices": "green, red"}, "choices: given 'green, red'; allowed: a list"),
        ({"answer": 2}, r"answer: given 2; allowed: 0 to 1, or one of \['green', 'red'\]"),
        ({"answer": -1}, "answer: given -1; allowed: 0 to 1"),
        ({"answer": "blue"}, "answer: given 'blue'; allowed: 0 to 1"),
        ({"answer": True}, "answer: given True; allowed: one of the choices"),
        ({"answer": 0.5}, "answer: given 0.5; allowed: one of the choices"),
        ({"split": "dev"}, "split: given 'dev'; allowed: train, validation, test"),
        ({"of": "x"}, "of: needed with split near, and allowed with it alone"),
        ({"split": "near", "of": "x"}, "change: needed with split near"),
        ({"change": "moved"}, "change: given 'moved'; allowed: edited or paraphrased"),
        ({"id": " "}, "id: given ' '; allowed: text"),
        ({"label": 0}, "'label': unknown key; allowed: task, prompt, choices, answer"),
    ],
)
def test_a_bad_row_is_named_with_its_line(write, change, message):
    with pytest.raises(DataError, match=f"tasks.jsonl: 1 bad row\n  line 4: {message}"):
        read_tasks(write(*rows(2), "", ROW | change))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", r"given \[1\]; allowed: a JSON object"),
        (b"\xff", "byte 1 is not UTF-8"),
        ("[" * 100_000, "not JSON"),
        ('"' + "x" * 100_000 + '"', "line of 100,002 characters; allowed: at most 100,000"),
        ('{"task": "t"}', "prompt: missing; allowed: text"),
    ],
)
def test_a_line_that_is_no_row_is_named(write, line, message):
    with pytest.raises(DataError, match=f"line 1: {message}"):
        read_tasks(write(line, *rows(3)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "holds no item; allowed: at least one line"),
        (["", " "], "holds no item"),
        (rows(2), "colours: has 2 rows; allowed: at least 3"),
        (rows(5, split="train"), "colours: allowed: items of split train and of split test"),
        ([*rows(3), ROW | {"prompt": "Number 1 is"}], "line 4: prompt: .* already on line 2"),
        ([*rows(3), ROW | {"id": "row-1"}], "line 4: id: given 'row-1', already on line 1"),
        ([*rows(3), ROW | {"split": "test"}], "line 4: split: given 'test', but None on line 1"),
        (
            [
                *rows(2, split="train"),
                ROW | {"split": "near", "of": "row-9", "change": "edited"},
            ],
            "line 3: of: given 'row-9'; allowed: id of an item of training",
        ),
    ],
)
def test_rows_that_do_not_fit_together_are_named(write, given, message):
    with pytest.raises(DataError, match=message):
        read_tasks(write(*given))


@pytest.mark.parametrize("path", ["nowhere.jsonl", "a\0b.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(path):
    with pytest.raises(DataError, match="cannot be read"):
        read_tasks(path)
