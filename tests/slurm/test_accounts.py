"""The profile on a cluster with an accounting database."""

from __future__ import annotations

import pytest
import yaml

from tests.workflow.conftest import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def smoke() -> dict:
    return yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


def test_jobs_are_charged_to_the_account_and_followed_by_sacct(slurm_with_accounts, new_run, smoke):
    compute = {"slurm": {"account": "lab", "partition": "main"}}
    run = new_run(slurm_with_accounts, smoke | {"compute": compute})
    said = run.snakemake("--until", "prepare_model", "--verbose")
    assert "command=sacct" in said
    assert "command=squeue" not in said
    charged = slurm_with_accounts.ask("sacct", "-X", "-n", "-P", "--format=Account,State")
    assert set(charged.split()) == {"lab|COMPLETED"}
    assert len(list(run.folder.glob("results/models/*/model.json"))) == 2


def test_without_a_database_the_account_is_refused_before_any_job(slurm, new_run, smoke):
    run = new_run(slurm, smoke | {"compute": {"slurm": {"account": "lab"}}})
    before = len(slurm.submitted())
    said = run.snakemake("--until", "prepare_model", fails=True)
    assert "compute.slurm.account is 'lab'" in said
    assert "allowed: null" in said
    assert len(slurm.submitted()) == before


def test_jobs_of_a_run_that_was_killed_are_not_done_twice(slurm, new_run, smoke):
    run = new_run(slurm, smoke)
    place = ("-D", str(run.folder), "-o", "/dev/null")
    job = slurm.ask("sbatch", *place, "--parsable", "--comment=rule_probe", "--wrap=sleep 99")
    before = len(slurm.submitted())
    said = run.snakemake("--until", "prepare_model", fails=True)
    assert f"scancel {job.strip()}\n" in said
    assert len(slurm.submitted()) == before
    slurm.ask("scancel", job.strip())
