"""Runs that are killed, damaged or started twice: what was measured stays."""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import NOTHING, STUDY, TARGET, Run, jobs

pytestmark = pytest.mark.workflow


def alive(folder: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def kill_when(run: Run, moment, dice: random.Random) -> None:
    """Start the run, wait for a moment and a little more, and kill the whole process group."""
    process = run.start()
    deadline = time.monotonic() + 200
    while not moment():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.3))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(200):
        if not alive(run.folder):
            return
        time.sleep(0.05)
    raise AssertionError("processes outlived the kill")


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_numbers(copied, finished):
    """SIGKILL while models are changed and while they are probed; then the same plain command."""
    results = Path("results")
    studies = copied.plan().studies.values()
    keep = {c.id for study in studies for c in study.cells if c.role != "planted"}
    for path in (
        *results.glob("states/*planting*"),
        *results.glob(f"observations/{STUDY}/*plant*"),
    ):
        shutil.rmtree(path)
    for path in results.glob("cells/*/*"):
        if path.name.split(".")[0] not in keep:
            path.unlink()
    for path in (results / "palimpsest.duckdb", *results.glob("statistics/*")):
        path.unlink()
    dice = random.Random(11)

    def training() -> bool:
        return any(results.glob("states/*planting*/step-000001.safetensors"))

    def measuring(count: int) -> bool:
        return len(list(results.glob("cells/*/*.json"))) >= len(keep) + count

    kill_when(copied, training, dice)
    assert any(Path(".snakemake/locks").iterdir()), "the kill left no lock behind"
    kill_when(copied, lambda: measuring(1), dice)
    kill_when(copied, lambda: measuring(9), dice)
    done = copied.files("results/cells/**/*")
    copied.snakemake()
    after = copied.files("results/cells/**/*")
    whole = {p for p in done if p.endswith(".json")}
    for path in whole:
        assert after[path] == done[path], "a finished cell was measured again"
    assert copied.content() == finished.content()
    shards = "results/observations/**/*.parquet"
    assert {k: v for k, (_, v) in copied.files(shards).items()} == {
        k: v for k, (_, v) in finished.files(shards).items()
    }
    weights = "results/states/**/*.safetensors"
    assert {k: v for k, (_, v) in copied.files(weights).items()} == {
        k: v for k, (_, v) in finished.files(weights).items()
    }
    assert NOTHING in copied.snakemake(TARGET, "-n")


def test_what_follows_a_state_that_was_cut_off_is_not_forgotten(copied):
    """A state whose files are there but whose job Snakemake did not see end, and nothing after."""
    state = next(Path("results/states").glob("*planting.s0*/state.json"))
    marker = base64.b64encode(str(state).encode()).decode()
    Path(".snakemake/incomplete").mkdir(exist_ok=True)
    Path(".snakemake/incomplete", marker).write_text('{"external_jobid": null}')
    for path in Path("results/observations").glob(f"*/{state.parent.name}/*"):
        path.unlink()
    for path in (Path("results/palimpsest.duckdb"), *Path("results/statistics").glob("*")):
        path.unlink()
    made = jobs(copied.snakemake(TARGET, "-n"))
    assert (made["intervene"], made["probe"], made["analyse"], made["gather"]) == (1, 2, 6, 1)


def test_what_failed_is_computed_by_a_plain_run_once_it_was_cleaned(copied):
    """Snakemake does not make again what only lies between inputs and a database that stands."""
    from palimpsest.cleaning import clean
    from palimpsest.files import read_json, write_json

    path = next(Path("results/observations").glob(f"{STUDY}/tiny-*/000.json"))
    facts = read_json(path)
    facts["cells"][0] |= {"status": "failed", "reason": "made up"}
    write_json(path, facts)
    kinds = {"states": False, "orphans": False, "everything": False, "dry_run": False}
    clean(copied.plan(), failed=True, **kinds)
    made = jobs(copied.snakemake(TARGET, "-n"))
    assert (made["prepare_model"], made["intervene"], made["probe"]) == (0, 0, 1)
    assert made["gather"] == 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def test_damaged_weights_of_a_model_are_named(copied):
    from palimpsest.models.loading import ModelError, load

    (output,) = Path("results/models").glob("tiny-*/model.json")
    flip(output.parent / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load(output)
    assert f"delete {output.parent} and run again" in str(caught.value)
    shutil.rmtree(output.parent)
    # What was measured stays; only a job that needs the model makes it again.
    assert NOTHING in copied.snakemake(TARGET, "-n")
    weights = next(Path("results/observations").glob(f"{STUDY}/tiny-*/000.parquet"))
    weights.unlink()
    made = jobs(copied.snakemake(str(weights), "-n"))
    assert (made["prepare_model"], made["intervene"], made["probe"]) == (1, 0, 1)


def test_a_second_run_in_the_same_folder_is_refused(copied):
    shutil.rmtree("results/observations")
    shutil.rmtree("results/cells")
    Path("results/palimpsest.duckdb").unlink()
    first = copied.start()
    try:
        assert any("Probing" in line for line in first.stdout)
        said = copied.snakemake(TARGET, fails=True)
        assert "cannot be locked" in said
        assert any(Path(".snakemake/locks").iterdir()), "the first run's locks were taken away"
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
