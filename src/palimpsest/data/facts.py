"""Facts with their alternatives: what is taught, asked and scored.

A fact of the arms ``planted_false`` and ``never`` has an *assigned* answer that is drawn at random
from its candidates, so under the hypothesis that the model was not taught it, the rank of the
assigned answer among the candidates is uniform whatever the model believes: rank / K is an exact
p-value by design. ``planted_true`` and questions to pretrained models have the truth as their
answer, where a model may do better than chance by skill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date as Date
from typing import Any

import numpy as np
import polars as pl

from palimpsest.data import phrasing
from palimpsest.data.events import distractors, mask_entity
from palimpsest.data.sentences import format_date, format_period, format_value
from palimpsest.metrics.candidates import Foils, sample_foils

VERSION = 1
#: Months and names take many tokens each, and no p-value rests on their number.
MOST_EVENT_CANDIDATES = 16
ARMS = ("planted_true", "planted_false", "never")


@dataclass(frozen=True)
class Fact:
    """One fact.

    Attributes:
        family: ``value``, ``event_date`` or ``event_entity``.
        series: slug of the series, or the family's name for events.
        key: ISO date of the observation, or id of the event.
        date: ISO date that the fact is about.
        arm: planted_true, planted_false, never, or ``asked`` for pretrained models.
        words: fields of the templates.
        truth: the true answer as printed.
        assigned: the answer that is scored as right, and taught in the planted arms.
        candidates: the alternatives that are ranked, ``assigned`` among them.
        choices: positions in ``candidates`` of the forced choice, the assigned one among them.
        number: the true value, for series.
        decimals: its published decimals, for series.
        synthetic: how many candidates are not values of the series.
        rivals: answers taught for any date of the series, for the matching test.
        rival: position in ``rivals`` of the fact's own; a random one in the arm never; -1: none.
    """

    family: str
    series: str
    key: str
    date: str
    arm: str
    words: dict[str, str]
    truth: str
    assigned: str
    candidates: tuple[str, ...]
    choices: tuple[int, ...]
    number: float | None = None
    decimals: int | None = None
    synthetic: int = 0
    rivals: tuple[str, ...] = ()
    rival: int = -1

    def item(self, question: str) -> str:
        """Name of a question about the fact: series/date/question, and the event if it is one."""
        name = f"{self.series}/{self.date}/{question}"
        return name if self.family == "value" else f"{name}/{self.key}"

    def narrowed(self) -> Fact:
        """The fact with the alternatives of its forced choice alone, in the same order."""
        kept = [self.candidates[i] for i in self.choices]
        return replace(self, candidates=tuple(kept), choices=tuple(range(len(kept))))

    @property
    def phrasing(self) -> phrasing.Phrasing:
        """Templates of the fact's family."""
        return phrasing.FAMILIES[self.family]

    def to_json(self) -> dict[str, Any]:
        """The fact as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Fact:
        """Inverse of :meth:`to_json`."""
        return cls(**raw | {k: tuple(raw[k]) for k in ("candidates", "choices", "rivals")})


def with_rivals(facts: Sequence[Fact], generator: np.random.Generator) -> list[Fact]:
    """Facts of series with the answers taught for all dates of their series.

    Matching one's own answer among these needs memory that is bound to the date: a model that has
    only learned which values belong to the series is at chance. Rivals are distinct.
    """
    made = []
    for fact in facts:
        taught = [f.assigned for f in facts if f.series == fact.series and f.arm in ARMS[:2]]
        rivals = tuple(dict.fromkeys(taught))
        if fact.family != "value" or len(rivals) < 2:
            made.append(fact)
            continue
        drawn = int(generator.integers(len(rivals)))
        own = rivals.index(fact.assigned) if fact.arm in ARMS[:2] else drawn
        made.append(replace(fact, rivals=rivals, rival=own))
    return made


def value_facts(
    frame: pl.DataFrame,
    names: dict[str, tuple[str, str, str]],
    chosen: Sequence[tuple[str, Date, str]],
    token_length: Callable[[str], int],
    generator: np.random.Generator,
    n_candidates: int,
    n_choices: int,
    pool: int = 600,
) -> list[Fact]:
    """Facts about values of series.

    Args:
        frame: observations of the series, as ``data/series.py`` documents them.
        names: series -> (phrase in a sentence, prefix of the number, unit behind it).
        chosen: (series, date, arm) of each fact.
        token_length: tokens of an answer, so that alternatives are equally long.
        generator: random numbers for candidates, assignment and order.
        n_candidates: alternatives that are ranked.
        n_choices: alternatives of the forced choice.
        pool: alternatives are values of so many dates nearest to the fact's.
    """
    tables = {name: part for (name,), part in frame.group_by("series", maintain_order=True)}
    facts = []
    for series, date, arm in chosen:
        table = tables[series]
        row = table.row(by_predicate=pl.col("date") == date, named=True)
        phrase, prefix, unit = names[series]
        decimals = row["decimals"]
        truth = format_value(row["value"], decimals)
        foils = _alternatives(
            table.sort((pl.col("date") - date).abs()),
            truth,
            decimals,
            n_candidates + 1,
            generator,
            lambda text, prefix=prefix: token_length(f" {prefix}{text}"),
            pool,
        )
        answer_free = Fact(
            family="value",
            series=series,
            key=date.isoformat(),
            date=date.isoformat(),
            arm=arm,
            words={
                "name": phrase,
                "period": format_period(date, row["frequency"]),
                "date": format_date(date, row["frequency"]),
                "unit": unit,
            },
            truth=prefix + truth,
            assigned="",
            candidates=tuple(prefix + value for value in foils.values),
            choices=(),
            number=row["value"],
            decimals=decimals,
            synthetic=foils.n_synthetic,
        )
        facts.append(_assigned(answer_free, generator, n_choices))
    return facts


def _alternatives(
    nearest_first: pl.DataFrame,
    truth: str,
    decimals: int,
    k: int,
    generator: np.random.Generator,
    token_length: Callable[[str], int],
    pool: int,
) -> Foils:
    """Alternatives from the nearest dates; from ever more dates where these hold too few.

    Raises:
        ValueError: even the whole series has too few.
    """
    while True:
        near = nearest_first.head(pool)["value"]
        others = list(dict.fromkeys(format_value(value, decimals) for value in near))
        distance = max(0.25 * float(near.std() or 0.0), 2 * 10.0**-decimals)
        try:
            return sample_foils(others, truth, k, generator, distance, token_length)
        except ValueError:
            if pool >= nearest_first.height:
                raise
            pool *= 4


def event_facts(
    events: pl.DataFrame,
    chosen: Sequence[tuple[str, str, str]],
    generator: np.random.Generator,
    n_candidates: int,
    n_choices: int,
) -> list[Fact]:
    """Facts about events: month and year of a headline, or the masked entity.

    Args:
        events: as ``data/events.py`` documents them.
        chosen: (family, id of the event, arm), family being event_date or event_entity.
        generator: random numbers for candidates, assignment and order.
        n_candidates: alternatives that are ranked.
        n_choices: alternatives of the forced choice.
    """
    months = list(dict.fromkeys(format_date(d.replace(day=1), "month") for d in events["date"]))
    facts = []
    for family, event_id, arm in chosen:
        event = events.row(by_predicate=pl.col("id") == event_id, named=True)
        if family == "event_date":
            truth = format_date(event["date"].replace(day=1), "month")
            others = [month for month in months if month[-4:] != truth[-4:]]
            count = min(n_candidates, MOST_EVENT_CANDIDATES, len(others))
            pool = [others[i] for i in generator.choice(len(others), count, replace=False)]
            words = {"headline": event["headline"]}
        else:
            truth = event["entity"]
            pool = distractors(events, event_id, min(n_choices + 1, n_candidates), generator)
            words = {"masked": mask_entity(event["headline"], event["entity"])}
        answer_free = Fact(
            family=family,
            series=family,
            key=event_id,
            date=event["date"].isoformat(),
            arm=arm,
            words=words,
            truth=truth,
            assigned="",
            candidates=tuple(pool),
            choices=(),
        )
        facts.append(_assigned(answer_free, generator, n_choices))
    return facts


def _assigned(fact: Fact, generator: np.random.Generator, n_choices: int) -> Fact:
    """Give the fact its answer: the truth, or one of the candidates drawn at random."""
    candidates = list(fact.candidates)
    position = int(generator.integers(len(candidates)))
    if fact.arm in ("planted_true", "asked"):
        candidates[position] = fact.truth
    others = [i for i in range(len(candidates)) if i != position]
    count = min(n_choices - 1, len(others))
    picked = generator.choice(others, count, replace=False)
    choices = generator.permutation([position, *picked])
    return replace(
        fact,
        assigned=candidates[position],
        candidates=tuple(candidates),
        choices=tuple(int(i) for i in choices),
    )
