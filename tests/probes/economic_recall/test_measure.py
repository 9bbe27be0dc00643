"""Economic recall on models whose knowledge is known: each must be seen for what it is."""

from __future__ import annotations

import re
from datetime import date as Date
from pathlib import Path

import numpy as np
import pytest

from palimpsest.context import ProbeContext
from palimpsest.data.events import load_events
from palimpsest.data.facts import Fact
from palimpsest.data.selection import load_series_for
from palimpsest.data.sentences import format_date, format_period, format_value
from palimpsest.metrics.baselines import ar1, drift, frozen_at_cutoff, interpolate, last_value
from palimpsest.models.endpoint.replies import Answer
from palimpsest.probes.economic_recall import answering, choosing, measure
from palimpsest.probes.economic_recall.settings import Settings

SERIES = "us_unemployment_rate"
SETTINGS = Settings(series=[SERIES], dates_per_series=12, dates_after_cutoff=4, candidates=12)
TABLE = load_series_for([SERIES], {})
DATES = TABLE["date"].to_list()
TRUE = {
    format_period(d, "quarter"): format_value(v, 1)
    for d, v in zip(DATES, TABLE["value"], strict=True)
}
CUTOFF = "1995-01-01"


class Scripted:
    """A model that is nothing but a rule from a prompt to an answer (None: it does not know)."""

    def __init__(self, rule):
        self.rule = rule
        self.tokens = 0

    def ask(self, question, lead):
        return f"{question} {lead}".strip()

    def token_length(self, text):
        return len(text)


def _scores(model, prompts, continuations):
    """The answer of the rule is far likelier than anything else; ignorance is indifferent."""
    return [
        [np.array([0.0 if text.strip() == model.rule(prompt) else -9.0]) for text in texts]
        for prompt, texts in zip(prompts, continuations, strict=True)
    ]


def _texts(model, prompts, max_new_tokens, stop=()):
    return [Answer(f" {model.rule(prompt) or 'No idea at all'} percent.") for prompt in prompts]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    monkeypatch.setattr(choosing, "log_likelihoods", _scores)
    monkeypatch.setattr(answering, "answers", _texts)


def _rows(rule, experiment="value", cutoff=CUTOFF, **more):
    cell = {
        "experiment": experiment,
        "parameters": {"facts": "asked", "series": SERIES, "cutoff": cutoff, "detail": "full"}
        | more,
    }
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    return list(measure.measure(Scripted(rule), SETTINGS, cell, context))


def _values(rows, metric, question=None):
    return np.array(
        [
            row["value"]
            for row in rows
            if row["metric"] == metric
            and (question is None or row["item"].split("/")[2] == question)
        ],
        dtype=float,
    )


def _period(prompt):
    found = re.findall(r"in the (?:first|second|third|fourth) quarter of \d{4}", prompt)
    return found[-1] if found else None


def looks_up(prompt):
    return TRUE.get(_period(prompt))


def _neighbour(shift):
    ordered = list(TRUE)

    def rule(prompt):
        period = _period(prompt)
        return TRUE[ordered[ordered.index(period) + shift]] if period else None

    return rule


def test_oracle_is_always_right():
    rows = _rows(looks_up)
    assert _values(rows, "correct").size == 3 * 16
    permuted = _values(rows, "correct", "permuted")
    assert permuted.size == 16
    # With a neighbour's date in the question it gives the neighbour's value.
    assert permuted.mean() < 0.5
    rows = [row for row in rows if "/permuted" not in row["item"]]
    for metric in ("correct", "correct_raw", "rank", "exact_truth", "within_tolerance"):
        assert (_values(rows, metric) == 1).all(), metric
    np.testing.assert_allclose(_values(rows, "exposure"), np.log2(12))
    assert (_values(rows, "absolute_error") == 0).all()
    assert (_values(rows, "side_correct")[~np.isnan(_values(rows, "side_correct"))] == 1).all()
    assert (_values(rows, "direction_correct") == 1).all()
    gains = _values(rows, "recall_gain")
    assert (gains[~np.isnan(gains)] >= 0).all()
    assert (gains[~np.isnan(gains)] > 0).any()


