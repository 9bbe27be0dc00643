"""How often intervals must cover and tests may err in simulated studies.

`make calibrate` draws at least 2,000 studies everywhere and writes what came out to
`tests/statistics/calibration.md`; `make test` draws fewer where a fit is slow, and then allows for
the noise of the share itself. Every check names its statistic and the design of its studies as
"statistic: design".
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import binom

FULL = bool(os.environ.get("PALIMPSEST_CALIBRATE"))
LEAST = 2000
TABLE = Path(__file__).with_name("statistics") / "calibration.md"
#: One line a check, of every process of a run; `python -m tests.calibration` makes the table.
RECORDS = TABLE.with_suffix(".jsonl")
#: How rarely a share that just keeps its bound is refused where binomial noise is allowed for.
REFUSED = 0.005


def studies(quick: int) -> int:
    """Number of simulated studies: ``quick`` ones in everyday tests."""
    return max(LEAST, quick) if FULL else quick


def covers(what: str, hits: int, studies: int, level: float = 0.95) -> bool:
    """Within two points of the level, or 2.6 standard errors where studies are few."""
    error = 2.576 * np.sqrt(level * (1 - level) / studies)
    slack = max(0.02, 0 if studies >= LEAST else error)
    return _judged(what, "coverage", hits, studies, level - slack, level + slack)


def covers_at_least(
    what: str, hits: int, studies: int, level: float = 0.95, most: float = 1.0
) -> bool:
    """For methods that are cautious by their theory, which bounds coverage by ``most``.

    From two points below the level to ``most`` and its binomial noise.
    """
    error = 2.576 * np.sqrt(level * (1 - level) / studies)
    slack = max(0.02, 0 if studies >= LEAST else error)
    high = 1.0 if most >= 1 else binom.ppf(1 - REFUSED, studies, most) / studies
    return _judged(what, "coverage, cautious", hits, studies, level - slack, high)


def keeps_size(what: str, rejections: int, studies: int, level: float = 0.05) -> bool:
    """At most a point above the level, or 1.75 standard errors where studies are few."""
    error = 1.75 * np.sqrt(level * (1 - level) / studies)
    slack = max(0.01, 0 if studies >= LEAST else error)
    return _judged(what, "size", rejections, studies, 0.0, level + slack)


def keeps_equivalence(what: str, false: int, studies: int, level: float = 0.05) -> bool:
    """False equivalence at the margin: ``level``, and no more than the noise of so many studies.

    The bound is the 1 - REFUSED quantile of a binomial with probability ``level``: 6.3% of 2,000
    studies, 5.4% of 20,000, at 5%.
    """
    most = binom.ppf(1 - REFUSED, studies, level) / studies
    return _judged(what, "false equivalence", false, studies, 0.0, most)


def _judged(what: str, kind: str, count: int, studies: int, low: float, high: float) -> bool:
    """Whether the share lies within, bounds included; kept for the table in a full run."""
    statistic, _, design = what.partition(": ")
    observed = float(count) / studies
    if FULL:
        row = {"statistic": statistic, "design": design, "kind": kind, "studies": int(studies),
               "observed": observed, "low": float(low), "high": float(high)}  # fmt: skip
        with RECORDS.open("a") as file:
            file.write(json.dumps(row) + "\n")
    return low - 1e-12 <= observed <= high + 1e-12


def table(rows: list[dict], heading: str) -> str:
    """The rows as Markdown, by statistic and design."""
    lines = [
        "# Calibration of the statistics",
        "",
        heading,
        "",
        "| statistic | design of the studies | studies | what | observed | allowed |",
        "| --- | --- | --: | --- | --: | --: |",
    ]
    for row in sorted(rows, key=lambda row: (row["statistic"], row["design"], row["kind"])):
        allowed = f"{row['low']:.1%} to {row['high']:.1%}"
        if row["low"] == 0:
            allowed = f"at most {row['high']:.1%}"
        lines.append(
            f"| {row['statistic']} | {row['design']} | {row['studies']:,} | {row['kind']} "
            f"| {row['observed']:.1%} | {allowed} |"
        )
    return "\n".join(lines) + "\n"


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"],
        cwd=TABLE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or "an unknown state"


def main() -> None:
    """Write the table of a finished run and drop its records."""
    rows = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    heading = (
        f"Written by `make calibrate` on {datetime.now(UTC):%Y-%m-%d} at commit {_commit()} "
        f"(numpy {np.__version__}, Python {platform.python_version()}). Shares of simulated "
        "studies, from fixed seeds; `tests/calibration.py` says how what is allowed comes about."
    )
    TABLE.write_text(table(rows, heading))
    RECORDS.unlink()


if __name__ == "__main__":
    main()
