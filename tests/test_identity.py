"""Identities: equal where the numbers are equal, different where they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import discovery, identity
from palimpsest.blocks import Block
from palimpsest.identity import canonical, code_fingerprint, digest, folder_hash, seed_of

SNAPSHOT = Path(__file__).with_name("settings_defaults.json")
HOW = (
    "raise VERSION of the module (results made with the old default become invalid), then run "
    "`UPDATE_SETTINGS_DEFAULTS=1 python -m pytest tests/test_identity.py -k snapshot`"
)

MODULE = '''
"""A method."""

ENGINE = ("engine.loop",)
VERSION = 1


class Settings:
    """Settings."""

    rate: float = 1.0


def measure(model):
    """Measure it."""
    return model + 1  # a comment
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one method and one engine module, in place of the real one."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "engine").mkdir()
    (tmp_path / "methods/one.py").write_text(MODULE)
    (tmp_path / "engine/loop.py").write_text("VERSION = 3\n\ndef loop():\n    return 1\n")
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    return tmp_path


def test_canonical_text_knows_no_order():
    assert canonical({"b": 1, "a": [1, {"d": 2, "c": 3}]}) == '{"a":[1,{"c":3,"d":2}],"b":1}'


def test_defaults_are_no_part_of_canonical_text():
    class Inner(Block):
        x: int = 1

    class Outer(Block):
        inner: Inner = Inner()
        y: float = 0.5

    assert canonical(Outer()) == canonical(Outer(inner=Inner(x=1), y=0.5)) == "{}"
    assert canonical(Outer(inner={"x": 2})) == '{"inner":{"x":2}}'


def test_digests_of_the_past_stay():
    assert digest("a", {"b": 1.5}, [None, True]) == "b988a867ae90"
    assert seed_of("study", 7) == 2694927012071101917


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_parts_are_not_run_together(one, other):
    separated = not any("\x1f" in part for part in one + other)
    if separated and one != other and one and other:
        assert digest(*one) != digest(*other)


@given(st.integers(), st.integers())
def test_seeds_are_63_bits_and_differ(one, other):
    assert 0 <= seed_of("x", one) < 1 << 63
    assert (seed_of("x", one) == seed_of("x", other)) == (one == other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment"),
        ('"""Measure it."""', '"""Measure it well."""'),
        ('"""A method."""\n', '"""Another text.\n\nLonger.\n"""\n'),
        ("return model + 1", "return (\n        model + 1\n    )"),
        ("    rate: float = 1.0", "    rate: float = 1.0\n    depth: int | None = None"),
        ('    """Settings."""', '    """Other words."""'),
    ],
)
def test_fingerprint_sees_past_what_decides_no_number(package, old, new):
    before = code_fingerprint("methods.one")
    assert old in MODULE
    (package / "methods/one.py").write_text(MODULE.replace(old, new))
    assert code_fingerprint("methods.one") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model + 1", "model + 2"),
        ("def measure(model)", "def measure(model, scale=1)"),
        ("VERSION = 1", "VERSION = 2"),
        ("class Settings", "class Options"),
        ('("engine.loop",)', "()"),
    ],
)
def test_fingerprint_sees_code(package, old, new):
    before = code_fingerprint("methods.one")
    (package / "methods/one.py").write_text(MODULE.replace(old, new))
    assert code_fingerprint("methods.one") != before


def test_fingerprint_sees_the_version_of_an_engine_and_not_its_code(package):
    before = code_fingerprint("methods.one")
    loop = package / "engine/loop.py"
    loop.write_text("VERSION = 3\n\ndef loop():\n    return 1 + 0\n")
    assert code_fingerprint("methods.one") == before
    loop.write_text("VERSION = 4\n\ndef loop():\n    return 1\n")
    assert code_fingerprint("methods.one") != before
    loop.write_text("def loop():\n    return 1\n")
    with pytest.raises(ValueError, match=r"engine\.loop.*VERSION"):
        code_fingerprint("methods.one")


def test_fingerprint_of_a_folder_sees_a_new_file_and_the_files_named_alone(package):
    whole, named = code_fingerprint("methods"), code_fingerprint("methods", ("one.py",))
    (package / "methods/two.py").write_text("X = 1\n")
    assert code_fingerprint("methods") != whole
    assert code_fingerprint("methods", ("one.py",)) == named


def test_hash_of_a_folder_sees_every_byte(package):
    before = folder_hash("methods")
    (package / "methods/page.css").write_text("a {}")
    changed = folder_hash("methods")
    assert changed != before
    (package / "methods/page.css").write_text("b {}")
    assert folder_hash("methods") not in (before, changed)
    shutil.move(package / "methods/page.css", package / "methods/style.css")
    assert folder_hash("methods") not in (before, changed)


def test_fingerprint_follows_an_engine_to_those_that_it_stands_on(package):
    (package / "engine/base.py").write_text("VERSION = 1\n")
    loop = package / "engine/loop.py"
    loop.write_text('VERSION = 3\nENGINE = ("engine.base", "engine.loop")\n')
    before = code_fingerprint("methods.one")
    (package / "engine/base.py").write_text("VERSION = 2\n")
    assert code_fingerprint("methods.one") != before


def test_every_method_names_engines_that_have_a_version():
    for name in discovery.names("interventions"):
        code_fingerprint(f"interventions.{name}")
    for name in discovery.names("probes"):
        code_fingerprint(f"probes.{name}")


def _defaults() -> dict[str, dict]:
    found = {}
    for kind, get in (("interventions", discovery.intervention), ("probes", discovery.probe)):
        for name in discovery.names(kind):
            module = get(name)
            required = {
                field: object()
                for field, info in module.Settings.model_fields.items()
                if info.is_required()
            }
            assert not required, f"{kind}.{name}: settings without a default: {list(required)}"
            found[f"{kind}.{name}"] = {
                "version": module.VERSION,
                "defaults": module.Settings().model_dump(mode="json"),
            }
    return found


def _changed_defaults(old: dict, new: dict, place: str = "") -> list[str]:
    """Settings whose default is another one now; settings that are new are no change."""
    found = []
    for key, value in old.items():
        if key not in new:
            found.append(f"{place}{key} is gone")
        elif isinstance(value, dict) and isinstance(new[key], dict):
            found += _changed_defaults(value, new[key], f"{place}{key}.")
        elif new[key] != value:
            found.append(f"{place}{key}: {value} -> {new[key]}")
    return found


def test_snapshot_of_defaults_agrees_with_versions():
    """Defaults are left out of identities, so a changed default must raise VERSION."""
    import os

    now = _defaults()
    if os.environ.get("UPDATE_SETTINGS_DEFAULTS"):
        SNAPSHOT.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    then = json.loads(SNAPSHOT.read_text())
    assert sorted(now) == sorted(then), "a module came or went; " + HOW.split("then ")[1]
    for module, old in then.items():
        changes = _changed_defaults(old["defaults"], now[module]["defaults"])
        if now[module]["version"] == old["version"]:
            assert not changes, f"{module}: {'; '.join(changes)}: {HOW}"
        else:
            assert now[module] == old, f"{module} has a new VERSION; {HOW.split('then ')[1]}"


def test_changed_defaults_are_found_and_new_settings_are_none():
    old = {"a": 1, "inner": {"x": 1}}
    assert _changed_defaults(old, {"a": 1, "inner": {"x": 1, "y": 2}, "b": None}) == []
    assert _changed_defaults(old, {"a": 2, "inner": {"x": 3}}) == ["a: 1 -> 2", "inner.x: 1 -> 3"]
    assert _changed_defaults(old, {"inner": {"x": 1}}) == ["a is gone"]
