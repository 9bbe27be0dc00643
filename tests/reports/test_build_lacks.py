"""What a page says where something is missing or has failed."""

import duckdb
import pytest

from palimpsest.evidence.database import EvidenceError
from palimpsest.reports.blocks import Column, Figure, Gallery, StudyPage, Table
from palimpsest.reports.build import ReportError, build_index, build_study
from tests.reports.test_build import Page, built


def test_a_block_about_other_states_is_not_marked(toy_probe, database_path, tmp_path):
    tables = [
        Table(role, role, "c", f"SELECT '{role}' AS role", {"role": Column("State")})
        for role in ("planted", "randomised")
    ]
    html = built(toy_probe, database_path, tmp_path, *tables)
    first, second = html.split('id="randomised"')
    assert "Partial data" in first
    assert "Partial data" not in second


def test_a_complete_study_has_no_warning(toy, toy_probe, tmp_path):
    path = toy.write_database(tmp_path / "c.duckdb", failed=0)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE statistics SET note = NULL")
    html = build_study(path, "economic_recall", tmp_path / "p.html").read_text("utf-8")
    assert 'id="warnings"' not in html
    assert "partial" not in Page(html).text.lower()


def test_a_study_that_failed_wholly_is_a_page_of_reasons(toy_probe, database_path, tmp_path):
    html = build_study(database_path, "leakage", tmp_path / "l.html").read_text("utf-8")
    text = Page(html).text
    assert "4 of 4 cells are not done" in text
    assert "CUDA out of memory <b>at</b> batch 1" in text
    assert "No claim of this study was tested" in text


def test_a_study_without_cells(toy, toy_probe, tmp_path):
    path = toy.write_database(tmp_path / "e.duckdb")
    with duckdb.connect(str(path)) as connection:
        for table in ("cells", "observations", "claims", "statistics", "provenance"):
            connection.execute(f"DELETE FROM {table}")
    html = build_study(path, "economic_recall", tmp_path / "p.html").read_text("utf-8")
    assert html.count("Nothing was measured here") == 5
    assert "0 of 0 cells done" in Page(html).text
    assert "has no cells" in Page(build_index(path, tmp_path / "i.html").read_text("utf-8")).text


def test_a_page_whose_maker_fails_says_so_and_keeps_what_needs_no_maker(
    toy_probe, database_path, tmp_path
):
    def page(database, study):
        raise KeyError('column "<b>" & more')

    toy_probe.page = page
    html = build_study(database_path, "economic_recall", tmp_path / "economic_recall.html")
    text = " ".join(Page(html.read_text("utf-8")).text.split())
    assert "toy.figures.page failed" in text
    assert "KeyError: 'column \"<b>\" & more'" in text
    assert "partial report" in text
    for kept in ("0.71 [0.54, 0.88] n = 24 facts", "Every metric by everything", "Settings of the"):
        assert kept in text
    index = build_index(database_path, tmp_path / "index.html").read_text("utf-8")
    said = " ".join(Page(index).text.split())
    assert "is not whole: palimpsest.probes.toy.figures.page failed" in said
    assert "KeyError: 'column \"<b>\" & more'" in said


def test_the_overview_names_pages_that_lack_blocks_and_no_others(
    toy_probe, database_path, tmp_path
):
    table = Table("worse", "Worse", "c", "SELECT nonsense", {})
    whole = toy_probe.page
    toy_probe.page = lambda database, study: StudyPage(study, "Title", "Question?", [], [table])
    build_study(database_path, "economic_recall", tmp_path / "economic_recall.html")
    build_study(database_path, "leakage", tmp_path / "leakage.html")
    index = build_index(database_path, tmp_path / "index.html").read_text("utf-8")
    assert Page(index).text.count("not whole: not shown: Table 1") == 2
    toy_probe.page = whole
    build_study(database_path, "economic_recall", tmp_path / "economic_recall.html")
    build_study(database_path, "leakage", tmp_path / "leakage.html")
    index = build_index(database_path, tmp_path / "index.html").read_text("utf-8")
    assert "not whole" not in index


def test_missing_probe_page_and_unknown_study_are_clear_errors(toy, database_path, tmp_path):
    with pytest.raises(ReportError, match=r"expected page\(database, study\) in palimpsest.*toy"):
        build_study(database_path, "economic_recall", tmp_path / "p.html")
    with pytest.raises(ReportError, match=r"no study 'nothing'.*economic_recall, leakage"):
        build_study(database_path, "nothing", tmp_path / "p.html")
    with pytest.raises(EvidenceError):
        build_index(tmp_path / "absent.duckdb", tmp_path / "i.html")


def test_a_block_that_fails_is_named_and_the_rest_stands(toy_probe, database_path, tmp_path):
    def draw(frame):
        raise ValueError("cannot <b>draw</b>")

    html = built(
        toy_probe, database_path, tmp_path,
        Figure("bad", "Bad figure", "c", "a", "SELECT 1 AS n", draw, bare="A count."),
        Table("worse", "Worse", "c", "SELECT nonsense", {}),
        Table("short", "Short", "c", "SELECT 1 AS a", {"b": Column("B")}),
        Gallery("gallery", "Gallery", "c", "SELECT 'x' AS prompt"),
        Table("good", "Good", "c", "SELECT 4711 AS a", {"a": Column("A", "number")}),
    )  # fmt: skip
    text = Page(html).text
    assert text.count("Not shown:") == 4
    assert "cannot <b>draw</b>" in text
    assert "the query gives no column b" in text
    assert "4,711" in text
    assert text.count("is not shown:") == 4
