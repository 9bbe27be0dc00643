import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

_TOY = Path(__file__).parents[1] / "reports" / "fixture_database.py"


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Addresses of the pages of the synthetic run, as files."""
    from palimpsest.reports.build import build_index, build_study

    spec = importlib.util.spec_from_file_location("fixture_database", _TOY)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    figures = ModuleType("palimpsest.probes.toy.figures")
    figures.page = toy.page
    names = {"palimpsest.probes.toy": ModuleType("toy"), "palimpsest.probes.toy.figures": figures}
    folder = tmp_path_factory.mktemp("a folder")
    database = toy.write_database(folder / "palimpsest.duckdb")
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        built = {
            study: build_study(database, study, folder / f"{study}.html").as_uri()
            for study in ("economic_recall", "leakage")
        }
    built["index"] = build_index(database, folder / "index.html").as_uri()
    return SimpleNamespace(hostile=toy.HOSTILE, study=built.pop("economic_recall"), **built)
