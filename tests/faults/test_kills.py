"""SIGKILL to a whole run, at any moment and at the worst ones; then one plain command."""

from __future__ import annotations

import random
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.figures import record, times
from tests.faults.runs import HERE, NOTHING, TARGET, Run, kill, new_run, wait_until_dead

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(7200)]

#: moment and file: what is about to get its final name, or has just got it.
AIMED = (
    ("after", "*results/states/*/step-*.safetensors"),
    ("before", "*results/palimpsest.duckdb"),
    ("after", "*results/cells/*.parquet"),
    ("before", "*results/states/*/step-*.safetensors"),
    ("before", "*results/cells/*.parquet"),
    ("before", "*results/scratch/*/resume.pt"),
    ("after", "*results/states/*/state.json"),
    ("before", "*results/observations/*/000.parquet"),
    ("after", "*results/observations/*/000.parquet"),
    ("after", "*results/palimpsest.duckdb"),
)


def finished_cells(run: Run) -> dict[Path, tuple[int, int]]:
    """Finished cells: the record that is written last -> its inode and time of change."""
    found = run.folder.glob("results/cells/*/*.json")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def resumes_to_the_same(run: Run, undisturbed: Run) -> None:
    """One plain command after a kill: the same numbers, and no finished cell measured again."""
    done, now = finished_cells(run), datetime.now(UTC).replace(tzinfo=None)
    run.snakemake(TARGET)
    assert run.content() == undisturbed.content()
    after = finished_cells(run)
    assert {path: after[path] for path in done} == done, "a finished cell was written again"
    counted = run.rows(
        "SELECT coalesce(sum(cells_computed), 0) FROM provenance "
        f"WHERE rule = 'probe' AND started > TIMESTAMP '{now}'"
    )
    assert counted == [(len(after) - len(done),)], "a finished cell was measured again"
    assert NOTHING in run.snakemake(TARGET, "-n")
    for kind in ("observations/**/*.parquet", "states/**/*.safetensors"):
        ours, theirs = (r.files(f"results/{kind}") for r in (run, undisturbed))
        assert {k: v for k, (_, v) in ours.items()} == {k: v for k, (_, v) in theirs.items()}


def test_killed_at_random_moments(undisturbed, tmp_path):
    dice, wanted = random.Random(20250101), times(1, 25)
    moments = []
    while len(moments) < wanted:
        run = new_run(tmp_path / "run")
        moment = dice.uniform(0.02, 0.98) * undisturbed.seconds
        process = run.start(TARGET)
        time.sleep(moment)
        if kill(process, run.folder):
            resumes_to_the_same(run, undisturbed)
            moments.append(moment)
        shutil.rmtree(run.folder)
    record("kill -9 of the run at a random moment", tried=len(moments), lost=0)


def test_killed_while_files_get_their_names(undisturbed, tmp_path):
    aimed = AIMED[: times(1, len(AIMED))]
    for number, (moment, pattern) in enumerate(aimed):
        marker = tmp_path / f"killed-{number}"
        run = new_run(tmp_path / "run")
        run.environment = {
            "PALIMPSEST_KILL": f"{moment}:{marker}:{pattern}",
            "PYTHONPATH": str(HERE / "killing"),
        }
        said = run.start(TARGET).communicate(timeout=600)[0]
        assert marker.exists(), f"nothing was renamed to {pattern}: {said[-3000:]}"
        wait_until_dead(run.folder)
        run.environment = {}
        resumes_to_the_same(run, undisturbed)
        shutil.rmtree(run.folder)
    record("kill -9 before or after a rename", tried=len(aimed), lost=0)
