"""Economic recall: one function an experiment, from a cell to rows of observations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date as Date
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.events import tfidf_floor
from palimpsest.data.facts import Fact
from palimpsest.data.phrasing import ignore_after
from palimpsest.data.planted_items import item_id
from palimpsest.data.selection import kinds, load_events_for, phrases
from palimpsest.data.sentences import format_date, format_period, format_value
from palimpsest.engine.asking import lettered, log_likelihoods
from palimpsest.engine.scoring import hidden_states
from palimpsest.metrics.parsing import read_choice
from palimpsest.probes.economic_recall.answering import answer
from palimpsest.probes.economic_recall.choosing import choose, neutral_lead, unseen_leads
from palimpsest.probes.economic_recall.choosing_in_words import choose_in_words, said
from palimpsest.probes.economic_recall.questions import (
    dated_headlines,
    facts_of,
    parts_of,
    series_table,
)

if TYPE_CHECKING:
    from palimpsest.context import ProbeContext
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.economic_recall.settings import Settings

ENGINE = (
    "engine.asking",
    "engine.scoring",
    "data.facts",
    "data.items",
    "data.phrasing",
    "data.planted_items",
    "data.selection",
    "models.states",
)
Row = dict[str, Any]


def measure(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Measure one cell.

    Args:
        model: the state at the cell's step.
        settings: the probe's settings.
        cell: the cell; its experiment names the function of this module.
        context: study, state, data.

    Yields:
        Rows with item (series/date/question or family/event/question), grp (arm), metric, value
        and text.
    """
    yield from globals()[f"_{cell['experiment']}"](model, settings, cell, context)
    factors = cell["parameters"]
    if factors.get("origin") and factors["facts"] == "planted":
        yield from _parts(facts_of(cell, model, settings, context), parts_of(context.state_folder))


def _parts(facts: list[Fact], parts: dict[str, str]) -> Iterator[Row]:
    """For every fact what unlearning was to do with it: forget, retain, or it was never taught."""
    for fact in facts:
        part = "never" if fact.arm == "never" else parts.get(item_id(fact), "unlisted")
        yield {
            "item": fact.item("part"),
            "grp": fact.arm,
            "metric": "part",
            "value": 1.0,
            "text": part,
        }


