"""Cells are cut into jobs alike in size, and a further cell changes few of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.batches import batches
from palimpsest.identity import digest


@dataclass(frozen=True)
class Thing:
    id: str
    cost: float = 1.0


def members(things: list[Thing], target: float) -> dict[str, frozenset[str]]:
    return {name: frozenset(t.id for t in group) for name, group in batches(things, target)}


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 150), target=st.integers(1, 40))
def test_one_more_cell_changes_one_batch_or_splits_one(count, target):
    things = [Thing(digest(i, length=16)) for i in range(count + 1)]
    old, new = members(things[:-1], target), members(things, target)
    assert frozenset().union(*new.values()) == {thing.id for thing in things}
    assert sum(map(len, new.values())) == len(things)
    changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    more = -(-(count + 1) // target) > -(-count // target)
    assert len(changed) <= (3 if more else 1)


def test_batches_do_not_depend_on_the_order_and_are_about_even():
    things = [Thing(digest(i, length=16)) for i in range(4000)]
    found = members(things, 500)
    assert found == members(things[::-1], 500)
    assert len(found) == 8
    assert max(map(len, found.values())) < 600
    assert len(members(things, 600)) == 7
    assert members(things, 1e9) == {"000": frozenset(t.id for t in things)}


def test_cells_that_take_longer_than_a_job_should_make_a_job_each_at_most():
    things = [Thing(digest(i, length=16), cost=1e6) for i in range(20)]
    names = members(things, 60)
    assert len(names) <= 20
    assert all(len(name) == 3 and int(name) < 20 for name in names)
    many = [Thing(digest(i, length=16), cost=1e6) for i in range(3000)]
    assert max(map(int, members(many, 60))) <= 998


def test_so_many_batches_are_made_in_any_case():
    things = [Thing(digest(i, length=16)) for i in range(40)]
    assert len(list(batches(things, 1000))) == 1
    assert len(list(batches(things, 1000, least=2))) == 2
    assert len(list(batches(things[:1], 1000, least=2))) == 1


def test_pieces_stay_together_and_batches_are_alike_in_cost():
    things = [
        Thing(f"{kind}{i}", cost)
        for kind, cost in zip("abcd", (4, 3, 2, 1), strict=True)
        for i in range(5)
    ]
    found = list(batches(things, 1000, least=2, piece=lambda thing: thing.id[0]))
    assert [sum(t.cost for t in members) for _, members in found] == [25, 25]
    assert [{t.id[0] for t in members} for _, members in found] == [{"a", "d"}, {"b", "c"}]
    assert [name for name, _ in found] == ["000", "001"]
    many = list(batches(things, 0.1, piece=lambda thing: thing.id[0]))
    assert len(many) == 4
