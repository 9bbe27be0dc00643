"""Settings and cells of economic recall (Lopez-Lira, Tang and Zhu 2025, arXiv 2504.14765)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from palimpsest.blocks import Block
from palimpsest.models.entry import CAPABILITIES, capabilities

if TYPE_CHECKING:
    from collections.abc import Collection

    from palimpsest.manifests import State

TITLE = "Economic recall"
QUESTION = "Which economic numbers, dates and names does this model remember, and from when?"
#: Raise when the default of a setting changes or cells mean something else.
VERSION = 2
#: Everything but the hidden states can be asked in words.
NEEDS = ("generation",)
#: Letters that choices in words have.
MOST_IN_WORDS = 26

Experiment = Literal[
    "value", "fake_cutoff", "forecast", "event_date", "event_order", "event_entity", "embedding"
]


class Settings(Block):
    """What a model remembers of economic series and events."""

    series: list[str] = Field(
        default=["us_unemployment_rate", "us_treasury_bill_rate", "us_cpi", "eur_usd"],
        min_length=1,
    )
    """Series asked of models into which nothing was planted: of the catalogue or your own."""
    dates_per_series: int = Field(default=20, ge=4)
    """Dates asked per series before the model's knowledge cutoff, drawn at random."""
    dates_after_cutoff: int = Field(default=10, ge=0)
    """Dates asked per series after the cutoff, where the series reaches so far."""
    events: int = Field(default=30, ge=2)
    """Events before the cutoff that are asked for date, order and entity, drawn at random."""
    events_after_cutoff: int = Field(default=20, ge=0)
    """Events after the cutoff, asked for date and entity, where the table reaches so far."""
    candidates: int = Field(default=16, ge=4)
    """Alternatives among which the true answer is ranked."""
    choices: int = Field(default=8, ge=2)
    """Alternatives of the forced choice; chance is one in so many."""
    experiments: list[Experiment] = Field(
        default=[
            "value",
            "fake_cutoff",
            "forecast",
            "event_date",
            "event_order",
            "event_entity",
            "embedding",
        ],
        min_length=1,
    )
    """Experiments to run."""
    cutoff_distances: list[int] = Field(default=[-10, -2, 2, 10], min_length=1)
    """Fake cutoffs, in years from the date asked: a negative one forbids the answer."""
    context: int = Field(default=5, ge=2, le=60)
    """Values before the date that a forecast may see."""
    subset_per_series: int = Field(default=6, ge=1)
    """Dates per series that forecasts and fake cutoffs use where nothing was planted, and that are
    asked after planting; of events twice as many are asked then."""
    embedding_dates: int = Field(default=60, ge=20)
    """Dates per series whose hidden states are read, evenly spaced."""
    answer_tokens: int = Field(default=8, ge=2, le=200)
    """Longest free answer, in tokens."""
    tolerance_rate: float = Field(default=0.1, gt=0)
    """Threshold accuracy of rates: within so many percentage points."""
    tolerance_level: float = Field(default=0.01, gt=0)
    """Threshold accuracy of levels: within this share of the value."""
    asked_after_planting: bool = False
    """Also ask facts at large of states into which facts were planted, and of those that were
    unlearned since: what was damaged by the way."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.choices > self.candidates:
            raise ValueError("choices must not exceed candidates")
        if 0 in self.cutoff_distances:
            raise ValueError("cutoff_distances must differ from 0")
        return self


#: Settings that decide the numbers of each experiment, besides its factors.
_DECIDING = {
    "value": ("candidates", "choices", "answer_tokens", "tolerance_rate", "tolerance_level"),
    "fake_cutoff": ("candidates", "choices", "cutoff_distances", "subset_per_series"),
    "forecast": ("candidates", "choices", "context", "subset_per_series"),
    "event_date": ("candidates", "choices", "events", "events_after_cutoff"),
    "event_order": ("events",),
    "event_entity": ("candidates", "choices", "events", "events_after_cutoff"),
    "embedding": ("embedding_dates",),
}
_ASKED = ("dates_per_series", "dates_after_cutoff")
#: Seconds a cell takes with a 135M model on one CPU thread, measured; only batching uses it.
_COST = {
    "value": 12.0,
    "fake_cutoff": 12.0,
    "forecast": 6.0,
    "event_date": 12.0,
    "event_order": 8.0,
    "event_entity": 8.0,
    "embedding": 6.0,
}
#: Seconds of a cell of facts at large after planting.
_COST_OF_FEW = 3.0
#: Experiments about planted events and the setting that says how many there are.
_PLANTED_EVENTS = {"event_date": "event_dates", "event_entity": "event_entities"}
#: Experiments that are asked once per series; the others once.
_PER_SERIES = ("value", "fake_cutoff", "forecast", "embedding")


def cells(settings: Settings, state: State) -> list[dict[str, Any]]:
    """Factors of every cell of a state.

    Planted states are asked about what was planted, at every checkpoint for the exposure curve and
    at the last one for the rest. What was unlearned after planting is asked about the planted facts
    again; its cells name the planted state that they are held against. Other states are asked about
    series and events at large; random weights only what the controls need.
    """
    names = [link.intervention for link in state.chain if link.intervention]
    planting = next((link for link in state.chain if link.intervention == "planting"), None)
    if planting is not None:
        after = state.chain[state.chain.index(planting) + 1 :]
        if any(link.intervention.startswith("unlearning.") for link in after):
            found = _unlearned(settings, state, planting)
        else:
            found = _planted(settings, state, planting.settings)
        return found + _at_large(settings, state, planting)
    gives = capabilities(state.model.entry)
    enabled = [e for e in settings.experiments if e != "embedding" or "hidden_states" in gives]
    if "randomise" in names:
        enabled = [e for e in enabled if e in ("value", "event_date", "event_entity")]
    cutoff = state.model.entry.get("knowledge_cutoff")
    last = state.steps[-1]
    found = []
    for experiment in enabled:
        common = {"step": last, "experiment": experiment, "facts": "asked", "cutoff": cutoff}
        if gives != CAPABILITIES:
            common["endpoint"] = "log_likelihoods" if "log_likelihoods" in gives else "words"
        if experiment == "value":
            common["detail"] = "full"
        if experiment in _PER_SERIES:
            found += [common | {"series": series} for series in settings.series]
        else:
            found.append(common | {"series": None})
    return found


def _planted(settings: Settings, state: State, planting: dict[str, Any]) -> list[dict[str, Any]]:
    from palimpsest.interventions.planting import Settings as Planting

    planted = Planting(**planting)
    first, last = state.steps[0], state.steps[-1]
    found = []
    for step in state.steps:
        common = {"step": step, "facts": "planted", "cutoff": planted.boundary.isoformat()}
        for experiment in settings.experiments:
            if experiment == "value":
                # The exposure curve needs the forced choice alone; ranks are read at its end.
                detail = {first: "answers", last: "full"}.get(step, "choice")
                made = [{"detail": detail, "series": series} for series in planted.series]
            elif experiment in ("fake_cutoff", "forecast") and step == last:
                made = [{"series": series} for series in planted.series]
            elif experiment in _PLANTED_EVENTS and step == last:
                made = [{"series": None}] if getattr(planted, _PLANTED_EVENTS[experiment]) else []
            else:
                made = []
            found += [common | {"experiment": experiment} | factors for factors in made]
    return found


def _unlearned(settings: Settings, state: State, planting: State) -> list[dict[str, Any]]:
    """What was planted, asked as at the last checkpoint of planting."""
    from palimpsest.interventions.planting import Settings as Planting

    planted = Planting(**planting.settings)
    common = {
        "step": state.steps[-1],
        "facts": "planted",
        "cutoff": planted.boundary.isoformat(),
        "origin": planting.id,
    }
    found = []
    if "value" in settings.experiments:
        found += [
            common | {"experiment": "value", "detail": "full", "series": series}
            for series in planted.series
        ]
    return found + [
        common | {"experiment": experiment, "series": None}
        for experiment, count in _PLANTED_EVENTS.items()
        if experiment in settings.experiments and getattr(planted, count)
    ]


def _at_large(settings: Settings, state: State, planting: State) -> list[dict[str, Any]]:
    """Facts that nobody planted, asked of a planted state and of what became of it."""
    if not settings.asked_after_planting:
        return []
    common = {
        "step": state.steps[-1],
        "facts": "asked",
        "cutoff": state.model.entry.get("knowledge_cutoff"),
        "origin": planting.id,
    }
    found = []
    if "value" in settings.experiments:
        found += [
            common | {"experiment": "value", "detail": "few", "series": series}
            for series in settings.series
        ]
    return found + [
        common | {"experiment": experiment, "detail": "few", "series": None}
        for experiment in _PLANTED_EVENTS
        if experiment in settings.experiments
    ]


def deciding_settings(settings: Settings, factors: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the numbers of a cell depend; others may change without a rerun."""
    names = _DECIDING[factors["experiment"]]
    if factors["facts"] == "asked" and factors["experiment"] in (
        "value",
        "fake_cutoff",
        "forecast",
    ):
        names += _ASKED
    if factors.get("detail") == "few":
        names += ("subset_per_series",)
    return {name: getattr(settings, name) for name in names}


