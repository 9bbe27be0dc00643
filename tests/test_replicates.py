"""Replicates that are read quickly are read by one process; what is measured stays the same."""

from __future__ import annotations

import copy
from pathlib import Path

import polars as pl
import pytest

from palimpsest import discovery, grid, jobs
from palimpsest.config import check
from palimpsest.evidence.shards import is_whole, read_facts, read_shard
from palimpsest.files import read_json, read_sealed, write_sealed
from palimpsest.grid import expand
from palimpsest.jobs import cell_file
from palimpsest.mending import put_aside
from palimpsest.order import after, seconds

ROOT = Path(__file__).parent.parent
WORLD = {"people": 6, "forget_share": 0.17, "attributes": ["pet"], "epochs": 1}
SETTINGS = {
    "kept_items": 4,
    "prose": 2,
    "fluency": 1,
    "fluency_tokens": 4,
    "few_shot": 0,
    "answer_tokens": 2,
    "robustness": {"relearn": [], "benign": 0, "bits": [], "probes": False},
}


#: Of a probe that measures several cells of a state in one pass.
LISTS = {
    "stimuli": ["novel"],
    "items": 4,
    "validation": 4,
    "lists": 2,
    "exposures": [1],
    "retention_steps": [],
    "learning_rates": [0.01],
    "longest": 24,
}


def study(seeds: int | list[int] = 2, probe: str = "unlearning", **settings: object) -> dict:
    """States of the tiny model that are taught the same."""
    taught = {"model": "tiny", "interventions": [{"biographies": WORLD}], "seeds": seeds}
    settings = (SETTINGS if probe == "unlearning" else LISTS) | settings
    one = {"probe": probe, "states": {"taught": taught}, "settings": settings}
    return {"models_file": str(ROOT / "config/models.yaml"), "studies": {"study": one}}


def plan(raw: dict) -> grid.Plan:
    return expand(*check(copy.deepcopy(raw), "mine.yaml"))


def seeds_of(raw: dict) -> list[list[int]]:
    return [[state.seed for state in job.states] for job in plan(raw).jobs]


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("kept_items", "shared"),
    [(4, [[0, 1, 2, 3, 4]]), (50, [[0, 1], [2, 3], [4]]), (60, [[0], [1], [2], [3], [4]])],
)
def test_a_job_of_several_takes_a_minute_at_most(kept_items, shared):
    """Six tenths of a second an item: 2.4, 30 and 36 seconds a state."""
    raw = study(5, kept_items=kept_items)
    assert seeds_of(raw) == shared
    assert max(seconds(job) for job in plan(raw).jobs) <= 60
    raw["studies"]["study"]["states"]["taught"]["seeds"] = [3, 0, 4, 2, 1]
    assert seeds_of(raw) == shared


def test_roles_do_not_share_a_job():
    raw = study(2)
    states = raw["studies"]["study"]["states"]
    states["retrained"] = copy.deepcopy(states["taught"])
    states["retrained"]["interventions"][0]["biographies"] = WORLD | {"leave_out": "forget"}
    assert [(job.role, len(job.states)) for job in plan(raw).jobs] == [
        ("taught", 2),
        ("retrained", 2),
    ]


def test_cells_are_what_they_are_alone(monkeypatch):
    together = plan(study(3))
    monkeypatch.setattr(grid, "TOGETHER", 0)
    alone = plan(study(3))
    assert (len(together.jobs), len(alone.jobs)) == (1, 3)
    assert {c.id for c in together.jobs[0].cells} == {c.id for j in alone.jobs for c in j.cells}
    waits = {state.id: after(together)[state.id] for state in together.jobs[0].states}
    assert set(waits.values()) == {seconds(together.jobs[0])}


def made(raw: dict) -> grid.Plan:
    """The plan, with its model and states."""
    found = plan(raw)
    found.write()
    (model,) = found.models.values()
    rules = [(jobs.prepare_model, model, ())]
    rules += [(jobs.intervene, s, (1, 0)) for s in found.states.values() if s.intervention]
    for rule, of, more in rules:
        of.output.parent.mkdir(parents=True, exist_ok=True)
        rule(str(found.manifest_path(of.manifest)), str(of.output), *more)
    return found


def probed(found: grid.Plan) -> pl.DataFrame:
    for job in found.jobs:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        jobs.probe(str(found.manifest_path(job.manifest)), str(job.output), 1, 0)
    order = ["cell", "grp", "item", "metric"]
    return pl.concat([read_shard(job.output) for job in found.jobs]).sort(order)


@pytest.mark.parametrize("probe", ["unlearning", "few_shot_memory"])
def test_what_is_measured_is_what_is_measured_alone(probe, monkeypatch):
    monkeypatch.setattr(grid, "TOGETHER", 1000)
    monkeypatch.setattr(discovery.probe(probe), "LEAST_JOBS", 1)
    found = made(study(2, probe))
    (job,) = found.jobs
    together = probed(found)
    facts = read_facts(job.output)
    assert [each["cell"] for each in facts["cells"]] == [cell.id for cell in job.cells]
    assert facts["provenance"]["cells_computed"] == len(job.cells)
    for cell in job.cells:
        cell_file(cell.id).unlink()
    monkeypatch.setattr(grid, "TOGETHER", 0)
    alone = plan(study(2, probe))
    alone.write()
    assert probed(alone).equals(together)
    tokens = sum(read_facts(j.output)["provenance"]["tokens"] for j in alone.jobs)
    assert tokens == facts["provenance"]["tokens"] > 0


def test_a_replicate_that_is_finished_is_not_read_again():
    found = made(study(2))
    before = probed(found)
    (job,) = found.jobs
    first, second = job.cells
    cell_file(second.id).unlink()
    # Of the first nothing is asked any more, not even whether its weights are there.
    (weights,) = job.states[0].output.parent.glob("*.safetensors")
    weights.write_bytes(b"gone")
    assert put_aside(found) == []
    assert probed(found).equals(before)
    record = read_facts(job.output)["provenance"]
    assert (record["cells_computed"], record["cells_reused"]) == (1, 1)
    assert is_whole(cell_file(first.id))
    cell_file(first.id).unlink()
    assert put_aside(found) == [job.states[0].output]


def test_a_replicate_that_diverged_fails_alone():
    found = made(study(2))
    (job,) = found.jobs
    record = job.states[0].output
    facts = {k: v for k, v in read_sealed(record).items() if k not in ("sha256", "seal")}
    write_sealed(record, facts | {"diverged": "not finite at step 3", "hashes": {}})
    rows = probed(found)
    assert rows["cell"].unique().to_list() == [job.cells[1].id]
    reasons = [each["reason"] for each in read_json(job.output.with_suffix(".json"))["cells"]]
    assert reasons == ["NonFiniteLossError: not finite at step 3", None]
