"""Several processes on one machine for one job: started together, and when one fails all end.

Processes find each other through a file, so no port is chosen. Each has a device of its own and
its share of the job's threads. What one of them raises is what the job raises; whatever ends the
job ends them all.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from palimpsest.engine import devices, sharded

VERSION = 1

#: How long a process waits for the others, such as for the first to write a large file.
PATIENCE = timedelta(hours=2)
#: Seconds in which the processes that a failure drags along may still say what they saw.
_LAST_WORDS = 1.0


class LostProcessError(RuntimeError):
    """One of the processes of a job has failed; the message says which and why."""


def together(
    work: Callable[..., None], names: Sequence[str], threads: int, arguments: tuple[Any, ...]
) -> None:
    """Call ``work(device, *arguments)`` in one process a device; they train as one team.

    Args:
        work: a function of a module, which processes can import.
        names: the device of each process, as torch names it.
        threads: CPU threads of all of them.
        arguments: what can be pickled.

    Raises:
        LostProcessError: a process raised or was killed; the others were stopped.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="palimpsest-processes-") as folder:
        running = [
            context.Process(
                target=_process,
                args=(rank, tuple(names), max(1, threads // len(names)), folder, work, arguments),
                daemon=True,
            )
            for rank in range(len(names))
        ]
        try:
            for process in running:
                process.start()
            _watch(running, Path(folder))
        finally:
            _end(running)


def _watch(running: list[BaseProcess], folder: Path) -> None:
    waiting = {process.sentinel: process for process in running}
    while waiting:
        for sentinel in wait(list(waiting)):
            process = waiting.pop(sentinel)
            process.join()
            if process.exitcode:
                wait(list(waiting), _LAST_WORDS)
                time.sleep(_LAST_WORDS / 4)
                raise LostProcessError(_cause(running, running.index(process), folder))


def _cause(running: list[BaseProcess], fallen: int, folder: Path) -> str:
    """The first that failed says why: the others lose their connection to it."""
    if said := [json.loads(path.read_text()) for path in folder.glob("error-*.json")]:
        first = min(said, key=lambda error: error["time"])
        killed = _killed(running)
        if not killed:
            where = f"process {first['rank'] + 1} of {len(running)}"
            return f"{where} failed: {first['error']}\n{first['traceback']}"
        fallen = killed[0]
    code = running[fallen].exitcode or 0
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"left with {code}"
    return f"process {fallen + 1} of {len(running)} {how}; was memory short?"


def _killed(running: list[BaseProcess]) -> list[int]:
    return [rank for rank, process in enumerate(running) if (process.exitcode or 0) < 0]


def _end(running: list[BaseProcess]) -> None:
    for process in running:
        if process.pid is not None:
            process.kill()
            process.join()


def _process(
    rank: int,
    names: tuple[str, ...],
    threads: int,
    folder: str,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    try:
        _meet(rank, names, threads, folder)
        work(names[rank], *arguments)
        from torch.distributed import destroy_process_group

        destroy_process_group()
    except BaseException as error:
        report = {
            "rank": rank,
            "time": time.time(),
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
        partial = Path(folder) / f".error-{rank}"
        partial.write_text(json.dumps(report))
        partial.replace(Path(folder) / f"error-{rank}.json")
        sys.stdout.flush()
        sys.stderr.flush()
        # No clean-up: it would wait for processes that wait for this one.
        os._exit(1)


def _meet(rank: int, names: tuple[str, ...], threads: int, folder: str) -> None:
    import torch
    from torch.multiprocessing import _prctl_pr_set_pdeathsig

    # However the job ends, this process does not outlive it.
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    devices.limit_torch(threads)
    if Path("/sys/class/net/lo").exists():
        # All are on this machine, whose name need not lead to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    device = torch.device(names[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=len(names),
        timeout=PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )
    sharded.join(rank, len(names), names[rank])
