"""Economic recall of models behind endpoints whose knowledge is known."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from palimpsest.context import ProbeContext
from palimpsest.data.events import load_events
from palimpsest.data.sentences import format_date
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.models.endpoint.replies import Answer
from palimpsest.models.entry import CAPABILITIES
from palimpsest.probes.economic_recall import analyses, claims, measure
from palimpsest.probes.economic_recall.choosing_in_words import choose_in_words
from palimpsest.probes.economic_recall.pages import behind_endpoints
from palimpsest.probes.economic_recall.settings import (
    Settings,
    cells,
    check_capabilities,
    left_out,
)
from tests.models.endpoint.ruled import Ruled
from tests.probes.economic_recall.cells import finished
from tests.probes.economic_recall.test_measure import SERIES, TRUE, _values

SETTINGS = Settings(series=[SERIES], dates_per_series=12, dates_after_cutoff=4, candidates=12)
EVENTS = load_events()
MONTH = {
    row["headline"]: format_date(row["date"].replace(day=1), "month")
    for row in EVENTS.iter_rows(named=True)
}


CELL = {
    "facts": "asked",
    "series": SERIES,
    "cutoff": "1995-01-01",
    "detail": "full",
    "endpoint": "words",
}


def _rows(rule, experiment="value", mode="chat", **more):
    cell = {"experiment": experiment, "parameters": CELL | more}
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    return list(measure.measure(Ruled(rule, mode), SETTINGS, cell, context))


def _period(prompt):
    return re.findall(r"in the (?:first|second|third|fourth) quarter of \d{4}", prompt)[-1]


def _letter(prompt, wanted):
    options = dict(re.findall(r"([A-Z]): ([^;]+?)(?=;|\. )", prompt.split("Choices: ")[1]))
    return next((letter for letter, option in options.items() if option == wanted), None)


def knows(prompt):
    truth = TRUE[_period(prompt)]
    return (
        (_letter(prompt, truth) or "None of these") if "Choices: " in prompt else f"{truth} percent"
    )


@pytest.mark.parametrize("mode", ["chat", "completions"])
def test_what_is_known_is_right_in_letters_and_in_words(mode):
    rows = _rows(knows, mode=mode)
    for question in ("t0", "t1"):
        assert (_values(rows, "correct", question) == 1).all()
        assert (_values(rows, "choices", question) == 8).all()
    assert _values(rows, "correct", "permuted").mean() < 0.5
    assert (_values(rows, "exact_truth") == 1).all()
    in_words = _rows(lambda p: f"It was {TRUE[_period(p)]} percent.", mode=mode)
    assert (_values(in_words, "correct", "t0") == 1).all()


def test_one_letter_for_all_is_at_chance():
    rows = _rows(lambda prompt: "B")
    right = np.concatenate([_values(rows, "correct", q) for q in ("t0", "t1", "permuted")])
    assert abs(right.mean() - 1 / 8) < 0.2
    assert 0 < right.sum() < right.size


@pytest.mark.parametrize(
    "given",
    [
        Answer("", "content_filter"),
        Answer("", "empty"),
        Answer("5.6 percent, but I should not say so", "refusal"),
        Answer("I cannot answer that"),
    ],
)
def test_refusals_are_recorded_as_such(given):
    rows = _rows(lambda prompt: given)
    free = [r["text"] for r in rows if r["metric"] in ("category_strict", "category_lenient")]
    chosen = [r["text"] for r in rows if r["metric"] == "category_choice"]
    assert set(free) == set(chosen) == {"refusal"}
    assert np.isnan(_values(rows, "absolute_error")).all()
    marked = [r["text"] for r in rows if r["metric"] == "refusal"]
    assert marked == ([given.refusal] * (len(chosen) + len(free) // 2) if given.refusal else [])


def test_fake_cutoffs_stand_before_the_choices():
    def obeys(prompt):
        year = re.search(r"31 December (\d{4})", prompt)
        return (
            "I do not know" if year and int(year[1]) < int(_period(prompt)[-4:]) else knows(prompt)
        )

    rows = _rows(obeys, "fake_cutoff")
    for question, expected in (("none", 1), ("-10", 0), ("-2", 0), ("+2", 1), ("+10", 1)):
        assert (_values(rows, "correct", question) == expected).all()


def test_a_month_of_a_headline():
    def dated(prompt):
        return _letter(prompt, MONTH[next(h for h in MONTH if h in prompt)]) or "?"

    rows = _rows(dated, "event_date", series=None)
    assert (_values(rows, "correct", "t0") == 1).all()
    assert (_values(rows, "correct", "permuted") == 0).mean() > 0.7


def test_the_order_of_headlines_in_both_orders():
    day = dict(EVENTS.select("headline", "date").iter_rows())

    def orders(prompt):
        first, second = re.search(r"A: (.*?)\. B: (.*?)\. Of these", prompt).groups()
        return "A" if day[first] < day[second] else "B"

    for rule, expected in ((orders, 1.0), (lambda p: "A", 0.5), (lambda p: "?", 0.0)):
        rows = _rows(rule, "event_order", series=None)
        assert (_values(rows, "correct") == expected).all()
    reverse = {"A": "B", "B": "A"}
    rows = _rows(lambda p: reverse[orders(p)], "event_order", series=None)
    assert (_values(rows, "correct") == 0).all()


def test_forecasts_are_asked_in_words_and_freely():
    rows = _rows(lambda prompt: "A" if "Choices" in prompt else "5.0", "forecast")
    asked = {r["item"].split("/")[2] for r in rows}
    assert asked == {"named", "anonymous", "named_answer", "anonymous_answer"}


def _state(**entry):
    model = SimpleNamespace(entry={"source": "endpoint", "name": "m"} | entry)
    return SimpleNamespace(chain=[SimpleNamespace(intervention=None)], model=model, steps=(0,))


def test_what_a_model_is_asked_follows_from_what_its_server_gives():
    words = cells(Settings(), _state())
    scored = cells(Settings(), _state(logprobs="completions_echo"))
    here = cells(Settings(), _state(source="tiny"))
    assert {c["endpoint"] for c in words} == {"words"}
    assert {c["endpoint"] for c in scored} == {"log_likelihoods"}
    assert not any("endpoint" in c for c in here)
    left = {c["experiment"] for c in here} - {c["experiment"] for c in words}
    assert left == {"embedding"}
    assert len(left_out(Settings(), ("generation",))) == 2
    assert len(left_out(Settings(), CAPABILITIES[:2])) == 1
    assert left_out(Settings(), CAPABILITIES) == []


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="hidden states"):
        check_capabilities(Settings(experiments=["embedding"]), ("generation",))
    with pytest.raises(ValueError, match="at most 26"):
        check_capabilities(Settings(choices=27, candidates=30), ("generation",))
    check_capabilities(Settings(choices=27, candidates=30), CAPABILITIES[:2])


def test_choices_in_words_may_be_of_any_length():
    """Alternatives of equal form are few at the ends of a range; no score needs them."""
    assert Ruled(knows).token_length("10.4") == Ruled(knows).token_length("5.6")
    scored = Ruled(knows)
    scored.entry |= {"logprobs": "completions_echo"}
    assert scored.token_length("10.4") != scored.token_length("5.6")


def _analysed(*groups):
    """Claims from (cell, rows) of models."""
    frames = [observations(rows, study="study", cell=c["cell"], step=0) for c, rows in groups]
    tables = {"observations": frames, "cells": [frame_of("cells", [c for c, _ in groups])]}
    with connect(tables, {"economic_recall": claims.VIEW}) as connection:
        return claims.analyse(connection, SETTINGS, "study")


def test_claims_that_need_weights_say_so_and_the_others_are_tested():
    cell = finished("c", "untouched", 0, 0, facts="asked", cutoff="1995-01-01", endpoint="words")
    statistics, judged = _analysed((cell, _rows(knows)))
    by_name = {claim["claim"]: claim for claim in judged}
    assert by_name["recall_before_cutoff"]["verdict"] != "not tested"
    for name, word in (
        ("planted_found", "planted into its weights"),
        ("random_weights_know_nothing", "made random"),
        ("values_in_embeddings", "hidden states"),
    ):
        assert by_name[name]["verdict"] == "not tested"
        assert word in by_name[name]["note"]
        assert "m answers behind an endpoint" in by_name[name]["note"]
    verdicts = {r["factor"] for r in statistics if r["analysis"] == "contamination"}
    assert "contaminated" in verdicts
    read = [r for r in statistics if r.get("factor") == "choice in words"]
    assert sum(round(r["estimate"] * r["n"]) for r in read) == read[0]["n"]


def test_a_model_here_beside_it_leaves_the_reason_out():
    cell = finished("c", "untouched", 0, 0, facts="asked", endpoint="words")
    other = finished("d", "here", 0, 0, facts="asked")
    rows = [r for r in _rows(knows) if r["metric"] in ("correct", "choices")]
    _, judged = _analysed((cell, rows), (other, rows))
    assert {c["note"] for c in judged if c["claim"] == "dose"} == {"this run has no data for it"}
    assert analyses.out_of_reach(pl.DataFrame({"endpoint": []})) == {}


class Lettered(Ruled):
    """Names the letter by a rule, and gives the first ones probabilities by another."""

    def __init__(self, rule, listed):
        super().__init__(rule)
        self.listed = listed

    def lettered(self, prompts, counts, max_tokens):
        given = self.answers(prompts, max_tokens)
        scores = [
            np.log([self.listed(prompt, chr(ord("A") + i)) for i in range(count)])
            for prompt, count in zip(prompts, counts, strict=True)
        ]
        return list(zip(given, scores, strict=True))


def _lettered(listed, experiment="value", rule=knows, **more):
    cell = {"experiment": experiment, "parameters": CELL | more}
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    return list(measure.measure(Lettered(rule, listed), SETTINGS, cell, context))


def _is_right(prompt, letter):
    return letter == _letter(prompt, TRUE[_period(prompt)])


def test_probabilities_of_letters_say_how_sure_a_choice_is():
    rows = _lettered(lambda prompt, letter: 0.44 if _is_right(prompt, letter) else 0.08)
    for question in ("t0", "t1"):
        np.testing.assert_allclose(_values(rows, "share_letter", question), 0.44)
        assert (_values(rows, "correct_letter", question) == 1).all()
        assert (_values(rows, "letters_missing", question) == 0).all()
        np.testing.assert_allclose(_values(rows, "letter_mass", question), 1)
    assert _values(rows, "share_letter", "permuted").mean() < 0.2
    # As text, in which nan is nan.
    assert str([r for r in rows if "letter" not in r["metric"]]) == str(_rows(knows))


def test_one_probability_for_all_letters_is_at_chance():
    rows = _lettered(lambda prompt, letter: 0.1)
    np.testing.assert_allclose(_values(rows, "share_letter", "t0"), 1 / 8)
    np.testing.assert_allclose(_values(rows, "correct_letter", "t0"), 1 / 8)


def test_letters_that_are_not_listed_are_said_to_be_missing():
    def all_but_right(prompt, letter):
        return np.nan if _is_right(prompt, letter) else 0.1

    rows = _lettered(all_but_right)
    for metric, expected in (("letters_missing", 1), ("share_letter", 0), ("correct_letter", 0)):
        assert (_values(rows, metric, "t0") == expected).all()
    rows = _lettered(lambda prompt, letter: np.nan)
    assert (_values(rows, "letters_missing", "t0") == 8).all()
    assert not [r for r in rows if r["metric"] in ("share_letter", "correct_letter")]


def test_the_order_of_headlines_has_log_odds_where_both_letters_are_listed():
    day = dict(EVENTS.select("headline", "date").iter_rows())

    def earlier(prompt):
        first, second = re.search(r"A: (.*?)\. B: (.*?)\. Of these", prompt).groups()
        return "A" if day[first] < day[second] else "B"

    def sure(prompt, letter):
        # A is preferred whatever is asked: that cancels.
        return (0.6 if letter == earlier(prompt) else 0.2) * (1.2 if letter == "A" else 1)

    rows = _lettered(sure, "event_order", rule=earlier, series=None)
    np.testing.assert_allclose(_values(rows, "log_odds"), np.log(3))
    rows = _lettered(
        lambda p, letter: np.nan if letter == "B" else 0.5, "event_order", earlier, series=None
    )
    assert (_values(rows, "letters_missing") == 2).all()
    assert not [r for r in rows if r["metric"] == "log_odds"]


def test_the_page_says_what_the_letters_say():
    cell = finished("c", "untouched", 0, 0, facts="asked", cutoff="1995-01-01", endpoint="words")

    def half(prompt, letter):
        return 0.5 if _is_right(prompt, letter) else np.nan if letter == "A" else 0.1

    statistics, _ = _analysed((cell, _lettered(half)))
    found = {r["metric"]: r for r in statistics if r["analysis"] == "letters"}
    assert 0.4 < found["share_letter"]["estimate"] < 0.6
    assert 0 < found["all_listed"]["estimate"] < 0.5
    table = pl.DataFrame(list(found.values()), infer_schema_length=None)

    class Rows:
        def frame(self, sql, parameters):
            selected = table.filter(pl.col("model") == parameters[1])
            return pl.SQLContext(statistics=selected).execute(
                "SELECT metric, estimate AS mean FROM statistics", eager=True
            )

    said = behind_endpoints._letters(Rows(), "study", "m")
    assert f"in {found['all_listed']['estimate']:.0%} of answers" in said
    assert f"The right letter has {found['share_letter']['estimate']:.0%}" in said
    assert behind_endpoints._letters(Rows(), "study", "another") == ""
    statistics, _ = _analysed((cell, _rows(knows)))
    assert not [r for r in statistics if r["analysis"] == "letters"]


def test_all_choices_have_letters():
    model = Ruled(lambda prompt: "Z")
    candidates = tuple(f"{i}.5" for i in range(26))
    fact = SimpleNamespace(
        candidates=candidates,
        choices=tuple(range(26)),
        assigned="25.5",
        arm="asked",
        item=lambda suffix: suffix,
    )
    rows = list(choose_in_words(model, [fact], [[("t0", "Which?")]], 8))
    assert rows[0] == {"item": "t0", "grp": "asked", "metric": "correct", "value": 1.0}
