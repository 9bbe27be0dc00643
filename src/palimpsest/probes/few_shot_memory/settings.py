"""Settings and cells of few-shot memory (Orhan 2023, arXiv 2303.17557)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from palimpsest.blocks import Block

if TYPE_CHECKING:
    from palimpsest.manifests import State

TITLE = "Few-shot memories"
QUESTION = "What remains of a sentence seen once, twice, three times, and for how long?"
#: Raise when the default of a setting changes or cells mean something else.
VERSION = 2
#: What it wants of a language model.
NEEDS = ("generation", "log_likelihoods", "gradients")
#: Two cores are kept busy.
LEAST_JOBS = 2

Stimuli = Literal[
    "natural",
    "paraphrase",
    "synonym",
    "random_words",
    "random_vs_natural",
    "scrambled",
    "novel",
    "own",
]


class Settings(Block):
    """What a model remembers of sentences after a few exposures, and for how long."""

    stimuli: list[Stimuli] = Field(default=["natural", "random_words"], min_length=1)
    """What is studied and what it must be told from; src/palimpsest/data/stimuli.py explains."""
    source: str = "prose"
    """Where sentences come from: prose, novel, or the path of your own JSONL file."""
    items: int = Field(default=16, ge=4)
    """Sentences of a study list; as many foils."""
    validation: int = Field(default=12, ge=4)
    """Further pairs of a list, for choosing the learning rate and as a control never studied."""
    lists: int | list[int] = 3
    """Number of independent lists of each kind, or their seeds; each is a replicate."""
    longest: int = Field(default=128, ge=8)
    """Sentences are cut to so many tokens."""
    exposures: list[int] = Field(default=[1, 2, 3], min_length=1)
    """How often every sentence of the list was shown when memory is tested; 0 always is."""
    learning_rates: list[float] = Field(default=[1e-3, 3e-3, 1e-2], min_length=1)
    """Learning rates to choose from."""
    rate: Literal["validated", "each"] = "validated"
    """validated: the rate at which pairs set aside are recognised best; each: all, as a factor."""
    batch_sizes: list[int] = Field(default=[4], min_length=1)
    """Sentences of one update during study."""
    adapters: list[Literal["lora", "full"]] = Field(default=["lora"], min_length=1)
    """lora: low-rank changes, lists learn together; full: all weights, one list after another."""
    rank: int = Field(default=16, ge=1)
    """Rank of the low-rank change."""
    optimizers: list[Literal["adamw", "sgd"]] = Field(default=["adamw"], min_length=1)
    """Optimisers."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    cues: list[float] = Field(default=[0.25, 0.5, 0.75], min_length=1)
    """Shares of a sentence that are given for recall."""
    written_cue: float = Field(default=0.5, gt=0, lt=1)
    """The share at which the model also writes freely, for ROUGE."""
    retention_steps: list[int] = [1, 2, 5, 10, 20]
    """Updates on new material after which memory is tested again; none: no retention."""
    interference: list[Literal["same", "different"]] = Field(default=["same"], min_length=1)
    """Type of the new material: that of the study list, or another."""
    interference_batch: int = Field(default=4, ge=1)
    """Sentences of one update during retention."""
    new_sentences: int = Field(default=1000, ge=1)
    """Different sentences of new material; in longer training they come again."""
    relearning: int = Field(default=1, ge=0)
    """Further exposures of the list after retention, to see what they save."""
    together: int = Field(default=8, ge=1, le=256)
    """Lists that learn in one pass where they have low-rank changes."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name in ("exposures", "retention_steps"):
            values = getattr(self, name)
            if sorted(set(values)) != values or (values and values[0] < 1):
                raise ValueError(f"{name} must be increasing integers from 1 on")
        for name in ("stimuli", "learning_rates", "batch_sizes", "adapters", "optimizers"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must not name anything twice")
        if not all(rate >= 0 for rate in self.learning_rates):
            raise ValueError("learning_rates must not be negative")
        if not all(0 < cue < 1 for cue in self.cues):
            raise ValueError("cues must lie between 0 and 1")
        if min(self.batch_sizes) < 1:
            raise ValueError("batch_sizes must be integers from 1 on")
        if not self.seeds():
            raise ValueError("lists must be a number from 1 on, or different seeds from 0 on")
        if "own" in self.stimuli and self.source in ("prose", "novel"):
            raise ValueError("the stimuli own need source: the path of a JSONL file")
        return self

    def validation_exposures(self) -> int:
        """How often validation pairs are shown at every rate: as often as claims speak of."""
        return min(self.exposures[-1], 3)

    def seeds(self) -> list[int]:
        """The seeds of the lists; none where they are not valid."""
        seeds = list(range(self.lists)) if isinstance(self.lists, int) else list(self.lists)
        return seeds if len(set(seeds)) == len(seeds) and min(seeds, default=-1) >= 0 else []


#: Settings that decide no number, or that enter a cell as its factors.
_FACTORS = ("stimuli", "lists", "rate", "batch_sizes", "adapters", "optimizers")


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """One cell for every list and every combination of factors, at the last step of a state.

    Cells of an unlearned state name the state before unlearning, that they are held against.
    """
    rates: list[float | None] = list(settings.learning_rates)
    if settings.rate == "validated":
        rates = [None]
    before = _before_unlearning(state)
    origin = {"origin": before} if before else {}
    return [
        origin
        | {
            "step": state.steps[-1],
            "experiment": stimuli,
            "list": seed,
            "adapter": adapter,
            "optimizer": optimizer,
            "batch_size": batch_size,
            "learning_rate": rate,
        }
        for stimuli in settings.stimuli
        for adapter in settings.adapters
        for optimizer in settings.optimizers
        for batch_size in settings.batch_sizes
        for rate in rates
        for seed in settings.seeds()
    ]


def _before_unlearning(state: State) -> str | None:
    """Identity of the state that a state, or one before it, was unlearned from."""
    for link in state.chain:
        if (link.intervention or "").startswith("unlearning.") and link.parent:
            return link.parent.id
    return None


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    left_out = (*_FACTORS, "learning_rates") if factors["learning_rate"] else _FACTORS
    return {k: v for k, v in settings.model_dump(mode="json").items() if k not in left_out}


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds of a cell with a 135M model on one CPU thread, for cutting cells into jobs.

    Sentences of some 36 tokens, of which 300 are put through in a second, training included.
    """
    tests = 2 + len(settings.exposures) + settings.relearning
    tests += len(settings.retention_steps) * len(settings.interference)
    trained = settings.items * (settings.exposures[-1] + settings.relearning)
    trained += settings.validation * len(settings.learning_rates) * settings.validation_exposures()
    if settings.retention_steps:
        new = settings.retention_steps[-1] * settings.interference_batch
        trained += new * len(settings.interference)
    return 36 / 300 * (trained + tests * 3 * settings.items)


