"""Planted facts as items: what is asked is what was taught, and both parts hold all arms."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from palimpsest.data.facts import Fact
from palimpsest.data.items import of_part, request
from palimpsest.data.phrasing import sentence
from palimpsest.data.planted_items import item_id, planted_items


def _facts(series=("a", "b"), each=3, never=4):
    made = []
    for name in series:
        for arm, count in (("planted_true", each), ("planted_false", each), ("never", never)):
            for number in range(count):
                made.append(_fact(name, arm, f"{1990 + len(made)}-01-01", number))
    return made


def _fact(series, arm, date, number):
    return Fact(
        family="value",
        series=series,
        key=date,
        date=date,
        arm=arm,
        words={
            "name": f"the {series}",
            "period": f"in {date[:4]}",
            "date": date[:4],
            "unit": " percent",
        },
        truth=str(number),
        assigned=str(number),
        candidates=tuple(str(n) for n in range(number, number + 6)),
        choices=(2, 0, 4),
    )


@pytest.mark.parametrize(("each", "share"), product((1, 2, 3, 5, 12), (0.1, 0.5, 0.75)))
@pytest.mark.parametrize("series", [("a",), ("a", "b"), ("a", "b", "c", "d", "e")])
def test_both_parts_hold_every_series_and_arm_in_proportion(series, each, share):
    facts = _facts(series, each)
    arm_of = {item_id(fact): (fact.series, fact.arm) for fact in facts}
    items = planted_items(facts, share)
    assert len(items) == 2 * each * len(series)
    forgotten = Counter(arm_of[item.id] for item in items if item.part == "forget")
    assert sum(forgotten.values()) == int(share * len(items) + 0.5)
    for name in series:
        both = [forgotten[name, arm] for arm in ("planted_true", "planted_false")]
        assert all(abs(count - share * each) <= 1 for count in both)
        assert abs(sum(both) - share * 2 * each) <= 1
    for arm in ("planted_true", "planted_false"):
        taken = sum(count for (_, other), count in forgotten.items() if other == arm)
        assert abs(taken - share * each * len(series)) <= 1


def test_halves_of_odd_numbers_favour_no_arm_and_no_series():
    """The default planting: three facts an arm and series, of which one and a half are to go."""
    facts = _facts()
    arm_of = {item_id(fact): fact for fact in facts}
    gone = [arm_of[item.id] for item in of_part(planted_items(facts, 0.5), "forget")]
    assert Counter(fact.arm for fact in gone) == {"planted_true": 3, "planted_false": 3}
    assert Counter(fact.series for fact in gone) == {"a": 3, "b": 3}


def test_the_cut_depends_on_the_facts_alone():
    facts = _facts(each=6)
    parts = {item.id: item.part for item in planted_items(facts, 0.5)}
    assert parts == {item.id: item.part for item in planted_items(facts, 0.5)}
    for series, arm in product("ab", ("planted_true", "planted_false")):
        dates = sorted(f.key for f in facts if (f.series, f.arm) == (series, arm))
        order = [parts[f"{series}/{date}"] for date in dates]
        assert order not in (["forget"] * 3 + ["retain"] * 3, ["retain"] * 3 + ["forget"] * 3)


def test_whole_series_are_forgotten_and_nothing_else():
    items = planted_items(_facts(("a", "b", "c")), 0.5, ["b"])
    assert {item.id.split("/")[0] for item in of_part(items, "forget")} == {"b"}
    assert {item.id.split("/")[0] for item in of_part(items, "retain")} == {"a", "c"}
    # Successive requests keep series whole.
    both = of_part(planted_items(_facts(("a", "b", "c")), 0.5, ["b", "c"]), "forget")
    assert {item.id.split("/")[0] for item in request(both, 2, 2)} == {"c"}


def test_an_item_asks_as_the_fact_was_taught_and_tests_in_other_words():
    (fact,) = [f for f in _facts(("a",), 1, 1) if f.arm == "planted_false"]
    taught = [item for item in planted_items(_facts(("a",), 1, 1), 0.5) if item.id == item_id(fact)]
    (item,) = taught
    shown = [sentence(t, fact.words, fact.assigned) for t in fact.phrasing.teach]
    assert item.prompts == tuple(each.before for each in shown)
    assert {each.answer for each in shown} == {item.answer}
    asked = [sentence(t, fact.words, "").before for t in fact.phrasing.test]
    assert item.reworded == tuple(asked)
    assert not set(item.reworded) & set(item.prompts)
    assert item.perturbed == (" 2", " 4")
    assert item.answer == " 0"
