"""Settings and cells of unlearning."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from palimpsest import discovery
from palimpsest.blocks import Block, OneOf, one_of
from palimpsest.interventions.biographies import World
from palimpsest.interventions.teaching import Own
from palimpsest.models.entry import capabilities
from palimpsest.probes.unlearning.checks import check_states as check_states
from palimpsest.probes.unlearning.fitting import check_fits

if TYPE_CHECKING:
    from collections.abc import Collection

    from palimpsest.manifests import State

TITLE = "Unlearning"
QUESTION = (
    "Is what was to be forgotten gone, or only hidden, and is the rest as it was? Every method is "
    "held against models that were trained without the forget set."
)
VERSION = 5
#: Verdicts need weights; what a model says of the user's own items needs only to be asked.
NEEDS = ("generation",)
#: Networks: small transformers that the probe trains itself; language: states of the configuration.
READS = ("networks", "language")
#: Two cores are kept busy.
LEAST_JOBS = 2

#: Arms that every study has: the model before unlearning, and models that never knew.
TAUGHT, RETRAINED = "taught", "retrained"
#: Settings that name states -> what is left out where there is none; without untouched, all.
NAMES_STATES = {
    "untouched": "",
    "retrained": "verdicts that need models that never knew the forget set",
}
#: The second is what the first would be, had it never been taught the forget set.
MADE_ALIKE = ("untouched", "retrained")
#: Experiment of a state behind an endpoint: asked in words alone.
WORDS = "words"
#: How the requests of a forget set were met: see ``Scratch.stages``.
SUCCESSIVE, AT_ONCE = "successive", "at once"

MethodBlock = one_of(
    "UnlearningMethod",
    "A method of unlearning and its settings.",
    {
        name.removeprefix("unlearning."): discovery.intervention(name).Settings
        for name in discovery.names("interventions")
        if name.startswith("unlearning.")
    },
)

#: Sentences to forget in a step: small transformers spend much of a smaller one on beginning it.
_STEP = {"batch_size": 16}
#: Strengths have the best balance (harmonic mean of the way gone and of what stays) in sweeps on
#: seeds 100 and 101, which are none of the study's; training on what must stay is the control that
#: should do nothing, refusing by oracle the bound of what a change of answers alone can do.
DEFAULT_METHODS: dict[str, Any] = {
    "grad_ascent": {"grad_ascent": {**_STEP, "learning_rate": 1e-4}},
    "grad_diff": {"grad_diff": {**_STEP, "learning_rate": 1.4e-4}},
    "npo": {"npo": {**_STEP, "learning_rate": 1.4e-4}},
    "simnpo": {"simnpo": {**_STEP, "learning_rate": 3e-4}},
    "wga": {"wga": {**_STEP, "learning_rate": 2.8e-4}},
    "undial": {"undial": {**_STEP, "learning_rate": 2.8e-4, "retain_weight": 1.0}},
    "ceu": {"ceu": {**_STEP, "learning_rate": 1.6e-4, "retain_weight": 1.0}},
    "pdu": {"pdu": {**_STEP, "learning_rate": 8e-5}},
    "rmu": {"rmu": {**_STEP, "learning_rate": 6e-4, "coefficient": 6.0}},
    "idk_nll": {"idk_nll": {**_STEP, "learning_rate": 1.4e-4}},
    "random_labels": {"random_labels": {**_STEP, "learning_rate": 2e-4}},
    "whp": {"whp": {**_STEP, "learning_rate": 2e-4, "reinforce_rate": 1e-3, "retain_weight": 1.0}},
    "task_vector": {"task_vector": {**_STEP, "learning_rate": 1.5e-4, "scale": 3.0}},
    "ssd": {"ssd": {"alpha": 2.2}},
    "iau": {"iau": {"learning_rate": 4.5e-3}},
    "guard": {"guard": {}},
    "retain_finetune": {"retain_finetune": {**_STEP, "learning_rate": 3e-4}},
    "oracle_refusal": {"oracle_refusal": {}},
}


class Scratch(World):
    """Small transformers that are trained from random weights, with and without the forget set."""

    hidden: int = Field(default=128, ge=16, le=1024, multiple_of=16)
    """Width of the residual stream."""
    layers: int = Field(default=2, ge=1, le=12)
    """Number of layers."""
    epochs: int = Field(default=12, ge=1)
    """Passes over all sentences."""
    batch_size: int = Field(default=48, ge=1)
    """Sentences a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest rate of AdamW, reached after a twentieth of the steps; then a cosine to zero."""
    retrained: int | list[int] = 10
    """Models that never knew, for the null distribution of all metrics: their number, or seeds."""
    taught: int | list[int] = 5
    """Models that are taught everything and then go through every method: number, or seeds."""
    strangers: int = Field(default=1000, ge=0, le=5000)
    """Facts about people in no world, so that membership can be told at 1% false positives, which
    takes a thousand; read of the first model of each arm. 0: none."""
    methods: dict[str, MethodBlock] = Field(default=DEFAULT_METHODS, min_length=1)
    """Name -> method and its settings."""
    requests: int = Field(default=4, ge=2)
    """Number of requests that the forget set is cut into for the methods of ``successive``."""
    successive: list[str] = []
    """Methods that are also applied to one request after another, and to growing sets at once."""

    @field_validator("methods")
    @classmethod
    def _names(cls, value: dict[str, OneOf]) -> dict[str, OneOf]:
        for name, method in value.items():
            if not name.replace("_", "").isalnum() or name in (TAUGHT, RETRAINED):
                raise ValueError(
                    f"{name!r}: letters, digits and _ alone, and neither {TAUGHT} nor {RETRAINED}"
                )
            if method.block.forget is not None:
                raise ValueError(f"{name}: files cannot be named here, the world is made")
        return value

    @model_validator(mode="after")
    def _enough(self) -> Scratch:
        for name in ("retrained", "taught"):
            seeds = self.seeds(name)
            if len(set(seeds)) < max(2, len(seeds)) or min(seeds) < 0:
                raise ValueError(f"{name}: at least two models with different seeds from 0 on")
        unknown = sorted(set(self.successive) - set(self.methods))
        if unknown:
            raise ValueError(
                f"successive: given {', '.join(unknown)}, allowed: {', '.join(self.methods)}"
            )
        return self

    def stages(self) -> list[tuple[str, str, int]]:
        """Method, how, and the number of requests done, of models that met only some of them.

        ``successive``: one request after another; ``at once``: the same requests in one set. One
        request is the same in both, and all of them at once is the method itself.
        """
        last = self.requests
        return [
            (arm, how, done)
            for arm in sorted(set(self.successive))
            for how, numbers in ((SUCCESSIVE, range(1, last + 1)), (AT_ONCE, range(2, last)))
            for done in numbers
        ]

    def strangers_of(self, factors: dict[str, Any]) -> int:
        """The number of strangers that the model of a cell is asked about."""
        first = factors["model_seed"] == self.seeds(factors["arm"])[0]
        return self.strangers if first and not factors["requests"] else 0

    def seeds(self, arm: str) -> list[int]:
        """Seeds of an arm; those of methods are the seeds of the models that they change."""
        given = self.retrained if arm == RETRAINED else self.taught
        return list(range(given)) if isinstance(given, int) else list(given)


class Robustness(Block):
    """What is tried to bring back what was forgotten."""

    relearn: list[int] = [1, 5, 10]
    """Numbers of forgotten facts that a copy of the model is taught again."""
    updates: list[int] = Field(default=[1, 2, 4, 8], min_length=1)
    """Updates after which the copy is asked, increasing."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Rate of AdamW for the copy."""
    rank: int = Field(default=8, ge=1)
    """Rank of the low-rank change that a copy of a language model learns; small transformers are
    changed in full."""
    benign: int = Field(default=8, ge=0)
    """Updates on facts that were kept, after which forgotten ones are asked for; 0: left out."""
    bits: list[int] = [8, 4]
    """Bits to which weights are rounded."""
    probes: bool = True
    """A linear probe for the answer on hidden states, and the logit lens of every layer."""

    @model_validator(mode="after")
    def _valid(self) -> Robustness:
        if sorted(set(self.updates)) != self.updates or self.updates[0] < 1:
            raise ValueError("updates must be increasing integers from 1 on")
        if any(number < 1 for number in self.relearn) or any(
            b not in range(2, 17) for b in self.bits
        ):
            raise ValueError("relearn: from 1 on; bits: 2 to 16")
        return self


