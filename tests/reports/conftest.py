import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).with_name("fixture_database.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module with the synthetic run."""
    spec = importlib.util.spec_from_file_location("fixture_database", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy_probe(toy, monkeypatch):
    """A probe ``toy`` whose page is the one of the synthetic run."""
    package, figures = ModuleType("palimpsest.probes.toy"), ModuleType("figures")
    figures.page = toy.page
    monkeypatch.setitem(sys.modules, "palimpsest.probes.toy", package)
    monkeypatch.setitem(sys.modules, "palimpsest.probes.toy.figures", figures)
    return figures


@pytest.fixture(scope="session")
def database_path(toy, tmp_path_factory) -> Path:
    return toy.write_database(tmp_path_factory.mktemp("run") / "palimpsest.duckdb")
