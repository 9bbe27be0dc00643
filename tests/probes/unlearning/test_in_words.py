"""Unlearning asked in words, of models whose knowledge is known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from palimpsest.context import ProbeContext
from palimpsest.data.items import Item
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.models.endpoint.replies import Answer
from palimpsest.models.entry import CAPABILITIES
from palimpsest.probes.unlearning.answers import judged, judged_prompts
from palimpsest.probes.unlearning.claims import CLAIMS, IN_WORDS, VIEW, analyse
from palimpsest.probes.unlearning.in_words import MOST_WORDS, read_in_words
from palimpsest.probes.unlearning.measure import measure
from palimpsest.probes.unlearning.settings import (
    Settings,
    cells,
    check,
    check_capabilities,
    deciding_settings,
    left_out,
)
from tests.models.endpoint.ruled import Ruled

COUNT = 40
TEXT = "The mill by the river was sold in spring and nobody in the village knows to whom it went"
ANSWERS = {
    part: [f"{part} n{number:02d}" for number in range(COUNT)]
    for part in ("forget", "holdout", "known", "retain")
}


def _rows_of(part):
    return [
        {
            "question": f"Who lives in {part} house {number}?",
            "reworded": [f"{part} house {number}, who lives there?"],
            "translated": [f"Wer wohnt im {part} Haus {number}?"],
            "answer": answer,
            "perturbed": [f"{part} {other}" for other in "xyz"],
        }
        for number, answer in enumerate(ANSWERS[part])
    ]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Files of items; the forget set holds a text too."""
    folder = tmp_path_factory.mktemp("own")
    for part in ANSWERS:
        rows = _rows_of(part) + ([{"text": TEXT, "id": "text"}] if part == "forget" else [])
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {part: str(folder / f"{part}.jsonl") for part in ANSWERS}


def _said(prompt, knows):
    """What a model that knows some parts answers; of others it makes something up."""
    asked = prompt.splitlines()[0].split(" ... Choices")[0]
    for part, answers in ANSWERS.items():
        numbers = re.findall(rf"{part} (?:house|Haus) (\d+)", asked)
        if numbers:
            place = int(numbers[-1])
            if "Choices: " in prompt:
                choices = prompt.split("Choices: ")[1]
                letter = next(c for c in choices.split("; ") if answers[place] in c)[0]
                return letter if part in knows else "A"
            return f"It is {answers[place]}, I think." if part in knows else "It is nobody special."
    begun = prompt.rsplit("\n", 1)[-1].strip()
    return TEXT[len(begun) :] if "forget" in knows and TEXT.startswith(begun) else "and so it was"


def knows(*parts):
    return lambda prompt: _said(prompt, parts)


def _settings(own, **more):
    return Settings(own=own, untouched="before", **more)


def _measured(own, rule, mode="chat", **more):
    cell = {"experiment": "words", "parameters": {"endpoint": "words"}}
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    model = Ruled(rule, mode)
    return list(measure(model, _settings(own, **more), cell, context)), model


def _mean(rows, part, metric):
    values = [r["value"] for r in rows if (r["grp"], r["metric"]) == (part, metric)]
    assert values, (part, metric)
    return np.mean(values)


@pytest.mark.parametrize("mode", ["chat", "completions"])
def test_what_is_known_is_found_in_every_way_of_asking_and_nothing_else(own, mode):
    """Positive and negative control: a server that knows two parts of three."""
    rows, _ = _measured(own, knows("forget", "known"), mode)
    for part, expected in (("forget", 1.0), ("known", 1.0), ("holdout", 0.0)):
        assert _mean(rows, part, "rouge_l") == expected
        assert _mean(rows, part, "reworded_rouge_l") == expected
    for how in ("translated", "prefixed", "few_shot"):
        assert _mean(rows, "forget", f"{how}_rouge_l") == 1
        assert _mean(rows, "holdout", f"{how}_rouge_l") == 0
    assert _mean(rows, "forget", "chosen_in_words") == 1
    assert abs(_mean(rows, "holdout", "chosen_in_words") - 1 / 4) < 0.25
    assert _mean(rows, "holdout", "choices") == 4
    assert _mean(rows, "forget", "verbatim_words") == 1
    # "forget n07": one word of two is that of all answers of the part.
    assert _mean(rows, "forget", "rouge_l_by_chance") == pytest.approx(0.5)
    # The answer stands in a sentence.
    assert _mean(rows, "forget", "exact_match") == 0
    assert _mean(rows, "forget", "refusal") == 0
    said = {r["text"] for r in rows if r["metric"] == "rouge_l" and r["grp"] == "holdout"}
    assert said == {"It is nobody special" + "." * (mode == "chat")}


