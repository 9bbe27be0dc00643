"""Run benchmarks and write ``results.json`` and ``README.md``'s table: python run.py [NAME ...].

Each module runs in a process of its own, with the allocator's settings of the workflow. Rows of
modules that were not asked for keep their last figures; a ratio more than 20% worse than the one
stored before is marked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
TABLE = FOLDER / "table.md"
NOT_BENCHMARKS = {"harness", "run"}
WORSE = 0.2


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; returns 1 if one failed to run."""
    known = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in NOT_BENCHMARKS)
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
        return 2
    before = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    rows = {(row["work"], row["peer"]): row for row in before}
    failed = []
    for name in names or known:
        print(f"{name} ...", flush=True)
        with subprocess.Popen(
            [sys.executable, "-u", "-c", _ONE.format(name=name)],
            cwd=FOLDER,
            env=os.environ | environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            for line in running.stdout:
                if line.startswith("ROW "):
                    row = json.loads(line[4:])
                    old = rows.get((row["work"], row["peer"]))
                    row["before"] = old["ratio"] if old else None
                    rows[row["work"], row["peer"]] = row
                    print("  " + _line(row), flush=True)
                    # At once: a benchmark that is cut off keeps what it has measured.
                    _write(list(rows.values()))
        if running.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


_ONE = """
import json, harness
harness.declare_torchvision_operators()
import {name}
for row in {name}.rows():
    print("ROW " + json.dumps(row.as_json()), flush=True)
"""


def environment() -> dict[str, str]:
    """The allocator's settings of the workflow's rules, and quiet tokenizers."""
    from palimpsest.engine.devices import ALLOCATOR

    return {"TOKENIZERS_PARALLELISM": "false", **ALLOCATOR}


def _write(rows: list[dict]) -> None:
    rows.sort(key=lambda row: (row["work"], row["peer"]))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    columns = ("work", "peer", "ours", "theirs", "ratio", "reach", "met", "note")
    head = f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|\n"
    TABLE.write_text(head + "".join(f"| {_line(row)} |\n" for row in rows))


def _line(row: dict) -> str:
    sign = "≥" if row["sense"] == "at_least" else "≤"
    met = row["ratio"] >= row["reach"] if sign == "≥" else row["ratio"] <= row["reach"]
    cells = [
        row["work"],
        row["peer"],
        f"{row['ours']:.4g} {row['unit']}",
        f"{row['theirs']:.4g} {row['unit']}",
        f"{row['ratio']:.3g}",
        f"{sign} {row['reach']:g}",
        "yes" if met else "**no**",
        row["note"] + _regression(row, sign),
    ]
    return " | ".join(cells)


def _regression(row: dict, sign: str) -> str:
    old = row.get("before")
    if not old:
        return ""
    worse = 1 - row["ratio"] / old if sign == "≥" else row["ratio"] / old - 1
    return f"; **{100 * worse:.0f}% worse than before ({old:.3g})**" if worse > WORSE else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
