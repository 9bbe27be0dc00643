"""Very small runs of the whole workflow, and what is compared between them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.workflow.conftest import ROOT, Run

HERE = Path(__file__).parent
TARGET = "results/palimpsest.duckdb"
NOTHING = "Nothing to be done"
MODELS = 'models:\n  tiny: {source: tiny, context: 1024, knowledge_cutoff: "2000-01-01"}\n'
#: Keys as they are used with hubs: in the environment of the run, and to be in none of its files.
SECRETS = {
    "HF_TOKEN": "hf_CANARYcanaryCANARYcanary000001",
    "OPENAI_API_KEY": "sk-CANARYcanaryCANARYcanary000002",
    "AWS_SECRET_ACCESS_KEY": "CANARYcanaryCANARYcanary/000003",
}

__all__ = [
    "HERE",
    "NOTHING",
    "ROOT",
    "SECRETS",
    "TARGET",
    "Run",
    "kill",
    "new_run",
    "wait_until_dead",
]


def new_run(folder: Path, **environment: str) -> Run:
    """A folder in which nothing has been computed yet."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "config.yaml", folder)
    (folder / "models.yaml").write_text(MODELS)
    return Run(folder, environment=environment)


def kill(process: subprocess.Popen, folder: Path) -> bool:
    """SIGKILL to the process group of a run; False if it had ended by itself."""
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_dead(folder)
    return alive


def wait_until_dead(folder: Path) -> None:
    """No process works in the folder any more."""
    deadline = time.monotonic() + 20
    while _working_in(folder):
        assert time.monotonic() < deadline, "processes outlived the kill"
        time.sleep(0.05)


def _working_in(folder: Path) -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = Path(os.readlink(entry / "cwd"))
        except OSError:
            continue
        if place.is_relative_to(folder) and int(entry.name) != os.getpid():
            return True
    return False
