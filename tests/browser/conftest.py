import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import duckdb
import pytest

from palimpsest.reports.blocks import Column, StudyPage, Table

#: Names of states that attack a spreadsheet, a Markdown or a LaTeX table.
ROLES = {
    "randomised": '=HYPERLINK("http://example.org",1)',
    "planted": "[a] | 100% *b* <script>window.hacked=1</script> \\\\ "
    "$x_1$ &lt; ~~c~~ `d` #1 {e} 10⁻³",
}

_FIXTURES = Path(__file__).parents[1] / "reports"


def _fixture(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _FIXTURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _moved(row: dict) -> float:
    return 2.0 if (row["role"], row["grp"], row["metric"]) == ("planted", "never", "loss") else 0.0


def _long(database: object, study: str) -> StudyPage:
    """A page with one table of 120 rows."""
    sql = "SELECT range AS row, ['even', 'odd'][range % 2 + 1] AS half FROM range(120)"
    columns = {"row": Column("Row", "number"), "half": Column("Half")}
    return StudyPage(study, "T", "Q?", [], [Table("rows", "Rows", "All of them.", sql, columns)])


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Addresses of the pages of the synthetic run, as files."""
    from palimpsest.reports.build import build_index, build_study
    from palimpsest.reports.compare import build_compare

    toy, runs = _fixture("fixture_database"), _fixture("fixture_runs")
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
        hostile = toy.write_database(folder / "hostile.duckdb")
        with duckdb.connect(str(hostile)) as connection:
            for role, bad in ROLES.items():
                for table in ("cells", "statistics"):
                    connection.execute(f"UPDATE {table} SET role = ? WHERE role = ?", [bad, role])
            connection.execute("UPDATE claims SET claim = ?", [ROLES["planted"]])
        built["spiteful"] = build_study(
            hostile, "economic_recall", folder / "spiteful.html"
        ).as_uri()
        figures.page = _long
        built["long"] = build_study(database, "economic_recall", folder / "long.html").as_uri()
    built["index"] = build_index(database, folder / "index.html").as_uri()
    old = runs.write_run(folder / "old.duckdb")
    new = runs.write_run(
        folder / "new.duckdb", seeds=range(20, 26), shift=_moved, settings={"a": 1}
    )
    built["compare"] = build_compare(old, new, folder / "compare.html").as_uri()
    return SimpleNamespace(
        hostile=toy.HOSTILE, roles=ROLES, study=built.pop("economic_recall"), **built
    )
