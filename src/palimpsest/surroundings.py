"""What jobs find in their environment: the scripts and the package of this checkout."""

from __future__ import annotations

import os
from pathlib import Path

SCRIPTS = "PALIMPSEST_SCRIPTS"


def reach_from_jobs(root: Path) -> None:
    """Let the shell commands of rules reach ``root``'s scripts and package.

    It is the environment and not a parameter of the rules, so that a moved folder changes no number
    and reruns nothing, and jobs find the package also where it was not installed.
    """
    os.environ[SCRIPTS] = str(root / "scripts")
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
