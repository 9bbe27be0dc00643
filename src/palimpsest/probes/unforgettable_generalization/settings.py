"""Settings and cells of unforgettable generalization (Zhang et al. 2024, arXiv 2409.02228)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from palimpsest.interventions._tasks import TaskSets, taught_sets

if TYPE_CHECKING:
    from palimpsest.manifests import State

TITLE = "Unforgettable generalization"
QUESTION = "When a task is forgotten by random labels, what is really erased?"
#: Raise when the default of a setting changes or cells mean something else.
VERSION = 1
#: What it wants of a language model.
NEEDS = ("log_likelihoods", "hidden_states", "gradients")
#: Two cores are kept busy.
LEAST_JOBS = 2

Mode = Literal["fixed_random", "resampled", "soft_uniform"]
Control = Literal["continued", "broken_head", "lookup"]
#: Arms that train nothing: the model before, and two models that are made to fail in known ways.
UNTRAINED = ("before", "broken_head", "lookup")
FIRST = "first"


class Settings(TaskSets):
    """What random labels really erase: trained items, unseen items, other tasks, the knowledge.

    States that an intervention task_teaching has taught are asked what they were taught; tasks and
    sizes given here are for all others.
    """

    untaught: Literal["reference", "subject"] = "reference"
    """States that were not taught tasks. reference: they show how a task is learned at first, and
    what random labels do where there is nothing to forget; subject: they know the tasks, as large
    models do, and are measured as taught ones are."""
    replicates: int = Field(default=2, ge=1)
    """Draws of the items, for states that were not taught tasks; taught ones have their own."""
    modes: list[Mode] = Field(default=["fixed_random"], min_length=1)
    """Labels of forgetting: drawn once, drawn anew in every pass, or all choices equally."""
    controls: list[Control] = ["continued", "broken_head", "lookup"]
    """continued: true labels for as many updates; broken_head: an output layer of noise: all is
    forgotten; lookup: a table of random labels for training items: nothing else is forgotten."""
    epochs: int = Field(default=4, ge=0)
    """Passes over the training items with random labels, at most."""
    uninformative: float = Field(default=0.9, gt=0, le=1)
    """Forgetting ends after the pass in which the mean entropy of the answers to training items is
    this share of the largest possible."""
    criterion: Literal["entropy", "entropy_or_accuracy"] = "entropy_or_accuracy"
    """entropy_or_accuracy: it ends too when no more of them are right than a guesser gets."""
    batch_size: int = Field(default=8, ge=1)
    """Items an update."""
    learning_rate: float = Field(default=7e-4, ge=0)
    """Learning rate."""
    adapter: Literal["lora", "full"] = "lora"
    """lora: low-rank changes, runs learn together; full: all weights, one run after another."""
    rank: int = Field(default=8, ge=1)
    """Rank of the low-rank change."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    others: int = Field(default=20, ge=0)
    """Unseen items of every other task that are asked after forgetting."""
    relearn: list[int] = [1, 2, 4]
    """Updates with true labels after which unseen items of known wording and topic are asked again;
    none: no relearning."""
    layers: list[int] | Literal["spread"] = "spread"
    """Layers, from 0 on, that linear probes and the logit lens read; spread: five, the last among
    them; an empty list: none."""
    together: int = Field(default=16, ge=2, le=256)
    """Runs that learn in one pass where they have low-rank changes."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if sorted(set(self.relearn)) != self.relearn or min(self.relearn, default=1) < 1:
            raise ValueError("relearn must be increasing integers from 1 on")
        for name in ("tasks", "modes", "controls"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must not name anything twice")
        if self.layers != "spread" and sorted(set(self.layers)) != self.layers:
            raise ValueError("layers must be increasing integers from 0 on, or spread")
        return self


#: Settings that decide no number, or that enter a cell as its factors.
_FACTORS = ("replicates", "modes", "controls")


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """One cell for every task, replicate and arm, at the last step of a state."""
    from palimpsest.data.choice_tasks.loading import task_names

    taught = taught_sets(state)
    replicates = [state.seed] if taught else range(settings.replicates)
    reference = not taught and settings.untaught == "reference"
    arms = ["before", *(f"forget {mode}" for mode in settings.modes)]
    arms += [FIRST] if reference else settings.controls
    return [
        {
            "step": state.steps[-1],
            "experiment": task,
            "replicate": replicate,
            "arm": arm.split()[0],
            "mode": arm.split()[1] if " " in arm else None,
            "reference": reference,
        }
        for replicate in replicates
        for task in task_names((taught or settings).tasks)
        for arm in arms
    ]


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    return {k: v for k, v in settings.model_dump(mode="json").items() if k not in _FACTORS}


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds of a cell with a 135M model on one CPU thread, for cutting cells into jobs.

    Items of some 15 tokens, of which 250 are put through in a second of training, 400 of reading.
    """
    asked = settings.train + 3 * settings.test + 2 * settings.near
    if factors["arm"] in UNTRAINED:
        return 15 / 400 * asked
    if not factors["reference"]:
        asked += settings.others * max(0, len(settings.tasks) - 1)
    asked += settings.epochs * settings.train + settings.test * len(settings.relearn)
    updates = max(settings.relearn, default=0)
    if factors["arm"] != FIRST:
        updates += settings.epochs * -(-settings.train // settings.batch_size)
    return 15 / 250 * updates * settings.batch_size + 15 / 400 * asked


def piece(cell: Any) -> str:
    """A task of a replicate stays in one job: its arms are held against each other."""
    return f"{cell.parameters['replicate']}:{cell.experiment}"


def sources(settings: Settings, data: Any) -> list[str]:
    """What the items depend on besides the code."""
    from palimpsest.data.choice_tasks.loading import fingerprint

    return [f"{name}: {fingerprint(name)}" for name in settings.tasks]


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError where a task is not known or too small."""
    from palimpsest.data.choice_tasks.loading import check_tasks

    check_tasks(settings.tasks, settings.sizes())
