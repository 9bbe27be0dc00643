"""What a run consists of: models, states, cells, jobs and studies, each with its manifest.

A manifest is a small JSON file whose name carries the hash of its content; a job gets its path
alone, so it reruns exactly when something that decides its numbers has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from palimpsest.evidence import schema
from palimpsest.files import ensure_text
from palimpsest.identity import canonical, digest
from palimpsest.models.entry import ACCESS, CAPS, capabilities

RESULTS = Path("results")
#: The evidence of a run: one file, written by the rule ``gather`` alone.
DATABASE = RESULTS / schema.FILE


@dataclass(frozen=True)
class Model:
    """A model of the models file and where its converted weights lie."""

    name: str
    entry: dict[str, Any]
    identity: dict[str, Any]
    id: str

    @property
    def output(self) -> Path:
        return RESULTS / "models" / self.id / "model.json"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a probe can have of it (``models.entry.CAPABILITIES``)."""
        return capabilities(self.entry)

    @property
    def behind_endpoint(self) -> bool:
        """Its weights are on a server."""
        return self.entry["source"] == "endpoint"

    def access(self, names: Iterable[str] = ACCESS) -> dict[str, Any]:
        """How an endpoint is reached and what it may cost: what decides no number."""
        return {name: self.entry[name] for name in names if name in self.entry}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return {"rule": "prepare_model", "model": self.name, "id": self.id, "entry": self.identity}


@dataclass(frozen=True)
class State:
    """A model after interventions; ``parent`` is the state before the last of them."""

    id: str
    model: Model
    seed: int
    steps: tuple[int, ...]
    intervention: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    parent: State | None = None
    code: str = ""
    data: tuple[str, ...] = ()
    data_block: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        """The file that says the state is complete."""
        if self.intervention is None:
            return self.model.output
        return RESULTS / "states" / self.id / "state.json"

    @property
    def chain(self) -> list[State]:
        """All states from the base model to this one."""
        return [*(self.parent.chain if self.parent else []), self]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return {
            "rule": "intervene",
            "state": self.id,
            "intervention": self.intervention,
            "settings": self.settings,
            "seed": self.seed,
            "steps": list(self.steps),
            "model": self.model.name,
            "parent": str(self.parent.output) if self.parent else None,
            "code": self.code,
            "data": list(self.data),
            "data_block": self.data_block,
        }


@dataclass(frozen=True)
class Cell:
    """The smallest thing that is cached, rerun and stored."""

    id: str
    study: str
    probe: str
    state: str
    role: str
    model: str
    seed: int
    step: int
    experiment: str
    parameters: dict[str, Any]
    cost: float

    def row(self) -> dict[str, Any]:
        """The cell as a row of the table ``cells``, without its status."""
        row = vars(self) | {"cell": self.id, "parameters": canonical(self.parameters)}
        del row["id"], row["cost"]
        return row


@dataclass(frozen=True)
class ProbeJob:
    """Cells of one state, or of several replicates, that are measured by one process."""

    study: str
    probe: str
    states: tuple[State, ...]
    role: str
    batch: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any]
    code: str
    data_block: dict[str, Any]

    @property
    def state(self) -> State:
        """The state, or the first of the replicates: the job has its name."""
        return self.states[0]

    @property
    def output(self) -> Path:
        return RESULTS / "observations" / self.study / self.state.id / f"{self.batch}.parquet"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        model = self.state.model
        # Another cap runs jobs again, which go on where the old one has stopped them.
        reached = {"access": model.access(), "caps": model.access(CAPS)}
        return (reached if model.behind_endpoint else {}) | {
            "rule": "probe",
            "study": self.study,
            "probe": self.probe,
            "state": self.state.id,
            "states": [
                {"state": each.id, "path": str(each.output), "seed": each.seed}
                for each in self.states
            ],
            "role": self.role,
            "batch": self.batch,
            "settings": self.settings,
            "code": self.code,
            "data_block": self.data_block,
            "model": model.name,
            "entry": model.identity,
            "cells": [dict(vars(cell)) for cell in self.cells],
        }


@dataclass(frozen=True)
class StudyPlan:
    """One study: its states by role, its cells and its jobs."""

    name: str
    probe: str
    title: str
    question: str
    settings: dict[str, Any]
    roles: dict[str, tuple[State, ...]]
    jobs: tuple[ProbeJob, ...]
    analysis_code: str

    @property
    def cells(self) -> list[Cell]:
        return [cell for job in self.jobs for cell in job.cells]

    @property
    def statistics(self) -> Path:
        return RESULTS / "statistics" / f"{self.name}.parquet"

    @property
    def page(self) -> Path:
        return Path("reports") / f"{self.name}.html"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return {
            "rule": "analyse",
            "study": self.name,
            "probe": self.probe,
            "settings": self.settings,
            "code": self.analysis_code,
            # Sorted: the order in which states are written down changes nothing.
            "shards": sorted(str(job.output) for job in self.jobs),
            "cells": sorted((cell.row() for cell in self.cells), key=lambda row: row["cell"]),
            "models": sorted({s.model.name for group in self.roles.values() for s in group}),
        }


@dataclass(frozen=True)
class Plan:
    """The whole run."""

    models: dict[str, Model]
    states: dict[str, State]
    studies: dict[str, StudyPlan]
    _paths: dict[int, tuple[dict[str, Any], Path]] = field(default_factory=dict, repr=False)

    @property
    def jobs(self) -> list[ProbeJob]:
        return [job for study in self.studies.values() for job in study.jobs]

    @property
    def trusted(self) -> list[str]:
        """Models whose own code is executed."""
        models = self.models.items()
        return sorted(name for name, each in models if each.entry.get("trust_remote_code"))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the database is gathered from."""
        return {
            "rule": "gather",
            "models": [asdict(self.models[name]) for name in sorted(self.models)],
            "model_files": sorted(str(model.output) for model in self.models.values()),
            "state_files": sorted(str(s.output) for s in self.states.values() if s.intervention),
            "studies": [
                study.manifest
                | {
                    "title": study.title,
                    "question": study.question,
                    "page": study.page.name,
                    "after": {
                        role: [s.intervention for s in group[0].chain if s.intervention]
                        for role, group in study.roles.items()
                    },
                    "statistics": str(study.statistics),
                }
                for _, study in sorted(self.studies.items())
            ],
        }

    def manifest_path(self, manifest: dict[str, Any]) -> Path:
        """Where a manifest lies: its name carries the hash of its content.

        Where the user's own files lie, which licences are accepted and how endpoints are reached
        decides no number; what is in the files is part of the identities of states and cells.
        """
        # Hashed once: Snakemake asks again for every job. The entry keeps the number from reuse.
        if id(manifest) not in self._paths:
            silent = ("data_block", "access")
            deciding = {key: value for key, value in manifest.items() if key not in silent}
            name = f"{manifest['rule']}-{digest(deciding)}.json"
            self._paths[id(manifest)] = (manifest, RESULTS / "manifests" / name)
        return self._paths[id(manifest)][1]

    def write(self) -> None:
        """Write every manifest that is not there yet, or that lies about places."""
        for manifest in self.manifests():
            ensure_text(self.manifest_path(manifest), canonical(manifest) + "\n")

    def manifests(self) -> Iterable[dict[str, Any]]:
        """All manifests of the plan."""
        yield from (model.manifest for model in self.models.values())
        yield from (state.manifest for state in self.states.values() if state.intervention)
        yield from (job.manifest for job in self.jobs)
        yield from (study.manifest for study in self.studies.values())
        yield self.manifest
