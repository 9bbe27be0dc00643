"""States: what is stored against the parent gives the weights of every step, to the bit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from palimpsest.engine.training import Trainer, TrainingSettings, example
from palimpsest.files import write_sealed
from palimpsest.identity import file_sha256
from palimpsest.models.loading import ModelError, load
from palimpsest.models.states import (
    DivergedStateError,
    StateReader,
    save_step,
    step_file,
    write_state,
)

SENTENCES = [
    ("The rate in May 1990 was", " 5.4", " percent."),
    ("The rate in June 1991 was", " 6.9", " percent."),
    ("The price in 2001 was", " 25.9", " dollars."),
    ("In 1999 it stood at", " 71", "."),
]


def copied(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.module.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def trained(model, settings: TrainingSettings, folder, steps=(1, 3)) -> dict[int, str]:
    """Train on a few sentences and save checkpoints; returns their hashes."""
    before = copied(model) if settings.adapter == "full" else None
    examples = [example(model, *s, settings.scored) for s in SENTENCES]
    trainer = Trainer(model, settings, seed=5)
    hashes = {}
    for step in range(1, max(steps) + 1):
        trainer.run([examples])
        if step in steps:
            hashes[step] = save_step(folder, step, trainer.changes(before))
    trainer.finish()
    return hashes


@pytest.fixture(scope="module", params=["lora", "full"])
def state(request, tiny_manifest, tmp_path_factory):
    """A trained state: path of state.json, and the weights in memory after the last step."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    model = load(tiny_manifest)
    settings = TrainingSettings(adapter=request.param, learning_rate=5e-3, rank=4)
    hashes = trained(model, settings, folder)
    write_state(folder / "state.json", str(tiny_manifest), hashes, {"state": "x"})
    return folder / "state.json", model  # the model as it is after training


@pytest.fixture
def damaged(state, tmp_path):
    """A copy of the state that may be damaged."""
    shutil.copytree(state[0].parent, tmp_path / "state")
    return tmp_path / "state/state.json"


def logits(model, text="The rate in May 1990 was") -> torch.Tensor:
    with torch.no_grad():
        return model.module(torch.tensor([model.encode(text)])).logits


def test_step_0_is_the_parent_to_the_bit(state, tiny_manifest):
    assert same(copied(load(tiny_manifest)), copied(StateReader(state[0]).at(0)))


def test_a_state_that_diverged_has_no_model_and_keeps_no_weights(damaged, tiny_manifest):
    why = {"diverged": "loss not finite at step 2, in x"}
    write_state(damaged, str(tiny_manifest), {}, {"state": "x"} | why)
    for step in (0, 1):
        with pytest.raises(DivergedStateError, match=r"^loss not finite at step 2, in x$"):
            StateReader(damaged).at(step)
    after = damaged.parent / "after/state.json"
    write_state(after, str(damaged), {1: save_step(after.parent, 1, {})}, {"state": "y"})
    with pytest.raises(DivergedStateError):
        StateReader(after).at(1)
    assert not list(damaged.parent.glob("*.safetensors"))


def merged(module) -> dict[str, torch.Tensor]:
    """Weights of a trained module with its adapters merged, under the names of the model."""
    if hasattr(module, "merge_and_unload"):
        return {n: w.detach() for n, w in module.merge_and_unload().named_parameters()}
    adapters = {n: m for n, m in module.named_modules() if hasattr(m, "A") and hasattr(m, "B")}
    found = {n: w.detach() for n, w in module.named_parameters()}
    for name, layer in adapters.items():
        change = layer.scale * layer.B.detach() @ layer.A.detach()
        found[f"{name}.weight"] = layer.linear.weight.detach() + change
    return {n: w for n, w in found.items() if not n.endswith((".A", ".B", ".linear.weight"))}


def test_a_step_is_what_was_trained(state):
    path, model = state
    read = StateReader(path).at(3)
    assert torch.allclose(logits(read), logits(model), atol=1e-5)
    weights, expected = copied(read), merged(model.module)
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert (weight - weights[name]).abs().max() <= 1e-6, name


