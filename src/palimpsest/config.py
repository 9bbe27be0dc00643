"""The configuration: pydantic models, loading, and errors that a person can act on.

This is the only place that reads YAML. A wrong key, type or range raises :class:`ConfigError`
before any job starts, naming file, key path, what was given and what is allowed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
)

from palimpsest import discovery
from palimpsest.blocks import Block, OneOf, first_line, one_of
from palimpsest.capabilities import check_capabilities
from palimpsest.config_errors import (
    ConfigError,
    explain,
    message,
    nearest,
    refuse_unstorable,
    shown,
)
from palimpsest.models.entry import ModelEntry, kind
from palimpsest.study_states import check_distinct, check_states, steps_of

SLUG = r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$"
#: Characters of a name that becomes part of the name of a file.
LONGEST_NAME = 64
DEFAULT_FILE = "config/config.yaml"


class OwnSeries(Block):
    """A series of the user's own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Slug under which studies ask for the series."""
    path: str
    """CSV with the columns date and value."""
    phrase: str = ""
    """How a sentence names the series, such as "the Swiss unemployment rate"."""
    unit: str = ""
    """What follows the number in a sentence, such as " percent"."""
    kind: Literal["rate", "level"] = "level"
    """rate: errors in percentage points; level: errors in percent."""
    frequency: Literal["day", "month", "quarter", "year"] | None = None
    """Frequency; found from the dates when null."""
    decimals: int | None = Field(default=None, ge=0, le=6)
    """Published decimals; found from the values when null."""


class Data(Block):
    """Data that studies may draw on, beyond the embedded sources."""

    accept: list[str] = []
    """Licences that you accept for restricted sources, such as GPL-3.0."""
    series: list[OwnSeries] = []
    """Your own series."""
    events: str | None = None
    """Your own dated events: a JSONL file that replaces the embedded table."""

    @field_validator("series")
    @classmethod
    def _distinct(cls, value: list[OwnSeries]) -> list[OwnSeries]:
        if len({series.name for series in value}) < len(value):
            raise ValueError("series with distinct names")
        return value


class Slurm(Block):
    """What jobs ask of a SLURM cluster; null leaves it to the cluster."""

    account: str | None = Field(default=None, coerce_numbers_to_str=True)
    """Account that is charged."""
    partition: str | None = None
    """Partition of all jobs, or of those without a GPU where gpu_partition is given."""
    gpu_partition: str | None = None
    """Partition of the jobs that ask for GPUs."""
    gpu_model: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_.]+$")
    """Kind of GPU, as the cluster names it, such as a100."""
    constraint: str | None = None
    """Features that the nodes of model jobs must have."""
    qos: str | None = None
    """Quality of service of all jobs."""


