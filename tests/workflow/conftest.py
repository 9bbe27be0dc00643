"""One finished smoke run that many tests share; those that change it take a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
#: What a run makes; the whole of the default target where the report is not of interest.
TARGET = os.environ.get("PALIMPSEST_TEST_TARGET", "results/palimpsest.duckdb")
STUDY = "economic_recall"
NOTHING = "Nothing to be done"
BIN = Path(sys.executable).parent


@dataclass
class Run:
    """A working directory in which the workflow of the repository runs."""

    folder: Path
    seconds: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        return [
            str(BIN / "snakemake"),
            *("-s", str(ROOT / "Snakefile")),
            *("--directory", str(self.folder)),
            *("--workflow-profile", str(ROOT / "profiles/default")),
            *("--configfile", "config.yaml"),
            *("--cores", "2"),
            *arguments,
        ]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake in a process group of its own."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            self.command(*(arguments or (TARGET,))),
            cwd=self.folder,
            env=os.environ | {"PATH": path} | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        """Run Snakemake to its end; returns all it said."""
        start = time.monotonic()
        process = self.start(*arguments)
        said = process.communicate(timeout=900)[0]
        self.seconds = time.monotonic() - start
        assert (process.returncode != 0) == fails, said[-6000:]
        return said

    def configure(self, raw: dict) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    def content(self) -> str:
        """The database's own hash of all observations."""
        with duckdb.connect(str(self.folder / "results/palimpsest.duckdb"), read_only=True) as db:
            return db.execute("SELECT value FROM run WHERE key = 'content'").fetchone()[0]

    def rows(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.folder / "results/palimpsest.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()

    def files(self, pattern: str) -> dict[str, tuple[int, bytes]]:
        """Path -> time of change and content."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.folder.glob(pattern))
            if path.is_file()
        }

    def copy(self, place: Path) -> Run:
        shutil.copytree(self.folder, place, symlinks=True)
        return Run(place)

    def plan(self):
        """The plan of the configuration; the working directory must be the run's own."""
        from palimpsest.config import load
        from palimpsest.grid import expand

        return expand(*load("config.yaml"))


def jobs(said: str) -> Counter[str]:
    """Rule -> number of jobs, from the table that Snakemake prints."""
    lines = said.split("Job stats:")[1].splitlines()[3:]
    found: Counter[str] = Counter()
    for line in lines:
        parts = line.split()
        if len(parts) != 2 or parts[0] == "total":
            break
        found[parts[0]] = int(parts[1])
    return found


def with_models(folder: Path) -> Path:
    """The folder of a run, with the models file of the repository in it."""
    (folder / "config").mkdir(parents=True)
    shutil.copy(ROOT / "config/models.yaml", folder / "config")
    return folder


def in_a_copy(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of a run that a test may change; the working directory of the test."""
    run = run.copy(tmp_path / "run")
    monkeypatch.chdir(run.folder)
    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Run:
    """A finished smoke run; tests must not change it."""
    run = Run(with_models(tmp_path_factory.mktemp("finished")))
    shutil.copy(ROOT / "config/smoke.yaml", run.folder / "config.yaml")
    run.said = run.snakemake("report_all")
    return run


@pytest.fixture
def copied(finished, tmp_path, monkeypatch) -> Run:
    """A copy of the finished run; the working directory of the test."""
    return in_a_copy(finished, tmp_path, monkeypatch)
