"""Locks of runs that were killed go, those of runs that go on stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.locks import UNSEEN, claim, hosts_see_locks

SHARED = "server:/home / nfs4 rw,vers=4.2,local_lock=none 0 0\n"
UNSHARED = "lustre:/scratch / lustre rw,localflock 0 0\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Snakemake's folder after a run on the host here that was killed."""
    claim(tmp_path, "here", SHARED).close()
    (tmp_path / "locks").mkdir()
    lock(tmp_path).touch()
    return tmp_path


def lock(folder: Path) -> Path:
    return folder / "locks/0.output.lock"


@pytest.mark.parametrize(
    ("host", "mounts", "stays"),
    [
        ("here", SHARED, False),
        ("here", UNSHARED, False),
        ("there", SHARED, False),
        ("there", UNSHARED, True),
    ],
)
def test_a_stale_lock_goes_where_all_hosts_would_see_its_holder(folder, host, mounts, stays):
    # A second start tells no more than the first.
    for _ in range(2):
        claim(folder, host, mounts).close()
        assert lock(folder).exists() == stays


def test_after_unlocking_by_hand_the_other_host_is_at_home(folder):
    claim(folder, "there", UNSHARED).close()
    lock(folder).unlink()
    claim(folder, "there", UNSHARED).close()
    lock(folder).touch()
    claim(folder, "here", UNSHARED).close()
    assert lock(folder).exists()
    claim(folder, "there", UNSHARED).close()
    assert not lock(folder).exists()


def test_the_locks_of_a_living_run_stay(folder):
    code = (
        "import sys; from pathlib import Path; from palimpsest.locks import claim;"
        f"held = claim(Path({str(folder)!r}), 'here'); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdout.readline() == "held\n"
        lock(folder).touch()
        claim(folder, "here", SHARED).close()
        assert lock(folder).exists()
        living.kill()
    claim(folder, "here", SHARED).close()
    assert not lock(folder).exists()


def test_the_innermost_mount_counts(tmp_path):
    inner = f"x {tmp_path} lustre rw,localflock 0 0\n"
    for mounts in (SHARED + inner, inner + SHARED):
        assert not hosts_see_locks(tmp_path / "run", mounts)
    assert hosts_see_locks(tmp_path.parent, SHARED + inner)
    assert hosts_see_locks(tmp_path, UNSHARED + inner.replace("localflock", "flock"))
    for option in UNSEEN:
        assert not hosts_see_locks(tmp_path, SHARED.replace("local_lock=none", option))