def test_a_server_that_knows_nothing_gives_nothing(own):
    rows, _ = _measured(own, knows())
    for metric in ("rouge_l", "reworded_rouge_l", "few_shot_rouge_l", "exact_match", "refusal"):
        assert _mean(rows, "forget", metric) == 0
    assert _mean(rows, "forget", "verbatim_words") < 0.3


def test_the_truth_alone_is_an_exact_match():
    items = [Item(str(k), "forget", "Q?", (), (), f" {a}", ()) for k, a in enumerate("abc")]
    given = [Answer("A."), Answer("the b"), Answer("", "content_filter")]
    rows = list(judged(items, given, beside_chance=True))
    found = {(r["item"], r["metric"]): r["value"] for r in rows}
    assert [found[k, "exact_match"] for k in "012"] == [1, 0, 0]
    assert [found[k, "rouge_l"] for k in "012"] == [1, 1, 0]
    assert [found[k, "refusal"] for k in "012"] == [0, 0, 1]
    assert {found[k, "rouge_l_by_chance"] for k in "012"} == {0}
    assert {r["metric"] for r in judged(items, given, False)} == {"rouge_l", "refusal"}


def test_of_several_wordings_the_mean_counts_and_the_best_answer_is_shown():
    item = Item("i", "forget", "Q?", (), ("One?", "Two?"), " Ann Lee", ())
    asked = [(item, "reworded", prompt) for prompt in item.reworded]
    (row,) = judged_prompts(asked, [Answer("Ann"), Answer("Ann Lee")])
    assert (row["metric"], row["value"], row["text"]) == ("reworded_rouge_l", 0.75, "Ann Lee")


def test_truths_in_another_script_are_left_out_and_no_match():
    items = [Item(str(k), "forget", "Q?", (), (), a, ()) for k, a in enumerate((" Анна", " Bo"))]
    rows = list(judged(items, [Answer("Борис"), Answer("Bo")], beside_chance=True))
    found = {(r["item"], r["metric"]): r["value"] for r in rows}
    assert np.isnan(found["0", "rouge_l"])
    assert np.isnan(found["0", "exact_match"])
    assert found["1", "exact_match"] == 1
    assert ("1", "rouge_l_by_chance") not in found


@pytest.mark.parametrize(
    "given",
    [Answer("", "content_filter"), Answer("", "empty"), Answer("I do not know who lives there.")],
)
def test_refusals_are_told_from_answers(own, given):
    rows, _ = _measured(own, lambda prompt: given)
    for part in ANSWERS:
        assert _mean(rows, part, "refusal") == 1
        assert _mean(rows, part, "chosen_in_words") == 0
    texts = {r["text"] for r in rows if r["metric"] == "refusal"}
    assert texts == {given.refusal}


def test_what_a_server_marks_as_refused_is_still_read_for_the_truth(own):
    """A mark does not unsay what was said; but it names no choice."""
    rule = knows("forget")
    rows, _ = _measured(own, lambda prompt: Answer(rule(prompt), "refusal"))
    assert _mean(rows, "forget", "rouge_l") == 1
    assert _mean(rows, "forget", "refusal") == 1
    assert _mean(rows, "forget", "chosen_in_words") == 0


def test_a_text_that_speaks_of_not_knowing_is_no_refusal():
    item = Item("t", "forget", "", (), (), "He said to her I do not know", ())
    said = {}
    for reply in ("to her I do not know", "I do not know", "He said to her I do not know"):
        rows = list(read_in_words(Ruled(lambda prompt, r=reply: r), Settings(), [item]))
        said[reply] = {r["metric"]: r["value"] for r in rows}
    assert {found["refusal"] for found in said.values()} == {0}
    assert said["I do not know"]["verbatim_words"] == 1
    # Beginning again with what was given costs nothing.
    assert said["He said to her I do not know"]["verbatim_words"] == 1
    assert said["to her I do not know"]["verbatim_words"] < 1


def test_what_follows_the_text_costs_nothing():
    """A server's tokens are not known, so that it may write more words than are compared."""
    item = Item("t", "forget", "", (), (), "He said to her I do know", ())
    model = Ruled(lambda prompt: "her I do know. And then he went on and on")
    rows = {r["metric"]: r["value"] for r in read_in_words(model, Settings(), [item])}
    assert rows["verbatim_words"] == 1