def test_ignorance_is_at_chance_and_its_refusals_are_counted():
    rows = _rows(lambda prompt: None)
    np.testing.assert_allclose(_values(rows, "correct"), 1 / 8)
    assert (_values(rows, "rank") == 12).all()
    assert np.isnan(_values(rows, "absolute_error")).all()
    assert (_values(rows, "exact_truth") == 0).all()
    categories = [r["text"] for r in rows if r["metric"] == "category_lenient"]
    assert "number" not in categories


def test_persistence_has_no_error_beyond_that_of_the_last_value():
    rows = _rows(_neighbour(-1))
    np.testing.assert_allclose(_values(rows, "absolute_error"), _values(rows, "persistence_error"))
    changed = _values(rows, "absolute_error") > 0
    assert (_values(rows, "direction_correct")[changed] == 0).all()


def test_interpolation_gains_nothing_over_itself():
    coarse = interpolate(TABLE["date"].to_numpy(), TABLE["value"].to_numpy()).predictions
    said = dict(zip(TRUE, coarse, strict=True))
    rows = _rows(lambda prompt: f"{said[_period(prompt)]:.9f}" if _period(prompt) else None)
    gains = _values(rows, "recall_gain")
    np.testing.assert_allclose(gains[~np.isnan(gains)], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "forecaster"),
    [("persistence", last_value), ("drift", drift), ("ar1", ar1), ("frozen", frozen_at_cutoff)],
)
def test_a_forecaster_gains_nothing_over_itself(name, forecaster):
    days = TABLE["date"].to_numpy()
    cutoff = {"cutoff": np.datetime64(CUTOFF)} if name == "frozen" else {}
    said = dict(zip(TRUE, forecaster(days, TABLE["value"].to_numpy(), days, **cutoff), strict=True))
    rows = _rows(lambda prompt: f"{said[_period(prompt)]:.9f}" if _period(prompt) else None)
    gains = _values(rows, f"gain_{name}")
    # What is frozen at the cutoff says nothing about dates before it.
    assert (~np.isnan(gains)).sum() == (4 if name == "frozen" else 16)
    np.testing.assert_allclose(gains[~np.isnan(gains)], 0, atol=1e-6)
    others = _values(_rows(looks_up), f"gain_{name}")
    assert (others[~np.isnan(others)] >= 0).all()
    assert np.nanmax(others) > 0.5


def test_a_unit_slip_is_flagged():
    rows = _rows(lambda prompt: f"{float(looks_up(prompt)) * 1000:g}" if _period(prompt) else None)
    assert (_values(rows, "unit_slip") == 3).all()
    assert (_values(rows, "exact_truth") == 0).all()


def _year_of_cutoff(prompt):
    found = re.search(r"31 December (\d{4})", prompt)
    return int(found.group(1)) if found else None


def obeys(prompt):
    year, period = _year_of_cutoff(prompt), _period(prompt)
    forbidden = year is not None and period is not None and int(period[-4:]) > year
    return None if forbidden else looks_up(prompt)


def test_fake_cutoff_obeyed_and_ignored():
    """Compliance: the drop in accuracy where the instruction forbids the answer."""
    for rule, forbidden in ((obeys, 1 / 8), (looks_up, 1.0)):
        rows = _rows(rule, "fake_cutoff")
        for question, expected in (
            ("none", 1.0),
            ("-10", forbidden),
            ("-2", forbidden),
            ("+2", 1.0),
            ("+10", 1.0),
        ):
            np.testing.assert_allclose(_values(rows, "correct", question), expected)


def test_forecast_shows_the_last_values_and_hides_the_name():
    prompts = []
    rows = _rows(lambda prompt: prompts.append(prompt), "forecast")
    named = [p for p in prompts if p.startswith("The US unemployment rate.")]
    anonymous = [p for p in prompts if p.startswith("A series.")]
    assert named
    assert anonymous
    assert not any("unemployment" in p or re.search(r"\d{4}", p) for p in anonymous)
    for row in rows:
        assert row["item"].split("/")[2] in (
            "named",
            "anonymous",
            "named_answer",
            "anonymous_answer",
        )
    item = next(r["item"] for r in rows if r["metric"] == "prompt")
    at = DATES.index(Date.fromisoformat(item.split("/")[1]))
    text = next(r["text"] for r in rows if r["metric"] == "prompt")
    past = [format_value(v, 1) for v in TABLE["value"][at - SETTINGS.context : at]]
    assert re.findall(r": (\d+\.\d)", text) == past


