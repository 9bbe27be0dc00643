"""Unlearned states: what is gone and what is not, and controls that they must leave alone."""

from __future__ import annotations

import copy
import json
from datetime import date as Date
from pathlib import Path

import numpy as np
import pytest

from palimpsest import discovery, jobs
from palimpsest.config import check
from palimpsest.context import ProbeContext
from palimpsest.data.items import of_part, taught_items
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.grid import expand
from palimpsest.models.states import StateReader
from palimpsest.probes.economic_recall.claims import OF_UNLEARNED, STANDING, VIEW, analyse
from palimpsest.probes.economic_recall.measure import measure
from palimpsest.probes.economic_recall.questions import parts_of
from palimpsest.probes.economic_recall.settings import Settings
from tests.probes.economic_recall.cells import finished

ROOT = Path(__file__).parents[3]
SETTINGS = Settings()
BOUNDARY = "2002-01-01"
PARTS = {"planted_true": ("forget", "retain"), "planted_false": ("forget", "retain")}


def _cell(name, role, seed, step, facts, origin=None):
    factors = {"facts": facts, "cutoff": BOUNDARY, "series": "s0", "origin": origin}
    return finished(name, role, step, seed, **factors)


def _study(after, role="unlearned", seeds=3, each=16, damage=0.0, changed=True, learnt=None):
    """Evidence of planted states that recall all, and of what ``after`` of each part is left.

    Args:
        after: part -> share of the facts that are still recalled after unlearning.
        damage: nats that the true answers of facts at large lose.
        changed: whether the study has the unlearned states at all.
        learnt: seeds in which planting was learnt; None: all.
    """
    rng = np.random.default_rng(5)
    cells, rows = [], []
    for seed in range(seeds):
        planted, later = f"planted{seed}", f"{role}{seed}"
        for step in (0, 30):
            cells.append(_cell(f"{planted}.{step}", "planted", seed, step, "planted"))
        cells.append(_cell(f"{planted}.at", "planted", seed, 30, "asked", planted))
        cells.append(_cell(later, role, seed, 1, "planted", planted))
        cells.append(_cell(f"{later}.at", role, seed, 1, "asked", planted))
        for arm in ("planted_true", "planted_false", "never"):
            for number in range(each if arm != "never" else 2 * each):
                item = f"s{number % 2}/{Date(1970 + number, 1 + len(arm) % 12, 1)}"
                part = "never" if arm == "never" else PARTS[arm][number % 4 // 2]
                guess = rng.random(2) < 0.125
                taught = arm != "never" and (learnt is None or seed in learnt)
                known = {0: guess, 30: [taught or g for g in guess]}
                for step, right in known.items():
                    rows += _fact(f"{planted}.{step}", step, arm, item, right)
                left = rng.random() < after.get(part, 0)
                right = [left or g for g in rng.random(2) < 0.125]
                same = part == "never" or learnt is not None
                rows += _fact(later, 1, arm, item, known[30] if same else right)
                mark = {"cell": later, "step": 1, "grp": arm, "item": f"{item}/part"}
                rows.append(mark | {"metric": "part", "value": 1.0, "text": part})
        # The first is one of the planted facts, which happens to be asked at large too.
        for number in range(each + 1):
            item = f"s1/{Date(1950 + number, 1, 1)}" if number else "s0/1970-01-01"
            base = rng.normal(-9, 1)
            for name, log_p in ((f"{planted}.at", base), (f"{later}.at", base - damage)):
                for question in ("t0", "t1"):
                    row = {"cell": name, "step": 1, "grp": "asked", "item": f"{item}/{question}"}
                    rows.append(row | {"metric": "log_p", "value": log_p})
                    rows.append(row | {"metric": "correct", "value": float(number % 8 == 0)})
    if not changed:
        cells = [cell for cell in cells if "origin" not in cell["parameters"]]
        kept = {cell["cell"] for cell in cells}
        rows = [row for row in rows if row["cell"] in kept]
    tables = {"observations": [observations(rows, study="study")]}
    return connect(tables | {"cells": [frame_of("cells", cells)]}, {"economic_recall": VIEW})


def _fact(cell, step, arm, item, right):
    rows = []
    for question, known in zip(("t0", "t1"), right, strict=True):
        constant = {"cell": cell, "step": step, "grp": arm, "item": f"{item}/{question}"}
        values = {
            "correct": float(known),
            "choices": 8.0,
            "margin": 9.0 * known,
            "exposure": 5.0 * known,
            "share_assigned": 0.7 if known else 0.05,
            "share_truth": 0.1,
        }
        rows += [constant | {"metric": m, "value": v} for m, v in values.items()]
    return rows


def _judged(connection):
    statistics, claims = analyse(connection, SETTINGS, "study")
    return statistics, {claim["claim"]: claim for claim in claims}


def _estimate(statistics, arm, factor, metric="correct", series=None):
    (found,) = [
        r
        for r in statistics
        if r["analysis"].startswith("unlearned")
        and (r["arm"], r["factor"], r["metric"], r.get("series")) == (arm, factor, metric, series)
    ]
    return found


def test_what_was_forgotten_is_at_the_floor_and_the_rest_is_there():
    statistics, claims = _judged(_study({"forget": 0.0, "retain": 1.0}, seeds=12))
    assert {claims[c.name]["verdict"] for c in OF_UNLEARNED} == {"supported"}
    assert _estimate(statistics, "forget", "before")["estimate"] == 1
    gone = _estimate(statistics, "forget", "after - before")
    assert gone["high"] < -0.7
    assert gone["n"] == 12 * 16
    assert _estimate(statistics, "retain", "after - before")["estimate"] == 0
    assert _estimate(statistics, "never", "after - before")["estimate"] == 0
    assert _estimate(statistics, "forget - never", "before")["low"] > 0.7
    # By series, and by what was asked.
    assert _estimate(statistics, "forget", "after - before", series="s1")["high"] < -0.5
    assert _estimate(statistics, "forget", "after - before", series="value") == gone | {
        "series": "value"
    }


def test_a_method_that_does_nothing_has_forgotten_nothing():
    statistics, claims = _judged(_study({"forget": 1.0, "retain": 1.0}))
    assert claims["forgotten_at_floor"]["verdict"] == "contradicted"
    assert claims["kept_above_floor"]["verdict"] == "supported"
    assert claims["forgetting_is_selective"]["verdict"] == "inconclusive"
    assert _estimate(statistics, "forget", "after - before")["estimate"] == 0


def test_a_model_that_was_destroyed_is_not_called_selective():
    statistics, claims = _judged(_study({"forget": 0.0, "retain": 0.0}, damage=3.0))
    assert claims["kept_above_floor"]["verdict"] == "inconclusive"
    assert claims["forgetting_is_selective"]["verdict"] == "inconclusive"
    harm = _estimate(statistics, "at large", "after - before", "log_p")
    assert harm["estimate"] == pytest.approx(-3)
    assert harm["n"] == 3 * 16


def test_seeds_are_held_against_their_own_planted_state():
    """One seed had learnt and one had not, and nothing was changed in either."""
    statistics, _ = _judged(_study({}, seeds=2, learnt=[0]))
    for part in ("forget", "retain"):
        assert 0.4 < _estimate(statistics, part, "before")["estimate"] < 0.8
        change = _estimate(statistics, part, "after - before", "margin")
        assert change["low"] == change["high"] == 0
        assert change["n"] == 2 * 16


def test_without_the_planted_state_there_is_no_before():
    connection = _study({"forget": 0.0, "retain": 1.0}, seeds=12)
    connection.execute("DELETE FROM observations WHERE cell LIKE 'planted%'")
    statistics, claims = _judged(connection)
    found = [r for r in statistics if r["analysis"].startswith("unlearned")]
    assert {r["factor"] for r in found} == {"after"}
    assert claims["forgotten_at_floor"]["verdict"] == "supported"
    assert claims["forgetting_is_selective"]["verdict"] == "not tested"


def test_controls_of_planted_states_are_as_if_nothing_had_been_unlearned():
    with_, claims = _judged(_study({"forget": 0.0, "retain": 0.2}))
    without, before = _judged(_study({}, changed=False))
    rest = [row for row in with_ if not row["analysis"].startswith("unlearned")]
    assert rest == without
    assert any(row["analysis"] == "contrast" for row in rest)
    assert list(before) == [claim.name for claim in STANDING]
    assert {name: claims[name] for name in before} == before
    assert before["planted_found"]["verdict"] == "supported"


def test_claims_rest_on_the_role_unlearned_or_the_first_by_name():
    _, claims = _judged(_study({"forget": 0.0, "retain": 1.0}, role="npo", seeds=12))
    assert claims["forgotten_at_floor"]["verdict"] == "supported"


PLANTING = {
    "values_per_arm": 4,
    "never": 4,
    "event_dates": 2,
    "event_entities": 2,
    "exposures": [1, 60],
    "candidates": 10,
    "choices": 4,
    "training": {"adapter": "full", "learning_rate": 3e-3},
}
SMALL = {
    "series": ["eur_usd"],
    "dates_per_series": 4,
    "dates_after_cutoff": 4,
    "events": 4,
    "events_after_cutoff": 2,
    "candidates": 10,
    "choices": 4,
}


def _plan(*steps, **settings):
    states = {
        "planted": {"model": "tiny", "interventions": [{"planting": PLANTING}]},
        "unlearned": {"model": "tiny", "interventions": [{"planting": PLANTING}, *steps]},
    }
    study = {"probe": "economic_recall", "states": states, "settings": settings | SMALL}
    raw = {"models_file": str(ROOT / "config/models.yaml"), "studies": {"study": study}}
    return expand(*check(raw, "mine.yaml"))


def _cells(plan, role):
    return [cell for job in plan.jobs if job.role == role for cell in job.cells]


def test_an_unlearned_state_is_asked_what_was_planted_and_says_where_it_came_from():
    plan = _plan({"unlearning.npo": {}})
    planted, changed = _cells(plan, "planted"), _cells(plan, "unlearned")
    assert all("origin" not in cell.parameters for cell in planted)
    assert {cell.parameters["origin"] for cell in changed} == {planted[0].state}
    assert {cell.step for cell in changed} == {1}
    assert {cell.experiment for cell in changed} == {"value", "event_date", "event_entity"}
    assert {cell.parameters["facts"] for cell in changed} == {"planted"}
    other = _cells(_plan({"randomise": {}}), "unlearned")
    assert other
    assert all("origin" not in cell.parameters for cell in other), "only unlearning is judged so"


def test_asking_after_planting_adds_cells_and_changes_none():
    one, other = _plan({"unlearning.npo": {}}), _plan(
        {"unlearning.npo": {}}, asked_after_planting=True
    )  # fmt: skip
    before, now = ({c.id for job in p.jobs for c in job.cells} for p in (one, other))
    assert before < now
    added = [c for job in other.jobs for c in job.cells if c.id not in before]
    assert {c.parameters["facts"] for c in added} == {"asked"}
    assert {c.role for c in added} == {"planted", "unlearned"}
    few = [c for c in added if c.experiment == "value"]
    assert few
    fewer = Settings(**SMALL, subset_per_series=2, asked_after_planting=True)
    module = discovery.probe("economic_recall")
    factors = few[0].parameters | {"experiment": "value"}
    assert module.deciding_settings(fewer, factors) != module.deciding_settings(
        Settings(**SMALL), factors
    )


@pytest.fixture(scope="module")
def planted(tiny_manifest, tmp_path_factory):
    """A folder with a planted state of the tiny model; facts are learned by heart."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _make("planted", "planting", PLANTING, tiny_manifest, [1, 60])
    return folder


def _make(name, intervention, settings, parent, steps=(1,)):
    manifest = {
        "intervention": intervention, "settings": settings, "state": name, "seed": 0,
        "parent": str(Path(parent).absolute()), "code": "", "data_block": {}, "steps": list(steps),
        "model": "tiny",
    }  # fmt: skip
    Path(f"{name}.json").write_text(json.dumps(manifest))
    output = Path("states", name, "state.json").absolute()
    output.parent.mkdir(parents=True)
    jobs.intervene(f"{name}.json", str(output), threads=1, gpu=0)
    return output


@pytest.fixture
def read(planted, tmp_path, monkeypatch):
    """Statistics and claims of the planted state and of what methods make of it."""
    monkeypatch.chdir(tmp_path)
    source = planted / "states/planted/state.json"

    def of(*steps):
        plan = _plan(*steps, asked_after_planting=True)
        states = {"planted": source}
        parent = source
        for number, step in enumerate(steps):
            ((name, settings),) = step.items()
            parent = _make(f"after{number}", name, settings, parent)
        states["unlearned"] = parent
        rows, cells = [], []
        for role, path in states.items():
            reader = StateReader(path)
            mine = [c for c in _cells(plan, role) if c.experiment in ("value", "event_date")]
            context = ProbeContext("study", mine[0].state, 0, path.parent, {}, {})
            settings = Settings(**SMALL, asked_after_planting=True)
            for cell in mine:
                found = measure(reader.at(cell.step), settings, vars(cell), context)
                rows += [
                    {"study": "study", "cell": cell.id, "step": cell.step, "text": None, **row}
                    for row in found
                ]
                cells.append(cell.row() | {"study": "study", "status": "done", "reason": None})
        tables = {"observations": [observations(rows)], "cells": [frame_of("cells", cells)]}
        return _judged(connect(tables, {"economic_recall": VIEW}))

    return of


@pytest.mark.parametrize(
    ("step", "dust"),
    [
        ({"unlearning.npo": {"learning_rate": 1e-12, "epochs": 1}}, 1e-4),
        ({"unlearning.retain_finetune": {"learning_rate": 1e-4, "epochs": 1}}, 1.5),
    ],
    ids=["next to no step", "what must stay is learned on"],
)
def test_unlearning_that_does_nothing_shows_no_forgetting(read, step, dust):
    statistics, _ = read(step)
    changes = [
        r for r in statistics if r["analysis"] == "unlearned" and r["factor"] == "after - before"
    ]
    assert {r["arm"] for r in changes} == {"forget", "retain", "never", "at large"}
    assert _estimate(statistics, "forget", "before")["estimate"] > 0.9
    assert _estimate(statistics, "forget", "after - before")["estimate"] == 0
    assert _estimate(statistics, "forget - never", "after")["estimate"] > 0.7
    for found in changes:
        assert found["estimate"] == pytest.approx(0, abs=dust), found


def test_a_method_is_seen_to_take_the_part_that_it_was_given(read):
    strong = {"learning_rate": 3e-3, "epochs": 4, "adapter": "lora", "rank": 4}
    statistics, _ = read({"unlearning.grad_diff": strong})
    gone, kept = (
        _estimate(statistics, part, "after - before", "margin") for part in ("forget", "retain")
    )
    assert _estimate(statistics, "forget", "before")["estimate"] > 0.9
    assert gone["high"] < 0
    assert gone["estimate"] < kept["estimate"] - 5
    assert _estimate(statistics, "retain", "after")["estimate"] > 0.9


def test_parts_follow_requests_and_files(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = planted / "states/planted/state.json"
    items = taught_items(source.parent)
    gentle = {"learning_rate": 1e-6, "epochs": 1}
    first = _make("one", "unlearning.npo", gentle | {"requests": 2}, source)
    parts = parts_of(first.parent)
    assert set(parts) == {item.id for item in items}
    asked = [
        {n.split("/")[0] for n, p in parts.items() if p == each} for each in ("forget", "later")
    ]
    assert [len(series) for series in asked] == [2, 2]
    assert not asked[0] & asked[1], "series are requested whole"
    second = _make("two", "unlearning.npo", gentle | {"request": 2, "requests": 2}, first)
    assert parts_of(second.parent) == {item.id: item.part for item in items}
    for name, part in (("forget", "One."), ("retain", "Two.")):
        Path(f"{name}.jsonl").write_text(json.dumps({"text": part}))
    own = copy.deepcopy(gentle) | {"forget": "forget.jsonl", "retain": "retain.jsonl"}
    assert parts_of(_make("own", "unlearning.npo", own, source).parent) == {}
    assert len(of_part(items, "forget")) == len(of_part(items, "retain")) == 6
