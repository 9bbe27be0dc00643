"""Damaged files: found by their SHA-256, named, and put aside, so that they are made again.

What has been finished is looked at before a run begins, because Snakemake decides then what is
missing; a file that changes later is named by the job that reads it. Damaged cells are measured
again by their own job, and what an interrupted state would go on from is dropped by its own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from palimpsest.files import read_json, read_sealed
from palimpsest.identity import file_sha256
from palimpsest.manifests import RESULTS, Plan, State

#: File in the scratch folder of a state: step -> SHA-256 of its checkpoint.
CHECKPOINTS = "checkpoints.json"
#: Where damaged files go.
ASIDE = RESULTS / "damaged"
#: Bytes that are read before a run, at most: half a minute. What is larger is left to the jobs.
MOST = 20 << 30
_PUT = {True: "put aside, it is made again", False: "a run puts it aside and makes it again"}
_SAID = "content differs from its recorded SHA-256"

#: A file that says what is whole; the SHA-256 that it records, None where it is damaged itself.
Recorded = tuple[Path, dict[Path, str] | None]


def put_aside(plan: Plan, most: int = MOST, move: bool = True) -> list[Path]:
    """Move damaged files of a plan to ``results/damaged``, with the records that call them whole;
    those of models and states are copied, and stay (see :func:`asked_again`).

    Looked at are all shards and statistics, and of models and states those that a job will read.
    Weights in a folder of the user's own or of the hub are left alone: they are not made here.

    Args:
        plan: the plan of the run that begins.
        most: bytes to read, shards first; what is larger than is left of them is not looked at.
        move: whether they are moved, or only named: a dry run changes nothing.

    Returns:
        The records, which are made again with what they record. Damaged files are named on standard
        error.
    """
    read = _read_states(plan)
    found: dict[Path, list[Path]] = {}
    for record, expected in (*_shards(plan), *_states(read), *_models(read)):
        changed = [record] if expected is None else []
        for path, sha in (expected or {}).items():
            size = path.stat().st_size if path.is_file() else 0
            if size <= most:
                most -= size
                changed += [path] if not size or file_sha256(path) != sha else []
        for path in changed:
            print(f"{path}: {_SAID}; {_PUT[move]}", file=sys.stderr)
        if changed:
            found[record] = changed
    made_of = {state.output: [link.output for link in state.chain[:-1]] for state in read}
    for record, changed in found.items() if move else ():
        parents = made_of.get(record)
        whole = parents is not None and all(p.is_file() and p not in found for p in parents)
        stays = whole and _ask_again(record)
        for path in {*changed, record}:
            _move(path, copy=stays and path == record)
    return list(found)


def _shards(plan: Plan) -> Iterator[Recorded]:
    statistics = [study.statistics for study in plan.studies.values()]
    for path in [*(job.output for job in plan.jobs), *statistics]:
        record = path.with_suffix(".json")
        if path.is_file() and record.is_file():
            facts = _facts(record)
            yield record, facts and {path: facts.get("sha256")}


def _states(read: list[State]) -> Iterator[Recorded]:
    for state in read:
        if state.intervention is None or not state.output.is_file():
            continue
        from palimpsest.models.states import step_file

        record, facts = state.output, _facts(state.output)
        steps = facts and {step_file(record.parent, int(s)): h for s, h in facts["hashes"].items()}
        yield record, facts and steps | _beside(record, facts)


def _models(read: list[State]) -> Iterator[Recorded]:
    for record in {state.model.output for state in read}:
        facts = _facts(record) if record.is_file() else {}
        # Behind an endpoint there are no files.
        if facts is None or facts.get("folder") == ".":
            yield record, facts and _beside(record, facts)


def _beside(record: Path, facts: dict) -> dict[Path, str]:
    return {record.with_name(name): sha for name, sha in facts.get("files", {}).items()}


def _read_states(plan: Plan) -> list[State]:
    """States that a job will read, and those before them in their chains."""
    from palimpsest.jobs import cell_file

    wanted = {
        state.id: state
        for state in plan.states.values()
        if state.intervention and not state.output.is_file()
    }
    for job in plan.jobs:
        missing = {cell.state for cell in job.cells if not cell_file(cell.id).is_file()}
        wanted |= {state.id: state for state in job.states if state.id in missing}
    return list({link.id: link for state in wanted.values() for link in state.chain}.values())


def asked_again(record: Path) -> list[Path]:
    """Files beside the record of a model or a state, one for every time that it had to be made
    again; its rule has them as inputs.

    A new input makes Snakemake run the rule. Were the record missing instead, all that was made of
    it would be made again too, though it is whole. It is missing where what it was made of is
    damaged or missing too: behind a job that must run Snakemake looks for missing files alone.
    """
    return sorted(record.parent.glob("again-*"), key=lambda path: int(path.name.split("-")[1]))


def _ask_again(record: Path) -> bool:
    """Whether that was possible; not where it was done before and nothing has come of it, because
    Snakemake has lost its notes of what it ran."""
    before = asked_again(record)
    if before and before[-1].stat().st_mtime >= record.stat().st_mtime:
        return False
    record.with_name(f"again-{len(before) + 1}").touch()
    return True


def put_aside_before(study: str = "*") -> str:
    """Which shards and statistics of a study, or of all, were ever put aside.

    Snakemake asks for no missing file where what follows is whole; it does where this has changed.
    """
    found = [*ASIDE.glob(f"observations/{study}/*/*"), *ASIDE.glob(f"statistics/{study}.*")]
    return " ".join(sorted(f"{path}@{path.stat().st_mtime_ns}" for path in found))


def _facts(record: Path) -> dict | None:
    """What a record says; None where it is damaged itself."""
    try:
        return read_sealed(record)
    except ValueError:
        return None


def _move(path: Path, copy: bool) -> None:
    if path.exists():
        place = ASIDE / path.relative_to(RESULTS)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place) if copy else os.replace(path, place)


def kept(scratch: Path) -> dict[int, str]:
    """SHA-256 of the checkpoints that an earlier, interrupted run of the same job has written."""
    path = scratch / CHECKPOINTS
    return {int(step): sha for step, sha in read_json(path).items()} if path.is_file() else {}


def drop_interrupted(folder: Path, scratch: Path) -> None:
    """Begin again where a checkpoint of an interrupted run has changed since; it is named."""
    from palimpsest.models.states import step_file

    try:
        saved = {step_file(folder, step): sha for step, sha in kept(scratch).items()}
        damaged = [p for p, sha in saved.items() if not p.is_file() or file_sha256(p) != sha]
    except (ValueError, AttributeError):  # no JSON, or none of ours
        damaged = [scratch / CHECKPOINTS]
    for path in damaged:
        print(f"{path}: {_SAID}; beginning again", file=sys.stderr)
        shutil.rmtree(scratch, ignore_errors=True)
