"""One device a job: threads as granted, and a lease that keeps two jobs off one GPU.

Snakemake never sets CUDA_VISIBLE_DEVICES and would start as many GPU jobs as there are cores. A
job that was granted a GPU takes the first device whose lock is free and holds it until it ends,
however it ends; jobs without a GPU run on the CPU.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        gpu: GPUs granted, 0 or 1.
        threads: CPU threads granted; torch uses no more.
        wait_s: how long to wait for a free device, in seconds.

    Raises:
        RuntimeError: a GPU was granted but none is visible.
        TimeoutError: all devices stayed taken.
    """
    _limit_threads(threads)
    if not gpu:
        yield "cpu"
        return
    names = visible()
    if not names:
        raise RuntimeError(
            "compute.gpu is 1 but no GPU is visible here; set compute.gpu to 0 for the CPU"
        )
    with _lease(names, wait_s) as index:
        yield "cpu" if os.environ.get(FAKE) else f"cuda:{index}"


def visible() -> list[str]:
    """Identities of the devices that this process may use, in torch's order."""
    fake = os.environ.get(FAKE)
    if fake:
        return [f"fake{i}" for i in range(int(fake))]
    import torch

    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)]


def describe(name: str) -> str:
    """The device in words, for provenance."""
    if name == "cpu":
        model = Path("/proc/cpuinfo")
        lines = model.read_text().splitlines() if model.is_file() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return f"CPU {names[0]}" if names else "CPU"
    import torch

    return torch.cuda.get_device_name(name)


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


@contextmanager
def _lease(names: list[str], wait_s: float) -> Iterator[int]:
    folder = Path(tempfile.gettempdir()) / f"palimpsest-leases-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    deadline = time.monotonic() + wait_s
    while True:
        for index, name in enumerate(names):
            handle = open(folder / f"{name}.lock", "w")  # noqa: SIM115 held until the job ends
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                continue
            try:
                yield index
            finally:
                handle.close()
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"all {len(names)} devices stayed taken for {wait_s:.0f} s")
        time.sleep(0.2)
