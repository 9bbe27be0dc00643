"""Two runs in one folder, and secrets of the environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.figures import record, times
from tests.faults.runs import NOTHING, SECRETS, TARGET, kill, new_run

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]


def test_of_two_runs_in_one_folder_one_does_the_work(undisturbed, tmp_path):
    """The second is refused, the first goes on; both killed, a third finishes."""
    tries = times(1, 2)
    for number in range(tries):
        run = new_run(tmp_path / f"run-{number}")
        first = run.start(TARGET)
        assert any("Preparing" in line for line in first.stdout)
        said = run.snakemake(TARGET, fails=True)
        assert "cannot be locked" in said
        assert first.poll() is None, "the second run has disturbed the first"
        if number % 2:
            assert kill(first, run.folder)
            run.snakemake(TARGET)
        else:
            first.communicate(timeout=600)
            assert first.returncode == 0
        assert run.content() == undisturbed.content()
        assert NOTHING in run.snakemake(TARGET, "-n")
    record("two runs in one folder", tried=tries, lost=0)


def test_a_run_whose_snakemake_alone_is_killed(undisturbed, tmp_path):
    """Its jobs live on while the next run starts: both write the same files."""
    tries = times(1, 2)
    for number in range(tries):
        run = new_run(tmp_path / f"run-{number}")
        first = run.start(TARGET)
        words = ("Changing", "Probing")[number % 2]
        assert any(words in line for line in first.stdout)
        os.kill(first.pid, signal.SIGKILL)
        run.snakemake(TARGET)
        first.wait()
        first.stdout.close()
        assert run.content() == undisturbed.content()
    record("kill -9 of Snakemake alone, jobs live on", tried=tries, lost=0)


def test_no_secret_of_the_environment_is_in_any_file(copied):
    """Everything that a run writes is searched, logs and pages included."""
    copied.environment = SECRETS
    said = copied.snakemake("report_all")
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert {path.parts[0] for path in files} >= {"results", "reports", ".snakemake"}
    for secret in SECRETS.values():
        assert secret not in said
        for path in files:
            assert secret.encode() not in path.read_bytes(), path
    record("files searched for secrets", tried=len(files), lost=0)