class Settings(Block):
    """What is left of a forget set, judged against models that never knew it."""

    scratch: Scratch = Scratch()
    """Small transformers, where the model is one of networks."""
    untouched: str = TAUGHT
    """State that knows the forget set, where states of a language model are read."""
    retrained: str = RETRAINED
    """State that never knew it; give it several seeds."""
    own: Own | None = None
    """Your own items, where the states are of models that learned them elsewhere; null: what the
    states were taught here."""
    kept_items: int = Field(default=40, ge=4)
    """Facts of each part that are asked for, at most; of the forget set all are."""
    prose: int = Field(default=40, ge=0)
    """Sentences of prose whose perplexity is read; language models only."""
    fluency: int = Field(default=8, ge=0)
    """So many of these sentences are begun, for the fluency of what a model writes then."""
    fluency_tokens: int = Field(default=32, ge=4, le=1024)
    """Tokens that it writes then."""
    few_shot: int = Field(default=3, ge=0)
    """Solved questions before the question, as an attempt to bring an answer back."""
    answer_tokens: int = Field(default=8, ge=1, le=256)
    """Tokens that a model may answer with."""
    reply_tokens: int = Field(default=64, ge=1, le=4096)
    """The same for a model behind an endpoint, which seldom begins with the answer."""
    robustness: Robustness = Robustness()
    """Attempts to bring back what was forgotten."""
    judged_by: Literal["auto", "models", "facts"] = "auto"
    """Units of verdicts; auto: models where there are five retrained ones and three of each other
    arm, otherwise facts."""
    width: float = Field(default=2.0, gt=0)
    """Standard deviations of the retrained models within which a method counts as one of them."""
    utility_margin: float = Field(default=0.1, gt=0, lt=1)
    """Loss of probability on facts that must stay beyond which a method counts as damaging."""
    enough: float = Field(default=0.8, gt=0, le=1)
    """Share of the way from the taught to the retrained models that counts as forgotten."""
    nothing: float = Field(default=0.2, ge=0, lt=1)
    """Share of the way below which a method counts as having done nothing."""

    def check_context(self, tokens: int) -> None:
        """Raise ValueError where one of your own items is surely longer than so many tokens."""
        if self.own:
            self.own.check_context(tokens)

    @model_validator(mode="after")
    def _ordered(self) -> Settings:
        if self.nothing >= self.enough:
            raise ValueError("nothing must be below enough")
        return self


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """A small transformer each, all arms of one seed together; or the last step of a state."""
    if state.model.entry["source"] != "networks":
        common = {"arm": None, "model_seed": None, "how": None, "requests": 0}
        if "gradients" in capabilities(state.model.entry):
            return [common | {"step": state.steps[-1], "experiment": "language"}]
        return [common | {"step": state.steps[-1], "experiment": WORDS, "endpoint": "words"}]
    own = settings.scratch
    found = [_scratch(RETRAINED, seed) for seed in own.seeds(RETRAINED)]
    for seed in own.seeds(TAUGHT):
        # By name: in whatever order methods are written down, jobs are the same.
        found += [_scratch(arm, seed) for arm in (TAUGHT, *sorted(own.methods))]
        found += [_scratch(arm, seed, how, done) for arm, how, done in own.stages()]
    return found


