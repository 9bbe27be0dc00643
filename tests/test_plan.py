"""What the plan says of a study before it runs."""

from __future__ import annotations

import pytest

from palimpsest.config import check
from palimpsest.grid import expand
from palimpsest.plan import notes
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
