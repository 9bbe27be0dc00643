"""The one entry point of tasks with choices."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from palimpsest.data.choice_tasks import embedded, hub
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes
from palimpsest.data.choice_tasks.loading import check_tasks, fingerprint, load_tasks
from palimpsest.identity import file_sha256

SIZES = Sizes(train=10, validation=4, test=6, near=3)


def own(path, task="colours", count=12):
    rows = [
        {"task": task, "prompt": f"Number {n} is", "choices": ["odd", "even"], "answer": 1 - n % 2}
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture
def fetched(monkeypatch):
    item = ChoiceItem("i", "hub:sciq", "science", "train", "", "", "Q", (" a", " b"), 0)
    monkeypatch.setattr(hub, "hub_task", lambda name, seed, sizes: [replace(item, task=name)])
    return item


def test_all_kinds_of_tasks_come_in_the_order_of_their_names(tmp_path, fetched):
    names = ["spatial", own(tmp_path / "own.jsonl"), "hub:sciq", "capitals"]
    check_tasks(names, SIZES)
    tasks = load_tasks(names, 3, SIZES)
    assert list(tasks) == ["spatial", "colours", "hub:sciq", "capitals"]
    assert tasks["spatial"] == embedded.choice_task("spatial", 3, SIZES)
    assert tasks["hub:sciq"] == [fetched]
    assert all(item.task == name for name, items in tasks.items() for item in items)
    for item in tasks["spatial"]:
        assert ChoiceItem.from_json(json.loads(json.dumps(item.to_json()))) == item


def test_checking_fetches_nothing(monkeypatch):
    monkeypatch.setattr(hub, "fetched", None)
    check_tasks(["hub:sciq", "hub:piqa@0123abc"], SIZES)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no task is named"),
        (["spatail"], "spatail: unknown task; allowed: .*spatial.* hub:arc-easy.* JSONL"),
        (["hub:sci"], "hub:sci: allowed: hub:<benchmark>"),
        (["nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file"),
        (["spatial", "spatial"], "spatial is the name of another task"),
        (["hub:sciq", "hub:sciq"], "hub:sciq is the name of another task"),
    ],
)
def test_what_cannot_be_loaded_is_named_before_any_job(names, message):
    with pytest.raises(ValueError, match=message):
        check_tasks(names, SIZES)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="capitals: train: given 97; allowed: 0 to 96"):
        check_tasks(["capitals"], replace(SIZES, train=97))


def test_an_own_task_has_a_name_of_its_own(tmp_path):
    path = own(tmp_path / "own.jsonl", task="spatial")
    for names in ([path], ["spatial", path]):
        with pytest.raises(ValueError, match="spatial is the name of another task"):
            check_tasks(names, SIZES)
        with pytest.raises(ValueError, match="spatial is the name of another task"):
            load_tasks(names, 0, SIZES)


def test_a_fingerprint_is_that_of_what_decides_the_items(tmp_path):
    path = own(tmp_path / "own.jsonl")
    assert fingerprint(path) == file_sha256(path)
    assert fingerprint("hub:sciq@0123abc") == "hub:sciq@0123abc"
    assert fingerprint("spatial") == f"embedded {embedded.VERSION}"