def _scratch(arm: str, seed: int, how: str | None = None, requests: int = 0) -> dict[str, Any]:
    return {
        "step": 0,
        "experiment": "scratch",
        "arm": arm,
        "model_seed": seed,
        "how": how,
        "requests": requests,
    }


def piece(cell: Any) -> str:
    """Methods on one taught model stay together, so that it is trained once."""
    parameters = cell.parameters
    kind = RETRAINED if parameters["arm"] == RETRAINED else TAUGHT
    return f"{kind} {parameters['model_seed']}"


#: Settings of reading that judge alone, or that only one kind of model has.
_LEFT_OUT = (
    "scratch",
    "own",
    "judged_by",
    "untouched",
    "retrained",
    "width",
    "utility_margin",
    "enough",
    "nothing",
    "prose",
    "fluency",
    "fluency_tokens",
    "reply_tokens",
)
#: All that decides what a model behind an endpoint is asked, besides the user's items.
_IN_WORDS = ("kept_items", "few_shot", "reply_tokens")


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    if factors["experiment"] == WORDS:
        return settings.model_dump(mode="json", include=set(_IN_WORDS))
    reading = settings.model_dump(mode="json", exclude=set(_LEFT_OUT))
    if factors["experiment"] == "language":
        return reading | settings.model_dump(include={"prose", "fluency", "fluency_tokens"})
    own = settings.scratch
    left_out = {"methods", "retrained", "taught", "requests", "successive", "strangers"}
    made = own.model_dump(mode="json", exclude=left_out)
    if strangers := own.strangers_of(factors):
        reading["strangers"] = strangers
    method = own.methods.get(factors["arm"])
    if method is None:
        return reading | {"made": made}
    if factors["requests"]:
        # What a stage is read for needs none of the attacks' settings.
        reading = {"kept_items": settings.kept_items, "requests": own.requests}
    return reading | {
        "made": made,
        "method": {method.name: method.block.model_dump(mode="json")},
        "method_code": _method_code(method.name),
    }