def piece(cell: Any) -> str:
    """Lists one by one: jobs get as many of one kind as of another."""
    factors = cell.parameters
    names = ("list", "adapter", "optimizer", "batch_size", "learning_rate")
    return ":".join([cell.experiment, *(str(factors[name]) for name in names)])


def sources(settings: Settings, data: Any) -> list[str]:
    """Versions of packages, rules and files that the lists come from."""
    from palimpsest.data import word_frequency
    from palimpsest.data.stimuli import fingerprint

    kinds = [f"{kind}:{fingerprint(kind, settings.source)}" for kind in sorted(settings.stimuli)]
    return [*kinds, word_frequency.fingerprint()]


#: Pairs that the embedded prose surely yields, by kind; a test draws them.
PROSE_YIELDS = {
    "natural": 1500,
    "paraphrase": 800,
    "synonym": 2500,
    "random_vs_natural": 3000,
    "scrambled": 3000,
}


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless the lists can be drawn; own files are read and drawn from."""
    if settings.source not in ("prose", "novel"):
        from palimpsest.data.stimuli import stimulus_lists

        for kind in settings.stimuli:
            stimulus_lists(
                kind,
                settings.items,
                settings.seeds()[0],
                source=settings.source,
                validation=settings.validation,
            )
        return
    for kind in settings.stimuli:
        most = PROSE_YIELDS.get(kind)
        if settings.source == "prose" and most and settings.items + settings.validation > most:
            raise ValueError(
                f"items and validation: given {settings.items} and {settings.validation}, allowed "
                f"together: {most} for {kind} from prose; use source: novel or your own file"
            )
