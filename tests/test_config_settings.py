"""Settings of blocks that are unions, and numbers that are none."""

from __future__ import annotations

import json

import pytest

from palimpsest.config import ConfigError, check, read_yaml
from tests.configurations import FILE, ROOT


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _message(step: dict, robustness: dict | None = None) -> str:
    state = {"model": "tiny", "interventions": [{"biographies": {}}, step]}
    study = {
        "probe": "unlearning",
        "states": {"taught": state},
        "settings": {"robustness": robustness or {}},
    }
    with pytest.raises(ConfigError) as caught:
        check({"studies": {"s": study}}, FILE)
    return str(caught.value)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(text, tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text(f"number: {text}")
    number = read_yaml(path)["number"]
    for step, robustness, place in (
        ({"unlearning.npo": {"learning_rate": number}}, {}, "unlearning.npo.learning_rate"),
        ({"unlearning.ssd": {"strength": number}}, {}, "unlearning.ssd.strength"),
        ({"unlearning.npo": {}}, {"learning_rate": number}, "robustness.learning_rate"),
    ):
        said = _message(step, robustness)
        assert f"{place}: given {number}, allowed: " in said
        assert "finite number" in said or "greater than" in said
    assert json.dumps(number) in ("Infinity", "-Infinity", "NaN")


@pytest.mark.parametrize("name", ["npo", "NPO", "unlearning.NPO", "Unlearning.npo", "npoo"])
def test_a_method_is_suggested_with_its_prefix(name):
    said = _message({name: {}})
    assert f"interventions[1].{name}: given an unknown key" in said
    assert said.endswith("did you mean unlearning.npo?")


@pytest.mark.parametrize("value", ["npo", {"npo": {}}, None])
def test_methods_are_listed_where_only_their_prefix_is_given(value):
    said = _message({"unlearning": value})
    assert "allowed: the keys unlearning.assd, unlearning.ceu" in said
    assert "teaching" not in said
    assert "did you mean" not in said
