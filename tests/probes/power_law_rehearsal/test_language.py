"""The language stream: learners are as if alone, rehearsal is what the law says, memory is kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from palimpsest.config import ConfigError, check
from palimpsest.context import ProbeContext
from palimpsest.data.language_tasks import MAKERS, language_task
from palimpsest.engine.generation import generate
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.power_law_rehearsal import measure as probe
from palimpsest.probes.power_law_rehearsal.claims import VIEW, analyse
from palimpsest.probes.power_law_rehearsal.language import _judged, _learner
from palimpsest.probes.power_law_rehearsal.settings import Settings, cells
from palimpsest.probes.power_law_rehearsal.settings import check as check_settings
from tests.probes.numbered import State, numbered

SMALL = {
    "benchmarks": ["language"],
    "seeds": 2,
    "windows": [2],
    "early": 2,
    "criterion": 0.5,
    "controls": False,
    "conditions": {"none": {}, "power": {"environment": {"kind": "power"}}},
    "language": {
        "tasks": ["lookup", "parity", "add"],
        "train_per_task": 16,
        "test_per_task": 6,
        "traced_examples": 4,
        "trace_every": 2,
        "batch": 4,
        "rank": 4,
    },
}
CONTEXT = ProbeContext("study", "state", 0, Path("."), {}, {})


def _settings(**changed):
    language = SMALL["language"] | changed.pop("language", {})
    return Settings(**SMALL | changed | {"language": language})


def _cells(settings):
    return numbered(cells(settings, State))


def _measured(model, settings, chosen=None):
    found = {}
    for group in probe.groups(settings, chosen or _cells(settings)):
        for cell, rows in probe.measure_together(model, settings, group, CONTEXT):
            assert not isinstance(rows, Exception), rows
            key = cell["parameters"]["condition"], cell["parameters"]["network_seed"]
            found[key] = {(r["grp"], r["item"], r["metric"]): r["value"] for r in rows}
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_items_are_right_and_none_to_test_is_trained_on(name):
    task = language_task(name, 3, 60, 20)
    assert (len(task.train), len(task.test)) == (60, 20)
    assert language_task(name, 3, 60, 20) == task
    assert language_task(name, 4, 60, 20).test != task.test
    if name == "lookup":
        assert set(task.test) == set(task.train)
        return
    assert not {item.prompt for item in task.train} & {item.prompt for item in task.test}
    for item in task.train:
        asked = item.prompt.split(": ", 1)[1].removesuffix(" ->").split()
        answer = item.answer.split()
        expected = {
            "reverse": lambda w: w[::-1],
            "sort": lambda w: [str(n) for n in sorted(map(int, w))],
            "add": lambda w: [str(int(w[0]) + int(w[2]))],
            "initials": lambda w: [word[0] for word in w],
            "parity": lambda w: ["odd" if int(w[0]) % 2 else "even"],
            "count": lambda w, p=item.prompt: [str(w.count(p.split(":")[0].split()[1]))],
            "larger": lambda w: [str(max(int(w[0]), int(w[2])))],
        }[name]
        assert answer == expected(asked)


def test_unknown_tasks_and_empty_ones_are_refused():
    with pytest.raises(ValueError, match="given 'sum', allowed: lookup"):
        language_task("sum", 0, 4, 4)
    with pytest.raises(ValueError, match="at least 1"):
        language_task("add", 0, 0, 4)
    with pytest.raises(ValueError, match="no 3000 different items"):
        language_task("parity", 0, 3000, 4)


def test_accuracy_is_that_of_greedy_decoding(tiny):
    """Also for the tiny model once it has learned to write something."""
    settings = _settings()
    run = _learner(tiny, settings, _cells(settings)[0], 1)
    right, loss = _judged(tiny, run.test)
    assert right.shape == loss.shape == (3,)
    for place, task in enumerate(run.tasks):
        prompts = [item.prompt for item in task.test]
        texts = generate(tiny, prompts, 12, stop=("\n",))
        wanted = [item.answer for item in task.test]
        assert right[place] == np.mean([a == b for a, b in zip(texts, wanted, strict=True)])


def test_learners_are_as_if_alone_and_the_model_is_untouched(tiny):
    settings = _settings()
    before = copy.deepcopy(tiny.module.state_dict())
    whole = _measured(tiny, settings)
    assert set(whole) == {(c, s) for c in ("none", "power") for s in (0, 1)}
    after = tiny.module.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
    one = [c for c in _cells(settings) if c["parameters"]["condition"] == "power"][:1]
    (key, alone), *_ = _measured(tiny, settings, one).items()
    for name, value in alone.items():
        if "accuracy" not in name[2]:
            assert value == pytest.approx(whole[key][name], abs=2e-3), name


def test_a_budget_of_zero_is_no_rehearsal(tiny):
    conditions = SMALL["conditions"] | {"zero": {"environment": {"kind": "power", "budget": 0}}}
    found = _measured(tiny, _settings(conditions=conditions, seeds=1))
    for name, value in found["none", 0].items():
        assert found["zero", 0][name] == pytest.approx(value, abs=1e-6), name
    assert found["none", 0] != found["power", 0]
    returned = [v for (grp, _, metric), v in found["power", 0].items() if metric == "drawn"]
    assert sum(returned) == 2 * 4 * 2


def test_what_comes_back_is_kept(tiny):
    """A table that returns in every batch is remembered better than one that does not."""
    conditions = {"none": {}, "power": {"environment": {"kind": "uniform"}}}
    settings = _settings(
        conditions=conditions, seeds=2,
        language={"tasks": ["parity", "larger"], "train_per_task": 160, "learning_rate": 0.01},
    )  # fmt: skip
    found = _measured(tiny, settings)

    def forgotten(condition):
        losses = [
            found[condition, seed]["matrix", "1/0", "loss"]
            - found[condition, seed]["matrix", "0/0", "loss"]
            for seed in (0, 1)
        ]
        return np.mean(losses)

    assert forgotten("none") > forgotten("power") + 0.1


def test_controls_are_streams_of_one_task_and_of_tasks_without_a_rule(tiny):
    settings = _settings(controls=True, seeds=1)
    made = {cell["experiment"]: cell for cell in _cells(settings)}
    same = _learner(tiny, settings, made["identical"], 1)
    assert same.tasks == [same.tasks[0]] * 3
    true, dealt = (_learner(tiny, settings, made[name], 1) for name in ("language", "shuffled"))
    for task, other in zip(true.tasks, dealt.tasks, strict=True):
        for part, made_up in zip(task[1:], other[1:], strict=True):
            assert [item.prompt for item in part] == [item.prompt for item in made_up]
        answers = {item.answer for item in (*task.train, *task.test)}
        if task.name != "lookup":
            assert not answers & {item.answer for item in other.test}
        assert not {i.answer for i in other.train} & {i.answer for i in other.test}
    controls = [made["identical"], made["shuffled"]]
    (group,) = probe.groups(settings, controls)
    for cell, rows in probe.measure_together(tiny, settings, group, CONTEXT):
        after = {r["item"]: r["value"] for r in rows if r["metric"] == "accuracy"}
        if cell["experiment"] == "identical":
            assert after["0/0"] == after["0/1"]
        if cell["experiment"] == "shuffled":
            assert set(after.values()) == {0.0}


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="stands alone"):
        _settings(benchmarks=["language", "permuted"])
    with pytest.raises(ValueError, match="at least one batch"):
        _settings(language={"train_per_task": 2})
    with pytest.raises(ValueError, match="allowed with the benchmark language: naive, joint"):
        check_settings(_settings(conditions={"power": {"strategy": {"ewc": {}}}}), None)
    with pytest.raises(ValueError, match="visits and kept"):
        check_settings(_settings(conditions={"power": {"kept": 3}}), None)


@pytest.mark.parametrize(
    ("model", "benchmarks", "allowed"),
    [("tiny", ["permuted"], "language alone"), ("networks", ["language"], "all but language")],
)
def test_benchmarks_must_fit_the_model(model, benchmarks, allowed):
    study = {
        "probe": "power_law_rehearsal",
        "states": {"one": {"model": model}},
        "settings": {"benchmarks": benchmarks},
    }
    with pytest.raises(ConfigError, match=f"allowed for this model: {allowed}"):
        check({"studies": {"s": study}}, "mine.yaml")


def test_a_study_of_a_language_model_has_verdicts_and_forms(tiny):
    """Its streams have lengths, widths and numbers of test items of their own."""
    language = {"tasks": ["lookup", "parity", "add", "larger"]}
    settings = _settings(seeds=3, language=language, controls=True)
    cells, rows = [], []
    for group in probe.groups(settings, _cells(settings)):
        for cell, found in probe.measure_together(tiny, settings, group, CONTEXT):
            cells.append(
                {
                    "study": "s",
                    "cell": cell["id"],
                    "probe": "power_law_rehearsal",
                    "state": "tiny",
                    "role": "untouched",
                    "model": "tiny",
                    "seed": 0,
                    "step": 0,
                    "experiment": cell["experiment"],
                    "parameters": json.dumps(cell["parameters"]),
                    "status": "done",
                }
            )
            rows.append(observations(found, study="s", cell=cell["id"], step=0))
    tables = {"observations": [pl.concat(rows)], "cells": [frame_of("cells", cells)]}
    with connect(tables, {"power_law_rehearsal": VIEW}) as connection:
        statistics, claims = analyse(connection, settings, "s")
    (verdict,) = [c["verdict"] for c in claims if c["claim"] == "beats_no_rehearsal"]
    assert verdict != "not tested"
    analyses = {row["analysis"] for row in statistics}
    assert {"main", "level", "contrast", "course", "retention", "drawn", "environment"} <= analyses
    environments = {row["factor"] for row in statistics if row["analysis"] == "environment"}
    assert environments == {"4 tasks"}
    assert {row["estimate"] for row in statistics if row["analysis"] == "guessing"} == {0.0}
    found = {claim["claim"]: claim for claim in claims}
    assert found["unlearnable_tasks_teach_nothing"]["estimate"] == 0
    assert found["unlearnable_tasks_teach_nothing"]["verdict"] != "contradicted"
    assert found["identical_tasks_keep"]["verdict"] != "not tested"
