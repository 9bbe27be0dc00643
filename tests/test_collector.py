"""The garbage collector is out of the way for a while, and back afterwards, whatever happens."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from palimpsest.collector import MANY, importing, paused
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


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_imported_is_left_alone(thawed):
    with importing():
        stays = [[number] for number in range(2 * MANY)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(stays)


def test_few_objects_are_no_library(thawed):
    gc.collect()
    with importing():
        pass
    assert gc.get_freeze_count() == 0


def test_what_callers_hold_is_not_kept_by_an_exception_that_was_caught(thawed):
    """It refers to itself by its frame, and by that to the frame of the caller, with its model."""

    class Model:
        pass

    def not_there():
        try:
            raise ImportError("not there")
        except ImportError as error:
            itself = error
        return str(itself)

    def loaded():
        with importing():
            library = [[not_there()] for _ in range(2 * MANY)]
        model = Model()
        return library, weakref.ref(model)

    library, model = loaded()
    assert gc.get_freeze_count() > len(library)
    gc.collect()
    assert model() is None


def test_nothing_is_said_of_what_was_not_freed_at_the_end():
    code = """
from palimpsest.collector import MANY, importing
with importing():
    import duckdb, polars
    library = [[number] for number in range(2 * MANY)]
duckdb.connect().sql("SELECT 1").pl()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