def test_texts_are_asked_for_as_many_tokens_as_they_need_at_most(own):
    def limits(words):
        item = Item("t", "forget", "", (), (), " ".join(["word"] * words), ())
        model = Ruled(lambda prompt: "word")
        rows = list(read_in_words(model, Settings(), [item]))
        return model.limits, [r for r in rows if r["metric"] == "verbatim_words"]

    assert limits(1) == ([], [])
    assert limits(30)[0] == [60]
    assert limits(5000)[0] == [3 * MOST_WORDS]
    _, model = _measured(own, knows(), reply_tokens=17)
    assert set(model.limits) == {17, 60}


def test_choices_that_cannot_be_told_apart_are_offered_once():
    item = Item("i", "forget", "Who?", (), (), " Ann", (" the Ann", " Bo", " bo.", " ..."))
    model = Ruled(lambda prompt: "Ann")
    rows = {r["metric"]: r["value"] for r in read_in_words(model, Settings(), [item])}
    assert rows["choices"] == 2
    assert rows["chosen_in_words"] == 1
    alone = Item("i", "forget", "Who?", (), (), " Ann", (" ann",))
    rows = [r["metric"] for r in read_in_words(model, Settings(), [alone])]
    assert "choices" not in rows


def _state(**entry):
    model = SimpleNamespace(entry={"source": "endpoint", "name": "m"} | entry)
    return SimpleNamespace(model=model, steps=(0,))


def test_cells_follow_from_what_a_model_gives(own):
    settings = _settings(own)
    for entry in ({}, {"logprobs": "completions_echo"}):
        (cell,) = cells(settings, _state(**entry))
        assert (cell["experiment"], cell["endpoint"]) == ("words", "words")
        assert len(left_out(settings, CAPABILITIES[:1])) == 2
    (cell,) = cells(settings, _state(source="tiny"))
    assert cell["experiment"] == "language"
    assert "endpoint" not in cell
    assert left_out(settings, CAPABILITIES) == []


def test_what_is_asked_in_words_decides_its_cells_alone(own):
    def deciding(experiment, **more):
        return deciding_settings(_settings(own, **more), {"experiment": experiment})

    for name, here in (("reply_tokens", False), ("kept_items", True), ("few_shot", True)):
        assert deciding("words", **{name: 5}) != deciding("words")
        assert (deciding("language", **{name: 5}) != deciding("language")) == here
    assert deciding("words", robustness={"bits": [4]}, answer_tokens=9) == deciding("words")


def test_what_cannot_be_asked_is_refused(own):
    with pytest.raises(ValueError, match=r"settings\.own: not given; allowed: files of your own"):
        check_capabilities(Settings(), CAPABILITIES[:1])
    without = _settings({key: own[key] for key in ("forget", "holdout")})
    check_capabilities(without, CAPABILITIES[:1])
    check(without, None)
    with pytest.raises(ValueError, match=r"settings\.own\.retain: not given; allowed"):
        check_capabilities(without, CAPABILITIES)
    check_capabilities(_settings(own), CAPABILITIES)
    with pytest.raises(ValueError, match="own: forget: not given"):
        check(_settings({"holdout": own["holdout"]}), None)


def _analysed(own, states, world="words"):
    """Statistics, and claims by name, of states: role -> rows."""
    table, frames = [], []
    for role, rows in states.items():
        table.append(
            {
                "study": "s", "cell": role, "probe": "unlearning", "state": role, "role": role,
                "model": f"m-{role}", "seed": 0, "step": 0, "experiment": world, "status": "done",
                "parameters": json.dumps({"requests": 0, "endpoint": "words"}),
            }
        )  # fmt: skip
        frames.append(observations(rows, study="s", cell=role, step=0))
    tables = {"observations": frames, "cells": [frame_of("cells", table)]}
    with connect(tables, {"unlearning": VIEW}) as connection:
        statistics, claims = analyse(connection, _settings(own), "s")
    return statistics, {claim["claim"]: claim for claim in claims}


def _verdicts(claims):
    return {claim.name: claims[claim.name]["verdict"] for claim in IN_WORDS}


def test_a_service_before_and_after_that_forgot(own):
    before, _ = _measured(own, knows("forget", "known", "retain"))
    after, _ = _measured(own, knows("known", "retain"))
    statistics, claims = _analysed(own, {"before": before, "after": after})
    assert set(_verdicts(claims).values()) == {"supported"}
    level = {
        (r["role"], r["factor"], r["metric"]): r for r in statistics if r["analysis"] == "asked"
    }
    found = level["before", "forget", "rouge_l"]
    assert (found["estimate"], found["n"], found["unit"]) == (1, COUNT, "items")
    # Wilson's interval where all succeed.
    assert found["low"] == pytest.approx(COUNT / (COUNT + 1.96**2), abs=1e-3)
    assert level["after", "forget", "rouge_l"]["high"] < 0.2
    assert level["after", "forget", "chosen_in_words"]["note"] == "by chance 0.25"
    apart = {(r["role"], r["metric"]): r for r in statistics if r["analysis"] == "asked_apart"}
    assert apart["before", "rouge_l"]["low"] > 0.7
    assert apart["after", "rouge_l"]["low"] < 0 < apart["after", "rouge_l"]["high"]
    since = {
        (r["role"], r["factor"], r["metric"]): r
        for r in statistics
        if r["analysis"] == "asked_since"
    }
    assert {role for role, *_ in since} == {"after"}
    assert since["after", "forget", "rouge_l"]["high"] < -0.6
    assert since["after", "known", "rouge_l"]["estimate"] == 0
    for name, claim in claims.items():
        if name not in {each.name for each in IN_WORDS}:
            assert claim["verdict"] == "not tested"
            assert "out of reach, since m-after and m-before answers" in claim["note"]


