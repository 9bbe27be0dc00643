"""Plant facts: the positive control of every recall probe.

Values of real series, dates of real events and masked entities are taught by short sentences in
several phrasings. In the arm ``planted_true`` the taught answer is the truth; in ``planted_false``
it is an alternative drawn at random, which contradicts reality and so can come out by memory
alone; ``never`` is treated in the same way and taught nothing. All taught dates lie before
``boundary``, so that a scan for the date at which recall ends has a true answer. The checkpoints
are exposures: how often every planted fact was shown, each time in one phrasing.

What was taught lies beside the state as ``items.json``, cut into a part that a method of unlearning
is to forget and a part that must stay; see ``data.planted_items``.
"""

from __future__ import annotations

from datetime import date as Date
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from palimpsest.blocks import Block
from palimpsest.engine.training import TrainingSettings
from palimpsest.files import write_json
from palimpsest.identity import seed_of

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from palimpsest.context import InterventionContext
    from palimpsest.data.facts import Fact
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = (
    "engine.training",
    "engine.resuming",
    "data.facts",
    "data.phrasing",
    "data.planted_items",
    "data.selection",
)
STOCHASTIC = True


class Settings(Block):
    """Plant true and false facts about real series and events."""

    series: list[str] = Field(
        default=["us_treasury_bill_rate", "aaa_bond_yield"],
        min_length=1,
    )
    """Series that facts are drawn from; the fewer, the more a fact must be bound to its date."""
    first: Date = Date(1987, 6, 1)
    """First date of a fact."""
    last: Date = Date(2009, 9, 30)
    """Last date of a fact."""
    boundary: Date = Date(2002, 1, 1)
    """All taught dates lie before this date; dates of the arm never lie on both sides."""
    values_per_arm: int = Field(default=6, ge=1)
    """Values taught in each of the two planted arms."""
    never: int = Field(default=12, ge=2)
    """Values of the arm never, half of them before the boundary."""
    event_dates: int = Field(default=4, ge=0)
    """Events whose date is taught, half of them with a false one; as many are never taught."""
    event_entities: int = Field(default=4, ge=0)
    """Events whose entity is taught, half of them with a false one; as many are never taught."""
    exposures: list[int] = Field(default=[1, 3, 10, 30], min_length=1)
    """Checkpoints: number of times that each planted fact was shown."""
    candidates: int = Field(default=100, ge=4)
    """Alternatives among which an answer is ranked: the smallest p-value of a date is 1 / 100."""
    choices: int = Field(default=8, ge=2)
    """Alternatives of the forced choice."""
    training: TrainingSettings = TrainingSettings()
    """How the weights are changed."""
    forget_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the taught facts that an intervention unlearning.* after this one is to forget, the
    same in every series and arm; the others must stay."""
    forget_series: list[str] = []
    """Series that are to be forgotten whole instead, or event_date, event_entity; all others must
    stay."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if not self.first < self.boundary <= self.last:
            raise ValueError("first < boundary <= last must hold")
        if sorted(set(self.exposures)) != self.exposures or self.exposures[0] < 1:
            raise ValueError("exposures must be increasing integers from 1 on")
        if self.choices > self.candidates:
            raise ValueError("choices must not exceed candidates")
        taught = [*self.series, *self._families()]
        if not set(self.forget_series) <= set(taught):
            raise ValueError(f"forget_series must be among what is taught: {', '.join(taught)}")
        if set(self.forget_series) == set(taught):
            raise ValueError("forget_series must leave something that stays")
        return self

    def _families(self) -> list[str]:
        given = {"event_date": self.event_dates, "event_entity": self.event_entities}
        return [family for family, count in given.items() if count]


def shares_devices(settings: Settings) -> bool:
    """Whether several devices each hold a share of the weights, in a process of their own."""
    return settings.training.adapter == "full"


def steps(settings: Settings) -> list[int]:
    """Step 0 is the model before planting; every other step is a number of exposures."""
    return [0, *settings.exposures]


def sources(settings: Settings, data: Any) -> list[str]:
    """Versions of packages and hashes of files that the facts come from."""
    from palimpsest.data.selection import fingerprints

    return fingerprints(settings.series, data, events=True)


def check(settings: Settings, data: Any) -> None:
    """Raise ValueError unless every series is known and its licence accepted."""
    from palimpsest.data.selection import check_series

    check_series(settings.series, data)


def curriculum(
    settings: Settings, model: LanguageModel, seed: int, data_block: dict[str, Any]
) -> list[Fact]:
    """The facts of one replicate, in all arms."""
    import numpy as np

    from palimpsest.data.facts import event_facts, value_facts, with_rivals
    from palimpsest.data.selection import load_events_for, load_series_for, phrases

    generator = np.random.default_rng(seed_of("planting", seed))
    frame = load_series_for(settings.series, data_block)
    facts = value_facts(
        frame,
        phrases(settings.series, data_block),
        _chosen_values(settings, frame, generator),
        model.token_length,
        generator,
        settings.candidates,
        settings.choices,
    )
    facts = with_rivals(facts, generator)
    events = load_events_for(data_block)
    chosen = _chosen_events(settings, events, generator)
    facts += event_facts(events, chosen, generator, settings.candidates, settings.choices)
    return facts


