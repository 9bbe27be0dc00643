"""The garbage collector is out of the way for a while, and back afterwards, whatever happens."""

from __future__ import annotations

import gc

import pytest

from palimpsest.collector import paused
from palimpsest.models import loading


def test_it_is_as_it_was_afterwards():
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_back_after_an_error():
    with pytest.raises(FileNotFoundError):
        loading.load("nowhere/model.json")
    assert gc.isenabled()


def test_no_collection_while_a_model_is_loaded(tiny_manifest, monkeypatch):
    seen = []
    take = loading.read_sealed
    monkeypatch.setattr(loading, "read_sealed", lambda p: seen.append(gc.isenabled()) or take(p))
    loading.load(tiny_manifest)
    assert seen == [False]
    assert gc.isenabled()
