"""How often each fault is tried, and what came of it.

By default a few of each are tried. With PALIMPSEST_FAULTS=<file> (``make faults``) it is as many as
the README states, and the counts are written to that file. ``python -m tests.faults.figures``
prints the table of the README.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
# Absolute, since tests change their working directory.
FILE = (
    Path(os.environ["PALIMPSEST_FAULTS"]).resolve() if "PALIMPSEST_FAULTS" in os.environ else None
)

#: Row of the README -> beginning of the names under which counts are kept, what is asked, where.
ROWS = {
    "`kill -9` of the whole run, at a random moment": (
        "kill -9 of the run", "one plain `snakemake`: the same numbers, no finished cell again",
        "kills"),
    "`kill -9` just before or after a rename": (
        "kill -9 before or after", "the same", "kills"),
    "`kill -9` of Snakemake alone, its jobs live on": (
        "kill -9 of Snakemake alone", "the same numbers", "together"),
    "two runs in one folder": ("two runs", "one is refused, the other undisturbed", "together"),
    "a bit flipped, or the end missing: shards, cells, checkpoints, weights": (
        "a bit or the end", "found by SHA-256, the file named", "damage"),
    "the same in the records beside them": (
        "a record beside", "found, or nothing in it has changed", "damage"),
    "a damaged cell": ("measuring again", "that cell alone is measured again", "damage"),
    "disk full": ("disk full", "named with the bytes free; earlier results stay", "storage"),
    "read-only results": ("read-only", "can be read; else a clear error", "storage"),
    "the clock three hours back or ahead": ("clock", "nothing is computed again", "storage"),
    "a loss that is no number": ("NaN loss", "that cell is marked, the study complete", "numbers"),
    "out of memory": ("out of memory", "half as much at once, the same answers", "numbers"),
    "the same run in another order": ("the same run", "equal to the last bit", "numbers"),
    "random changes of configuration, models file, YAML, JSON lines, CSV": (
        ("configuration, fuzzed", "models file, fuzzed", "YAML, fuzzed", "JSON lines", "CSV of"),
        "used, or refused in clear words", "untrusted"),
    "hostile names": ("hostile names", "refused; no file outside of the results", "names"),
    "pickles in place of weights": ("pickles", "refused, nothing is run", "names"),
    "files searched for keys of the environment": ("files searched", "none holds one", "together"),
}  # fmt: skip


def times(few: int, many: int) -> int:
    """How often to try: ``few`` by default, ``many`` for the figures of the README."""
    return many if FILE else few


def record(fault: str, *, tried: int, lost: int, note: str = "") -> None:
    """Keep what came of a fault, where figures are asked for; called when all went well.

    Args:
        fault: its name, see :data:`ROWS`.
        tried: how often.
        lost: how often something was lost, wrong or computed again without need.
        note: what else was measured.
    """
    if not FILE:
        return
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {"faults": {}}
    kept["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    kept["python"] = platform.python_version()
    kept["faults"][fault] = {
        "tried": tried,
        "lost": lost,
        "date": datetime.now(UTC).date().isoformat(),
    } | ({"note": note} if note else {})
    FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def table() -> str:
    """The table of the README, from the counts that were kept."""
    faults = json.loads(RESULTS.read_text())["faults"]
    lines = [
        "| fault | tried | lost | what is asked | `tests/faults/` |",
        "| --- | --: | --: | --- | --- |",
    ]
    for row, (names, asked, file) in ROWS.items():
        found = [each for fault, each in faults.items() if fault.startswith(names)]
        tried, lost = (sum(each[key] for each in found) for key in ("tried", "lost"))
        lines.append(f"| {row} | {tried:,} | {lost} | {asked} | `test_{file}.py` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
