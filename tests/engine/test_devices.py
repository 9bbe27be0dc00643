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
with _lease(visible(), 60) as index:
    start = time.monotonic()
    print("has", index, flush=True)
    time.sleep(float(sys.argv[1]))
    print(json.dumps([index, start, time.monotonic()]), flush=True)
"""


def start(seconds: float, count: int, folder) -> subprocess.Popen:
    environment = os.environ | {devices.FAKE: str(count), "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_ten_jobs_on_two_devices_never_share_one(tmp_path):
    running = [start(0.15, 2, tmp_path) for _ in range(10)]
    held = [json.loads(job.communicate(timeout=60)[0].splitlines()[1]) for job in running]
    assert {index for index, _, _ in held} == {0, 1}
    for one, other in combinations(held, 2):
        if one[0] == other[0]:
            assert one[2] <= other[1] or other[2] <= one[1], "two jobs on one device"


def test_a_killed_job_gives_its_device_back(tmp_path):
    first = start(60, 1, tmp_path)
    assert first.stdout.readline() == "has 0\n"
    second = start(0, 1, tmp_path)
    time.sleep(0.5)
    assert second.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    assert second.communicate(timeout=20)[0].startswith("has 0")
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
