"""Disks that are full or read-only, links, and a clock that goes backwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
import torch

from palimpsest.cleaning import clean
from palimpsest.engine.resuming import Resume
from palimpsest.evidence.shards import POLARS, write_shard
from palimpsest.files import atomic, write_json
from palimpsest.jobs import gather
from palimpsest.models.states import save_step
from tests.faults.figures import record
from tests.faults.runs import NOTHING, TARGET, new_run

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]


def mount(place: Path, options: str) -> None:
    """Mount a small disk in memory."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB."""
    place, before = tmp_path / "disk", Path.cwd()
    mount(place, "size=4m")
    yield place
    os.chdir(before)
    subprocess.run(["umount", "-l", str(place)], check=True)


class Learner:
    def state_dict(self) -> dict:
        return {"values": torch.zeros(500_000)}


NOISE = {"study": "s", "cell": "c", "item": "i", "grp": "g", "step": 0, "metric": "m", "text": None}
WRITERS = {
    "JSON": lambda path: write_json(path, list(range(500_000))),
    "a shard": lambda path: write_shard(
        path,
        pl.DataFrame(
            [NOISE | {"value": float(i) ** 0.5} for i in range(200_000)], schema=POLARS, strict=True
        ),
        {},
    ),
    "a checkpoint": lambda path: save_step(path.parent, 1, {"w": torch.zeros(500_000)}),
    "a file to go on from": lambda path: Resume(Learner(), path).save({}, now=True),
}


def test_a_model_that_does_not_fit_is_named(tmp_path):
    from palimpsest.models.loading import prepare

    mount(tmp_path / "small", "size=200k")
    try:
        with pytest.raises(OSError, match=r"disk full while writing .*small"):
            prepare("tiny", {"source": "tiny"}, tmp_path / "small/tiny/model.json")
        assert not (tmp_path / "small/tiny/model.json").exists()
        record("disk full: a model", tried=1, lost=0)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_named_and_nothing_looks_finished(disk, what):
    with open(disk / "filler", "wb") as handle:
        handle.write(b"0" * (3 << 20))
    write_json(disk / "earlier.json", {"kept": True})
    before = (disk / "earlier.json").read_bytes()
    with pytest.raises(OSError, match="disk full while writing") as caught:
        WRITERS[what](disk / "new.parquet")
    assert str(disk) in str(caught.value)
    assert "bytes free" in str(caught.value)
    assert sorted(path.name for path in disk.iterdir()) == ["earlier.json", "filler"]
    assert (disk / "earlier.json").read_bytes() == before
    record(f"disk full: {what}", tried=1, lost=0)


def test_a_database_that_does_not_fit_leaves_the_old_one(copied, disk):
    plan = copied.plan()
    old = copied.folder / TARGET
    shutil.copy(old, disk / "palimpsest.duckdb")
    with open(disk / "filler", "wb") as handle:
        handle.write(b"0" * ((4 << 20) - old.stat().st_size - (256 << 10)))
    with pytest.raises(OSError, match="disk full while writing"):
        gather(str(plan.manifest_path(plan.manifest)), str(disk / "palimpsest.duckdb"))
    assert (disk / "palimpsest.duckdb").read_bytes() == old.read_bytes()
    assert sorted(p.name for p in disk.iterdir()) == ["filler", "palimpsest.duckdb"]
    record("disk full: a database", tried=1, lost=0)


def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(undisturbed, tmp_path):
    run = new_run(tmp_path / "run")
    results = run.folder / "results"
    mount(results, "size=700k")
    try:
        said = run.snakemake(TARGET, fails=True)
        assert "disk full while writing" in said
        assert "make room and run again" in said
        kept = {p: p.stat().st_mtime_ns for p in results.glob("models/*/model.safetensors")}
        assert kept, "what had been finished before is there"
        subprocess.run(["mount", "-o", "remount,size=64m", str(results)], check=True)
        run.snakemake(TARGET)
        assert run.content() == undisturbed.content()
        assert {p: p.stat().st_mtime_ns for p in kept} == kept
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)
    record("disk full: a whole run", tried=1, lost=0)


def test_read_only_results_can_be_read_and_nothing_else(undisturbed, tmp_path, monkeypatch):
    run = new_run(tmp_path / "run")
    results = run.folder / "results"
    mount(results, "size=64m")
    try:
        shutil.copytree(undisturbed.folder / "results", results, dirs_exist_ok=True)
        shutil.copytree(undisturbed.folder / ".snakemake", run.folder / ".snakemake")
        subprocess.run(["mount", "-o", "remount,ro", str(results)], check=True)
        monkeypatch.chdir(run.folder)
        assert NOTHING in run.snakemake(TARGET, "-n")
        assert run.content() == undisturbed.content()
        raw = run.config
        raw["studies"]["economic_recall"]["settings"]["answer_tokens"] = 4
        run.configure(raw)
        said = run.snakemake(TARGET, fails=True)
        assert "Read-only file system" in said
        assert "results/" in said
        assert "Traceback" not in said
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "-l", str(results)], check=True)
    record("read-only results", tried=1, lost=0)


@pytest.mark.parametrize("hours", [3, -3])
def test_a_clock_that_jumps_measures_nothing_again(copied, undisturbed, hours):
    """What was made before the jump lies in the future, or hours in the past."""
    moved = [*Path("results").glob("states/*/*"), *Path("results").glob("observations/*/*/*")]
    moved += [*Path("results").glob("models/*/*")] if hours < 0 else []
    for path in moved:
        then = time.time() + 3600 * hours
        os.utime(path, (then, then))
    before = copied.files("results/cells/*/*") | copied.files("results/states/*/*")
    copied.snakemake(TARGET)
    after = copied.files("results/cells/*/*") | copied.files("results/states/*/*")
    assert after == before, "something was computed again"
    assert copied.content() == undisturbed.content()
    record(f"times of files moved by {hours} hours", tried=1, lost=0)


def test_links_inside_the_results_lead_nowhere(copied, tmp_path):
    """A name that is a link is replaced, not followed; cleaning removes links alone."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    link = Path("results/manifests/x.json")
    link.symlink_to(outside / "precious")
    write_json(link, 1)
    assert (outside / "precious").read_text() == "mine"
    assert not link.is_symlink()
    Path("results/states/mine").symlink_to(outside)
    Path("results/states/dangling").symlink_to(outside / "nowhere")
    said = clean(
        copied.plan(), states=True, failed=False, orphans=False, everything=False, dry_run=False
    )
    assert "in 3 places" in said
    assert list(Path("results/states").iterdir()) == []
    assert (outside / "precious").read_text() == "mine"


def test_what_a_kill_leaves_half_written_is_cleaned_as_an_orphan(copied):
    left = Path("results/cells/.a.parquet.x1.tmp"), Path("results/.palimpsest.duckdb.x.tmp.wal")
    for path in left:
        path.write_bytes(b"half")
    chosen = {"states": False, "failed": False, "orphans": True, "everything": False}
    clean(copied.plan(), **chosen, dry_run=False)
    assert not any(path.exists() for path in left)
    assert "0 places" in clean(copied.plan(), **chosen, dry_run=True)


def test_an_error_of_another_kind_is_no_full_disk(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "x"):
        raise PermissionError(13, "Permission denied")
    assert list(tmp_path.iterdir()) == []
