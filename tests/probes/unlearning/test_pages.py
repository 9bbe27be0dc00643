"""What the page says of costs, budgets and single facts, against what was done."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from palimpsest import jobs
from palimpsest.config import load
from palimpsest.data.items import of_part
from palimpsest.evidence.database import Database
from palimpsest.grid import expand
from palimpsest.interventions._items import item_examples
from palimpsest.probes.unlearning import measure, scratch
from palimpsest.probes.unlearning.pages.applied import applied
from palimpsest.probes.unlearning.pages.budgets import budget
from palimpsest.probes.unlearning.pages.cards import cards
from palimpsest.probes.unlearning.pages.methods import methods
from palimpsest.probes.unlearning.pages.tables import GALLERY
from palimpsest.probes.unlearning.settings import DEFAULT_METHODS, Settings
from palimpsest.reports.sentences import states as states_in_words
from tests.probes.unlearning.studied import cell, database, row

METHODS = {
    "ssd": {"ssd": {"batch_size": 4}},
    "iau": {"iau": {}},
    "wga": {"wga": {"epochs": 1}},
    "whp": {"whp": {"epochs": 2, "reinforce_epochs": 1}},
    "guard": {"guard": {}},
}
WORLD = {"people": 8, "forget_share": 0.13, "attributes": ["pet"], "hidden": 16, "layers": 1}


@pytest.fixture(scope="module")
def made():
    """Settings, and what every method of a small world took."""
    settings = Settings(scratch=WORLD | {"epochs": 1, "methods": METHODS})
    costs = {}
    for arm in METHODS:
        factors = {"arm": arm, "model_seed": 0, "how": None, "requests": 0}
        costs[arm] = scratch.model_of(settings.scratch, factors, "cpu")[1]["costs"]
    return settings, costs


def _budget(found, settings):
    return budget(found, "s", applied(found, "s", settings))


def _cards(found, settings):
    table = cards(found, "s", settings)
    return {each["method"]: each for each in found.frame(table.sql, {"study": "s"}).to_dicts()}


def test_what_a_method_costs_is_what_it_did(made, tmp_path):
    """SSD takes no step and differentiates every pass; GUARD only reads and writes."""
    settings, costs = made
    found = _cards(database(tmp_path, [cell(arm, costs=costs[arm]) for arm in METHODS]), settings)
    items = settings.scratch.items()
    model = scratch.blank(settings.scratch, 0, "cpu")
    weights = sum(p.numel() for p in model.module.parameters())
    sets = {
        part: [e for item in of_part(items, part) for e in item_examples(model, item)]
        for part in ("forget", "retain")
    }
    tokens = sum(len(each.ids) for own in sets.values() for each in own)
    assert found["ssd"]["work"] == pytest.approx(6 * weights * tokens / 1e9)
    assert found["ssd"]["tokens"] == pytest.approx(tokens / 1000)
    assert found["ssd"]["backward"] == sum(-(-len(own) // 4) for own in sets.values())
    assert found["ssd"]["updates"] == 0
    assert found["iau"]["work"] == pytest.approx(6 * weights * tokens / 1e9)
    assert found["iau"]["updates"] == 1
    # One pass over three prompts, with as many retained ones beside them.
    assert found["wga"]["updates"] == found["wga"]["backward"] == 1
    guard = costs["guard"]
    assert (found["guard"]["backward"], found["guard"]["updates"]) == (0, 0)
    assert found["guard"]["work"] == pytest.approx(2 * weights * guard["tokens"] / 1e9)
    assert found["guard"]["writing"].endswith(" without")
    assert all(each["seconds"] > 0 for each in found.values())
    assert all(each["memory"] > 50 for each in found.values())
    assert found["ssd"]["writing"] is None


def test_costs_are_kept_with_cells_that_are_taken_from_earlier_runs(tmp_path, monkeypatch):
    """A job that measures nothing anew knows what its cells took."""
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/models.yaml").write_text("models: {networks: {source: networks}}\n")
    monkeypatch.setattr(measure, "_read", lambda *_, **__: iter([row("forget", "a", "loss", 1)]))
    world = WORLD | {"epochs": 1, "retrained": 2, "taught": 2, "methods": {"iau": {"iau": {}}}}
    study = {
        "probe": "unlearning",
        "states": {"networks": {"model": "networks"}},
        "settings": {"scratch": world},
    }
    Path("config.yaml").write_text(yaml.safe_dump({"studies": {"s": study}}))
    plan = expand(*load("config.yaml"))
    plan.write()
    for model in plan.models.values():
        jobs.prepare_model(str(plan.manifest_path(model.manifest)), model.output)
    for _ in range(2):
        for job in plan.jobs:
            job.output.unlink(missing_ok=True)
            jobs.probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
    jobs.gather(str(plan.manifest_path(plan.manifest)), "some.duckdb", allow_missing=True)
    with Database("some.duckdb") as found:
        costs = found.frame(
            "SELECT json_extract_string(parameters, '$.arm') AS arm, costs FROM cells ORDER BY arm"
        ).rows()
    assert [arm for arm, each in costs if each] == ["iau", "iau"]
    assert all(json.loads(each)["updates"] == 1 for _, each in costs if each)


def _state(arm, settings, costs=None, **changed):
    return {
        "job": f"state/{arm}", "rule": "intervene", "state": f"{arm}.s0",
        "settings": json.dumps(settings), "costs": json.dumps(costs) if costs else None,
    } | changed  # fmt: skip


def test_states_of_language_models_have_costs_and_budgets_too(made, tmp_path):
    settings, _ = made
    costs = {
        "updates": 12, "tokens": 900.0, "backward_tokens": 600, "backward_passes": 12,
        "weights": 1e6, "seconds": 3.5, "peak_mb": 700.0,
    }  # fmt: skip
    # Settings of states are stored without defaults; ssd is also a method of the scratch world.
    states = [
        _state("strong", {"epochs": 4, "adapter": "lora"}, costs),
        _state("ssd", {"alpha": 2.0}, costs | {"updates": 0}),
        _state("taught", {"epochs": 5, "training": {"batch_size": 8}}),
    ]
    after = {
        "strong": ["biographies", "unlearning.npo"],
        "ssd": ["biographies", "unlearning.ssd"],
        "taught": ["biographies"],
    }
    cells = [cell(arm, experiment="language") for arm in after]
    found = database(tmp_path, cells, provenance=states, after=after)
    shown = _cards(found, settings)
    assert {arm: card["strength"] for arm, card in shown.items()} == {
        "strong": "epochs 4, adapter lora",
        "ssd": "alpha 2.0",
    }
    card = shown["strong"]
    assert card["what"].startswith("Negative preference optimisation")
    assert card["work"] == pytest.approx((2 * 900 + 4 * 600) * 1e6 / 1e9)
    assert (card["seconds"], card["memory"], card["updates"]) == (3.5, 700, 12)
    (said,) = _budget(found, settings)
    assert "no pass, no updates: ssd; 4 passes, 12 updates: strong." in said
    # Methods of states are told with the states.
    assert not any(said.startswith("Methods:") for said in methods(found, "s"))
    assert states_in_words(found, "s") == [
        "States, with what was given to the last change of each: ssd: biographies then "
        "unlearning.ssd (alpha 2.0); strong: biographies then unlearning.npo (epochs 4, adapter "
        "lora); taught: biographies (epochs 5, training (batch size 8))."
    ]


def test_arms_of_one_name_in_both_worlds_are_two(made, tmp_path):
    settings, costs = made
    own = costs["ssd"]
    found = database(
        tmp_path,
        [cell("ssd", costs=own), cell("ssd", run=1, experiment="language")],
        provenance=[_state("ssd", {"alpha": 2.0}, own | {"tokens": 7}, state="ssd.s1")],
        after={"ssd": ["biographies", "unlearning.ssd"]},
    )
    table = cards(found, "s", settings)
    rows = found.frame(table.sql, {"study": "s"}).to_dicts()
    assert [(each["strength"], each["n"]) for each in rows] == [
        ("alpha 2.0", 1),
        ("batch size 4", 1),
    ]


def test_the_budget_is_that_of_the_settings_and_not_called_equal_where_it_is_not(made, tmp_path):
    settings, costs = made
    found = database(tmp_path, [cell(arm, costs=costs[arm]) for arm in METHODS])
    (said,) = _budget(found, settings)
    assert said.startswith(
        "Length of training, in passes over the forget set: no pass, no updates: guard, ssd; "
        "no pass, 1 update: iau; 1 pass, 1 update: wga; 2 passes after 1 of a copy, 3 updates: whp."
    )
    assert "Budgets are not equal" in said
    # Nothing is said of methods that no model went through.
    (tmp_path / "none").mkdir()
    assert _budget(database(tmp_path / "none", [cell("taught")]), settings) == []


def test_the_default_budget_is_not_called_equal(tmp_path):
    """WGA's source trains for half as long as the others'."""
    found = database(tmp_path, [cell(arm, costs={"updates": 80}) for arm in DEFAULT_METHODS])
    (said,) = _budget(found, Settings())
    assert "5 passes, 80 updates: wga" in said
    assert "Budgets are not equal" in said


def test_the_gallery_shows_forgotten_facts_and_such_as_must_stay(tmp_path):
    """Twenty arms, and as many facts as the default world has."""
    arms = ["taught", "retrained", *DEFAULT_METHODS]
    counts = {"forget": 20, "neighbour": 20, "kept": 40}
    cells, rows = [], []
    for arm in arms:
        # Of retrained models another seed is the first.
        runs = (7, 8) if arm == "retrained" else (0, 1)
        for run in runs:
            cells.append(cell(arm, run))
            said = []
            for part, count in counts.items():
                for k in range(count):
                    said.append(row("fact", f"{part}/{k}", "question", 1, f"{part} {k}?"))
                    said.append(row("fact", f"{part}/{k}", "truth", 1, "yes"))
                    said.append(row(part, f"{k}", "rouge_l", k % 2, f"{arm} {run}"))
                said.append(row("fact", f"{part}/text", "question", 1, f"{part} text"))
                said.append(row("fact", f"{part}/text", "truth", 1, "text"))
                said.append(row(part, "text", "verbatim", 0.25, f"{arm} {run}"))
            rows.append((f"{arm} {run}", said))
    shown = database(tmp_path, cells, rows).frame(GALLERY.sql, {"study": "s"}).to_dicts()
    facts = {(each["arm"], each["prompt"]) for each in shown}
    assert Counter(arm for arm, _ in facts) == {
        "to be forgotten": 9,
        "a relative's, must stay": 5,
        "must stay": 5,
    }
    # Each of them as every arm answers it, by its first model.
    assert len(shown) == len(facts) * len(arms)
    assert {each["answer"] for each in shown} == {
        f"{arm} {7 if arm == 'retrained' else 0}" for arm in arms
    }
    assert {each["verdict"] for each in shown if "text" in each["prompt"]} == {"ROUGE-L 0.25"}
