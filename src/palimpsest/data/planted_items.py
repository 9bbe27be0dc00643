"""Planted facts as items of knowledge, cut into what is to be forgotten and what must stay."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from palimpsest.data.facts import ARMS, Fact
from palimpsest.data.items import Item
from palimpsest.data.phrasing import sentence
from palimpsest.identity import seed_of

VERSION = 1


def planted_items(facts: Sequence[Fact], share: float, whole: Sequence[str] = ()) -> list[Item]:
    """The facts that are taught, as items of the parts forget and retain.

    Args:
        facts: of one replicate; those of the arm never are left out.
        share: of the facts that are to be forgotten, the same in every series and arm up to
            rounding.
        whole: series, or families of events, that are to be forgotten instead, with all their
            facts; all others must stay.
    """
    taught = [fact for fact in facts if fact.arm in ARMS[:2]]
    forgotten = {item_id(f) for f in taught if f.series in whole} if whole else _cut(taught, share)
    return [_item(f, "forget" if item_id(f) in forgotten else "retain") for f in taught]


def item_id(fact: Fact) -> str:
    """Identity of a fact among the items; successive requests keep its series whole."""
    return f"{fact.series}/{fact.key}"


def _cut(taught: Sequence[Fact], share: float) -> set[str]:
    """Names of the facts that are to be forgotten.

    The number of each series comes from cumulative rounding, and what it leaves open goes to the
    arm that has got least so far.
    """
    chosen: set[str] = set()
    owed = dict.fromkeys(ARMS[:2], 0.0)
    seen = 0
    for series in dict.fromkeys(fact.series for fact in taught):
        groups = {
            arm: [fact for fact in taught if (fact.series, fact.arm) == (series, arm)]
            for arm in owed
        }
        size = sum(map(len, groups.values()))
        count = floor(share * (seen + size) + 0.5) - floor(share * seen + 0.5)
        seen += size
        for arm, group in groups.items():
            owed[arm] += share * len(group)
            # An order that depends on the fact alone, not on its place in time.
            group.sort(key=lambda fact: seed_of("to be forgotten", fact.series, fact.key))
        for _ in range(count):
            arm = max((arm for arm in groups if groups[arm]), key=lambda arm: owed[arm])
            owed[arm] -= 1
            chosen.add(item_id(groups[arm].pop(0)))
    return chosen


def _item(fact: Fact, part: str) -> Item:
    """The first teaching template asks, the others state; test templates are never taught."""
    taught = [sentence(t, fact.words, fact.assigned) for t in fact.phrasing.teach]
    tested = [sentence(t, fact.words, fact.assigned) for t in fact.phrasing.test]
    others = [fact.candidates[place] for place in fact.choices]
    return Item(
        id=item_id(fact),
        part=part,
        question=taught[0].before,
        statements=tuple(each.before for each in taught[1:]),
        reworded=tuple(each.before for each in tested),
        answer=taught[0].answer,
        perturbed=tuple(f" {text}" for text in others if text != fact.assigned),
    )
