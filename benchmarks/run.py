"""Run benchmarks and write ``results.json`` and ``table.md``: python run.py [NAME ...].

Each module runs in a process of its own, with the allocator's settings of the workflow. A machine
keeps its own rows, since ratios depend on it; rows of modules that were not asked for keep their
last figures. A ratio more than 20% worse than the best one of the same machine is marked.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
TABLE = FOLDER / "table.md"
NOT_BENCHMARKS = {"harness", "opening", "run"}
WORSE = 0.2


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; returns 1 if one failed to run."""
    known = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in NOT_BENCHMARKS)
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
        return 2
    before = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    rows = {_key(row): row for row in before}
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
                    row["best"] = _best(row, rows.get(_key(row)))
                    rows[_key(row)] = row
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


def _key(row: dict) -> tuple[str, str, str]:
    return row["work"], row["peer"], row["machine"]


def _best(row: dict, old: dict | None) -> dict:
    """The best ratio of a machine so far, and when it was taken."""
    found = [{"ratio": row["ratio"], "date": row["date"]}]
    if old:
        found.append(old.get("best") or {"ratio": old["ratio"], "date": old["date"]})
    choose = max if row["sense"] == "at_least" else min
    return choose(found, key=lambda each: each["ratio"])


def _write(rows: list[dict]) -> None:
    rows.sort(key=lambda row: (row["machine"], row["work"], row["peer"]))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    columns = ("work", "peer", "ours", "theirs", "ratio", "reach", "met", "taken", "note")
    head = f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|\n"
    parts = []
    for machine, of_machine in itertools.groupby(rows, key=lambda row: row["machine"]):
        lines = "".join(f"| {_line(row)} |\n" for row in of_machine)
        parts.append(f"## {machine}\n\n{head}{lines}")
    TABLE.write_text("\n".join(parts))


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
        f"{row['date']}, load {row['load']:.1f}",
        row["note"] + _regression(row, sign),
    ]
    return " | ".join(cells)


def _regression(row: dict, sign: str) -> str:
    best = row["best"]["ratio"]
    worse = 1 - row["ratio"] / best if sign == "≥" else row["ratio"] / best - 1
    if worse <= WORSE:
        return ""
    return f"; **{100 * worse:.0f}% worse than on {row['best']['date']} ({best:.3g})**"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
