"""The smoke run through the profile, on a cluster without an accounting database.

`make slurm` takes all of its studies, `make test` two of them.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict

import pytest
import yaml

from tests.slurm.conftest import WHOLE
from tests.workflow.conftest import ROOT, Run, jobs, with_models

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]
SOME = ("economic_recall", "few_shot_memory")
COMPUTE = {
    "gpu": 1,
    "memory_mb": 3000,
    "runtime_minutes": 40,
    "analysis_memory_mb": 700,
    "analysis_runtime_minutes": 7,
    "slurm": {"partition": "main", "gpu_partition": "gpus", "gpu_model": "pretended"},
}


@pytest.fixture(scope="module")
def smoke(slurm, new_run):
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    chosen = {name: s for name, s in raw["studies"].items() if WHOLE or name in SOME}
    run = new_run(slurm, raw | {"studies": chosen, "compute": COMPUTE})
    run.environment["PALIMPSEST_FAKE_DEVICES"] = "8"
    before = len(slurm.submitted())
    run.said = run.snakemake("report_all")
    run.submitted = slurm.submitted()[before:]
    return run


def asked(call: list[str]) -> dict[str, str]:
    """Options of a call of sbatch."""
    found = {}
    for name, value in zip(call, [*call[1:], ""], strict=True):
        if name.startswith("--") and "=" in name:
            name, value = name.split("=", 1)
        if name.startswith("-"):
            found[name] = value
    return found


def test_the_run_is_whole(smoke, capsys):
    with capsys.disabled():
        print(f"\nsmoke run on SLURM: {smoke.seconds:.0f} s, {len(smoke.submitted)} submissions")
    assert (smoke.folder / "reports/index.html").is_file()
    assert smoke.rows("SELECT DISTINCT status FROM cells") == [("done",)]
    assert {rule for (rule,) in smoke.rows("SELECT DISTINCT rule FROM provenance")} == {
        *("prepare_model", "intervene", "probe", "analyse")
    }
    assert not list(smoke.folder.glob("results/scratch/*"))


@pytest.mark.skipif(not WHOLE, reason="only with make slurm: a whole run more")
def test_the_numbers_are_those_of_a_run_on_this_machine(smoke, tmp_path):
    here = Run(with_models(tmp_path / "here"))
    shutil.copy(smoke.folder / "config.yaml", here.folder)
    here.environment["PALIMPSEST_FAKE_DEVICES"] = "8"
    here.snakemake("results/palimpsest.duckdb")
    assert smoke.content() == here.content()


def test_every_job_asks_for_what_it_needs(smoke):
    """GPUs, memory and time from the configuration; what runs no model asks for little."""
    of_rule = defaultdict(list)
    for call in smoke.submitted:
        options = asked(call)
        of_rule[re.match(r"rule_([a-z_\d]+?)(_wildcards|$)", options["--comment"])[1]].append(
            options
        )
    evidence = [name for name in of_rule if name.startswith("evidence")]
    short = [name for name in of_rule if name.startswith("short")]
    assert set(of_rule) == {"prepare_model", "intervene", *evidence, *short}
    for options in of_rule["prepare_model"]:
        assert (options["-p"], options["--mem"], options["-t"]) == ("main", "3000", "40")
        assert "--gpus" not in options
    for options in of_rule["intervene"]:
        assert (options["-p"], options["--mem"], options["-t"]) == ("gpus", "3000", "40")
        assert (options["--gpus"], options["--nodes"]) == ("pretended:1", "1")
    for options in (each for name in short for each in of_rule[name]):
        # Four at most, one after another: together no more than one long job.
        assert (options["-p"], options["--mem"], options["--gpus"]) == (
            *("gpus", "3000", "pretended:1"),
        )
        assert int(options["-t"]) in (10, 20, 30, 40)
    for options in (each for name in evidence for each in of_rule[name]):
        assert options["-p"] == "main"
        assert "--gpus" not in options
        if WHOLE:  # six studies in lanes of four, the database, six pages, the overview
            assert (options["--mem"], options["-t"]) == ("2800", "42")


def test_short_jobs_share_submissions(smoke):
    made = jobs(smoke.said)
    probes = [call for call in smoke.submitted if "rule_short" in asked(call)["--comment"]]
    pages = [call for call in smoke.submitted if "rule_evidence" in asked(call)["--comment"]]
    assert len(pages) == 1
    assert len(probes) < made["probe"]
    if WHOLE:  # nine read a model, six a state after one intervention, three a state after two
        assert sum(made.values()) == 41
        assert (made["probe"], len(probes)) == (18, 6)
        assert len(smoke.submitted) == 2 + 6 + 6 + 1


def test_the_executor_alone_would_wait_for_sacct(smoke, slurm, monkeypatch):
    """What the choice of the status command is for."""
    from snakemake_executor_plugin_slurm import ExecutorSettings

    from palimpsest.cluster import follow

    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    settings = ExecutorSettings()
    assert settings.status_command == "sacct"
    assert follow(settings, None) == []
    assert settings.status_command == "squeue"
    with pytest.raises(ValueError, match="no accounting database that answers; allowed: null"):
        follow(settings, "lab")
