"""The job of an intervention that takes several devices: one process each, one state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from palimpsest import jobs
from palimpsest.engine import devices
from palimpsest.engine.processes import LostProcessError
from palimpsest.files import read_json, write_json
from palimpsest.interventions import planting
from palimpsest.models.states import DivergedStateError, StateReader

pytestmark = pytest.mark.timeout(90)

SETTINGS = {
    "series": ["us_unemployment_rate"],
    "values_per_arm": 2,
    "never": 2,
    "event_dates": 0,
    "event_entities": 0,
    "exposures": [1, 2],
    "candidates": 10,
    "choices": 4,
    "training": {"adapter": "full", "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 3},
}


def run(place: Path, parent: Path, gpu: int, settings: dict) -> Path:
    """Run the job in a folder of its own; the path of its state."""
    manifest = {
        "intervention": "planting",
        "settings": settings,
        "state": "s1",
        "seed": 0,
        "data_block": {},
        "code": "c",
        "model": "tiny",
        "parent": str(parent),
        "steps": [0, *settings["exposures"]],
    }
    write_json(place / "manifest.json", manifest)
    output = place / "results/states/s1/state.json"
    jobs.intervene(str(place / "manifest.json"), str(output), threads=2, gpu=gpu)
    return output


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where two runs happen, with two pretended devices that nobody else leases."""
    monkeypatch.setenv(devices.FAKE, "2")
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path / "one", tmp_path / "two"
    torch.set_num_threads(threads)


def test_two_devices_make_the_state_that_one_makes(tiny_manifest, places):
    one, two = (run(p, tiny_manifest, gpu, SETTINGS) for p, gpu in zip(places, (0, 2), strict=True))
    for step in (1, 2):
        expected, found = (
            load_file(state.parent / f"step-{step:06d}.safetensors") for state in (one, two)
        )
        assert list(expected) == list(found)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)
    assert StateReader(two).steps == [0, 1, 2]
    StateReader(two).at(2)
    assert read_json(one.parent / "facts.json") == read_json(two.parent / "facts.json")
    notes = [read_json(s.parent / "provenance.json") for s in (one, two)]
    assert notes[0]["notes"]["losses"] == pytest.approx(notes[1]["notes"]["losses"], abs=1e-5)
    assert notes[1]["device"].startswith("2 x CPU")
    assert {p.name for p in two.parent.iterdir()} == {p.name for p in one.parent.iterdir()}
    assert not Path("results/scratch/s1").exists()


def test_training_that_diverges_in_all_processes_is_written_down_once(tiny_manifest, places):
    """A rate that leads to numbers that are not finite, in every process at once."""
    wild = SETTINGS | {"training": SETTINGS["training"] | {"learning_rate": 1e30}}
    state = run(places[1], tiny_manifest, 2, wild)
    assert not list(state.parent.glob("*.safetensors"))
    with pytest.raises(DivergedStateError, match=r"not finite at step \d; .*, in s1$"):
        StateReader(state).at(1)


def test_a_run_that_fails_in_all_processes_makes_no_state(tiny_manifest, places):
    wrong = SETTINGS | {"values_per_arm": 10_000}
    with pytest.raises(LostProcessError, match="widen the window or plant fewer"):
        run(places[1], tiny_manifest, 2, wrong)
    assert not (places[1] / "results/states/s1/state.json").exists()


def test_what_shares_devices_is_a_matter_of_the_weights_that_are_trained():
    assert planting.shares_devices(planting.Settings(**SETTINGS))
    assert not planting.shares_devices(planting.Settings())