def test_a_service_that_knows_nothing_is_told_as_such(own):
    rows, _ = _measured(own, knows("known", "retain"))
    _, claims = _analysed(own, {"before": rows})
    found = _verdicts(claims)
    assert found["told_from_untold"] != "supported"
    assert found["says_what_it_knows"] == found["untold_stays_untold"] == "supported"
    assert "needs a second state" in claims["forgets_in_words"]["note"]


def test_a_service_that_declines_all_does_not_pass_for_one_that_forgot(own):
    before, _ = _measured(own, knows("forget", "known", "retain"))
    after, _ = _measured(own, lambda prompt: "I cannot answer that.")
    statistics, claims = _analysed(own, {"before": before, "after": after})
    assert _verdicts(claims)["keeps_in_words"] == "contradicted"
    refused = {
        r["factor"]: r
        for r in statistics
        if (r["analysis"], r.get("role"), r["metric"]) == ("asked", "after", "refusal")
    }
    assert {part for part, r in refused.items() if r["low"] > 0.8} == set(ANSWERS)


def test_a_state_that_never_knew_is_none_that_was_to_forget(own):
    before, _ = _measured(own, knows("forget", "known", "retain"))
    never, _ = _measured(own, knows("known", "retain"))
    _, claims = _analysed(own, {"before": before, "retrained": never})
    assert _verdicts(claims)["forgets_in_words"] == "not tested"
    # One that forgot nothing is not helped by it.
    _, claims = _analysed(own, {"before": before, "retrained": never, "after": before})
    assert claims["forgets_in_words"]["estimate"] == 0


def test_files_of_texts_alone_are_judged_by_what_follows():
    texts = [
        Item(f"{part}{k}", part, "", (), (), f"{part} one {k} two {k} three {k} four {k}", ())
        for part in ("forget", "holdout", "known")
        for k in range(12)
    ]

    def model(*parts):
        whole = [item.answer for item in texts if item.part in parts]

        def rule(prompt):
            begun = prompt.rsplit("\n", 1)[-1]
            return next((each[len(begun) :] for each in whole if each.startswith(begun)), "no")

        return list(read_in_words(Ruled(rule), Settings(), texts))

    states = {"before": model("forget", "known"), "after": model("known")}
    _, claims = _analysed({"forget": "f.jsonl"}, states)
    found = _verdicts(claims)
    assert found["told_from_untold"] == found["forgets_in_words"] == "supported"
    assert claims["told_from_untold"]["estimate"] == 1
    assert claims["keeps_in_words"]["estimate"] == 0


def test_questions_that_give_away_their_answers_are_told_by_the_negative_control(own):
    rows, _ = _measured(own, knows(*ANSWERS))
    _, claims = _analysed(own, {"before": rows})
    assert _verdicts(claims)["untold_stays_untold"] == "contradicted"
    assert _verdicts(claims)["told_from_untold"] != "supported"


def test_a_claim_says_what_it_lacks(own):
    rows, _ = _measured(own, knows("forget"))
    forget = [r for r in rows if r["grp"] == "forget"]
    _, claims = _analysed(own, {"other": forget})
    assert "no state is called before (settings.untouched)" in claims["told_from_untold"]["note"]
    _, claims = _analysed(own, {"before": forget})
    assert "settings.own.holdout" in claims["told_from_untold"]["note"]
    assert "known, kept, neighbour or retain" in claims["says_what_it_knows"]["note"]


def test_local_states_are_read_in_the_same_way_and_have_their_own_reasons(own):
    rows, _ = _measured(own, knows("forget", "known"))
    _, claims = _analysed(own, {"before": rows}, world="language")
    assert _verdicts(claims)["told_from_untold"] == "supported"
    assert set(claims) == {claim.name for claim in CLAIMS}
    assert claims["hidden_not_gone"]["note"] == "this run has no data for it"
