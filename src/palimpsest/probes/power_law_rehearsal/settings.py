"""Settings and cells of power-law rehearsal (Gandhi et al. 2024, arXiv 2401.10393)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from palimpsest.blocks import Block
from palimpsest.probes.power_law_rehearsal.conditions import (
    Condition,
    resolved,
    schedule,
    strategy_of,
)

if TYPE_CHECKING:
    from palimpsest.manifests import State

TITLE = "Power-law rehearsal"
QUESTION = (
    "Does an environment in which old tasks return with power-law odds protect memory by itself, "
    "as well as built-in mechanisms do?"
)
#: Raise when the default of a setting changes or cells mean something else.
VERSION = 2
#: The probe makes its small networks itself; the language stream reads a language model.
READS = ("networks", "language")
#: Two cores are kept busy.
LEAST_JOBS = 2

Benchmark = Literal["permuted", "rotated", "split_task", "split_domain", "split_class", "language"]
Task = Literal["lookup", "reverse", "sort", "add", "initials", "parity", "count", "larger"]
#: Streams whose answer is known: the same task again and again, and tasks that teach nothing.
CONTROLS = ("identical", "shuffled")

#: Length of a split stream: two classes a task; mnist and its kin have ten classes.
SPLIT_TASKS = 5

#: What is compared by default. The strengths are the best of sweeps on seeds 100 to 102, which are
#: none of the study's: EWC 1.4, 3, 5 (20 and more do not converge), SI 0.1 to 3, LwF 0.5 to 8.
DEFAULT_CONDITIONS: dict[str, Any] = {
    "none": {},
    "recent_only": {"environment": {"kind": "recent_only"}},
    "uniform": {"environment": {"kind": "uniform"}},
    "power": {"environment": {"kind": "power"}},
    "exponential": {"environment": {"kind": "exponential"}},
    "exponential_matched": {
        "environment": {"kind": "exponential"},
        "match": "mean_lag",
        "to": "power",
    },
    "everything": {"environment": {"kind": "everything"}},
    "er": {"strategy": {"er": {"buffer": 1000}}},
    "ewc": {"strategy": {"ewc": {"strength": 3, "fisher_examples": 500}}},
    "si": {"strategy": {"si": {"strength": 1}}},
    "lwf": {"strategy": {"lwf": {"alpha": 8}}},
}


class LanguageStream(Block):
    """How a language model learns the benchmark language."""

    tasks: list[Task] = Field(
        default=["lookup", "reverse", "sort", "add", "initials", "parity", "count", "larger"],
        min_length=2,
    )
    """Tasks of the stream, in an order that each seed draws; src/palimpsest/data/language_tasks.py
    explains them."""
    train_per_task: int = Field(default=160, ge=1)
    """Training items of a task."""
    test_per_task: int = Field(default=40, ge=4)
    """Test items of a task."""
    traced_examples: int = Field(default=20, ge=4)
    """Test items on which learners are evaluated while they learn."""
    trace_every: int = Field(default=5, ge=1)
    """Updates from one such evaluation to the next."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the items of a task."""
    batch: int = Field(default=8, ge=2)
    """Items of an update, new and rehearsed together."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of AdamW."""
    rank: int = Field(default=16, ge=1)
    """Rank of the low-rank change that each learner trains."""
    together: int = Field(default=12, ge=1, le=256)
    """Learners that are trained in one pass."""

    @model_validator(mode="after")
    def _consistent(self) -> LanguageStream:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("tasks must not name anything twice")
        if self.train_per_task < self.batch:
            raise ValueError("train_per_task must be at least one batch")
        return self