@cache
def _method_code(name: str) -> str:
    """Read once and not for every model."""
    from palimpsest.identity import code_fingerprint

    return code_fingerprint(f"interventions.unlearning.{name}")


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds of a cell on one CPU thread, for cutting cells into jobs."""
    if factors["experiment"] == WORDS:
        return 60.0
    if factors["experiment"] == "language":
        return 0.6 * settings.kept_items  # measured: 21 s with a 135M model and 24 facts
    own = settings.scratch
    # Measured: 4.5 s for 40 people, 12 passes, two layers of 128.
    training = 4.5 * own.people / 40 * own.epochs / 12 * own.layers * own.hidden**2 / 32768
    if factors["requests"]:
        return 1.2
    return 3.0 + (training if factors["arm"] in (TAUGHT, RETRAINED) else 2.0)


def left_out(settings: Settings, gives: Collection[str]) -> list[str]:
    """What a model that gives only so much is not asked, or asked in another way, and why."""
    if "gradients" in gives:
        return []
    return [
        "is asked in words alone: probabilities, membership, truth ratios, hidden states, "
        "relearning and rounded weights are left out, and with them all verdicts",
        f"its answers are cut after {settings.reply_tokens} tokens (settings.reply_tokens)",
    ]


def check_capabilities(settings: Settings, gives: Collection[str]) -> None:
    """Raise ValueError where a model cannot be taught what it is asked, and nothing else is given;
    or where its weights are here and what must stay is not given."""
    if "gradients" not in gives and settings.own is None:
        raise ValueError(
            "settings.own: not given; allowed: files of your own items (forget, holdout, known, "
            "...), since nothing is taught to this model here"
        )
    if "gradients" in gives and settings.own and settings.own.retain is None:
        raise ValueError(
            "settings.own.retain: not given; allowed: a JSONL file, or a set of the hub"
        )


def sources(settings: Settings, data: Any) -> list[str]:
    """Hashes of the user's files."""
    return settings.own.hashes() if settings.own else []


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError where files cannot be read, the world has too few people, or a method
    cannot work in it."""
    if settings.own:
        try:
            settings.own.check(needed=("forget",))
        except ValueError as error:
            raise ValueError(f"own: {error}") from None
    forget = [item for item in settings.scratch.items() if item.part == "forget"]
    people = len({item.id.split("/")[0] for item in forget})
    own = settings.scratch
    if own.successive and own.requests > people:
        raise ValueError(
            f"scratch.requests: given {own.requests}, allowed: 2 to {people}, the number of people "
            "who are to be forgotten"
        )
    for name, method in settings.scratch.methods.items():
        module = discovery.intervention(f"unlearning.{method.name}")
        try:
            module.check(method.block, data)
            check_fits(method.block, own.layers)
        except ValueError as error:
            raise ValueError(f"scratch.methods.{name}: {error}") from None
