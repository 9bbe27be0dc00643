"""A real SLURM for the tests, started and stopped here; skipped where it is not installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.cluster import DAEMONS, DATABASE, Cluster, missing
from tests.workflow.conftest import BIN, ROOT, Run, with_models

#: `make slurm`, which is of no use without a cluster.
WHOLE = os.environ.get("PALIMPSEST_SLURM") == "whole"


@dataclass
class SlurmRun(Run):
    """A working directory in which the workflow runs through ``profiles/slurm``."""

    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        with_models(self.folder)
        environment = self.cluster.environment
        path = os.pathsep.join((str(self.cluster.bin), str(BIN), environment["PATH"]))
        self.environment = environment | {"PATH": path}

    def command(self, *arguments: str) -> list[str]:
        return [
            str(BIN / "snakemake"),
            *("-s", str(ROOT / "Snakefile")),
            *("--directory", str(self.folder)),
            *("--workflow-profile", str(ROOT / "profiles/slurm")),
            *("--configfile", "config.yaml"),
            # A real cluster is asked less often and is given longer.
            *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"),
            *arguments,
        ]


def _running(cluster: Cluster, programs: tuple[str, ...]) -> Iterator[Cluster]:
    if absent := missing(programs):
        said = f"SLURM is not installed here: no {', '.join(absent)} (CONTRIBUTING.md says how)"
        (pytest.fail if WHOLE else pytest.skip)(said)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Cluster]:
    """A cluster without an accounting database."""
    yield from _running(Cluster(tmp_path_factory.mktemp("slurm")), DAEMONS)


@pytest.fixture(scope="module")
def slurm_with_accounts(tmp_path_factory) -> Iterator[Cluster]:
    """A cluster with an accounting database, in which there is the account lab."""
    cluster = Cluster(tmp_path_factory.mktemp("accounts")).with_accounts()
    yield from _running(cluster, DAEMONS + DATABASE)


@pytest.fixture(scope="session")
def new_run(tmp_path_factory):
    """Makes a working directory for a cluster, with a configuration."""

    def make(cluster: Cluster, raw: dict) -> SlurmRun:
        run = SlurmRun(Path(tmp_path_factory.mktemp("run")) / "work", cluster=cluster)
        run.configure(raw)
        return run

    return make