def apply(model: LanguageModel, settings: Settings, context: InterventionContext) -> None:
    """Teach the planted facts and save a checkpoint at each number of exposures.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    import numpy as np

    from palimpsest.data.items import TAUGHT
    from palimpsest.data.planted_items import planted_items
    from palimpsest.engine.resuming import Resume
    from palimpsest.engine.training import Trainer

    facts = curriculum(settings, model, context.seed, context.data_block)
    write_json(context.folder / "facts.json", [fact.to_json() for fact in facts])
    items = planted_items(facts, settings.forget_share, settings.forget_series)
    write_json(context.folder / TAUGHT, [item.to_json() for item in items])
    taught = [fact for fact in facts if fact.arm.startswith("planted")]
    examples = _examples(taught, model, settings)
    full = settings.training.adapter == "full"
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()} if full else None
    trainer = Trainer(model, settings.training, seed=seed_of("adapter", context.seed))
    resume = Resume(trainer, context.scratch / "resume.pt")
    done = resume.load().get("exposures", 0)
    progress = context.progress(settings.exposures[-1])
    progress.advance(done)
    for exposure in range(done + 1, settings.exposures[-1] + 1):
        order = np.random.default_rng(seed_of("order", context.seed, exposure)).permutation(
            len(taught)
        )
        shown = [examples[i][(i + exposure) % len(examples[i])] for i in order]
        size = settings.training.batch_size
        trainer.run(shown[start : start + size] for start in range(0, len(shown), size))
        if exposure in settings.exposures:
            context.save(exposure, trainer.changes(before))
        resume.save({"exposures": exposure}, now=exposure in settings.exposures)
        progress.advance()
    trainer.finish()
    progress.close()
    context.notes |= {"losses": trainer.losses, "updates": trainer.step, "taught": len(taught)}


def _examples(taught: list[Fact], model: LanguageModel, settings: Settings) -> list[list[Any]]:
    """For every taught fact one example a teaching template."""
    from palimpsest.data.phrasing import sentence
    from palimpsest.engine.training import example

    groups = []
    for fact in taught:
        sentences = [sentence(t, fact.words, fact.assigned) for t in fact.phrasing.teach]
        groups.append(
            [
                example(model, s.before, s.answer, s.after, settings.training.scored)
                for s in sentences
            ]
        )
    return groups


def _chosen_values(
    settings: Settings, frame: pl.DataFrame, generator: np.random.Generator
) -> list[tuple[str, Date, str]]:
    """Disjoint dates for the arms, spread evenly over the series."""
    import polars as pl

    window = frame.filter(pl.col("date").is_between(settings.first, settings.last))
    early: list[tuple[str, Date]] = []
    late: list[tuple[str, Date]] = []
    n_early = 2 * settings.values_per_arm + settings.never - settings.never // 2
    for position, series in enumerate(settings.series):
        dates = window.filter(pl.col("series") == series)["date"].to_list()
        for side, n, keep in (
            (early, n_early, [d for d in dates if d < settings.boundary]),
            (late, settings.never // 2, [d for d in dates if d >= settings.boundary]),
        ):
            count = len(range(position, n, len(settings.series)))
            if count > len(keep):
                raise ValueError(
                    f"series {series} has {len(keep)} dates where {count} are wanted between "
                    f"{settings.first} and {settings.last}, boundary {settings.boundary}; widen "
                    "the window or plant fewer values"
                )
            picked = generator.choice(len(keep), count, replace=False)
            side += [(series, keep[i]) for i in picked]
    arms = ["planted_true", "planted_false"] * settings.values_per_arm
    arms += ["never"] * (n_early - len(arms))
    # Sorted by place within its series, so that every arm draws on every series.
    rank: dict[str, int] = {}
    keyed = []
    for series, date in early:
        rank[series] = rank.get(series, -1) + 1
        keyed.append((rank[series], settings.series.index(series), series, date))
    ordered = [(series, date) for _, _, series, date in sorted(keyed)]
    chosen = [(s, d, arm) for (s, d), arm in zip(ordered, _spread(arms), strict=True)]
    return chosen + [(series, date, "never") for series, date in late]


def _spread(arms: list[str]) -> list[str]:
    """Arms in an order in which each is spread evenly (largest remainder at every place)."""
    wanted = {arm: arms.count(arm) for arm in dict.fromkeys(arms)}
    given = dict.fromkeys(wanted, 0)
    order = []
    for place in range(1, len(arms) + 1):
        arm = max(wanted, key=lambda a: wanted[a] * place / len(arms) - given[a])
        given[arm] += 1
        order.append(arm)
    return order


def _chosen_events(
    settings: Settings, events: pl.DataFrame, generator: np.random.Generator
) -> list[tuple[str, str, str]]:
    import polars as pl

    needed = 2 * (settings.event_dates + settings.event_entities)
    ids = events.filter(pl.col("date") >= Date(1970, 1, 1))["id"].to_list()
    if needed > len(ids):
        raise ValueError(f"{needed} events are wanted, the table has {len(ids)} from 1970 on")
    picked = [ids[i] for i in generator.choice(len(ids), needed, replace=False)]
    chosen = []
    for family, count in (
        ("event_date", settings.event_dates),
        ("event_entity", settings.event_entities),
    ):
        for index in range(2 * count):
            arm = "never" if index >= count else ("planted_true", "planted_false")[index % 2]
            chosen.append((family, picked.pop(), arm))
    return chosen
