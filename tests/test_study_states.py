"""States that do not fit each other, or the settings that name them, are refused before any job."""

from __future__ import annotations

import copy
import json

import pytest

from palimpsest.config import ConfigError, check
from tests.configurations import FILE, ROOT

WORLD = {"people": 8, "forget_share": 0.25, "epochs": 1}
STATES = {
    "taught": {"model": "tiny", "interventions": [{"biographies": WORLD}]},
    "retrained": {
        "model": "tiny",
        "interventions": [{"biographies": WORLD | {"leave_out": "forget"}}],
    },
}


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _check(states: dict, settings: dict | None = None) -> None:
    study = {"probe": "unlearning", "states": states, "settings": settings or {}}
    check({"studies": {"s": study}}, FILE)


def _message(states: dict, settings: dict | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        _check(states, settings)
    return str(caught.value)


def _retrained(**changed: object) -> dict:
    states = copy.deepcopy(STATES)
    states["retrained"]["interventions"][0]["biographies"] |= changed
    return states


def test_settings_name_states_of_the_study():
    _check(STATES)
    said = _message(STATES, {"untouched": "tought"})
    assert said == (
        f"{FILE}: studies.s.settings.untouched: given 'tought', allowed: a state of this study: "
        "taught, retrained; did you mean taught?"
    )
    assert "settings.retrained: given 'retraind'" in _message(STATES, {"retrained": "retraind"})
    assert "settings.untouched: given 'taught'" in _message({"a": {"model": "tiny"}})
    _check({"taught": STATES["taught"]})
    _check({"made": {"model": "networks"}}, {"untouched": "any", "retrained": "other"})


def test_names_are_those_of_states_behind_endpoints_too():
    states = {"before": {"model": "local-server"}}
    own = {"own": {"forget": "hub:tofu/forget10"}}
    _check(states, own | {"untouched": "before"})
    said = _message(states, own | {"untouched": "befor"})
    assert "given 'befor', allowed: a state of this study: before; did you mean before?" in said


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"people": 12}, ["people: given 12, allowed: 8, as in the state taught"]),
        ({"training": {"rank": 4}}, ["training.rank: given 4, allowed: 16"]),
        ({"epochs": 2, "world": 1}, ["epochs: given 2, allowed: 1", "world: given 1, allowed: 0"]),
    ],
)
def test_models_that_never_knew_are_taught_as_those_that_knew(changed, keys):
    said = _message(_retrained(**changed))
    for key in keys:
        assert f"studies.s.states.retrained.interventions[0].biographies.{key}" in said
    assert "\n  taught and retrained are held against each other" in said
    assert "(leave_out: forget) must be taught in the same way" in said


def test_methods_begin_with_what_they_are_held_against():
    """Otherwise they would be asked about other facts; one that was only taught is its own arm."""
    method = {"unlearning.npo": {"epochs": 1, "adapter": "lora"}}
    states = copy.deepcopy(STATES)
    states["npo"] = {"model": "tiny", "interventions": [{"biographies": WORLD}, method]}
    _check(states)
    other = {"biographies": WORLD | {"people": 9}}
    states["npo"]["interventions"] = [other, method]
    said = _message(states)
    assert "states.npo.interventions[0].biographies.people: given 9, allowed: 8, as in" in said
    assert "\n  taught and npo are held against each other" in said
    states["npo"]["interventions"] = [other]
    _check(states)
    never = {"biographies": WORLD | {"leave_out": "forget"}}
    states["npo"]["interventions"] = [never, method]
    _check(states)


def test_they_begin_with_the_same_model():
    states = _retrained()
    states["retrained"]["model"] = "smollm2-135m-instruct"
    said = _message(states)
    assert "states.retrained.model: given 'smollm2-135m-instruct', allowed: 'tiny', as in" in said


def test_states_that_were_taught_elsewhere_may_be_of_other_models():
    files = {"forget": "hub:tofu/forget10", "retain": "hub:tofu/retain90"}
    states = {"taught": {"model": "tiny"}, "retrained": {"model": "smollm2-135m-instruct"}}
    _check(states, {"own": files})


def test_own_items_are_refused_for_networks():
    files = {"forget": "hub:tofu/forget10", "retain": "hub:tofu/retain90"}
    said = _message({"made": {"model": "networks"}}, {"own": files})
    assert "settings.own: given files, allowed: none with networks" in said


def _relearn(*numbers: int) -> dict:
    return {"robustness": {"relearn": list(numbers)}}


def test_some_forgotten_items_must_be_left_to_come_back(tmp_path):
    said = _message(STATES, _relearn(999))
    assert "s.settings.robustness.relearn: given [999], allowed: a number below 10" in said
    _check(STATES, _relearn(9, 999))
    small = {"people": 8, "forget_share": 0.25}
    networks = {"made": {"model": "networks"}}
    assert "below 10" in _message(networks, {"scratch": small} | _relearn(10))
    _check(networks, {"scratch": small} | _relearn(9))
    files = {}
    for part in ("forget", "retain"):
        rows = [{"question": f"{part} {n}?", "answer": "x"} for n in range(3)]
        (tmp_path / part).write_text("\n".join(map(json.dumps, rows)))
        files[part] = str(tmp_path / part)
    taught = {"taught": {"model": "tiny", "interventions": [{"teaching": files}]}}
    for states, own in ((taught, {}), ({"taught": {"model": "tiny"}}, {"own": files})):
        assert "below 3" in _message(states, own | _relearn(3))
        _check(states, own | _relearn(2))
        _check(states, own)
    hub = {"own": {"forget": "hub:tofu/forget10", "retain": "hub:tofu/retain90"}}
    _check({"taught": {"model": "tiny"}}, hub | _relearn(999))


def test_a_layer_that_a_tiny_model_lacks_is_refused():
    states = copy.deepcopy(STATES)
    steps = [{"biographies": WORLD}, {"unlearning.rmu": {"layer": 2}}]
    states["rmu"] = {"model": "tiny", "interventions": steps}
    key = "studies.s.states.rmu.interventions[1].unlearning.rmu.layer"
    assert f"{key}: given 2, allowed: 0 to 1, the layers of tiny" in _message(states)
    steps[1]["unlearning.rmu"]["layer"] = 1
    _check(states)
    for state in states.values():
        state["model"] = "smollm2-135m-instruct"
    steps[1]["unlearning.rmu"]["layer"] = 29
    _check(states)
