"""How often each fault is tried, and what came of it.

By default a few of each are tried. With PALIMPSEST_FAULTS=<file> (``make faults``) it is as many as
the README states, and the counts are written to that file. ``python -m tests.faults.figures``
prints the table of the README.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
# Absolute, since tests change their working directory.
FILE = (
    Path(os.environ["PALIMPSEST_FAULTS"]).resolve() if "PALIMPSEST_FAULTS" in os.environ else None
)

#: What is tried only where SLURM is installed; the table is without it otherwise.
SLURM = "SLURM: "
#: What differs on another machine, and where it is kept.
ELSEWHERE = "elsewhere: "
NOTES = RESULTS.parents[2] / "src/palimpsest/reports/elsewhere.json"

#: Row of the README -> beginning of the names under which counts are kept, what is asked, the file
#: under ``tests/``.
ROWS = {
    "`kill -9` of the whole run, at a random moment": (
        "kill -9 of the run", "one plain `snakemake`: the same numbers, no finished cell again",
        "faults/test_kills.py"),
    "`kill -9` just before or after a rename": (
        "kill -9 before or after", "the same", "faults/test_kills.py"),
    "`kill -9` of Snakemake alone, its jobs live on": (
        "kill -9 of Snakemake alone", "the same numbers", "faults/test_together.py"),
    "two runs in one folder": (
        "two runs", "one is refused, the other undisturbed", "faults/test_together.py"),
    "a bit flipped, or the end missing: shards, cells, checkpoints, weights": (
        "a bit or the end", "found by SHA-256 when it is read, the file named",
        "faults/test_damage.py"),
    "the same in the records beside them": (
        "a record beside", "found, or nothing in it has changed", "faults/test_damage.py"),
    "a damaged cell": (
        "measuring again", "named; that cell alone is measured again", "faults/test_damage.py"),
    "a damaged shard, checkpoint, weight file or record, then a plain run": (
        "mended by", "named, put aside; that file alone is made again", "faults/test_damage.py"),
    "disk full": (
        "disk full", "named with the bytes free; earlier results stay", "faults/test_storage.py"),
    "read-only results": (
        "read-only", "can be read; else a clear error", "faults/test_storage.py"),
    "files three hours old, or of the future": (
        "times of files", "nothing is computed again", "faults/test_storage.py"),
    "a clock set back or ahead while endpoints are asked": (
        "endpoint: clock", "no one waits for it, the pace is kept",
        "models/endpoint/test_spending.py"),
    "a path of blanks, quotes and other scripts, no locale, umask 077": (
        "a strange folder", "the same numbers", "faults/test_places.py"),
    "a loss that is no number, in a cell or in a state": (
        "NaN loss", "that cell, or the state's cells, are marked, the study complete",
        "faults/test_numbers.py"),
    "out of memory": (
        "out of memory", "half as much at once, the same answers", "faults/test_numbers.py"),
    "the same run in another order": (
        "the same run", "equal to the last bit", "faults/test_numbers.py"),
    "death of one of two processes, or of both": (
        "death of", "the job ends and says why, no process is left", "engine/test_sharded.py"),
    "SLURM: preempted, cancelled, out of time, node lost": (
        SLURM, "training goes on from its checkpoint to the same bits",
        "slurm/test_disturbances.py"),
    "endpoints: busy, down, late, cut off, malformed": (
        "endpoint: transient", "asked again, nothing wrong is kept",
        "models/endpoint/test_client.py"),
    "endpoints: drips, endless heads and bodies, too large": (
        "endpoint: without end", "ended at the deadline or the size, asked again",
        "models/endpoint/test_client.py"),
    "endpoints: key, request or credit refused": (
        "endpoint: permanent", "asked once, named without the key",
        "models/endpoint/test_client.py"),
    "endpoints: damaged replies, a damaged ledger": (
        "endpoint: damaged", "asked again; without a ledger nothing is spent",
        "models/endpoint/test_spending.py"),
    "endpoints: spending caps": (
        "endpoint: cap", "never exceeded, a higher one goes on",
        "models/endpoint/test_spending.py"),
    "random changes of configuration, models file, YAML, JSON lines, CSV": (
        ("configuration, fuzzed", "models file, fuzzed", "YAML, fuzzed", "JSON lines", "CSV of"),
        "used, or refused in clear words", "faults/test_untrusted.py"),
    "hostile names": (
        "hostile names", "refused; no file is written or changed", "faults/test_names.py"),
    "pickles in place of weights": (
        "pickles", "refused, nothing is run", "faults/test_names.py"),
    "files searched for keys of the environment": (
        "files searched", "none holds one", "faults/test_together.py"),
}  # fmt: skip

#: Tests of other folders, of which each passing case is one try: fault -> how their names begin.
COUNTED = {
    "death of one of two processes": (
        "tests/engine/test_sharded.py::test_when_one_falls_the_job_ends_and_says_why",),
    "death of a job of two processes": (
        "tests/engine/test_sharded.py::test_a_job_that_is_killed_leaves_no_process",),
    f"{SLURM}what happens to a job that trains": (
        "tests/slurm/test_disturbances.py::test_training_goes_on_from_its_checkpoint",),
    "endpoint: transient": (
        "tests/models/endpoint/test_client.py::test_what_is_transient_is_tried_again",
        "tests/models/endpoint/test_client.py::test_a_server_that_is_not_there"),
    "endpoint: without end": (
        "tests/models/endpoint/test_client.py::test_a_server_that_always_shows_life",
        "tests/models/endpoint/test_client.py::test_a_reply_without_end_fills_no_memory"),
    "endpoint: clock": (
        "tests/models/endpoint/test_spending.py::test_a_clock_that_is_set_back_or_ahead",
        "tests/models/endpoint/test_spending.py::test_a_pause_that_a_server_asks_for_outlives"),
    "endpoint: permanent": (
        "tests/models/endpoint/test_client.py::test_what_is_permanent_is_asked_once",),
    "endpoint: damaged": (
        "tests/models/endpoint/test_client.py::test_a_damaged_file_of_the_cache_is_asked_again",
        "tests/models/endpoint/test_client.py::test_a_file_under_the_name_of_another_request",
        "tests/models/endpoint/test_spending.py::test_a_damaged_ledger_lets_nothing_be_spent"),
    "endpoint: caps": (
        "tests/models/endpoint/test_spending.py::test_the_cap_on_requests_stops_before_the_next",
        "tests/models/endpoint/test_spending.py::test_caps_on_tokens_and_money_are_never_exceeded"),
    "out of memory in an engine alone": (
        "tests/engine/test_scoring.py::test_budget_is_halved_when_memory_is_exhausted",
        "tests/engine/test_generation.py::test_less_memory_means_smaller_batches",
        "tests/engine/test_training.py::test_less_memory_means_smaller_parts",
        "tests/engine/test_many_adapters.py::test_when_memory_runs_out_fewer_tokens",
        "tests/engine/test_ensemble.py::test_when_memory_runs_out"),
}  # fmt: skip
_passed: Counter[str] = Counter()


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
    if fault.startswith(ELSEWHERE):
        _keep_note(fault.removeprefix(ELSEWHERE), note)
        return
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {"faults": {}}
    kept["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    kept["python"] = platform.python_version()
    kept["faults"][fault] = {
        "tried": tried,
        "lost": lost,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": COMMIT,
    } | ({"note": note} if note else {})
    FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def _keep_note(where: str, note: str) -> None:
    """By how much numbers differ elsewhere: the README and every report say it."""
    NOTES.write_text(
        json.dumps(json.loads(NOTES.read_text()) | {where: note, "commit": COMMIT}, indent=1) + "\n"
    )


def count(test: str) -> None:
    """One more try of the fault for which a test of another folder stands, which has passed."""
    for fault, beginnings in COUNTED.items():
        if test.startswith(beginnings):
            _passed[fault] += 1
            record(fault, tried=_passed[fault], lost=0)


def _commit() -> str:
    """The commit whose code is tried; with ``+`` where files have been changed since."""
    git = ["git", "-C", str(RESULTS.parent)]
    asked = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":/", f":(exclude){RESULTS}"])
    return asked.stdout[:12] + "+" * bool(changed.returncode)


COMMIT = _commit() if FILE else ""


def table() -> str:
    """The table of the README, from the counts that were kept."""
    faults = json.loads(RESULTS.read_text())["faults"]
    lines = [
        "| fault | tried | lost | what is asked | `tests/` |",
        "| --- | --: | --: | --- | --- |",
    ]
    for row, (names, asked, file) in ROWS.items():
        found = [each for fault, each in faults.items() if fault.startswith(names)]
        if names == SLURM and not found:
            continue
        tried, lost = (sum(each[key] for each in found) for key in ("tried", "lost"))
        lines.append(f"| {row} | {tried:,} | {lost} | {asked} | `{file}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
