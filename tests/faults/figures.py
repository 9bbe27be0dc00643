"""How often each fault is tried, and what came of it.

By default a few of each are tried. With PALIMPSEST_FAULTS=<file> (``make faults``) it is as many as
the README states, and the counts are written to that file.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

FILE = os.environ.get("PALIMPSEST_FAULTS")


def times(few: int, many: int) -> int:
    """How often to try: ``few`` by default, ``many`` for the figures of the README."""
    return many if FILE else few


def record(fault: str, *, tried: int, lost: int, note: str = "") -> None:
    """Keep what came of a fault, where figures are asked for.

    Args:
        fault: a row of the table in the README.
        tried: how often.
        lost: how often something was lost, wrong or computed again without need.
        note: what else was measured.
    """
    if not FILE:
        return
    path = Path(FILE)
    kept = json.loads(path.read_text()) if path.is_file() else {"faults": {}}
    kept["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    kept["python"] = platform.python_version()
    kept["faults"][fault] = {
        "tried": tried,
        "lost": lost,
        "date": datetime.now(UTC).date().isoformat(),
    } | ({"note": note} if note else {})
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
