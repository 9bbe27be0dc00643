"""From the configuration to states, cells and jobs. No torch, no frames: imported at every parse.

A study names states; a probe turns its settings into cells for each state; cells are cut into
jobs. What these are and how a job is told what to do stands in ``manifests``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from palimpsest import discovery
from palimpsest.batches import batches
from palimpsest.config import _State
from palimpsest.identity import canonical, code_fingerprint, digest
from palimpsest.manifests import Cell, Model, Plan, ProbeJob, State, StudyPlan
from palimpsest.models.entry import identity_fields, weights_version
from palimpsest.order import seconds

#: Files of a probe that decide no measurement; nor do its folders ``analyses`` and ``pages``.
NOT_MEASURING = ("settings.py", "checks.py", "claims.py", "figures.py")
#: Expected seconds that a job of several replicates may take.
TOGETHER = 60.0


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
    steps = [_Step(step.name, step.block, data) for step in state.interventions]
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
    # One hash: thousands of series would be written out for every cell.
    sources = digest(_sources(module, study.settings, config.data))
    data_block = _given(config.data)
    settings = _given(study.settings)
    jobs: list[ProbeJob] = []
    for role, group in roles.items():
        of_role: list[list[ProbeJob]] = []
        for state in sorted(group, key=lambda state: state.seed):
            of_state: list[ProbeJob] = []
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
            target = config.compute.batch_minutes * 60
            least, piece = getattr(module, "LEAST_JOBS", 1), getattr(module, "piece", None)
            for batch, members in batches(cells, target, least, piece):
                of_state.append(
                    ProbeJob(
                        study=name,
                        probe=study.probe,
                        states=(state,),
                        role=role,
                        batch=batch,
                        cells=members,
                        settings=settings,
                        code=code,
                        data_block=data_block,
                    )
                )
            of_role.append(of_state)
        jobs += _together(of_role)
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


def _together(of_states: Iterable[list[ProbeJob]]) -> Iterable[ProbeJob]:
    """Replicates that are read quickly are read by one process: starting one takes seconds."""
    found: list[ProbeJob] = []
    for jobs in of_states:
        if found and len(jobs) == 1 and found[-1].batch == jobs[0].batch:
            last, (job,) = found[-1], jobs
            if seconds(last) + seconds(job) <= TOGETHER:
                cells = (*last.cells, *job.cells)
                found[-1] = replace(last, states=(*last.states, *job.states), cells=cells)
                continue
        found += jobs
    return found


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
