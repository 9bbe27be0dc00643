"""From the configuration to states, cells and jobs. No torch, no frames: imported at every parse.

A study names states; a probe turns its settings into cells for each state; cells are cut into
jobs. Every job is described by a manifest, a small JSON file whose name carries the hash of its
content. The path of the manifest is all that Snakemake tracks, so a job reruns exactly when
something that decides its numbers has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from palimpsest import discovery
from palimpsest.batches import batches
from palimpsest.config import _State
from palimpsest.files import holds_json, write_json
from palimpsest.identity import canonical, code_fingerprint, digest
from palimpsest.models.entry import identity_fields, weights_version

RESULTS = Path("results")
#: Files of a probe that decide no measurement; nor do its folders ``analyses`` and ``pages``.
NOT_MEASURING = ("settings.py", "claims.py", "figures.py")


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
        row = asdict(self) | {"cell": self.id, "parameters": canonical(self.parameters)}
        del row["id"], row["cost"]
        return row


@dataclass(frozen=True)
class ProbeJob:
    """Cells of one state that are measured by one process."""

    study: str
    probe: str
    state: State
    role: str
    batch: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any]
    code: str
    data_block: dict[str, Any]

    @property
    def output(self) -> Path:
        return RESULTS / "observations" / self.study / self.state.id / f"{self.batch}.parquet"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return {
            "rule": "probe",
            "study": self.study,
            "probe": self.probe,
            "state": self.state.id,
            "state_path": str(self.state.output),
            "role": self.role,
            "seed": self.state.seed,
            "batch": self.batch,
            "settings": self.settings,
            "code": self.code,
            "data_block": self.data_block,
            "model": self.state.model.name,
            "entry": self.state.model.identity,
            "cells": [asdict(cell) for cell in self.cells],
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

    @property
    def jobs(self) -> list[ProbeJob]:
        return [job for study in self.studies.values() for job in study.jobs]

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
                    "statistics": str(study.statistics),
                }
                for _, study in sorted(self.studies.items())
            ],
        }

    def manifest_path(self, manifest: dict[str, Any]) -> Path:
        """Where a manifest lies: its name carries the hash of its content.

        Where the user's own files lie and which licences are accepted decides no number; what is
        in the files is part of the identities of states and cells.
        """
        deciding = {key: value for key, value in manifest.items() if key != "data_block"}
        return RESULTS / "manifests" / f"{manifest['rule']}-{digest(deciding)}.json"

    def write(self) -> None:
        """Write every manifest that is not there yet, or that lies about places."""
        for manifest in self.manifests():
            path = self.manifest_path(manifest)
            if not holds_json(path, manifest):
                # Thousands of flushes would cost minutes; what a crash spoils is written again.
                write_json(path, manifest, durable=False)

    def manifests(self) -> Iterable[dict[str, Any]]:
        """All manifests of the plan."""
        yield from (model.manifest for model in self.models.values())
        yield from (state.manifest for state in self.states.values() if state.intervention)
        yield from (job.manifest for job in self.jobs)
        yield from (study.manifest for study in self.studies.values())
        yield self.manifest


def expand(config: Any, models: dict[str, Any]) -> Plan:
    """Expand a checked configuration into models, states, cells and jobs.

    Args:
        config: the configuration, as :func:`palimpsest.config.load` returns it.
        models: name -> entry of the models file.
    """
    states: dict[str, State] = {}
    used: dict[str, Model] = {}
    studies = {}
    for name, study in config.studies.items():
        roles = {
            role: tuple(_states(state, used, models, config.data))
            for role, state in study.states.items()
        }
        for group in roles.values():
            for state in group:
                states |= {link.id: link for link in state.chain}
        studies[name] = _study(name, study, roles, config)
    return Plan(models=used, states=states, studies=studies)


def _states(state: _State, used: dict[str, Model], models: dict, data: Any) -> Iterable[State]:
    if state.model not in used:
        used[state.model] = _model(state.model, models[state.model])
    model = used[state.model]
    steps = [
        _Step(name, getattr(step, name), data)
        for step in state.interventions
        for name in step.model_fields_set
    ]
    random = any(step.module.STOCHASTIC for step in steps)
    for seed in state.seed_list() if random else [0]:
        current = State(id=f"{model.id}", model=model, seed=0, steps=(0,))
        for step in steps:
            current = step.applied(current, seed)
        yield current


def _model(name: str, entry: Any) -> Model:
    identity = identity_fields(entry)
    version = digest(identity, code_fingerprint("models.loading"), *weights_version(entry))
    return Model(name=name, entry=_given(entry), identity=identity, id=f"{name}-{version[:8]}")


class _Step:
    """An intervention with its settings: what all its replicates have in common."""

    def __init__(self, name: str, settings: Any, data: Any) -> None:
        self.name, self.settings = name, settings
        self.module = discovery.intervention(name)
        self.code = digest(code_fingerprint(f"interventions.{name}"), self.module.VERSION)
        self.sources = _sources(self.module, settings, data)
        self.data_block = _given(data) if self.sources else {}

    def applied(self, parent: State, seed: int) -> State:
        identity = digest(parent.id, self.name, self.settings, self.code, self.sources, seed)
        short = self.name.rsplit(".", 1)[-1]
        return State(
            id=f"{parent.model.name}.{short}.s{seed}-{identity[:8]}",
            model=parent.model,
            seed=seed,
            steps=tuple(self.module.steps(self.settings)),
            intervention=self.name,
            settings=_given(self.settings),
            parent=parent,
            code=self.code,
            data=tuple(self.sources),
            data_block=self.data_block,
        )


def _study(name: str, study: Any, roles: dict[str, tuple[State, ...]], config: Any) -> StudyPlan:
    module = discovery.probe(study.probe)
    folder = Path(module.__file__).parent
    files = tuple(sorted(p.name for p in folder.glob("*.py") if p.name not in NOT_MEASURING))
    code = digest(code_fingerprint(f"probes.{study.probe}", files), module.VERSION)
    sources = list(_sources(module, study.settings, config.data))
    data_block = _given(config.data)
    settings = _given(study.settings)
    jobs = []
    for role, group in roles.items():
        for state in group:
            cells = []
            for factors in module.cells(study.settings, state):
                parameters = {k: v for k, v in factors.items() if k not in ("step", "experiment")}
                deciding = module.deciding_settings(study.settings, factors)
                cells.append(
                    Cell(
                        id=digest(name, state.id, code, deciding, sources, factors, length=16),
                        study=name,
                        probe=study.probe,
                        state=state.id,
                        role=role,
                        model=state.model.name,
                        seed=state.seed,
                        step=factors["step"],
                        experiment=factors["experiment"],
                        parameters=parameters,
                        cost=module.cost(study.settings, factors),
                    )
                )
            for batch, members in batches(cells, config.compute.batch_minutes * 60):
                jobs.append(
                    ProbeJob(
                        study=name,
                        probe=study.probe,
                        state=state,
                        role=role,
                        batch=batch,
                        cells=members,
                        settings=settings,
                        code=code,
                        data_block=data_block,
                    )
                )
    return StudyPlan(
        name=name,
        probe=study.probe,
        title=study.title or module.TITLE,
        question=module.QUESTION,
        settings=settings,
        roles=roles,
        jobs=tuple(jobs),
        analysis_code=digest(
            code_fingerprint(f"probes.{study.probe}", ("claims.py",)),
            *(code_fingerprint(f"probes.{study.probe}.{name}") for name in _parts(folder)),
            code_fingerprint("statistics"),
            code_fingerprint("evidence"),
        ),
    )


def _parts(folder: Path) -> list[str]:
    return [name for name in ("analyses",) if (folder / name).is_dir()]


def _given(block: Any) -> dict[str, Any]:
    """What differs from the defaults: a new optional setting leaves old manifests as they are."""
    return block.model_dump(mode="json", exclude_defaults=True)


def _sources(module: Any, settings: Any, data: Any) -> list[str]:
    """Versions of all data that the settings name; of own series also how they are worded."""
    if not hasattr(module, "sources"):
        return []
    named = set(getattr(settings, "series", ()))
    own = [s.model_dump(exclude={"path"}, exclude_defaults=True) for s in data.series]
    return [*module.sources(settings, data), *(canonical(s) for s in own if s["name"] in named)]
