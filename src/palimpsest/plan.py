"""The plan in words: what runs, what is finished already, how long it takes, and why it runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from palimpsest import discovery
from palimpsest.files import read_json
from palimpsest.jobs import cell_file
from palimpsest.manifests import RESULTS, Plan, ProbeJob, StudyPlan
from palimpsest.study_states import missing_states

#: Name of the model in the identity of a state.
_MODEL = re.compile(r"(.+?)(\.\w+\.s\d+)?-[0-9a-f]{8}")


def describe(plan: Plan, settings: Any) -> str:
    """The plan as text for a person.

    Finished is what lies in the results folder under the identity that the configuration gives
    now. Times come from earlier jobs of the same kind; where there are none, from the probes' own
    guesses, and the text says so.
    """
    history = _history({study.name: study.probe for study in plan.studies.values()})
    lines = ["", "The plan"]
    models = [m for m in plan.models.values() if not m.output.exists()]
    states = [s for s in plan.states.values() if s.intervention]
    to_make = [s for s in states if not s.output.exists()]
    lines.append(
        f"  models   {len(plan.models)}: {_todo(len(plan.models), len(models), 'prepare')}"
    )
    lines.append(f"  states   {len(states)}: {_todo(len(states), len(to_make), 'make')}")
    seconds, measured = 0.0, True
    for group, key in ((models, "model"), (to_make, "intervene")):
        for thing in group:
            expected = _expected(history, key, thing)
            measured &= expected is not None
            seconds += expected or (30.0 if key == "model" else 120.0)
    for study in plan.studies.values():
        pending = {c.id for c in study.cells if not cell_file(c.id).exists()}
        jobs = [job for job in study.jobs if any(c.id in pending for c in job.cells)]
        lines.append(
            f"  study    {study.name}: {len(study.cells)} cells in {len(study.jobs)} jobs; "
            + _todo(len(study.cells), len(pending), "measure")
        )
        lines += [f"           {note}" for note in notes(study)]
        lines += [f"           {note}" for note in _idle_seeds(settings.studies[study.name], plan)]
        if pending:
            reasons = _reasons(study.jobs, pending)
            lines.append(f"           because {', '.join(reasons)}")
        for job in jobs:
            per_cell = history["cells"].get((job.probe, job.state.model.name))
            measured &= per_cell is not None
            seconds += sum(
                median(per_cell) if per_cell else cell.cost
                for cell in job.cells
                if cell.id in pending
            )
    lines.append(
        f"  time     about {_duration(seconds)} of work with one job at a time"
        + ("" if measured else " (partly a guess: no earlier run of this kind to go by)")
    )
    lines.append(f"  disk     {_disk(plan, to_make)}")
    lines += [
        f"  WARNING  {name}: runs the code that comes with its weights (trust_remote_code)"
        for name in plan.trusted
    ]
    return "\n".join([*lines, ""])


def notes(study: StudyPlan) -> list[str]:
    """What a study leaves out of models that cannot give it, or asks them in another way.

    Networks that the probe makes itself are no models that others give: nothing is left out.
    """
    module = discovery.probe(study.probe)
    settings = module.Settings(**study.settings)
    models = {s.model.name: s.model for group in study.roles.values() for s in group}
    models = {name: m for name, m in models.items() if m.entry["source"] != "networks"}
    found = []
    # Of models behind endpoints it is said already what is left out.
    if any("gradients" in model.capabilities for model in models.values()):
        found = missing_states(module, settings, study.roles)
    if not hasattr(module, "left_out"):
        return found
    return found + [
        f"{name}: {note}"
        for name, model in sorted(models.items())
        for note in module.left_out(settings, model.capabilities)
    ]


def _idle_seeds(study: Any, plan: Plan) -> list[str]:
    """States whose seeds are given and change nothing, and why."""
    found = []
    for role, state in study.states.items():
        steps = [step.name for step in state.interventions]
        if state.seed_list() == [0] or any(discovery.intervention(s).STOCHASTIC for s in steps):
            continue
        if plan.models[state.model].entry["source"] == "networks":
            found.append(f"{role}: seeds are ignored, since those of networks are settings")
            continue
        why = "its interventions draw nothing at random" if steps else "it has no interventions"
        found.append(f"{role}: seeds are ignored, since {why}")
    return found


def _todo(total: int, pending: int, verb: str) -> str:
    done = total - pending
    if not pending:
        return "all finished"
    return f"{pending} to {verb}" + (f", {done} finished" if done else "")


def _reasons(jobs: tuple[ProbeJob, ...], pending: set[str]) -> list[str]:
    """Why cells are measured, by comparing with the last run of the same study."""
    counts: Counter[str] = Counter()
    for job in jobs:
        old = _last_facts(job)
        for cell in job.cells:
            if cell.id not in pending:
                continue
            if old is None:
                counts["their state is new or has changed"] += 1
            elif old["code"] != job.code:
                counts["the code that measures has changed"] += 1
            elif changed := _changed(json.loads(old["settings"]), job.settings):
                counts[f"settings have changed ({changed})"] += 1
            else:
                counts["they are new"] += 1
    return [f"{reason} ({count})" for reason, count in counts.most_common()]


def _last_facts(job: ProbeJob) -> dict[str, Any] | None:
    found = sorted(job.output.parent.glob("*.provenance.json"))
    return _read(found[0]) if found else None


def _changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(sorted(k for k in {*old, *new} if old.get(k) != new.get(k)))


def _history(probes: dict[str, str]) -> dict[str, Any]:
    """Seconds of earlier jobs, from their provenance; ``probes`` are those of the studies."""
    cells: dict[tuple[str, str], list[float]] = {}
    jobs: dict[str, float] = {}
    kinds: dict[tuple[str, str], list[float]] = {}
    for path in RESULTS.glob("observations/*/*/*.provenance.json"):
        record = _read(path)
        if record and record["cells_computed"]:
            named = _MODEL.fullmatch(record["state"])
            kind = probes.get(record["study"], ""), named[1] if named else ""
            cells.setdefault(kind, []).append(record["seconds"] / record["cells_computed"])
    for path in [
        *RESULTS.glob("states/*/provenance.json"),
        *RESULTS.glob("models/*/provenance.json"),
    ]:
        record = _read(path)
        if record:
            jobs[record["job"]] = record["seconds"]
            name = record["job"].split("/", 1)[1].split(".s")[0]
            kinds.setdefault((record["rule"], name), []).append(record["seconds"])
    return {"cells": cells, "jobs": jobs, "kinds": kinds}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _expected(history: dict[str, Any], kind: str, thing: Any) -> float | None:
    if kind == "model":
        return history["jobs"].get(f"model/{thing.id}")
    past = history["kinds"].get(("intervene", thing.id.split(".s")[0]))
    return median(past) if past else None


def _disk(plan: Plan, to_make: list[Any]) -> str:
    """Free space, and what the missing states will need, judged by states of the same kind."""
    import shutil

    free = shutil.disk_usage(RESULTS if RESULTS.exists() else ".").free
    sizes = [
        sum(p.stat().st_size for p in s.output.parent.glob("*.safetensors"))
        for s in plan.states.values()
        if s.intervention and s.output.exists()
    ]
    needed = ""
    if to_make and sizes:
        needed = f", new states need about {len(to_make) * median(sizes) / 1e9:.1f} GB"
    return f"{free / 1e9:.0f} GB free{needed}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "no time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
