"""Jobs that lose their node, their time, their place or their patience end with the same bits."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, until
from tests.slurm.conftest import WHOLE
from tests.workflow.conftest import Run, with_models

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]
EXPOSURES = [1, 50, 200]
CONFIG = {
    "compute": {"memory_mb": 1000, "runtime_minutes": 20},
    "studies": {
        "economic_recall": {
            "probe": "economic_recall",
            "states": {
                "planted": {
                    "model": "tiny",
                    "interventions": [
                        {
                            "planting": {
                                "values_per_arm": 4,
                                "never": 8,
                                "event_dates": 2,
                                "event_entities": 2,
                                "exposures": EXPOSURES,
                                "candidates": 12,
                                "choices": 4,
                            }
                        }
                    ],
                    "seeds": 4,
                }
            },
            "settings": {
                "series": ["us_unemployment_rate"],
                "experiments": ["value"],
                "dates_per_series": 4,
                "dates_after_cutoff": 2,
                "cutoff_distances": [-5, 5],
                "subset_per_series": 3,
                "candidates": 12,
                "choices": 4,
                "answer_tokens": 6,
            },
        }
    },
}
TARGET = "results/palimpsest.duckdb"


class Victim:
    """The training of one seed on the cluster, once it is in the middle."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int) -> None:
        self.cluster, self.seed = cluster, seed
        until(lambda: self._halfway(folder), 600, f"the training of seed {seed}")
        line = next(
            x for x in cluster.ask("squeue", "-h", "-o", "%i %N %k").splitlines() if self._is(x)
        )
        self.job, self.node = line.split()[:2]
        self._send(signal.SIGSTOP)

    def _is(self, line: str) -> bool:
        return f"rule_intervene_wildcards_tiny.planting.s{self.seed}-" in line

    def _halfway(self, folder: Path) -> bool:
        name = f"*planting.s{self.seed}-*"
        saved = next(folder.glob(f"results/states/{name}/step-000050.safetensors"), None)
        resume = next(folder.glob(f"results/scratch/{name}/resume.pt"), None)
        return bool(saved and resume and resume.stat().st_mtime > saved.stat().st_mtime)

    def _send(self, number: signal.Signals) -> None:
        """So that nothing ends before its fate is sealed."""
        for pid in self.cluster.processes(SLURM_JOB_ID=self.job):
            if b"intervene.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, number)

    def fact(self, name: str) -> str:
        """What the cluster says about the job."""
        return re.search(rf"\b{name}=(\S+)", self.cluster.ask("scontrol", "show", "job", self.job))[
            1
        ]

    def submissions(self, calls: list[list[str]]) -> list[list[str]]:
        return [call for call in calls if any(self._is(argument) for argument in call)]


def preempt(victim: Victim) -> None:
    victim.cluster.ask("srun", "-p", "urgent", "-w", victim.node, "true")


def cancel(victim: Victim) -> None:
    victim.cluster.ask("scancel", victim.job)


def lose_node(victim: Victim) -> None:
    victim.cluster.kill_node(victim.node)


def run_out_of_time(victim: Victim) -> None:
    victim.cluster.ask("scontrol", "update", f"JobId={victim.job}", "TimeLimit=1")


FATES = (preempt, cancel, lose_node, run_out_of_time)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    """The same configuration on this machine, without a cluster."""
    run = Run(with_models(tmp_path_factory.mktemp("undisturbed")))
    run.configure(CONFIG)
    run.snakemake(TARGET)
    return run


@pytest.fixture(scope="module", params=["slurm", "slurm_with_accounts"] if WHOLE else ["slurm"])
def disturbed(request, new_run):
    """A run in which the training of every seed meets a fate of its own.

    `make slurm` has it followed by squeue and then, on a second cluster, by sacct.
    """
    slurm = request.getfixturevalue(request.param)
    run = new_run(slurm, CONFIG)
    before = len(slurm.submitted())

    def meet(seed: int) -> Victim:
        victim = Victim(slurm, run.folder, seed)
        FATES[seed](victim)
        return victim

    process = run.start(TARGET)
    try:
        with ThreadPoolExecutor(len(FATES)) as threads:
            run.victims = list(threads.map(meet, range(len(FATES))))
        run.said = process.communicate(timeout=900)[0]
    finally:
        process.kill()
    assert process.returncode == 0, run.said[-6000:]
    run.submitted = slurm.submitted()[before:]
    yield run
    slurm.start_node(run.victims[2].node)


def option(call: list[str], name: str) -> int:
    return int(call[call.index(name) + 1])


def test_the_numbers_are_those_of_an_undisturbed_run(disturbed, undisturbed):
    assert disturbed.content() == undisturbed.content()
    weights = "results/states/*/*.safetensors"
    expected = {k: v for k, (_, v) in undisturbed.files(weights).items()}
    assert len(expected) == len(FATES) * len(EXPOSURES)
    assert {k: v for k, (_, v) in disturbed.files(weights).items()} == expected
    assert not list(disturbed.folder.glob("results/scratch/*"))


@pytest.mark.parametrize("seed", range(len(FATES)), ids=lambda seed: FATES[seed].__name__)
def test_training_goes_on_from_its_checkpoint(disturbed, undisturbed, seed):
    """Of 200 exposures 50 were behind the last checkpoint at least."""

    def tokens(run: Run) -> int:
        (path,) = run.folder.glob(f"results/states/*planting.s{seed}-*/provenance.json")
        return json.loads(path.read_text())["tokens"]

    assert 0 < tokens(disturbed) < 0.9 * tokens(undisturbed)


@pytest.mark.parametrize("seed", [0, 2], ids=["preempt", "lose_node"])
def test_what_is_not_the_jobs_fault_is_requeued_by_the_cluster(disturbed, seed):
    victim = disturbed.victims[seed]
    assert victim.fact("Restarts") == "1"
    assert victim.fact("JobState") == "COMPLETED"
    assert len(victim.submissions(disturbed.submitted)) == 1


def test_a_job_that_ran_out_of_time_is_given_more(disturbed):
    victim = disturbed.victims[3]
    assert victim.fact("JobState") == "TIMEOUT"
    first, second = victim.submissions(disturbed.submitted)
    assert (option(first, "-t"), option(second, "-t")) == (20, 40)
    assert (option(first, "--mem"), option(second, "--mem")) == (1000, 2000)


def test_a_cancelled_job_is_submitted_again(disturbed):
    victim = disturbed.victims[1]
    assert victim.fact("JobState") == "CANCELLED"
    assert len(victim.submissions(disturbed.submitted)) == 2