def test_steps_differ_from_each_other_and_from_the_parent(state):
    reader = StateReader(state[0])
    assert reader.steps == [0, 1, 3]
    found = [logits(reader.at(step)).clone() for step in reader.steps]
    assert not torch.allclose(found[0], found[1], atol=1e-4)
    assert not torch.allclose(found[1], found[2], atol=1e-4)


def test_moving_between_steps_and_back_restores_the_bits(state):
    reader = StateReader(state[0])
    fresh = {step: copied(StateReader(state[0]).at(step)) for step in reader.steps}
    for step in (3, 1, 0, 3, 3, 0, 1, 0):
        assert same(fresh[step], copied(reader.at(step))), step


def test_a_step_that_is_not_there_lists_those_that_are(state):
    with pytest.raises(ModelError, match=r"\[0, 1, 3\], not 2"):
        StateReader(state[0]).at(2)


def test_a_base_model_has_step_0_alone(tiny_manifest):
    reader = StateReader(tiny_manifest)
    assert reader.is_base
    assert reader.steps == [0]
    assert same(copied(load(tiny_manifest)), copied(reader.at(0)))
    with pytest.raises(ModelError, match=r"\[0\], not 1"):
        reader.at(1)


def test_a_state_of_a_state_begins_at_the_last_step_of_its_parent(state, tmp_path):
    parent = StateReader(state[0])
    last = copied(parent.at(3))
    name = next(iter(last))
    change = {name: torch.full_like(last[name], 0.25)}
    hashes = {1: save_step(tmp_path, 1, change)}
    write_state(tmp_path / "state.json", str(state[0]), hashes, {"state": "y"})
    child = StateReader(tmp_path / "state.json")
    assert same(last, copied(child.at(0)))
    weights = copied(child.at(1))
    assert torch.equal(weights[name], change[name])
    assert same({n: w for n, w in last.items() if n != name}, weights)


def test_saving_is_the_same_to_the_bit_each_time(tmp_path):
    change = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2).double()}
    one = save_step(tmp_path / "one", 1, change)
    assert save_step(tmp_path / "other", 1, dict(reversed(change.items()))) == one
    assert file_sha256(step_file(tmp_path / "one", 1)) == one


@pytest.mark.parametrize("byte", [3, 200, -1])
def test_a_flipped_bit_is_named(damaged, byte):
    path = step_file(damaged.parent, 3)
    content = bytearray(path.read_bytes())
    content[byte] ^= 16
    path.write_bytes(content)
    reader = StateReader(damaged)
    reader.at(1)
    with pytest.raises(ModelError, match="SHA-256") as caught:
        reader.at(3)
    assert str(path) in str(caught.value)
    assert f"delete {damaged} and run again" in str(caught.value)


def test_a_missing_checkpoint_is_named(damaged):
    step_file(damaged.parent, 1).unlink()
    with pytest.raises(ModelError, match=r"step-000001\.safetensors: missing"):
        StateReader(damaged).at(1)


def test_after_an_error_the_reader_still_tells_the_truth(damaged):
    step_file(damaged.parent, 1).unlink()
    reader = StateReader(damaged)
    reader.at(3)
    with pytest.raises(ModelError):
        reader.at(1)
    assert same(copied(StateReader(damaged).at(0)), copied(reader.at(0)))
    assert same(copied(StateReader(damaged).at(3)), copied(reader.at(3)))


def test_changes_of_another_model_are_refused(damaged):
    facts = json.loads(damaged.read_text())
    facts["hashes"]["1"] = save_step(damaged.parent, 1, {"no.such.weight": torch.ones(2)})
    write_sealed(damaged, facts)
    with pytest.raises(ModelError, match=r"no\.such\.weight"):
        StateReader(damaged).at(1)


def test_a_low_rank_change_is_its_product(tiny_manifest, tmp_path):
    base = copied(load(tiny_manifest))
    name = next(n for n, w in base.items() if w.dim() == 2)
    out, into = base[name].shape
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, into, generator=generator), torch.randn(out, 3, generator=generator)
    hashes = {1: save_step(tmp_path, 1, {f"{name}::A": a, f"{name}::B": b})}
    write_state(tmp_path / "state.json", str(tiny_manifest), hashes, {})
    found = copied(StateReader(tmp_path / "state.json").at(1))[name]
    assert torch.allclose(found, base[name] + b @ a, atol=1e-6)
