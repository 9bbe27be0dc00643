"""What is read of single items, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from palimpsest.data.biographies import biographies
from palimpsest.data.items import Item, of_part
from palimpsest.interventions._items import item_examples
from palimpsest.probes.unlearning.answers import ends
from palimpsest.probes.unlearning.readings import (
    PARAPHRASED,
    PLAIN,
    REWORDED,
    chosen,
    probabilities,
    prompted,
    read,
)
from palimpsest.probes.unlearning.settings import Settings
from tests.interventions.unlearning.worlds import taught

SETTINGS = Settings(kept_items=10)
#: How else what is to be forgotten is asked for.
OTHER = ("reworded", "translated", "prefixed", "few_shot")


def test_a_text_that_was_taught_goes_on_word_for_word(tiny):
    """As it was taught: a model that never met it, or that is not asked in that way, says else."""
    text = Item("a/text", "forget", "", (), (), "The red mill was sold in May.", ())
    never = {r["metric"]: r["value"] for r in read(tiny, SETTINGS, [text], False)}
    assert never["verbatim"] < 0.4
    taught(tiny, item_examples(tiny, text), updates=60)
    rows = {r["metric"]: r for r in read(tiny, SETTINGS, [text], False)}
    assert rows["probability"]["value"] > 0.9
    assert rows["verbatim"]["value"] == 1
    assert rows["verbatim"]["text"].endswith("in May.")


def test_an_answer_goes_on_where_the_truth_does(tiny):
    """A truth of two sentences is not cut after the first; one without a full stop ends at it."""
    long = Item("a/work", "forget", "The work of A?", (), (), " A painter. Then a cook.", ())
    short = Item("b/work", "forget", "The work of B?", (), (), " A baker", ())
    assert ends(long) == ("\n",)
    assert ends(short) == ("\n", ".")
    taught(tiny, [each for item in (long, short) for each in item_examples(tiny, item)], updates=60)
    settings = SETTINGS.model_copy(update={"answer_tokens": 24})
    rows = list(read(tiny, settings, [long, short], True))
    said = {r["item"]: r for r in rows if r["metric"] == "rouge_l"}
    assert said["a/work"]["value"] == said["b/work"]["value"] == 1
    assert said["a/work"]["text"].startswith(" A painter. Then a cook.")
    assert said["b/work"]["text"] == " A baker"


def test_truth_ratios_are_those_of_their_source(tiny):
    """By hand, for a row of TOFU, for one whose question alone has other words, and for neither."""

    def item(name, paraphrased="", reworded=()):
        wrong = (" It is blue", " Green it is")
        return Item(
            name, "forget", f"Colour of {name}?", (), reworded, " Red", wrong, (), paraphrased
        )

    def by_hand(prompt, truth):
        def probability(answer):
            head, tail = tiny.encode_pair(prompt, answer)
            with torch.no_grad():
                logits = tiny.module(input_ids=torch.tensor([head + tail])).logits[0]
            log_p = logits.log_softmax(-1)[range(len(head) - 1, len(head + tail) - 1), tail]
            return float(log_p.mean().exp())

        return (probability(" It is blue") + probability(" Green it is")) / 2 / probability(truth)

    asked = [
        item("tofu", " The colour is red", ("Which colour has tofu?",)),
        item("reworded", "", ("Which colour has it?",)),
        item("plain"),
    ]
    rows = read(tiny, SETTINGS, asked, False)
    found = {r["item"]: (r["value"], r["text"]) for r in rows if r["metric"] == "truth_ratio"}
    assert found == {
        "tofu": (pytest.approx(by_hand("Colour of tofu?", " The colour is red")), PARAPHRASED),
        "reworded": (pytest.approx(by_hand("Which colour has it?", " Red")), REWORDED),
        "plain": (pytest.approx(by_hand("Colour of plain?", " Red")), PLAIN),
    }


def test_other_prompts_are_asked_as_they_are(tiny):
    """Translations, after a prefix and after solved questions: by hand, prompt by prompt."""
    items = biographies(8, 0.2, ["pet", "dish"], 0)
    rows = [r for r in read(tiny, SETTINGS, items, False) if r["metric"] in OTHER]
    (asked, *_) = of_part(items, "forget")
    found = {r["metric"]: r["value"] for r in rows if r["item"] == asked.id}

    def after(*prompts):
        return np.mean([probabilities(tiny, [asked], [prompt])[0] for prompt in prompts])

    solved = {f"{item.question}{item.answer}.": item for item in of_part(items, "retain")}
    prompts = {how: text for item, how, text in prompted(SETTINGS, items, False) if item == asked}
    shots = prompts["few_shot"]
    assert found["translated"] == pytest.approx(after(*asked.translated), rel=1e-4)
    assert found["few_shot"] == pytest.approx(after(shots), rel=1e-4)
    assert shots.endswith(f" {asked.question}")
    assert sum(text in shots for text in solved) == SETTINGS.few_shot == 3
    assert found["prefixed"] == pytest.approx(after(prompts["prefixed"]), rel=1e-4)
    assert prompts["prefixed"].startswith("You remember")
    assert {r["grp"] for r in rows if r["metric"] != "reworded"} == {"forget", "holdout"}


def test_solved_questions_are_shared_by_four_and_not_by_all():
    items = biographies(40, 0.2, ["pet", "dish", "instrument"], 0)
    members = [item for item in items if item.part in ("forget", "holdout")]
    shots = [
        text.removesuffix(f" {i.question}")
        for i, how, text in prompted(SETTINGS, items, True)
        if how == "few_shot"
    ]
    assert len(shots) == len(members) > 40
    assert len(members) / 6 < len(set(shots)) <= len(members) / 4 + 1
    assert len({tuple(sorted(each.split(". "))) for each in shots}) == len(set(shots))


def test_texts_are_read_in_other_words_too(tiny):
    text = Item("a/text", "forget", "", (), (), "Red stones are heavy.", ())
    text = replace(text, paraphrased="Stones weigh.")
    rows = read(tiny, SETTINGS, [text], False)
    (found,) = (r["value"] for r in rows if r["metric"] == "reworded")
    other = Item("b/text", "forget", "", (), (), "Stones weigh.", ())
    assert found == pytest.approx(probabilities(tiny, [other])[0], rel=1e-4)


def test_questions_with_wrong_answers_are_asked_first():
    """Of a large part that has some, as TOFU's retain set."""
    items = [
        Item(f"{k}", "retain", f"Question {k}?", (), (), " a", (" b",) if k % 5 == 0 else ())
        for k in range(50)
    ]
    asked = chosen(SETTINGS, items)
    assert len(asked) == 10
    assert all(item.perturbed for item in asked)
    assert [int(item.id) for item in asked] == sorted(int(item.id) for item in asked)
