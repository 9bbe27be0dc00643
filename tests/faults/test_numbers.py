"""Losses that are no numbers, memory that runs out, and what is the same to the bit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch

from palimpsest.evidence.shards import read_shard
from palimpsest.jobs import analyse, cell_file, gather, intervene, prepare_model, probe
from tests.faults.figures import FILE, record
from tests.faults.runs import ROOT, TARGET, Run, new_run
from tests.workflow.conftest import with_models

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]

DIVERGES = {
    "source": "novel",
    "stimuli": ["novel"],
    "items": 6,
    "validation": 4,
    "lists": 1,
    "longest": 40,
    "exposures": [1, 2],
    "retention_steps": [],
    "rank": 4,
    "learning_rates": [0.01, 1e30],
    "rate": "each",
    "optimizers": ["sgd"],
    "clip": 1e30,
}


def test_a_loss_that_is_no_number_fails_its_cell_alone(tmp_path, monkeypatch):
    from palimpsest.reports.build import build_index, build_study

    run = new_run(tmp_path / "run")
    study = {
        "probe": "few_shot_memory",
        "states": {"untouched": {"model": "tiny"}},
        "settings": DIVERGES,
    }
    run.configure({"models_file": "models.yaml", "studies": {"few_shot": study}})
    monkeypatch.chdir(run.folder)
    plan = run.plan()
    plan.write()
    (model,), (one,) = plan.models.values(), plan.studies.values()
    prepare_model(str(plan.manifest_path(model.manifest)), str(model.output))
    assert [len(job.cells) for job in plan.jobs] == [1, 1]
    for job in plan.jobs:
        probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
    analyse(str(plan.manifest_path(one.manifest)), str(one.statistics))
    gather(str(plan.manifest_path(plan.manifest)), TARGET)
    status = run.rows("SELECT status, reason FROM cells ORDER BY status")
    assert [s for s, _ in status] == ["done", "failed"]
    assert "not finite at step" in status[1][1]
    assert "last finite loss" in status[1][1]
    build_study(TARGET, "few_shot", "reports/few_shot.html")
    build_index(TARGET, "reports/index.html")
    for page in ("few_shot", "index"):
        text = Path(f"reports/{page}.html").read_text("utf-8")
        assert "1 failed" in text
        assert "not finite at step" in text
    record("NaN loss in one cell", tried=1, lost=0)


def finish(run) -> None:
    """Every job of a run in this process; as Snakemake does it for the figures of the README."""
    if FILE:
        run.snakemake("report_all")
        return
    from palimpsest.reports.build import build_index, build_study

    plan = run.plan()
    plan.write()
    path = {id(m): str(plan.manifest_path(m)) for m in plan.manifests()}
    for model in plan.models.values():
        prepare_model(path[id(model.manifest)], str(model.output))
    for state in plan.states.values():
        if state.intervention:
            intervene(path[id(state.manifest)], str(state.output), 1, 0)
    for job in plan.jobs:
        probe(path[id(job.manifest)], str(job.output), 1, 0)
    for study in plan.studies.values():
        analyse(path[id(study.manifest)], str(study.statistics))
    gather(path[id(plan.manifest)], TARGET)
    for study in plan.studies.values():
        build_study(TARGET, study.name, str(study.page))
    build_index(TARGET, "reports/index.html")


def test_a_loss_that_is_no_number_fails_the_cells_of_its_state_alone(tmp_path, monkeypatch):
    """Of the state, of what is made of it, and of no other; the report says so."""
    run = new_run(tmp_path / "run")
    raw = run.config
    study = raw["studies"]["economic_recall"]
    (planting,) = study["states"]["planted"]["interventions"]
    training = {"learning_rate": 1e30, "optimizer": "sgd", "clip": 1e30}
    planting["planting"] |= {"exposures": [1, 2, 3], "training": training}
    unlearn = {"unlearning.grad_diff": {"epochs": 1, "adapter": "lora", "rank": 2}}
    study["states"]["unlearned"] = {"model": "tiny", "interventions": [planting, unlearn]}
    run.configure(raw)
    monkeypatch.chdir(run.folder)
    finish(run)
    status = run.rows("SELECT role, status, reason FROM cells")
    assert {(role, state) for role, state, _ in status} == {
        *(("untouched", "done"), ("planted", "failed"), ("unlearned", "failed"))
    }
    for reason in (reason for _, state, reason in status if state == "failed"):
        assert re.match(r"NonFiniteLossError: .* not finite at step \d+; last finite loss", reason)
        assert reason.partition(", in ")[2].startswith("tiny.planting.s0-")
    planted, unlearned = (run.folder.glob(f"results/states/*{n}*") for n in ("plant", "grad"))
    assert [len(list(path.glob("*.safetensors"))) for path in (*planted, *unlearned)] == [0, 0]
    for page in ("economic_recall", "index"):
        text = Path(f"reports/{page}.html").read_text("utf-8")
        assert f"{sum(state == 'failed' for _, state, _ in status)} failed" in text
        assert "not finite at step" in text
    record("NaN loss in a state", tried=1, lost=0)


def test_memory_that_runs_out_halves_the_batch(copied, undisturbed, monkeypatch):
    """No row of more than so many tokens goes through: the same answers, in smaller pieces."""
    from palimpsest.engine import packing

    tried, ran_out, whole = [], 0, packing.hidden
    plan = copied.plan()
    for cell in (c for job in plan.jobs for c in job.cells):
        cell_file(cell.id).unlink()

    def hidden(model, layout, *rest, **more):
        tokens = layout.ids.shape[1]
        if tokens > 300:
            tried.append(tokens)
            raise torch.OutOfMemoryError("full")
        return whole(model, layout, *rest, **more)

    monkeypatch.setattr(packing, "hidden", hidden)
    for job in plan.jobs:
        before = len(tried)
        probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
        ran_out += len(tried) > before
        right = read_shard(undisturbed.folder / job.output).drop("value")
        found = read_shard(job.output)
        assert found.drop("value").equals(right)
        difference = found["value"] - read_shard(undisturbed.folder / job.output)["value"]
        assert difference.abs().max() < 1e-4
    assert ran_out, "memory never ran out"
    record("out of memory in a job that measures", tried=ran_out, lost=0)


def test_a_state_for_which_memory_runs_out_is_taught_in_parts(copied, monkeypatch):
    from palimpsest.engine.training import Trainer
    from palimpsest.models.states import StateReader

    plan, tried, whole = copied.plan(), [], Trainer._backward
    (state,) = [s for s in plan.states.values() if s.intervention]
    before = dict(StateReader(state.output).at(4).module.named_parameters())
    before = {name: value.detach().clone() for name, value in before.items()}
    for path in state.output.parent.iterdir():
        path.unlink()

    def backward(trainer, batch):
        if trainer._budget > 512:
            tried.append(trainer._budget)
            raise torch.OutOfMemoryError("full")
        return whole(trainer, batch)

    monkeypatch.setattr(Trainer, "_backward", backward)
    intervene(str(plan.manifest_path(state.manifest)), str(state.output), 1, 0)
    assert tried == [2048, 1024]
    after = dict(StateReader(state.output).at(4).module.named_parameters())
    assert all(torch.allclose(value, before[n], atol=1e-5) for n, value in after.items())
    record("out of memory in a job that trains", tried=1, lost=0)


def observations(run) -> pl.DataFrame:
    frames = [read_shard(p) for p in sorted(run.folder.glob("results/observations/*/*/*.parquet"))]
    return pl.concat(frames).sort("cell", "item", "grp", "step", "metric")


def test_the_same_configuration_gives_the_same_bits(undisturbed, tmp_path):
    """Once more, in another order: one job at a time, states named in reverse."""
    run = new_run(tmp_path / "again")
    raw = run.config
    study = raw["studies"]["economic_recall"]
    study["states"] = dict(reversed(study["states"].items()))
    run.configure(raw)
    run.snakemake(TARGET, "--cores", "1")
    assert run.content() == undisturbed.content()
    ours, theirs = observations(run), observations(undisturbed)
    assert ours.equals(theirs)
    assert ours["value"].to_numpy().tobytes() == theirs["value"].to_numpy().tobytes()
    record("the same run in another order, byte for byte", tried=1, lost=0)


@pytest.mark.skipif(not FILE, reason="only for the figures of the README")
def test_two_smoke_runs_give_the_same_bits(tmp_path):
    """All probes, and states after two interventions; the second run has one core."""
    found = []
    for name, cores in (("one", "2"), ("other", "1")):
        run = Run(with_models(tmp_path / name))
        shutil.copy(ROOT / "config/smoke.yaml", run.folder / "config.yaml")
        run.snakemake(TARGET, "--cores", cores)
        found.append(run.content())
    assert found[0] == found[1]
    record("the same run, all of the smoke configuration", tried=1, lost=0)


#: What makes sums come out in another order. The last stands for other hardware: the instructions
#: of a processor of 2008.
ELSEWHERE = {
    "with two threads": {"OMP_NUM_THREADS": "2"},
    "with the instructions of an older processor": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
}


@pytest.mark.skipif(not FILE, reason="only for the figures of the README")
@pytest.mark.parametrize("how", ELSEWHERE)
def test_elsewhere_numbers_change_little(undisturbed, tmp_path, how):
    """A whole run, training included; by how much numbers differ is written down."""
    run = new_run(tmp_path / "elsewhere", **ELSEWHERE[how])
    raw = run.config
    raw["compute"] = {"threads": int(ELSEWHERE[how].get("OMP_NUM_THREADS", 1))}
    run.configure(raw)
    run.snakemake(TARGET)
    ours, theirs = observations(run), observations(undisturbed)
    keys = ["cell", "item", "grp", "step", "metric"]
    assert ours.select(keys).equals(theirs.select(keys))
    difference = (ours["value"] - theirs["value"]).abs().drop_nans()
    other = difference.filter(difference > 0)
    note = f"{len(other):,} of {len(difference):,} numbers differ"
    if len(other):
        note += (
            f", half of them by less than {other.median():.0e}, all by at most {other.max():.0e}"
        )
        assert other.median() < 1e-3, note
    record(f"elsewhere: {how}", tried=len(difference), lost=0, note=note)


@pytest.mark.model
@pytest.mark.skipif(not FILE, reason="only for the figures of the README")
def test_threads_change_a_language_model_little(smollm):
    """The same sentences with one thread and with two, in the embedded 135M model."""
    from palimpsest.engine.scoring import log_likelihoods

    prompts = [f"In {year} the rate of unemployment was" for year in range(1960, 1960 + 12)]
    texts = [[" 5.4 percent.", " unchanged, as many had expected."]] * len(prompts)

    def with_threads(number: int) -> torch.Tensor:
        torch.set_num_threads(number)
        found = log_likelihoods(smollm, prompts, texts)
        return torch.tensor([value for pair in found for values in pair for value in values])

    before = torch.get_num_threads()
    try:
        one, two, again = with_threads(1), with_threads(2), with_threads(1)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, again)
    difference = (one - two).abs()
    note = f"{int((difference > 0).sum())} of {len(one)} log-probabilities differ"
    if difference.any():
        note += f", by at most {difference.max():.0e} nats"
    assert difference.max() < 1e-4, note
    record("elsewhere: 135M weights with two threads", tried=len(one), lost=0, note=note)
