"""Monstrous and mutated configurations are valid or explained: no traceback, no hang."""

from __future__ import annotations

import copy
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.config import ConfigError, check, load
from tests.configurations import FILE, ROOT, SMOKE, E, changed, message_of


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "place", ["models_file: *a11", "studies: *a11", "compute: *a11", "studies: {s: *a11}"]
)
def test_a_bomb_of_anchors_does_not_go_off(tmp_path, place):
    path = tmp_path / "config.yaml"
    path.write_text(f"{_bomb()}\n{place}\n")
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert time.monotonic() - start < 5
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("kind", ["wide", "deep", "endless", "long", "digits"])
def test_monstrous_values_do_not_hang(kind):
    deep: list = []
    for _ in range(50_000):
        deep = [deep]
    endless: list = []
    endless.append(endless)
    value = {
        "wide": list(range(200_000)),
        "deep": deep,
        "endless": endless,
        "long": "x" * 10_000_000,
        "digits": [10**5000],
    }[kind]
    start = time.monotonic()
    message = message_of(changed(f"{E}/settings/series", value))
    assert time.monotonic() - start < 5
    assert len(message) < 3000


def _paths(node: object, path: tuple = ()) -> list[tuple]:
    children: list = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    return [path] + [p for key, child in children for p in _paths(child, (*path, key))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.dates(),
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(SCALARS, st.sampled_from(["model", "probe"])), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(data=st.data())
def test_mutated_configurations_are_valid_or_explained(data):
    raw = copy.deepcopy(SMOKE)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(_paths(raw)[1:]))
        node = raw
        for part in path[:-1]:
            node = node[part]
        action = data.draw(st.sampled_from(["set", "drop", "add", "rename"]))
        if action == "set":
            node[path[-1]] = data.draw(VALUES)
        elif action == "drop" or isinstance(node, list):
            del node[path[-1]]
        elif action == "add":
            node[data.draw(SCALARS)] = data.draw(VALUES)
        else:
            node[data.draw(SCALARS)] = node.pop(path[-1])
        if not _paths(raw)[1:]:
            break
    try:
        check(raw, FILE)
    except ConfigError as error:
        str(error).encode()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    start=st.integers(0, 2000),
    length=st.integers(0, 40),
    patch=st.text(st.sampled_from("{}[]:,-&*!?|>%@`'\"#\n\t abz01~<"), max_size=12),
)
def test_mutated_yaml_is_valid_or_explained(tmp_path_factory, start, length, patch):
    text = (ROOT / "config/smoke.yaml").read_text()
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(text[:start] + patch + text[start + length :])
    try:
        load(path)
    except ConfigError as error:
        str(error).encode()
