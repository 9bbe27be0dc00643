"""Guards on disk: the same after a save, on through later states, gone where a step has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.models.guards import PhraseGuard, RefusalGuard, packed, unpacked
from palimpsest.models.states import StateReader, save_step, write_state

PHRASES = PhraseGuard(
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([0.5, -1], dtype=np.float32),
    np.array([1]),
    (("é", "two words"), ("7",)),
    ((3, 4), ()),
    layer=3,
    threshold=0.25,
    nearest=2,
    beams=4,
)
REFUSAL = RefusalGuard(("Who?", "What?"), (), " Non, désolé.")


def same(one, other):
    """Whether two guards are equal in every part."""
    if type(one) is not type(other):
        return False
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in pairs
    )


def tensors(guard):
    return {name: torch.from_numpy(part) for name, part in packed(guard).items()}


@pytest.mark.parametrize("guard", [PHRASES, REFUSAL])
def test_a_guard_is_the_same_after_a_save(guard):
    (found,) = unpacked(packed(guard))
    assert same(found, guard)
    assert unpacked({"weight": np.ones(2)}) == ()


@pytest.fixture
def chain(tiny_manifest, tmp_path):
    """Three states: one with a guard at its second step, one of weights, one with a guard."""
    name = "model.norm.weight"
    steps = {
        "one": {1: {}, 2: tensors(PHRASES)},
        "two": {1: {name: torch.full((1,), 0.0)}},
        "three": {1: tensors(REFUSAL)},
    }
    parent, found = tiny_manifest, {}
    weight = dict(StateReader(tiny_manifest).at(0).module.named_parameters())[name]
    steps["two"][1][name] = torch.full_like(weight, 2.0)
    for state, changes in steps.items():
        folder = tmp_path / state
        folder.mkdir()
        hashes = {step: save_step(folder, step, each) for step, each in changes.items()}
        parent, before = folder / "state.json", parent
        write_state(parent, str(before), hashes, {"state": state})
        found[state] = parent
    return found


def test_a_guard_belongs_to_its_step(chain):
    reader = StateReader(chain["one"])
    assert reader.at(0).guards == ()
    assert same(reader.at(2).guards[0], PHRASES)
    assert reader.at(1).guards == ()
    (again,) = reader.at(2).guards
    assert same(again, PHRASES)


def test_a_guard_stays_on_in_later_states(chain):
    after = StateReader(chain["two"])
    for step in (0, 1, 0):
        (guard,) = after.at(step).guards
        assert same(guard, PHRASES)
        weight = dict(after.at(step).module.named_parameters())["model.norm.weight"]
        assert bool((weight == 2.0).all()) == (step == 1)
    last = StateReader(chain["three"])
    assert [type(guard) for guard in last.at(1).guards] == [PhraseGuard, RefusalGuard]
    assert [type(guard) for guard in last.at(0).guards] == [PhraseGuard]