class Settings(Block):
    """Small networks learn task after task while past tasks return, or while they defend memory."""

    benchmarks: list[Benchmark] = Field(default=["permuted"], min_length=1)
    """Streams of tasks. permuted or rotated: images turned about, all classes in every task; split:
    other classes in every task, whose answer is one of the task's (task), one of all (class), or
    the place within the task (domain); language: a language model learns tasks in words, which
    stands alone in a study."""
    source: str = "mnist_5k"
    """Images: mnist_5k, or a folder with the four IDX files of MNIST or Fashion-MNIST."""
    tasks: list[int] = Field(default=[20], min_length=1)
    """Lengths of the streams of permuted and rotated images; split streams have two classes a task,
    as many tasks as that makes."""
    widths: list[int] = Field(default=[100], min_length=1)
    """Units of a hidden layer."""
    layers: int = Field(default=2, ge=0)
    """Hidden layers."""
    seeds: int | list[int] = 10
    """Number of replicates, or their seeds; each has its own tasks, examples and initial values."""
    conditions: dict[str, Condition] = Field(default=DEFAULT_CONDITIONS, min_length=1)
    """What is compared: name -> environment and strategy."""
    compute: list[Literal["matched", "free"]] = Field(default=["matched"], min_length=1)
    """matched: every condition gets the same number of updates, and what is rehearsed takes the
    place of new examples; free: all new examples are shown, in as many updates as that takes."""
    train_per_task: int = Field(default=4000, ge=1)
    """Training examples of a task, all classes alike; fewer where there are not so many."""
    test_per_task: int = Field(default=250, ge=10)
    """Test examples of a task."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the examples of a task."""
    batch: int = Field(default=20, ge=2)
    """Examples of an update, new and rehearsed together."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Learning rate."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Stochastic gradient descent, or Adam."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of stochastic gradient descent."""
    traced_tasks: int = Field(default=3, ge=1)
    """Past tasks on which networks are evaluated while they learn, spread over the stream."""
    traced_examples: int = Field(default=50, ge=10)
    """Fixed test examples of each traced task."""
    trace_first: int = Field(default=20, ge=1)
    """Updates after each switch during which every one is followed by an evaluation."""
    trace_every: int = Field(default=20, ge=1)
    """Updates from one evaluation to the next after that; 1 for every update."""
    windows: list[int] = Field(default=[10, 100], min_length=1)
    """Updates of the windows of windowed forgetting and plasticity."""
    criterion: float = Field(default=0.7, gt=0, lt=1)
    """Accuracy at which a task counts as learned, for the number of updates that it takes."""
    early: int = Field(default=100, ge=1)
    """First updates of a task over which its learning curve is averaged."""
    margin: float = Field(default=0.03, gt=0, lt=1)
    """How much lower accuracy may be without being inferior."""
    reference: str = "power"
    """The condition that is compared with all others."""
    language: LanguageStream = LanguageStream()
    """The benchmark language."""
    controls: bool = True
    """Streams of identical and of unlearnable tasks too, whose results are known beforehand.
    Images: the same pixels throughout, and labels dealt out at random; language: the same items
    throughout, and made-up words for answers."""

    @field_validator("conditions")
    @classmethod
    def _names(cls, value: dict[str, Condition]) -> dict[str, Condition]:
        for name in value:
            if not name.replace("_", "").isalnum() or not name.islower():
                raise ValueError(f"name {name!r}: use lower-case letters, digits and underscores")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if not self.seed_list():
            raise ValueError("seeds must be a number from 1 on, or different seeds from 0 on")
        for name in ("benchmarks", "tasks", "widths", "compute"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must not name anything twice")
        if min(self.tasks) < 2:
            raise ValueError("tasks must be integers from 2 on")
        if min(self.widths) < 1:
            raise ValueError("widths must be integers from 1 on")
        if min(self.windows) < 2:
            raise ValueError("windows must be integers from 2 on")
        if self.train_per_task < self.batch:
            raise ValueError("train_per_task must be at least one batch")
        if self.reference not in self.conditions:
            raise ValueError(f"reference must name a condition: {', '.join(self.conditions)}")
        if "language" in self.benchmarks and len(self.benchmarks) > 1:
            raise ValueError("benchmarks: language stands alone, in a study of a language model")
        for name in self.conditions:
            for benchmark in self.benchmarks:
                for tasks in self.lengths(benchmark):
                    resolved(self.conditions, name, tasks)
        return self

    def lengths(self, benchmark: str) -> list[int]:
        """Numbers of tasks of the streams of a benchmark."""
        if "language" in self.benchmarks:
            return [len(self.language.tasks)]
        return [SPLIT_TASKS] if benchmark.startswith("split") else self.tasks

    def sizes(self) -> list[int]:
        """Widths of networks, or the rank of a language model's learners."""
        return [self.language.rank] if "language" in self.benchmarks else self.widths

    def seed_list(self) -> list[int]:
        """The seeds; none where they are not valid."""
        seeds = list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)
        return seeds if len(set(seeds)) == len(seeds) and min(seeds, default=-1) >= 0 else []

    def plain_condition(self) -> str:
        """The condition of the controls: nothing returns and nothing is done, if there is one."""
        for name, condition in self.conditions.items():
            if not condition.environment.rehearses and condition.strategy.name == "naive":
                return name
        return next(iter(self.conditions))


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """One cell for every network: benchmark, length, width, compute, condition and seed."""
    found = []
    controls = CONTROLS if settings.controls else ()
    for benchmark in (*settings.benchmarks, *controls):
        # By name: in whatever order conditions are written down, jobs are the same.
        names = sorted(settings.conditions)
        lengths, widths = settings.lengths(benchmark), settings.sizes()
        computes = settings.compute
        if benchmark in CONTROLS:
            # One stream each suffices: the plain condition at the first of every factor.
            names = [settings.plain_condition()]
            lengths, widths, computes = lengths[:1], widths[:1], computes[:1]
        found += [
            {
                "step": state.steps[-1],
                "experiment": benchmark,
                "tasks": tasks,
                "width": width,
                "compute": compute,
                "condition": condition,
                "network_seed": seed,
            }
            for tasks in lengths
            for width in widths
            for compute in computes
            for condition in names
            for seed in settings.seed_list()
        ]
    return found