def _value(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 1: the value at a date, chosen among alternatives and answered freely."""
    factors = cell["parameters"]
    full = factors["detail"] == "full"
    facts = facts_of(cell, model, settings, context)
    leads = [unseen_leads(model, fact) for fact in facts]
    scored = facts if full else [fact.narrowed() for fact in facts]
    asked = leads
    if factors["facts"] == "asked" and factors["detail"] != "few":
        asked = [
            [*group, other]
            for group, other in zip(leads, _of_neighbours(model, facts), strict=True)
        ]
    yield from _choose(model, settings, cell, scored, asked, keep_scores=full)
    if factors["detail"] in ("choice", "few"):
        return
    series = factors["series"]
    yield from answer(
        model,
        facts,
        # Running text: after "Answer:" a plain model often ends its turn at once.
        [group[0][1] for group in leads],
        "answer",
        series_table(series, context),
        kinds([series], context.data_block)[series],
        Date.fromisoformat(factors["cutoff"]) if factors["cutoff"] else None,
        settings,
    )


def _choose(
    model: LanguageModel,
    settings: Settings,
    cell: dict[str, Any],
    facts: list[Fact],
    leads: list[list[tuple[str, str]]],
    one_prior: bool = False,
    keep_scores: bool = False,
) -> Iterator[Row]:
    """Forced choice by log-likelihood, or in words where a server gives no log-probabilities.

    With ``one_prior`` the first template's stands for all prompts of a fact.
    """
    if _in_words(cell):
        yield from choose_in_words(model, facts, leads, settings.answer_tokens)
        return

    def neutral(fact: Fact, position: int) -> str:
        return neutral_lead(model, fact, 0 if one_prior else position)

    yield from choose(model, facts, leads, neutral, keep_scores)


def _in_words(cell: dict[str, Any]) -> bool:
    return cell["parameters"].get("endpoint") == "words"


def _of_neighbours(model: LanguageModel, facts: list[Fact]) -> list[tuple[str, str]]:
    """For each fact the first question about the nearest other date: the permuted-date null.

    A model that knows the level of a series but no date does as well with a neighbour's date in
    the question as with the right one.
    """
    days = [Date.fromisoformat(fact.date).toordinal() for fact in facts]
    found = []
    for index in range(len(facts)):
        others = [i for i in range(len(facts)) if i != index]
        nearest = facts[min(others, key=lambda i: (abs(days[i] - days[index]), i))]
        found.append(("permuted", unseen_leads(model, nearest)[0][1]))
    return found


def _with_another_event(model: LanguageModel, facts: list[Fact]) -> list[list[tuple[str, str]]]:
    """The questions of each fact and, for asked ones, the first of the next event: the null.

    A model that prefers some months or names whatever the headline does as well with the headline
    of another event and the same alternatives. The order of facts is random.
    """
    leads = [unseen_leads(model, fact) for fact in facts]
    if len(facts) < 2 or facts[0].arm != "asked":
        return leads
    others = [group[0][1] for group in leads[1:] + leads[:1]]
    return [[*group, ("permuted", other)] for group, other in zip(leads, others, strict=True)]


def _fake_cutoff(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 2: the same question under the instruction to ignore what came after a year."""
    facts = facts_of(cell, model, settings, context)
    facts = [fact.narrowed() for fact in facts if fact.arm != "never"]
    if not facts:
        return
    leads = []
    for fact in facts:
        plain = unseen_leads(model, fact)[0]
        group = [("none", plain[1])]
        for distance in settings.cutoff_distances:
            year = Date.fromisoformat(fact.date).year + distance
            group.append((f"{distance:+d}", unseen_leads(model, fact, ignore_after(year))[0][1]))
        leads.append(group)
    # One prior for all: the paired difference is the effect of the instruction alone.
    yield from _choose(model, settings, cell, facts, leads, one_prior=True)


def _forecast(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 3: the next value after the last k, with and without the name of the series."""
    series = cell["parameters"]["series"]
    facts = facts_of(cell, model, settings, context)
    table = series_table(series, context)
    index = {date: i for i, date in enumerate(table["date"].to_list())}
    facts = [f for f in facts if index[Date.fromisoformat(f.date)] >= settings.context]
    facts = [fact.narrowed() for fact in _as_many_never_as_false(facts)]
    if not facts:
        return
    phrase, prefix, _ = phrases([series], context.data_block)[series]
    frequency = table["frequency"][0]
    prompts: dict[str, list[str]] = {"named": [], "anonymous": []}
    for fact in facts:
        at = index[Date.fromisoformat(fact.date)]
        past = table.slice(at - settings.context, settings.context)
        values = [prefix + format_value(value, int(fact.decimals or 0)) for value in past["value"]]
        days = [format_date(day, frequency) for day in past["date"]]
        days.append(format_date(Date.fromisoformat(fact.date), frequency))
        named = "; ".join(f"{d}: {v}" for d, v in zip(days, values, strict=False))
        plain = "; ".join(f"{i}: {v}" for i, v in enumerate(values, start=1))
        head = phrase[:1].upper() + phrase[1:]
        prompts["named"].append(model.ask("", f"{head}. {named}; {days[-1]}:"))
        prompts["anonymous"].append(model.ask("", f"A series. {plain}; {len(values) + 1}:"))
    kind = kinds([series], context.data_block)[series]
    cutoff = cell["parameters"]["cutoff"]
    for variant, texts in prompts.items():
        leads = [[(variant, text)] for text in texts]
        yield from _choose(model, settings, cell, facts, leads, one_prior=True)
        yield from answer(
            model,
            facts,
            texts,
            f"{variant}_answer",
            table,
            kind,
            Date.fromisoformat(cutoff) if cutoff else None,
            settings,
        )


def _as_many_never_as_false(facts: list[Fact]) -> list[Fact]:
    """Planted falsehoods and as many facts of the arm never; all facts where none is planted."""
    false = [fact for fact in facts if fact.arm == "planted_false"]
    never = [fact for fact in facts if fact.arm == "never"]
    return false + never[: len(false)] if false else facts


def _event_date(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 4: headline to month and year."""
    yield from _event_choices(model, settings, facts_of(cell, model, settings, context), cell)


def _event_choices(
    model: LanguageModel, settings: Settings, facts: list[Fact], cell: dict[str, Any]
) -> Iterator[Row]:
    """All alternatives and the null of another event; of few facts the forced choice alone."""
    few = cell["parameters"].get("detail") == "few"
    leads = [unseen_leads(model, f) for f in facts] if few else _with_another_event(model, facts)
    scored = [fact.narrowed() for fact in facts] if few else facts
    yield from _choose(model, settings, cell, scored, leads)


def _event_order(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 4: which of two headlines came first, asked in both orders."""
    events = dated_headlines(cell, settings, context)
    pairs = [
        sorted(pair, key=lambda event: event[2])
        for pair in zip(events[::2], events[1::2], strict=False)
        if abs((pair[0][2] - pair[1][2]).days) > 365
    ]
    question = "Two events. A: {}. B: {}. Of these two, the earlier event is"
    prompts = [
        model.ask("", question.format(first[1], second[1]))
        for early, late in pairs
        for first, second in ((early, late), (late, early))
    ]
    orders = _orders_in_words if _in_words(cell) else _orders
    found = orders(model, settings, pairs, prompts)
    for (early, late), rows in zip(pairs, found, strict=True):
        item = f"event_order/{early[2]}/both_orders/{early[0]}+{late[0]}"
        gap = {"metric": "gap_days", "value": float((late[2] - early[2]).days)}
        yield from ({"item": item, "grp": "asked"} | row for row in [*rows, gap])


def _orders(
    model: LanguageModel, settings: Settings, pairs: list[Any], prompts: list[str]
) -> Iterator[list[Row]]:
    """For every pair of events which letter is likelier, in both orders."""
    scored = log_likelihoods(model, prompts, [[" A", " B"]] * len(prompts))
    for straight, swapped in zip(scored[::2], scored[1::2], strict=True):
        # A preference for a letter enters once with each sign and cancels.
        lead = (straight[0].sum() - straight[1].sum()) - (swapped[0].sum() - swapped[1].sum())
        yield [
            {"metric": "correct", "value": 1.0 if lead > 0 else 0.5 if lead == 0 else 0.0},
            {"metric": "log_odds", "value": float(lead) / 2},
        ]


def _orders_in_words(
    model: LanguageModel, settings: Settings, pairs: list[Any], prompts: list[str]
) -> Iterator[list[Row]]:
    """The letter that is named, half a point for each order: one letter always gives one half.

    Where the server gives the probabilities of both letters in both orders, also ``log_odds``.
    """
    asked = lettered(model, prompts, [2] * len(prompts), settings.answer_tokens)
    given, scores = [answer for answer, _ in asked], [found for _, found in asked]
    for number, (early, late) in enumerate(pairs):
        options, rows, right = [early[1], late[1]], [], 0.0
        for place in (0, 1):
            at = 2 * number + place
            shown, refused = options[::-1] if place else options, bool(given[at].refusal)
            read = read_choice(given[at].text, shown, refused)
            right += 0.5 * (read.index == place)
            rows += said(prompts[at], given[at], read)
        if scores[2 * number] is not None:
            straight, swapped = scores[2 * number : 2 * number + 2]
            lead = (straight[0] - straight[1]) - (swapped[0] - swapped[1])
            missing = float(np.isnan([straight, swapped]).sum())
            rows.append({"metric": "letters_missing", "value": missing})
            if np.isfinite(lead):
                rows.append({"metric": "log_odds", "value": float(lead) / 2})
        yield [{"metric": "correct", "value": right}, *rows]


def _event_entity(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 5: masked entity, against distractors and a floor of word statistics."""
    facts = facts_of(cell, model, settings, context)
    yield from _event_choices(model, settings, facts, cell)
    floor = tfidf_floor(
        load_events_for(context.data_block),
        [fact.words["masked"] for fact in facts],
        [[fact.candidates[i] for i in fact.choices] for fact in facts],
    )
    for fact, chosen in zip(facts, floor, strict=True):
        right = fact.choices[chosen] == fact.candidates.index(fact.assigned)
        yield {
            "item": fact.item("tfidf"),
            "grp": fact.arm,
            "metric": "floor_correct",
            "value": float(right),
        }


def _embedding(
    model: LanguageModel, settings: Settings, cell: dict[str, Any], context: ProbeContext
) -> Iterator[Row]:
    """Experiment 6: is the value in the hidden states of "series at date"?

    Ridge regression, cross-validated in blocks of time, against a spline of the date; the placebo
    has the values of the same series in an order drawn at random.
    """
    # Imported here: scikit-learn takes seconds, and most jobs have no such cell.
    from palimpsest.statistics.ridge import ridge_time_blocked, spline_time_blocked

    series = cell["parameters"]["series"]
    table = series_table(series, context)
    cutoff = cell["parameters"]["cutoff"]
    if cutoff:
        table = table.filter(table["date"] < Date.fromisoformat(cutoff))
    count = min(settings.embedding_dates, table.height)
    at = np.unique(np.linspace(0, table.height - 1, count).round().astype(int))
    chosen = table[at.tolist()]
    phrase = phrases([series], context.data_block)[series][0]
    days, frequency = chosen["date"].to_list(), chosen["frequency"][0]
    texts = [f"{phrase[:1].upper()}{phrase[1:]} {format_period(day, frequency)}" for day in days]
    layers = [model.module.config.num_hidden_layers // 2 - 1, -1]
    states = hidden_states(model, texts, layers)
    target = chosen["value"].to_numpy()
    dates = np.array([day.toordinal() for day in days], dtype=float)
    shuffled = np.random.default_rng(context.seed).permutation(target)
    predictions = {
        "target": target,
        "spline": spline_time_blocked(dates, target).predictions,
        "ridge_middle": ridge_time_blocked(states[:, 0], target, dates).predictions,
        "ridge_last": ridge_time_blocked(states[:, 1], target, dates).predictions,
        "placebo_target": shuffled,
        "placebo": ridge_time_blocked(states[:, 0], shuffled, dates).predictions,
    }
    for position, day in enumerate(days):
        for metric, values in predictions.items():
            yield {
                "item": f"{series}/{day.isoformat()}/embedding",
                "grp": "asked",
                "metric": metric,
                "value": float(values[position]),
            }
