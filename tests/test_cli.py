"""The command line, on results that are made up here: nothing is measured."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from palimpsest.cli import main
from palimpsest.config import load
from palimpsest.evidence.provenance import Provenance
from palimpsest.evidence.shards import observations, write_shard
from palimpsest.files import write_json
from palimpsest.grid import expand
from palimpsest.jobs import cell_file
from palimpsest.manifests import Plan

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "tests/reports/fixture_runs.py"
FILE = ("--configfile", "config/smoke.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def told(capsys):
    """Run a command; returns what it printed."""

    def run(*arguments: str, status: int = 0) -> str:
        assert main(list(arguments)) == status
        said = capsys.readouterr()
        assert not (said.err if status == 0 else said.out)
        return said.out + said.err

    return run


def planned() -> Plan:
    return expand(*load("config/smoke.yaml"))


def finish(plan: Plan, failing: str | None = None) -> None:
    """Write what a finished run leaves; cells of one experiment may have failed."""
    for model in plan.models.values():
        write_json(model.output, {"parameters": 1, "revision": "x"})
        record(f"model/{model.id}", "prepare_model", 9).write(
            model.output.with_name("provenance.json")
        )
    for state in plan.states.values():
        if state.intervention:
            write_json(state.output, {"hashes": {}})
            (state.output.parent / "step-000001.safetensors").write_bytes(bytes(2_000_000))
            made = record(f"state/{state.id}", "intervene", 40)
            made.write(state.output.with_name("provenance.json"))
    for job in plan.jobs:
        status = []
        for cell in job.cells:
            reason = "ValueError: too short" if cell.experiment == failing else None
            status.append({"cell": cell.id, "reason": reason})
            if not reason:
                frame = observations([], study=cell.study, cell=cell.id, step=cell.step)
                write_shard(cell_file(cell.id), frame, {})
        done = record(f"{job.study}/{job.state.id}/{job.batch}", "probe", 20)
        done.study, done.state, done.code = job.study, job.state.id, job.code
        done.settings, done.cells_computed = job.settings, len(job.cells)
        written = done.write(job.output.with_suffix(".provenance.json"))
        write_shard(job.output, frame.clear(), {"cells": status, "provenance": written})


def record(job: str, rule: str, seconds: float) -> Provenance:
    from datetime import UTC, datetime, timedelta

    return Provenance(job=job, rule=rule, started=datetime.now(UTC) - timedelta(seconds=seconds))


def test_the_plan_of_a_new_run(told):
    text = told("plan", *FILE)
    cells = len(planned().studies["economic_recall"].cells)
    assert f"{cells} cells in 6 jobs; {cells} to measure" in text
    assert "states   6: 6 to make" in text
    assert "their state is new" in text
    assert "a guess" in text
    assert "free" in text


def test_the_plan_of_a_finished_run(told):
    finish(planned())
    text = told("plan", *FILE)
    assert text.count("all finished") == 8
    assert "about no time" in text


def test_the_plan_of_a_changed_setting_says_which_and_how_long(told):
    plan = planned()
    finish(plan)
    raw = yaml.safe_load(Path("config/smoke.yaml").read_text())
    raw["studies"]["economic_recall"]["settings"]["embedding_dates"] = 24
    Path("config/smoke.yaml").write_text(yaml.safe_dump(raw))
    text = told("plan", *FILE)
    assert "2 to measure" in text
    assert "settings have changed (embedding_dates) (2)" in text
    assert "a guess" not in text


@pytest.mark.parametrize("name", ["tiny", "a.b-135m-instruct", "qwen2.5-7b"])
def test_the_plan_of_another_seed_goes_by_earlier_times(told, name):
    models = yaml.safe_load(Path("config/models.yaml").read_text())
    models["models"][name] = {"source": "tiny"}
    Path("config/models.yaml").write_text(yaml.safe_dump(models))
    raw = yaml.safe_load(Path("config/smoke.yaml").read_text())
    raw["studies"]["mine"] = raw["studies"].pop("economic_recall")
    for state in raw["studies"]["mine"]["states"].values():
        state["model"] = name
    del raw["studies"]["mine"]["states"]["untouched"], raw["studies"]["few_shot_unlearned"]
    Path("config/smoke.yaml").write_text(yaml.safe_dump(raw))
    finish(planned())
    raw["studies"]["mine"]["states"]["planted"]["seeds"] = 3
    Path("config/smoke.yaml").write_text(yaml.safe_dump(raw))
    text = told("plan", *FILE)
    assert "1 to make, 6 finished" in text
    assert "a guess" not in text
    assert "new states need about 0.0 GB" in text


def test_the_plan_of_new_code_says_so(told, monkeypatch):
    from palimpsest import grid

    finish(planned())
    real = grid.code_fingerprint
    monkeypatch.setattr(
        grid, "code_fingerprint", lambda m, f=None: "x" if m.startswith("probes.") else real(m, f)
    )
    assert "the code that measures has changed" in told("plan", *FILE)


def test_status_before_and_after(told):
    cells = len(planned().studies["economic_recall"].cells)
    assert f"0 of {cells} cells done" in told("status", *FILE)
    finish(planned())
    text = told("status", *FILE)
    assert f"{cells} of {cells} cells done" in text
    assert "states: 6 of 6 made" in text
    assert "failed" not in text


def test_status_shows_progress_failures_and_the_end_of_a_log(told):
    plan = planned()
    finish(plan, failing="embedding")
    lost = next(s for s in plan.states.values() if s.intervention == "planting")
    lost.output.unlink()
    log = Path("results/logs/states") / f"{lost.id}.log"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join([*map(str, range(50)), "NonFiniteLossError: loss not finite"]))
    now = time.time()
    busy = {"label": "here", "done": 5, "total": 20, "seconds": 10, "now": now}
    write_json("results/scratch/a/progress.json", busy)
    write_json("results/scratch/b/progress.json", busy | {"label": "gone", "now": now - 9000})
    text = told("status", *FILE)
    assert "ValueError: too short" in text
    assert "here: 5 of 20, about 30 s left" in text
    assert "gone: 5 of 20, no sign of life" in text
    assert "NonFiniteLossError: loss not finite" in text
    assert "\n    30\n" not in text


def test_models_are_listed(told):
    text = told("models", "list", *FILE)
    assert "tiny" in text
    assert "pythia-1b" in text
    assert "2020-12-31" in text


def test_a_model_is_checked(told):
    text = told("models", "check", "tiny", *FILE)
    assert "tiny: " in text
    assert "torch.float32" in text
    assert "nats over 7 tokens" in text
    assert "packed scoring is exact" in text


def test_series_are_listed_and_searched(told):
    from palimpsest.data.catalogue import CATALOGUE

    assert len(told("series").splitlines()) == len(CATALOGUE)
    found = told("series", "unemploy").splitlines()
    assert 0 < len(found) < 10
    assert all("unemploy" in line.lower() for line in found)
    assert len(told("series", "--bls").splitlines()) == 7212
    assert "cuur0000setb01" in told("series", "gasoline U.S. city", "--bls")


def test_cleaning_says_what_it_would_free_and_frees_it(told):
    finish(planned())
    text = told("clean", "--states", "--dry-run", *FILE)
    assert text.startswith("would free 12.0 MB in 6 places")
    assert len(list(Path("results/states").iterdir())) == 6
    assert told("clean", "--states", *FILE).startswith("freed 12.0 MB in 6 places")
    assert list(Path("results/states").iterdir()) == []
    assert list(Path("results/cells").iterdir())


def test_cleaning_what_failed_makes_the_next_run_try_again(told):
    plan = planned()
    finish(plan, failing="embedding")
    text = told("clean", "--failed", *FILE)
    assert "in 2 places" in text
    gone = [job for job in plan.jobs if not job.output.exists()]
    assert [job.role for job in gone] == ["untouched"]
    assert not gone[0].output.with_suffix(".json").exists()
    assert "0 places" in told("clean", "--failed", *FILE)
    diverged = next(state for state in plan.states.values() if state.intervention)
    write_json(diverged.output, {"diverged": "loss not finite at step 3"})
    assert "in 1 places" in told("clean", "--failed", *FILE)
    assert not diverged.output.parent.exists()


def test_cleaning_orphans_spares_what_is_in_use(told):
    plan = planned()
    plan.write()
    finish(plan)
    assert "0 places" in told("clean", "--orphans", "--dry-run", *FILE)
    for stray in (
        "results/states/tiny.planting.s9-00000000/state.json",
        "results/cells/00/0000000000000000.parquet",
        "results/cells/00/0000000000000000.json",
        "results/observations/economic_recall/tiny-00000000/000.parquet",
        "results/manifests/probe-000000000000.json",
        "results/models/old-00000000/model.json",
    ):
        write_json(stray, {})
    text = told("clean", "--orphans", *FILE)
    assert "in 6 places" in text
    assert all(job.output.exists() for job in plan.jobs)
    assert all(state.output.exists() for state in plan.states.values())
    assert not Path("results/cells/00/0000000000000000.json").exists()
    assert "0 places" in told("clean", "--orphans", *FILE)


def test_cleaning_everything_keeps_the_folders(told):
    finish(planned())
    Path("reports").mkdir()
    for place in ("results/.gitkeep", "reports/.gitkeep", "reports/index.html"):
        Path(place).write_text("")
    told("clean", "--all", *FILE)
    assert [p.name for p in Path("results").iterdir()] == [".gitkeep"]
    assert [p.name for p in Path("reports").iterdir()] == [".gitkeep"]


def test_schemas_are_written(told):
    Path("workflow/schemas").mkdir(parents=True)
    assert "workflow/schemas/config.schema.json" in told("schemas")
    for name in ("config", "models"):
        written = Path(f"workflow/schemas/{name}.schema.json").read_text()
        assert written == (ROOT / f"workflow/schemas/{name}.schema.json").read_text()
        assert json.loads(written)["type"] == "object"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--configfile", "nowhere.yaml"], ["nowhere.yaml: no such file"]),
        (["models", "check", "tinny", *FILE], ["'tinny'", "allowed are", "tiny"]),
        (["models", "check", *FILE], ["allowed are"]),
        (["clean", *FILE], ["--states", "--orphans"]),
        (["report", "--partial", *FILE], ["nothing has been measured yet"]),
        (["schemas"], ["workflow/schemas"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_errors_are_one_clear_line_and_status_1(told, arguments, words):
    text = told(*arguments, status=1)
    assert len(text.splitlines()) == 1
    assert text.startswith("palimpsest: ")
    for word in words:
        assert word in text


def test_a_report_without_all_shards_names_the_missing_one(told):
    plan = planned()
    plan.write()
    finish(plan)
    plan.jobs[0].output.unlink()
    text = told("report", *FILE, status=1)
    assert f"{plan.jobs[0].output}: missing" in text
    assert len(text.splitlines()) == 1


def test_two_runs_are_compared_or_the_missing_one_is_named(told, tmp_path):
    spec = importlib.util.spec_from_file_location("fixture_runs", RUNS)
    runs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runs)
    run = str(runs.write_run(tmp_path / "run.duckdb"))
    assert told("compare", run, run, "--output", "c.html").strip() == "c.html"
    assert "identical, bit by bit" in (tmp_path / "c.html").read_text("utf-8")
    (tmp_path / "empty").mkdir()
    text = told("compare", run, "empty", status=1)
    assert "empty: this folder has neither results/palimpsest.duckdb nor palimpsest.duckdb" in text
    assert "nothing: no such" in told("compare", "nothing", run, status=1)
    wrong = told("compare", run, run, "--margin", "-1", status=1)
    assert "margin_share must be positive, not -1.0" in wrong


def test_a_bug_shows_itself(monkeypatch):
    from palimpsest import status

    def broken(_):
        raise KeyError("x")

    monkeypatch.setattr(status, "describe", broken)
    with pytest.raises(KeyError):
        main(["status", *FILE])


def test_an_unknown_command_and_the_version():
    for arguments, status in ((["nonsense"], 2), ([], 2), (["--version"], 0), (["--help"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "palimpsest.cli", *arguments], capture_output=True, text=True
        )
        assert done.returncode == status
        assert "Traceback" not in done.stderr