def cost(settings: Settings, factors: dict[str, Any]) -> float:
    """Expected seconds, for cutting cells into jobs."""
    return _COST_OF_FEW if factors.get("detail") == "few" else _COST[factors["experiment"]]


def left_out(settings: Settings, gives: Collection[str]) -> list[str]:
    """What a model that gives only so much is not asked, or asked in another way, and why."""
    notes = []
    if "embedding" in settings.experiments and "hidden_states" not in gives:
        notes.append("embedding is left out: a model behind an endpoint shows no hidden states")
    if "log_likelihoods" not in gives:
        notes.append(
            "choices are asked in words: this endpoint gives no log-probabilities of texts"
        )
    return notes


def check_capabilities(settings: Settings, gives: Collection[str]) -> None:
    """Raise ValueError unless the model can be asked anything, and all choices have a letter."""
    if settings.experiments == ["embedding"] and "hidden_states" not in gives:
        raise ValueError("the experiment embedding needs hidden states; add others")
    if settings.choices > MOST_IN_WORDS and "log_likelihoods" not in gives:
        raise ValueError(f"choices are asked in words, at most {MOST_IN_WORDS} (settings.choices)")


def sources(settings: Settings, data: Any) -> list[str]:
    """Versions of packages and hashes of files that the questions come from."""
    from palimpsest.data.selection import fingerprints

    return fingerprints(settings.series, data, events=True)


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless every series is known and its licence accepted."""
    from palimpsest.data.selection import check_series

    check_series(settings.series, data)
