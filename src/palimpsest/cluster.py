"""How jobs are followed on a SLURM cluster, and how they are bundled.

The executor asks ``sacct`` wherever that program exists, also where no accounting database answers,
and then waits for ever. ``squeue`` knows finished jobs for ``MinJobAge`` seconds.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Short jobs that share a submission, one after another, and lanes of a submission.
BUNDLE = 4
#: Short jobs of states after so many interventions, or more, are bundled with each other.
DEEPEST = 3
#: The executor lets so many seconds pass between two questions where nothing has ended.
LONGEST_WAIT_S = 180

Ask = Callable[..., str | None]


def ask(*command: str, patience_s: float = 20.0) -> str | None:
    """What a program says; None where it is missing, fails, or is silent for ``patience_s``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def min_job_age(ask: Ask = ask) -> int | None:
    """Seconds for which ``squeue`` knows a finished job; None where the cluster does not say."""
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", ask("scontrol", "show", "config") or "", re.M)
    return int(found[1]) if found else None


def keeps_accounts(ask: Ask = ask) -> bool:
    """Whether an accounting database answers."""
    return ask("sacct", "--noheader", "--allocations", "--starttime", "now") is not None


def left_over(folder: Path, ask: Ask = ask) -> list[str]:
    """Numbers of jobs that an earlier run left in a folder, such as one that was killed."""
    listed = ask("squeue", "--me", "--noheader", "--format=%i|%Z|%k") or ""
    parts = [line.split("|", 2) for line in listed.splitlines()]
    here = folder.resolve()
    return [
        job
        for job, place, rule in parts
        if rule.startswith("rule_") and Path(place).resolve() == here
    ]


def understand_cancelled(executor: Any) -> None:
    """Have the executor see that a job was cancelled: ``sacct`` says by whom as well (``CANCELLED
    by 1000``), which it takes for a job that still runs, and then waits for ever.

    Args:
        executor: the module ``snakemake_executor_plugin_slurm``, or one like it; changed in place.
    """
    asked = executor.query_job_status
    if hasattr(asked, "__wrapped__"):
        return

    @functools.wraps(asked)
    async def query(command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await asked(command, logger)
        if states:
            states = {job: state.partition(" by ")[0] for job, state in states.items()}
        return states, seconds

    executor.query_job_status = query


def follow(settings: Any, account: str | None, ask: Ask = ask) -> list[str]:
    """Where no accounting database answers, have the executor ask ``squeue``.

    Args:
        settings: of the executor; ``status_command`` and ``init_seconds_before_status_checks``
            are changed where they would not work.
        account: account of the configuration.

    Returns:
        What a person should know.

    Raises:
        ValueError: an account is asked for where nobody keeps accounts.
    """
    if keeps_accounts(ask):
        return []
    if account:
        raise ValueError(
            f"compute.slurm.account is {account!r}, but this cluster has no accounting database "
            "that answers; allowed: null"
        )
    settings.status_command = "squeue"
    age = min_job_age(ask)
    if age is None:
        return ["neither sacct nor scontrol answers; jobs are followed by squeue"]
    # With longer pauses the executor would go back to sacct.
    settings.init_seconds_before_status_checks = max(
        1, min(settings.init_seconds_before_status_checks, age // 3)
    )
    if age > LONGEST_WAIT_S:
        return []
    return [
        f"this cluster forgets finished jobs after {age} s (MinJobAge) and keeps no accounts: the "
        "end of a job may be missed; ask for MinJobAge=300. Should the run wait for jobs that "
        "squeue does not show, stop it and start it again"
    ]
