"""What the plan says of a study before it runs."""

from __future__ import annotations

import pytest

from palimpsest.config import check
from palimpsest.grid import expand
from palimpsest.plan import describe, notes
from tests.configurations import FILE, ROOT


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _notes(states: dict, settings: dict) -> list[str]:
    study = {"probe": "unlearning", "states": states, "settings": settings}
    config, models = check({"studies": {"s": study}}, FILE)
    return notes(expand(config, models).studies["s"])


def test_networks_are_asked_all_and_endpoints_in_words():
    assert _notes({"made": {"model": "networks"}}, {}) == []
    own = {"own": {"forget": "hub:tofu/forget10"}}
    said = _notes({"taught": {"model": "local-server"}}, own)
    assert [note.startswith("local-server: ") for note in said] == [True, True]
    assert "in words alone" in said[0]


def test_what_is_left_out_without_retrained_models_is_said():
    taught = {"model": "tiny", "interventions": [{"biographies": {"people": 8}}]}
    (said,) = _notes({"taught": taught}, {})
    assert said == (
        "no state is called retrained (settings.retrained): verdicts that need models that never "
        "knew the forget set are left out"
    )
    never = {
        "model": "tiny",
        "interventions": [{"biographies": {"people": 8, "leave_out": "forget"}}],
    }
    assert _notes({"taught": taught, "retrained": never}, {}) == []


@pytest.mark.parametrize(
    ("interventions", "seeds", "said"),
    [
        ([], 3, "taught: seeds are ignored, since it has no interventions"),
        ([], [4], "taught: seeds are ignored, since it has no interventions"),
        ([{"unlearning.ssd": {}}], 3, "taught: seeds are ignored, since its interventions draw"),
        ([{"randomise": {}}], 3, None),
        ([], 1, None),
    ],
)
def test_seeds_that_change_nothing_are_told(interventions, seeds, said):
    files = {"forget": "hub:tofu/forget10", "retain": "hub:tofu/retain90"}
    for step in interventions:
        if "unlearning.ssd" in step:
            step["unlearning.ssd"] = files
    state = {"model": "tiny", "interventions": interventions, "seeds": seeds}
    study = {"probe": "unlearning", "states": {"taught": state}, "settings": {"own": files}}
    config, models = check({"studies": {"s": study}}, FILE)
    text = describe(expand(config, models), config)
    assert ("seeds are ignored" in text) == (said is not None)
    assert said is None or said in text


def test_seeds_of_networks_are_settings():
    states = {"made": {"model": "networks", "seeds": 3}}
    config, models = check({"studies": {"s": {"probe": "unlearning", "states": states}}}, FILE)
    said = "made: seeds are ignored, since those of networks are settings"
    assert said in describe(expand(config, models), config)
