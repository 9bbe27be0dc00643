"""How far a run is: cells done, time left, and what failed."""

from __future__ import annotations

import time
from contextlib import suppress

from palimpsest.files import read_json
from palimpsest.jobs import cell_file
from palimpsest.manifests import DATABASE, RESULTS, Plan

#: A progress file that was not written for so long belongs to a job that is gone, in seconds.
STALE_S = 600
_LAST_LINES = 12


def describe(plan: Plan) -> str:
    """The state of a run as text for a person."""
    lines = []
    for study in plan.studies.values():
        done = sum(cell_file(cell.id).exists() for cell in study.cells)
        lines.append(f"{study.name}: {done} of {len(study.cells)} cells done")
        for job in study.jobs:
            facts = job.output.with_suffix(".json")
            if facts.exists():
                for cell in read_json(facts)["cells"]:
                    if cell["reason"]:
                        lines.append(f"  failed cell {cell['cell']}: {cell['reason']}")
    states = [s for s in plan.states.values() if s.intervention]
    lines.append(f"states: {sum(s.output.exists() for s in states)} of {len(states)} made")
    for path in sorted(RESULTS.glob("scratch/*/progress.json")):
        # A job may end between the listing and the reading.
        with suppress(FileNotFoundError):
            lines.append(_running(read_json(path)))
    lines += _failed_logs(plan)
    if DATABASE.exists():
        lines.append(f"database: {DATABASE}, report: reports/index.html")
    return "\n".join(lines)


def _running(progress: dict) -> str:
    label, done, total = (progress[k] for k in ("label", "done", "total"))
    if time.time() - progress["now"] > STALE_S:
        return f"  {label}: {done} of {total}, no sign of life for {STALE_S // 60} minutes or more"
    left = f", about {progress['seconds'] / done * (total - done):.0f} s left" if done else ""
    return f"  {label}: {done} of {total}{left}"


def _failed_logs(plan: Plan) -> list[str]:
    """The end of every log whose job has not made its output."""
    pairs = [
        (RESULTS / "logs/states" / f"{s.id}.log", s.output)
        for s in plan.states.values()
        if s.intervention
    ]
    pairs += [
        (RESULTS / "logs" / job.output.relative_to(RESULTS).with_suffix(".log"), job.output)
        for job in plan.jobs
    ]
    pairs += [(RESULTS / "logs/models" / f"{m.id}.log", m.output) for m in plan.models.values()]
    lines = []
    for log, output in pairs:
        if output.exists() or not log.exists():
            continue
        text = log.read_text(encoding="utf-8", errors="replace")
        if "Error" not in text:
            continue
        lines.append(f"  failed: {output}; the end of {log}:")
        lines += [f"    {line[:200]}" for line in text.splitlines()[-_LAST_LINES:]]
    return lines
