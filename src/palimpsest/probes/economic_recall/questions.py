"""What a cell asks: planted facts of the state, or facts drawn at large."""

from __future__ import annotations

from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.data.facts import Fact, event_facts, value_facts
from palimpsest.data.items import TAUGHT, of_part, request, taught_items
from palimpsest.data.selection import load_events_for, load_series_for, phrases
from palimpsest.files import read_json
from palimpsest.identity import seed_of

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.economic_recall.settings import Settings


def facts_of(
    cell: dict[str, Any], model: LanguageModel, settings: Settings, context: ProbeContext
) -> list[Fact]:
    """The facts that a cell asks about."""
    factors = cell["parameters"]
    family = cell["experiment"] if cell["experiment"].startswith("event_") else "value"
    if factors["facts"] == "planted":
        facts = _planted(context.state_folder)
        wanted = factors["series"] or family
        return [fact for fact in facts if fact.series == wanted]
    generator = np.random.default_rng(seed_of("asked", family, factors["series"]))
    if family == "value":
        facts = _asked_values(factors, model, settings, context, generator)
        if cell["experiment"] in ("fake_cutoff", "forecast") or factors.get("detail") == "few":
            # The first of the random order, so that a larger subset contains a smaller one.
            return facts[: settings.subset_per_series]
        return facts
    before, after = _asked_events(factors, settings, context)
    if factors.get("detail") == "few":
        before, after = before[: 2 * settings.subset_per_series], []
    chosen = [(family, event["id"], "asked") for event in before + after]
    events = load_events_for(context.data_block)
    return event_facts(events, chosen, generator, settings.candidates, settings.choices)


def parts_of(folder: Path) -> dict[str, str]:
    """What became of the facts that a state was planted with: their identity -> part.

    Parts are those of the items of the planting: forget and retain; *later* for what is to be
    forgotten in a request that has not come yet. A fact that is not in here was in no set: the
    methods were given files, or items of another intervention.
    """
    requested: list[dict[str, Any]] = []
    listed = folder
    while not (listed / TAUGHT).is_file():
        facts = read_json(listed / "state.json")
        if facts["intervention"].startswith("unlearning."):
            requested.append(facts["settings"])
        listed = Path(facts["parent"]).parent
    items = taught_items(listed)
    if any(settings.get("forget") for settings in requested):
        return {}
    forget = of_part(items, "forget")
    gone = {
        item.id
        for settings in requested
        for item in request(forget, settings.get("request", 1), settings.get("requests", 1))
    }
    return {
        item.id: "later" if item.part == "forget" and item.id not in gone else item.part
        for item in items
    }


def dated_headlines(
    cell: dict[str, Any], settings: Settings, context: ProbeContext
) -> list[tuple[str, str, Date]]:
    """(id, headline, date) of the events before the cutoff, in random order."""
    before, _ = _asked_events(cell["parameters"], settings, context)
    return [(row["id"], row["headline"], row["date"]) for row in before]


def series_table(series: str, context: ProbeContext) -> pl.DataFrame:
    """All observations of one series, in time order."""
    return load_series_for([series], context.data_block).sort("date")


def _planted(folder: Path) -> list[Fact]:
    """Facts of the nearest planting in the state's history."""
    while True:
        listed = folder / "facts.json"
        if listed.is_file():
            return [Fact.from_json(raw) for raw in read_json(listed)]
        facts = read_json(folder / "state.json")
        folder = Path(facts["parent"]).parent


def _asked_events(
    factors: dict[str, Any], settings: Settings, context: ProbeContext
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events before and after the cutoff: the same, in one order, for all experiments."""
    events = load_events_for(context.data_block)
    order = np.random.default_rng(seed_of("asked events")).permutation(events.height)
    rows = [events.row(int(i), named=True) for i in order]
    cutoff = Date.fromisoformat(factors["cutoff"]) if factors["cutoff"] else Date.max
    before = [row for row in rows if row["date"] < cutoff][: settings.events]
    after = [row for row in rows if row["date"] >= cutoff][: settings.events_after_cutoff]
    return before, after


def _asked_values(
    factors: dict[str, Any],
    model: LanguageModel,
    settings: Settings,
    context: ProbeContext,
    generator: np.random.Generator,
) -> list[Fact]:
    series = factors["series"]
    table = series_table(series, context)
    cutoff = Date.fromisoformat(factors["cutoff"]) if factors["cutoff"] else None
    # The first observations have no past to forecast from.
    dates = table["date"].to_list()[settings.context :]
    before = [d for d in dates if cutoff is None or d < cutoff]
    after = [d for d in dates if cutoff is not None and d >= cutoff]
    picked = []
    for group, count in ((before, settings.dates_per_series), (after, settings.dates_after_cutoff)):
        chosen = generator.choice(len(group), min(count, len(group)), replace=False)
        picked.append([group[int(i)] for i in chosen])
    # Interleaved, so that the first few hold dates from both sides of the cutoff.
    mixed = []
    while any(picked):
        for group in (picked[0], picked[0], picked[1]):
            if group:
                mixed.append(group.pop(0))
    return value_facts(
        table,
        phrases([series], context.data_block),
        [(series, date, "asked") for date in mixed],
        model.token_length,
        generator,
        settings.candidates,
        settings.choices,
        pool=3 * settings.candidates,
    )