class Compute(Block):
    """How jobs use the machine. Nothing here changes a number."""

    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of a model job; with several jobs at once, 1 is the fastest."""
    memory_mb: int = Field(default=4000, ge=500)
    """Memory that a model job asks for at the first attempt; doubled at the second."""
    runtime_minutes: int = Field(default=120, ge=1)
    """Time that a model job asks for at the first attempt; doubled at the second."""
    analysis_memory_mb: int = Field(default=4000, ge=500)
    """Memory for the statistics of a study, the database or a page; doubled likewise."""
    analysis_runtime_minutes: int = Field(default=60, ge=1)
    """Time for the same; doubled likewise."""
    gpu: int = Field(default=0, ge=0, le=64)
    """GPUs of a model job: 0 runs on the CPU, more than 1 is for models that fit no single one."""
    batch_minutes: float = Field(default=30, gt=0)
    """Cells of one state are cut into jobs of about this length; replicates of a state that are all
    read within a minute share one."""
    short_minutes: float = Field(default=7.5, ge=0)
    """On a cluster, four probe jobs that are guessed to take no longer share a submission."""
    slurm: Slurm = Slurm()
    """Names that your SLURM cluster knows; ignored elsewhere."""


def _one_intervention() -> type[OneOf]:
    return one_of(
        "Intervention",
        "One intervention: its name and its settings.",
        {n: discovery.intervention(n).Settings for n in discovery.names("interventions")},
    )


class _State(Block):
    model: str
    """Entry of the models file."""
    seeds: int | list[int] = Field(default=1)
    """Number of replicates, or their seeds; ignored where nothing is random."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_or_list(cls, value: Any) -> Any:
        # Snakemake's --config gives every number as text.
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int | list):
            raise ValueError("a number of seeds, or a list of seeds")
        return value

    @field_validator("seeds")
    @classmethod
    def _valid_seeds(cls, value: int | list[int]) -> int | list[int]:
        if isinstance(value, int) and not 1 <= value <= 1000:
            raise ValueError("between 1 and 1000 seeds")
        if isinstance(value, list) and (len(set(value)) != len(value) or not value):
            raise ValueError("distinct seeds, at least one")
        if isinstance(value, list) and min(value) < 0:
            raise ValueError("seeds are integers from 0 on")
        return value

    def seed_list(self) -> list[int]:
        """The seeds, expanded."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


class _Study(Block):
    title: str | None = None
    """Title of the study's page; the probe's own title when null."""


@cache
def schema_models() -> tuple[type[BaseModel], type[BaseModel]]:
    """The models of the two files, assembled from what probes and interventions are there.

    Returns:
        The model of ``config.yaml`` and the model of ``models.yaml``.
    """
    intervention = _one_intervention()
    state = create_model(
        "State",
        __base__=_State,
        __doc__="A model after an ordered list of interventions.",
        interventions=(
            list[intervention],
            Field(default=[], description="Applied in this order; none means the model as it is."),
        ),
    )
    studies = []
    for name in discovery.names("probes"):
        settings = discovery.probe(name).Settings
        studies.append(
            create_model(
                f"Study_{name}",
                __base__=_Study,
                __doc__=f"A study with the probe {name}.",
                probe=(Literal[name], Field(description=first_line(settings))),
                states=(
                    dict[Annotated[str, Field(pattern=SLUG, max_length=LONGEST_NAME)], state],
                    Field(min_length=1, description="What the probe reads: role -> state."),
                ),
                settings=(settings, Field(default=settings(), description="The probe's settings.")),
            )
        )
    study = Annotated[Union[tuple(studies)], Discriminator("probe")]  # noqa: UP007
    config = create_model(
        "Config",
        __base__=Block,
        __doc__="Configuration of a Palimpsest run.",
        models_file=(
            str,
            Field(default="config/models.yaml", description="The file that describes the models."),
        ),
        data=(Data, Field(default=Data(), description="Your own data and accepted licences.")),
        compute=(Compute, Field(default=Compute(), description="How jobs use the machine.")),
        studies=(
            dict[
                Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=LONGEST_NAME)], study
            ],
            Field(min_length=1, description="The experiments: name -> study."),
        ),
    )
    models = create_model(
        "Models",
        __base__=Block,
        __doc__="The models that studies may name.",
        models=(
            dict[Annotated[str, Field(pattern=SLUG, max_length=LONGEST_NAME)], ModelEntry],
            Field(min_length=1, description="name -> where the weights come from"),
        ),
    )
    return config, models


def load(path: str | Path = DEFAULT_FILE, overrides: dict | None = None) -> tuple[Any, dict]:
    """Read and check a configuration file and the models file that it names.

    Args:
        path: the YAML file.
        overrides: mapping merged over the file's content, as Snakemake's ``--config`` gives it.

    Returns:
        The configuration, and the models as name -> entry.

    Raises:
        ConfigError: with file, key path, what was given and what is allowed.
    """
    raw = read_yaml(path)
    for key, value in (overrides or {}).items():
        raw[key] = _merged(raw.get(key), value)
    return check(raw, path)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


def check(raw: dict, path: str | Path) -> tuple[Any, dict]:
    """Check a configuration that was already read; see :func:`load`."""
    config_model, models_model = schema_models()
    config = _validated(config_model, raw, path)
    models = _validated(models_model, read_yaml(config.models_file), config.models_file).models
    for name, study in config.studies.items():
        where = f"studies.{name}.states"
        for role, state in study.states.items():
            if state.model not in models:
                allowed = f"a model of {config.models_file}: {', '.join(sorted(models))}"
                near = nearest(state.model, models)
                given = shown(state.model)
                raise ConfigError(message(path, f"{where}.{role}.model", given, allowed, near))
            _check_kind(study, state, models, path, f"{where}.{role}")
        check_distinct(study.states, path, where)
        _check_by_probe(config, study, models, path, f"studies.{name}")
        check_states(study, models, path, f"studies.{name}")
    return config, models


def _check_kind(
    study: Any, state: _State, models: dict[str, Any], path: str | Path, where: str
) -> None:
    """A probe of language models cannot read networks, and interventions change language models."""
    probe, module = study.probe, discovery.probe(study.probe)
    reads = getattr(module, "READS", ("language",))
    found = kind(models[state.model])
    if found not in reads:
        fitting = sorted(name for name, entry in models.items() if kind(entry) in reads)
        allowed = f"for the probe {probe}: {', '.join(fitting)}"
        raise ConfigError(message(path, f"{where}.model", shown(state.model), allowed))
    if found == "networks" and state.interventions:
        allowed = "none: networks are made by the probe, there is nothing to change before"
        raise ConfigError(message(path, f"{where}.interventions", "interventions", allowed))
    if found == "language":
        check_capabilities(study, state, models, path, where)
    if hasattr(module, "check_kind"):
        try:
            module.check_kind(study.settings, found)
        except ValueError as error:
            raise ConfigError(f"{path}: {where}.model: {error}") from None


def _check_by_probe(
    config: Any, study: Any, models: dict[str, Any], path: str | Path, where: str
) -> None:
    """Whatever only the probe or the intervention can check: names of series, own files."""
    every = [models[state.model].context for state in study.states.values()]
    least = min((context for context in every if context), default=None)
    parts = [(f"{where}.settings", discovery.probe(study.probe), study.settings, least, [])]
    for role, state in study.states.items():
        for position, step in enumerate(state.interventions):
            key = f"{where}.states.{role}.interventions[{position}].{step.name}"
            module, context = discovery.intervention(step.name), models[state.model].context
            before = steps_of(state)[:position]
            parts.append((key, module, step.block, context, before))
    for key, module, settings, context, before in parts:
        try:
            if hasattr(module, "check"):
                module.check(settings, config.data)
            if context and hasattr(settings, "check_context"):
                settings.check_context(context)
            if hasattr(settings, "check_after"):
                settings.check_after(before)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{path}: {key}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: the first would be lost in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return node


def read_yaml(path: str | Path) -> dict:
    """A YAML file as a mapping.

    Raises:
        ConfigError: missing, unreadable, not YAML, or not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        raw = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error)[:500]}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(raw).__name__}")
    return raw


def _validated(model: type[BaseModel], raw: dict, path: str | Path) -> Any:
    try:
        refuse_unstorable(raw, path)
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(explain(error, _json_schema(model), path)) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


@cache
def _json_schema(model: type[BaseModel]) -> dict:
    return TypeAdapter(model).json_schema()


def json_schemas() -> dict[str, dict]:
    """JSON schemas for editors: file name in ``workflow/schemas`` -> schema."""
    config_model, models_model = schema_models()
    return {
        "config.schema.json": _json_schema(config_model),
        "models.schema.json": _json_schema(models_model),
    }
