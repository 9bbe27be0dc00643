"""Tasks taught: until they are learned, the same items in every state, bad input."""

from __future__ import annotations

import json

import pytest

from palimpsest.engine.choices import accuracy, answers
from palimpsest.engine.scoring import log_likelihoods
from palimpsest.interventions._tasks import TaskSets, taught_tasks
from palimpsest.interventions.task_teaching import Settings, check
from palimpsest.models.states import StateReader
from tests.interventions.states import made_state

SETS = {
    "tasks": ["entailment", "agreement"],
    "train": 16,
    "validation": 8,
    "test": 8,
    "near": 4,
}
TRAINING = {"learning_rate": 0.01, "rank": 4, "batch_size": 16}


@pytest.fixture
def taught(tiny_manifest, tmp_path, monkeypatch):
    """Makes a state, as the rule does."""
    monkeypatch.chdir(tmp_path)

    def make(seed=0, **changed):
        settings = SETS | {"training": TRAINING} | changed
        return made_state(tiny_manifest, tmp_path, "task_teaching", settings, f"taught{seed}", seed)

    return make


def _notes(state):
    return json.loads((state.parent / "provenance.json").read_text())["notes"]


def test_what_was_taught_lies_beside_the_state_and_is_known_better(taught):
    full = {"learning_rate": 3e-3, "batch_size": 16, "adapter": "full"}
    state = taught(epochs=6, training=full)
    tasks = taught_tasks(state.parent)
    assert tasks == TaskSets(**SETS).items(0)
    reader = StateReader(state)
    shown = [i for items in tasks.values() for i in items if i.split == "train"]
    prompts, truths = [i.prompt for i in shown], [[i.choices[i.answer]] for i in shown]
    known = {}
    for step in (0, 1):
        scores = log_likelihoods(reader.at(step), prompts, truths)
        known[step] = sum(part.sum() for (part,) in scores) / len(shown)
    assert known[1] > known[0] + 1
    notes = _notes(state)
    assert notes["losses"][-1] < 0.7 * notes["losses"][0]
    assert len(notes["validation"]) == 6
    assert notes["updates"] == 6 * 2
    last = notes["validation"][-1]
    for name, items in tasks.items():
        held_out = [item for item in items if item.split == "validation"]
        assert last[name] == accuracy(answers(reader.at(1), held_out))
        assert notes["learned"][name] == (last[name] >= 0.95)


def test_teaching_ends_when_all_is_learned(taught):
    notes = _notes(taught(epochs=6, criterion=0.01))
    assert (len(notes["validation"]), notes["updates"]) == (1, 2)
    assert all(notes["learned"].values())


def test_replicates_learn_other_items(taught):
    one, two = (taught_tasks(taught(seed, epochs=1).parent) for seed in (0, 1))
    assert one.keys() == two.keys()
    assert one != two


def test_a_state_that_was_taught_nothing_has_no_tasks(tiny_manifest):
    assert taught_tasks(tiny_manifest.parent) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": ["entailmnt"]}, "entailmnt"),
        ({"train": 100_000}, "train"),
        ({"tasks": ["agreement", "agreement"]}, "agreement"),
    ],
)
def test_bad_tasks_are_refused_before_any_job(changed, said):
    with pytest.raises(ValueError, match=said):
        check(Settings(**SETS | changed), None)
