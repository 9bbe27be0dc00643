"""Forgetting measured: limits, controls, pairs of arms, and runs that are as if alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from palimpsest.context import ProbeContext
from palimpsest.data.choice_tasks.items import ChoiceItem
from palimpsest.models.states import StateReader
from palimpsest.probes.unforgettable_generalization import measure as probe
from palimpsest.probes.unforgettable_generalization import reading, runs
from palimpsest.probes.unforgettable_generalization.settings import (
    Settings,
    cells,
    check,
    cost,
    piece,
)
from palimpsest.probes.unforgettable_generalization.similarity import similarities
from tests.interventions.states import made_state
from tests.probes.numbered import numbered

SMALL = {
    "tasks": ["entailment", "agreement"],
    "train": 16,
    "validation": 4,
    "test": 8,
    "near": 4,
    "epochs": 2,
    "others": 4,
    "relearn": [1, 2],
    "rank": 4,
    "learning_rate": 5e-3,
    "untaught": "subject",
    "replicates": 1,
    "criterion": "entropy",
}
CONTEXT = ProbeContext("study", "state", 0, Path("."), {}, {})


class State:
    """A state that was taught nothing."""

    steps = (0,)

    def __init__(self):
        self.chain = [self]
        self.intervention = None


def _measured(model, *, only=None, **changed):
    settings = Settings(**SMALL | changed)
    every = numbered(cells(settings, State()))
    chosen = [c for c in every if only is None or c["experiment"] in only]
    found = {}
    for group in probe.groups(settings, chosen):
        for cell, rows in probe.measure_together(model, settings, group, CONTEXT):
            factors = cell["parameters"]
            found[cell["experiment"], factors["arm"], factors["mode"]] = rows
    assert len(found) == len(chosen)
    return found


def _values(rows, *metrics, group=None):
    return {
        (r["grp"], r["item"], r["metric"]): r["value"]
        for r in rows
        if (not metrics or r["metric"] in metrics) and group in (None, r["grp"])
    }


def _answers(rows):
    found = _values(rows, "right", "p_right", "entropy", "chosen")
    return {key: value for key, value in found.items() if key[0] not in ("course", "relearned")}


def _asked(rows):
    return {key: value for key, value in _answers(rows).items() if key[0] != "other"}


@pytest.fixture(scope="module")
def model(tiny_manifest):
    from palimpsest.models.loading import load

    return load(tiny_manifest, "cpu")


@pytest.fixture(scope="module")
def measured(model):
    return _measured(model)


@pytest.mark.parametrize("changed", [{"epochs": 0}, {"learning_rate": 0.0}])
def test_no_training_forgets_nothing_at_all(model, changed):
    found = _measured(model, only=["entailment"], relearn=[], controls=[], **changed)
    before = _asked(found["entailment", "before", None])
    after = _asked(found["entailment", "forget", "fixed_random"])
    assert after.keys() <= before.keys()
    assert after == pytest.approx({key: before[key] for key in after}, abs=1e-6)


def test_the_model_is_as_it_was_afterwards(model, measured):
    again = _measured(model, only=["entailment"], controls=[])
    key = ("entailment", "before", None)
    assert _values(again[key], "p_right") == _values(measured[key], "p_right")


def test_runs_are_as_if_alone(model, measured):
    """Tasks that learn together, in one pass, against each by itself."""
    for task in SMALL["tasks"]:
        alone = _measured(model, only=[task])
        for key, rows in alone.items():
            one, other = _values(rows, "p_right"), _values(measured[key], "p_right")
            assert one == pytest.approx(other, abs=2e-4), key


def test_training_all_weights_takes_the_same_course(model):
    found = _measured(model, only=["agreement"], adapter="full", learning_rate=1e-3)
    before = _asked(found["agreement", "before", None])
    after = _asked(found["agreement", "forget", "fixed_random"])
    assert any(abs(after[key] - before[key]) > 1e-3 for key in after if key[2] == "p_right")
    passes = [
        _values(found["agreement", arm, mode], "passes", group="course")
        for arm, mode in (("forget", "fixed_random"), ("continued", None))
    ]
    assert passes[0] == passes[1]


def test_continued_training_is_as_long_as_forgetting(measured):
    for task in SMALL["tasks"]:
        forgotten = measured[task, "forget", "fixed_random"]
        true = measured[task, "continued", None]
        course = [_values(rows, "passes", "updates", group="course") for rows in (forgotten, true)]
        assert course[0] == course[1]


def test_all_other_tasks_are_asked(measured):
    rows = measured["entailment", "forget", "fixed_random"]
    others = {r["item"].split("/")[0] for r in rows if r["grp"] == "other"}
    assert others == {"agreement"}
    assert len({r["item"] for r in rows if r["grp"] == "other"}) == SMALL["others"]


def test_an_output_layer_of_noise_reaches_all_and_erases_nothing(model, measured):
    before = measured["entailment", "before", None]
    broken = measured["entailment", "broken_head", None]
    assert _values(broken, "p_right") != _values(before, "p_right")
    for kind in ("probe", "control"):
        read = [
            {k: v for k, v in _values(rows).items() if k[2].startswith(kind)}
            for rows in (before, broken)
        ]
        assert read[0]
        assert read[0] == read[1]
    head = model.module.get_output_embeddings()
    with reading.broken_head(model, 1):
        assert model.module.get_output_embeddings() is not head
    assert model.module.get_output_embeddings() is head


def test_a_table_forgets_its_own_items_and_nothing_else(measured):
    before = _asked(measured["agreement", "before", None])
    table = _asked(measured["agreement", "lookup", None])
    settings = Settings(**SMALL)
    items = settings.items(0)["agreement"]
    shown = [item for item in items if item.split == "train"]
    labels = reading.noise(shown, ("agreement", 0), 0)
    for item, label in zip(shown, labels, strict=True):
        assert table["train", item.id, "chosen"] == label
        assert table["train", item.id, "right"] == float(label == item.answer)
    others = {key for key in before if key[0] != "train"}
    assert {key: table[key] for key in others} == {key: before[key] for key in others}


def test_labels_of_each_mode(model):
    settings = Settings(**SMALL)
    items = settings.items(0)["entailment"]

    def a_pass(mode, epoch):
        cell = {
            "experiment": "entailment",
            "parameters": {
                "arm": "forget",
                "mode": mode,
                "replicate": 0,
                "reference": False,
            },
        }
        batches = runs.Run(cell, items).a_pass(model, settings, epoch)
        return [each.ids for batch in batches for each in batch]

    train = [item for item in items if item.split == "train"]
    assert sorted(a_pass("fixed_random", 0)) == sorted(a_pass("fixed_random", 1))
    assert sorted(a_pass("resampled", 0)) != sorted(a_pass("resampled", 1))
    assert sorted(a_pass("resampled", 0)) == sorted(a_pass("fixed_random", 0))
    assert len(a_pass("soft_uniform", 0)) == sum(len(item.choices) for item in train)
    true = a_pass(None, 0)
    assert len(true) == len(train)
    assert set(true) != set(a_pass("fixed_random", 0))
    labels = np.concatenate([reading.noise(train, ("x", k), 0) for k in range(200)])
    assert labels.mean() == pytest.approx(0.5, abs=0.03)


def test_forgetting_ends_when_answers_say_nothing(model):
    found = _measured(model, only=["entailment"], controls=["continued"], uninformative=0.01)
    for arm, mode in (("forget", "fixed_random"), ("continued", None)):
        rows = found["entailment", arm, mode]
        assert _values(rows, "passes")["course", "run", "passes"] == 1
    ended = _values(found["entailment", "forget", "fixed_random"], "ended")
    assert ended["course", "run", "ended"] == 1
    # The tiny model guesses, so that it has nothing to forget by accuracy.
    guesses = _measured(
        model, only=["entailment"], controls=[], uninformative=1.0, criterion="entropy_or_accuracy"
    )
    ended = _values(guesses["entailment", "forget", "fixed_random"], "ended", "passes")
    assert (ended["course", "run", "ended"], ended["course", "run", "passes"]) == (1, 1)
    never = _measured(model, only=["entailment"], controls=[], uninformative=1.0)
    ended = _values(never["entailment", "forget", "fixed_random"], "ended", "passes")
    assert (ended["course", "run", "ended"], ended["course", "run", "passes"]) == (0, 2)


def test_first_learning_begins_where_nothing_was_learned(model):
    """What relearns from a model that was not changed learns as at first."""
    changed = {"epochs": 0, "controls": [], "only": ["agreement"]}
    taught = _measured(model, **changed)
    again = _values(taught["agreement", "forget", "fixed_random"], group="relearned")
    found = _measured(model, untaught="reference", **changed)
    first = _values(found["agreement", "first", None], group="relearned")
    assert not _values(found["agreement", "forget", "fixed_random"], group="relearned")
    assert again
    assert again == pytest.approx(first, abs=1e-4)
    assert {key[1].split("/")[0] for key in first} == {"1", "2"}


def test_variability_of_states():
    generator = np.random.default_rng(0)
    directions = np.linalg.qr(generator.normal(size=(16, 16)))[0]
    states = np.repeat(np.eye(4), 25, axis=0) @ directions[:4] * 3.0
    found = reading.variability(states)
    # Four corners of a tetrahedron: three dimensions of equal variance.
    assert found["rank"] == pytest.approx(3.0)
    assert found["variance"] == pytest.approx(0.75)
    assert found["distance"] == pytest.approx(np.sqrt(2) * 75 / 99)
    same = reading.variability(np.ones((5, 3)))
    assert (same["variance"], same["distance"]) == pytest.approx((0.0, 0.0))


def test_similarity_of_tasks(model):
    def item(task, number, prompt, choices):
        return ChoiceItem(f"{task}/{number}", task, "f", "train", "a", "b", prompt, choices, 0)

    tasks = {
        "one": [item("one", k, f"the dog number {k}", (" yes", " no")) for k in range(3)],
        "same": [item("same", k, f"the dog number {k}", (" yes", " no")) for k in range(3)],
        "other": [item("other", k, f"rivers flow {k + 7}", (" up", " no")) for k in range(3)],
    }
    found = similarities(model, tasks, 1)
    assert found["prompts"][0, 1] == 1.0
    assert found["prompts"][0, 2] == 0.0
    assert found["choices"][0, 1:] == pytest.approx([1.0, 1 / 3])
    assert found["states"][0, 1] == pytest.approx(1.0)
    assert found["states"][0, 2] == pytest.approx(-1.0)
    assert all(np.array_equal(m, m.T) for m in found.values())


def test_an_interrupted_run_goes_on_to_the_same_numbers(model, tmp_path, monkeypatch):
    settings = Settings(**SMALL | {"controls": ["continued"]})
    group = [c for c in numbered(cells(settings, State())) if c["experiment"] == "agreement"]
    context = ProbeContext("study", "state", 0, Path("."), {}, {}, scratch=tmp_path)
    plain = dict_of(probe.measure_together(model, settings, group, context))
    monkeypatch.setattr(runs.Resume, "__init__", _eager(runs.Resume.__init__))
    real = runs.Run.judge

    def dies(self, *arguments):
        real(self, *arguments)
        if len(self.course) == 2:
            raise KeyboardInterrupt

    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setattr(runs.Run, "judge", dies)
    with pytest.raises(KeyboardInterrupt):
        dict_of(probe.measure_together(model, settings, group, context))
    monkeypatch.setattr(runs.Run, "judge", real)
    assert list(tmp_path.iterdir())
    trained = []
    real_pass = runs.Run.a_pass

    def counted(self, *arguments):
        trained.append(arguments[-1])
        return real_pass(self, *arguments)

    monkeypatch.setattr(runs.Run, "a_pass", counted)
    again = dict_of(probe.measure_together(model, settings, group, context))
    assert set(trained) == {1}
    assert again == plain


def _eager(real):
    def init(self, learner, path, every_s=0.0):
        real(self, learner, path, 0.0)

    return init


def dict_of(outcomes):
    return {cell["id"]: rows for cell, rows in outcomes}


def test_cells_pieces_and_costs():
    settings = Settings(**SMALL | {"replicates": 2})
    found = cells(settings, State())
    # before, one mode and three controls for each task and replicate.
    assert len(found) == 2 * 2 * 5
    assert all(cost(settings, factors) > 0 for factors in found)
    reference = cells(Settings(**SMALL | {"untaught": "reference"}), State())
    assert [f["arm"] for f in reference] == ["before", "forget", "first"] * 2

    class Cell:
        experiment = "entailment"
        parameters = found[0]

    assert piece(Cell) == "0:entailment"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"relearn": [2, 1]}, "relearn"),
        ({"modes": ["resampled", "resampled"]}, "modes"),
        ({"layers": [3, 1]}, "layers"),
        ({"modes": ["random"]}, "fixed_random"),
    ],
)
def test_bad_settings(changed, said):
    with pytest.raises(ValueError, match=said):
        Settings(**SMALL | changed)


def test_unknown_tasks_are_refused_before_any_job():
    with pytest.raises(ValueError, match="entailmnt"):
        check(Settings(**SMALL | {"tasks": ["entailmnt"]}), None)


def test_weights_stay_frozen_after_a_failure(model):
    """A loss that is not finite stops one cell; the model is put back."""
    weight = next(model.module.parameters()).detach().clone()
    found = _measured(model, only=["agreement"], controls=[], learning_rate=1e30)
    rows = found["agreement", "forget", "fixed_random"]
    assert isinstance(rows, Exception) or rows
    assert torch.equal(weight, next(model.module.parameters()))


def test_a_taught_task_is_forgotten_by_random_labels_and_kept_by_true_ones(
    smollm_manifest, tmp_path, monkeypatch
):
    """Planted and found: what the 135M model has learned goes, and true labels keep it."""
    monkeypatch.chdir(tmp_path)
    sets = {"tasks": ["agreement"], "train": 32, "validation": 8, "test": 20, "near": 0}
    state = made_state(smollm_manifest, tmp_path, "task_teaching", sets | {"epochs": 2})
    model = StateReader(state).at(1)
    settings = Settings(**sets, untaught="subject", controls=["continued"], layers=[29], relearn=[])
    context = ProbeContext("study", "state", 0, state.parent, {}, {})
    found = {}
    chosen = numbered(cells(settings, State()))
    for cell, rows in probe.measure_together(model, settings, chosen[:3], context):
        found[cell["parameters"]["arm"]] = rows
    right = {
        arm: {
            split: np.mean(list(_values(rows, "right", group=split).values()))
            for split in ("train", "test")
        }
        for arm, rows in found.items()
    }
    assert right["before"]["test"] > 0.9
    assert right["forget"]["train"] < 0.75
    assert right["continued"]["test"] > 0.9
    sure = {
        arm: np.mean(list(_values(found[arm], "p_right", group="train").values()))
        for arm in ("forget", "continued")
    }
    assert sure["forget"] < 0.7
    assert sure["continued"] > 0.95
