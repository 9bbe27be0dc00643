"""A device belongs to one job at a time, however the job before it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations

import pytest

from palimpsest.engine import devices

JOB = """
import json, sys, time
from palimpsest.engine.devices import _lease, visible
with _lease(visible(), 60, int(sys.argv[2])) as taken:
    start = time.monotonic()
    print("has", *taken, flush=True)
    time.sleep(float(sys.argv[1]))
    print(json.dumps([taken, start, time.monotonic()]), flush=True)
"""


def start(seconds: float, count: int, folder, wanted: int = 1) -> subprocess.Popen:
    environment = os.environ | {devices.FAKE: str(count), "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(seconds), str(wanted)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def leases(running: list[subprocess.Popen]) -> list[tuple[set[int], float, float]]:
    """Devices of each job and when it had them; two jobs never had one at the same time."""
    said = [json.loads(job.communicate(timeout=60)[0].splitlines()[1]) for job in running]
    held = [(set(taken), since, until) for taken, since, until in said]
    for one, other in combinations(held, 2):
        if one[0] & other[0]:
            assert one[2] <= other[1] or other[2] <= one[1], "two jobs on one device"
    return held


def test_ten_jobs_on_two_devices_never_share_one(tmp_path):
    held = leases([start(0.15, 2, tmp_path) for _ in range(10)])
    assert all(len(taken) == 1 for taken, _, _ in held)
    assert set.union(*(taken for taken, _, _ in held)) == {0, 1}


def test_jobs_that_want_several_devices_get_all_of_them_and_never_wait_for_each_other(tmp_path):
    """If jobs held one device while they waited for another, this crowd would stand still."""
    wanted = [2, 1, 2, 3, 1, 2, 2, 1]
    held = leases([start(0.1, 3, tmp_path, n) for n in wanted])
    assert [len(taken) for taken, _, _ in held] == wanted


def test_who_waits_for_several_devices_holds_none(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    there = ["x", "y"]
    with devices._lease(there, 5) as first:
        with pytest.raises(TimeoutError, match="more than 0 of 2"), devices._lease(there, 0.3, 2):
            pass
        with devices._lease(there, 0) as second:
            assert first + second == [0, 1]
    with devices._lease(there, 0, 2) as both:
        assert both == [0, 1]


def test_several_devices_are_named_together(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(devices.FAKE, "3")
    with devices.device(2, 1) as name:
        assert devices.names(name) == ["cpu", "cpu"]
        assert devices.describe(name).startswith("2 x CPU")
    with pytest.raises(RuntimeError, match="only 3 GPUs"), devices.device(4, 1):
        pass


@pytest.mark.parametrize(("count", "said"), [(1, "has 0\n"), (2, "has 0 1\n")])
def test_a_killed_job_gives_its_devices_back(tmp_path, count, said):
    first = start(60, count, tmp_path, count)
    assert first.stdout.readline() == said
    second = start(0, count, tmp_path, count)
    time.sleep(0.5)
    assert second.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    assert second.communicate(timeout=20)[0].startswith(said)
    first.communicate()


def test_waiting_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    second = devices._lease(["x"], 0.3)
    with devices._lease(["x"], 5), pytest.raises(TimeoutError, match="stayed taken"), second:
        pass
    with devices._lease(["x"], 0):
        pass


def test_no_gpu_granted_is_the_cpu():
    with devices.device(0, 1) as name:
        assert name == "cpu"
    assert devices.describe("cpu").startswith("CPU")


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.delenv(devices.FAKE, raising=False)
    monkeypatch.setattr(devices, "visible", list)
    with pytest.raises(RuntimeError, match=r"compute\.gpu"), devices.device(1, 1):
        pass


def test_threads_are_those_granted():
    import torch

    before = torch.get_num_threads()
    try:
        with devices.device(0, 2):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