#: Settings that decide no network's numbers, or that enter a cell as its factors.
_LEFT_OUT = (
    "benchmarks",
    "tasks",
    "widths",
    "seeds",
    "conditions",
    "compute",
    "margin",
    "reference",
    "controls",
)


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    condition = settings.conditions[factors["condition"]]
    name, block = strategy_of(condition)
    if "language" in settings.benchmarks:
        named = ("language", "windows", "criterion", "early")
    else:
        named = tuple(key for key in Settings.model_fields if key not in (*_LEFT_OUT, "language"))
    return {
        **{k: v for k, v in settings.model_dump(mode="json").items() if k in named},
        "environment": resolved(
            settings.conditions, factors["condition"], factors["tasks"]
        ).model_dump(mode="json"),
        "kept": condition.kept,
        "strategy": {name: block.model_dump(mode="json")},
        "strategy_code": _strategy_code(name),
    }


@cache
def _strategy_code(name: str) -> str:
    """Read once and not for every network."""
    from palimpsest.identity import code_fingerprint

    return code_fingerprint(f"interventions.continual.{name}")


#: How much longer a network of a strategy learns than a plain one, measured; others: twice.
_SLOWER = {
    "naive": 1.0,
    "er": 1.5,
    "lwf": 1.5,
    "hft": 1.5,
    "ewc": 3.5,
    "si": 4.0,
    "agem": 9.0,
    "refresh": 9.0,
}
#: Multiplications of a plain network of two layers of 100 units, and its updates a second.
_MULTIPLIED, _UPDATES_A_SECOND = 89_400, 5000


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds of a cell on one CPU thread, for cutting cells into jobs."""
    condition = settings.conditions[factors["condition"]]
    environment = resolved(settings.conditions, factors["condition"], factors["tasks"])
    if "language" in settings.benchmarks:
        used, n = settings.language, factors["tasks"]
        judged = used.test_per_task * (n + 2) / 2 + 3 * used.traced_examples * (
            used.train_per_task // used.batch // used.trace_every + 2
        )
        # Some 15 tokens an item; 300 a second in training and 1,000 in reading.
        return n * 15 * (used.epochs * used.train_per_task / 300 + judged / 1000)
    updates = sum(
        each
        for each, _, _ in schedule(
            environment,
            factors["tasks"],
            settings.batch,
            settings.epochs * settings.train_per_task // settings.batch,
            factors["compute"],
        )
    )
    width = factors["width"]
    inner = max(0, settings.layers - 1) * width**2
    size = (794 * width + inner if settings.layers else 7840) / _MULTIPLIED
    name, _ = strategy_of(condition)
    slower = (factors["tasks"] + 1) / 2 if name == "joint" else _SLOWER.get(name, 2.0)
    # Evaluation costs about as much again.
    return (1 + slower) * updates * size * settings.batch / 20 / _UPDATES_A_SECOND


def piece(cell: Any) -> str:
    """Networks of one condition stay in one job: many together are faster than few."""
    factors = cell.parameters
    names = ("tasks", "width", "compute", "condition")
    return ":".join([cell.experiment, *(str(factors[name]) for name in names)])


def sources(settings: Settings, data: Any) -> list[str]:
    """Version of the package or hash of the files that the images come from."""
    if "language" in settings.benchmarks:
        return []
    from palimpsest.data.digits import fingerprint

    return [fingerprint(settings.source)]


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless the images can be read and every condition can be run."""
    if "language" in settings.benchmarks:
        _check_language(settings)
        return
    from palimpsest.data import digits

    digits.check(settings.source)
    for name, condition in settings.conditions.items():
        environment = condition.environment
        if environment.clock == "recency" and environment.budget is None:
            raise ValueError(
                f"conditions.{name}.environment: the clock recency needs a budget here"
            )
        strategy, block = strategy_of(condition)
        if strategy == "view_batch" and any(block.offsets):
            raise ValueError(
                f"conditions.{name}.strategy.view_batch.offsets: allowed: zeros; views are not "
                "laid into these streams"
            )


def _check_language(settings: Settings) -> None:
    """The language stream has environments by lag, and two strategies."""
    for name, condition in settings.conditions.items():
        strategy, _ = strategy_of(condition)
        if strategy not in ("naive", "joint"):
            raise ValueError(
                f"conditions.{name}.strategy: given {strategy}, allowed with the benchmark "
                "language: naive, joint"
            )
        if condition.environment.visits is not None or condition.kept is not None:
            raise ValueError(
                f"conditions.{name}: with the benchmark language visits and kept are not offered"
            )


def check_kind(settings: Settings, kind: str) -> None:
    """Raise ValueError unless the benchmarks fit the kind of the model.

    Args:
        settings: the probe's settings.
        kind: ``networks`` or ``language``.
    """
    if ("language" in settings.benchmarks) != (kind == "language"):
        fitting = "language alone" if kind == "language" else "all but language"
        raise ValueError(
            f"benchmarks: given {', '.join(settings.benchmarks)}, allowed for this model: {fitting}"
        )
