"""One run at a time works in a folder, and the locks of a run that was killed do not stay."""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path
from typing import IO

#: Mount options with which a host does not see the locks that other hosts hold.
UNSEEN = {"nolock", "localflock", "local_lock=flock", "local_lock=all"}


def claim(folder: Path, host: str = "", mounts: str = "") -> IO[str] | None:
    """Hold a run's folder, and remove Snakemake's locks in it where nobody else holds it.

    Every run holds a shared lock, which the system takes back however the run ends. Whoever gets it
    exclusively is alone, so that locks on disk are stale. Where hosts do not see each other's
    locks, those of a run on another host are left to ``snakemake --unlock``.

    Args:
        folder: Snakemake's own, ``.snakemake``.
        host: name of this host; found when empty.
        mounts: what is mounted here, as in ``/proc/mounts``; read when empty.

    Returns:
        The open file, to be kept open as long as the run goes on; None on a file system without
        locks.
    """
    host = host or socket.gethostname()
    folder.mkdir(exist_ok=True)
    handle = open(folder / "palimpsest.lock", "a+")  # noqa: SIM115 held until the run ends
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        handle.seek(0)
        known = handle.read().strip() in ("", host) or hosts_see_locks(folder, mounts)
        stale = list(folder.glob("locks/*.lock"))
        if known:
            for lock in stale:
                lock.unlink()
        if known or not stale:
            handle.truncate(0)
            handle.write(host)
            handle.flush()
    except BlockingIOError:
        pass
    except OSError:
        handle.close()
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def hosts_see_locks(folder: Path, mounts: str = "") -> bool:
    """Whether locks on the file system of a folder hold for all hosts that mount it."""
    if not mounts:
        listed = Path("/proc/mounts")
        mounts = listed.read_text() if listed.is_file() else ""
    place, found = folder.resolve(), (0, set())
    for line in mounts.splitlines():
        _, point, _, options, *_ = line.split()
        point = point.replace("\\040", " ")
        if place.is_relative_to(point) and len(point) >= found[0]:
            found = len(point), set(options.split(","))
    return not found[1] & UNSEEN
