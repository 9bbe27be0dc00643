"""Devices of a job: threads as granted, and a lease that keeps two jobs off one GPU.

Snakemake never sets CUDA_VISIBLE_DEVICES and would start as many GPU jobs as there are cores. A
job that was granted GPUs takes so many devices whose locks are free and holds them until it ends,
however it ends; jobs without a GPU run on the CPU.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from palimpsest.collector import importing

#: glibc's allocator keeps and reuses large blocks in huge pages instead of handing them back after
#: every use; set before a process starts. Numbers do not change.
ALLOCATOR = {
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.hugetlb=1",
            "glibc.malloc.mmap_threshold=4294967296",
            "glibc.malloc.trim_threshold=8589934592",
            "glibc.malloc.top_pad=268435456",
        )
    )
}
#: Number of devices to pretend to have, for tests and dry runs on machines without one.
FAKE = "PALIMPSEST_FAKE_DEVICES"


@contextmanager
def device(gpu: int, threads: int, wait_s: float = 3600.0) -> Iterator[str]:
    """The device of this job, as torch names it.

    Args:
        gpu: GPUs granted; with more than one the names are joined by commas (see :func:`names`).
        threads: CPU threads granted; torch uses no more.
        wait_s: how long to wait for free devices, in seconds.

    Raises:
        RuntimeError: more GPUs were granted than are visible.
        TimeoutError: too many devices stayed taken.
    """
    limit_torch(threads)
    if not gpu:
        yield "cpu"
        return
    there = visible()
    if len(there) < gpu:
        found = f"only {len(there)} GPUs are" if there else "no GPU is"
        raise RuntimeError(
            f"compute.gpu is {gpu} but {found} visible here; set compute.gpu to 0 for the CPU"
        )
    with _lease(there, wait_s, gpu) as taken:
        yield ",".join("cpu" if os.environ.get(FAKE) else f"cuda:{index}" for index in taken)


def names(device: str) -> list[str]:
    """The single devices of what :func:`device` gave a job."""
    return device.split(",")


def visible() -> list[str]:
    """Identities of the devices that this process may use, in torch's order."""
    fake = os.environ.get(FAKE)
    if fake:
        return [f"fake{i}" for i in range(int(fake))]
    import torch

    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)]


def describe(device: str) -> str:
    """The device in words, for provenance."""
    first, *others = names(device)
    if others:
        return f"{len(others) + 1} x {describe(first)}"
    if device == "cpu":
        model = Path("/proc/cpuinfo")
        lines = model.read_text().splitlines() if model.is_file() else []
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return f"CPU {models[0]}" if models else "CPU"
    import torch

    return torch.cuda.get_device_name(device)


def limit_torch(threads: int) -> None:
    """No more threads than granted, also between operators, where that can still be set."""
    with importing():
        import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() > threads:
        # Refused once two operators have run side by side; the limit was set earlier then.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(threads)


@contextmanager
def _lease(there: list[str], wait_s: float, count: int = 1) -> Iterator[list[int]]:
    """So many devices at once, or none.

    One job at a time has the turn to take devices and whoever holds devices waits for no more, so
    no two jobs wait for each other, and small jobs do not starve one that wants several. The
    system takes all locks back however a process ends.
    """
    folder = Path(tempfile.gettempdir()) / f"palimpsest-leases-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with open(folder / "turn.lock", "w") as turn:
        while not (taken := _taken(folder, there, count) if _locked(turn) else {}):
            if time.monotonic() > deadline:
                few = "all" if count == 1 else f"more than {len(there) - count} of"
                raise TimeoutError(f"{few} {len(there)} devices stayed taken for {wait_s:.0f} s")
            time.sleep(0.2)
    try:
        yield list(taken)
    finally:
        _release(taken)


def _taken(folder: Path, there: list[str], count: int) -> dict[int, IO[str]]:
    """Number of each device taken -> its lock; empty where fewer than ``count`` are free."""
    taken: dict[int, IO[str]] = {}
    for index, name in enumerate(there):
        handle = open(folder / f"{name}.lock", "w")  # noqa: SIM115 held until the job ends
        if not _locked(handle):
            handle.close()
            continue
        taken[index] = handle
        if len(taken) == count:
            return taken
    _release(taken)
    return {}


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(taken: dict[int, IO[str]]) -> None:
    for handle in taken.values():
        handle.close()