EVENTS = load_events()
MONTH = {
    row["headline"]: format_date(row["date"].replace(day=1), "month")
    for row in EVENTS.iter_rows(named=True)
}


def _headline(prompt):
    return next((h for h in MONTH if h in prompt), None)


def test_a_headline_brings_out_its_own_month_and_not_that_of_another_event():
    rows = _rows(lambda prompt: MONTH.get(_headline(prompt)), "event_date", series=None)
    for question in ("t0", "t1"):
        assert (_values(rows, "correct", question) == 1).all()
    other = _values(rows, "correct", "permuted")
    assert other.size == SETTINGS.events + SETTINGS.events_after_cutoff
    assert other.mean() < 0.25
    # The month of the other event is among the alternatives now and then, and else it is ignorance.
    assert set(other) <= {0.0, 1 / SETTINGS.choices}


def test_a_favourite_month_is_as_good_for_any_headline():
    rows = _rows(lambda prompt: "March 2009", "event_date", series=None)
    np.testing.assert_array_equal(
        _values(rows, "correct_raw", "t0"), _values(rows, "correct_raw", "permuted")
    )


def test_events_lie_on_both_sides_of_the_cutoff_and_are_the_same_in_all_experiments():
    def dates(experiment):
        return {tuple(r["item"].split("/")[1::2]) for r in _rows(looks_up, experiment, series=None)}

    asked = dates("event_date")
    assert asked == dates("event_entity")
    assert sum(day >= CUTOFF for day, _ in asked) == SETTINGS.events_after_cutoff
    assert sum(day < CUTOFF for day, _ in asked) == SETTINGS.events


def test_order_of_headlines_is_known_or_a_letter_is_preferred(monkeypatch):
    monkeypatch.setattr(measure, "log_likelihoods", _scores)

    def knows(prompt):
        first, second = re.search(r"A: (.*?)\. B: (.*?)\. Of these", prompt).groups()
        day = dict(EVENTS.select("headline", "date").iter_rows())
        return "A" if day[first] < day[second] else "B"

    assert (_values(_rows(knows, "event_order", series=None), "correct") == 1).all()
    rows = _rows(lambda prompt: "A", "event_order", series=None)
    assert (_values(rows, "correct") == 0.5).all()
    assert all(r["item"].split("/")[1] < CUTOFF for r in rows)


def test_answers_after_the_cutoff_are_asked_too():
    dates = {row["item"].split("/")[1] for row in _rows(looks_up)}
    assert sum(d >= CUTOFF for d in dates) == 4
    assert sum(d < CUTOFF for d in dates) == 12


def test_questions_do_not_depend_on_how_many_there_are():
    """A larger subset contains the smaller one: raising a number keeps what was asked."""
    few = {r["item"].split("/")[1] for r in _rows(looks_up, "fake_cutoff")}
    more = SETTINGS.model_copy(update={"subset_per_series": 9})
    cell = {
        "experiment": "fake_cutoff",
        "parameters": {"facts": "asked", "series": SERIES, "cutoff": CUTOFF},
    }
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    many = {
        r["item"].split("/")[1] for r in measure.measure(Scripted(looks_up), more, cell, context)
    }
    assert few < many


def test_narrowed_facts_keep_their_forced_choice():
    fact = Fact(
        family="value",
        series="s",
        key="k",
        date="2000-01-01",
        arm="never",
        words={},
        truth="9",
        assigned="3",
        candidates=("1", "2", "3", "4"),
        choices=(3, 2, 0),
    )
    narrow = fact.narrowed()
    assert narrow.candidates == ("4", "3", "1")
    assert narrow.choices == (0, 1, 2)
