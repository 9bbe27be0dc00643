"""Under every table and figure: how its numbers were found, which gives them again, and files."""

import csv
import io
import re
from html import unescape
from urllib.parse import unquote

import polars as pl
import pytest

from palimpsest.evidence.database import Database
from palimpsest.reports.build import build_index, build_study
from palimpsest.reports.compare import build_compare
from palimpsest.reports.sources import Asked, filled

_HOW = re.compile(
    r"(Ask the database itself|Run this in Python); these are the numbers above, ([\d,]+) rows?\. "
    r'.*?<pre id="([\w-]+)-sql" tabindex="0"><code>(.*?)</code>',
    re.DOTALL,
)


def _pages(database_path, folder):
    """Page -> its text: of a study with gaps, one without any cell done, and the overview."""
    made = {s: build_study(database_path, s, folder / s) for s in ("economic_recall", "leakage")}
    made["index"] = build_index(database_path, folder / "i.html")
    return {name: path.read_text("utf-8") for name, path in made.items()}


@pytest.fixture
def compared_runs(tmp_path):
    """Paths of two synthetic runs with other seeds, and their page."""
    import importlib.util
    from pathlib import Path

    file = Path(__file__).with_name("fixture_runs.py")
    spec = importlib.util.spec_from_file_location("fixture_runs", file)
    runs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runs)

    def moved(row):
        return (
            2.0 if (row["role"], row["grp"], row["metric"]) == ("planted", "never", "loss") else 0
        )

    claim = {
        "study": "recall", "claim": "a", "statement": "A.", "test": "t", "estimate": 0.5,
        "low": 0.4, "high": 0.6, "n": 9, "unit": "items", "verdict": "supported", "level": 0.95,
    }  # fmt: skip
    old = runs.write_run(tmp_path / "o'ld.duckdb", claims=[claim])
    new = runs.write_run(
        tmp_path / "new.duckdb", seeds=range(3, 9), shift=moved, settings={"a": 1}, claims=[claim]
    )
    return build_compare(old, new, tmp_path / "c.html").read_text("utf-8")


def _csv(html, name):
    """Rows of the file called so, each a mapping; None where the page holds no such file."""
    found = re.search(rf'href="data:text/csv;charset=utf-8,([^"]*)" download="{name}.csv"', html)
    return list(csv.DictReader(io.StringIO(unquote(unescape(found[1]))))) if found else None


def _assert_complete(html):
    """Every table has a name and, as every figure, a query or call and a file; tables copy."""
    tables = re.findall(r"<table([^>]*)>", html)
    ids = [re.search(r' id="([\w-]+)"', table) for table in tables]
    assert all(ids), tables
    copied = set(re.findall(r'data-export="markdown" data-table="([\w-]+)"', html))
    assert {found[1] for found in ids} == copied
    assert copied == set(re.findall(r'data-export="latex" data-table="([\w-]+)"', html))
    places = {name.removesuffix("-table").removesuffix("-data") for name in copied}
    places |= set(re.findall(r'<section class="block figure" id="([\w-]+)"', html))
    assert {name for name in places if f'id="{name}-sql"' not in html} == set()
    said = {found[2] for found in _HOW.findall(html)}
    assert places <= said | {"explore"}
    files = re.findall(r'download="[^"]+?-([\w-]+)\.csv"', html)
    assert len(files) >= len(places)


def test_every_table_of_every_page_can_be_asked_again_and_taken_along(
    toy_probe, database_path, tmp_path
):
    pages = _pages(database_path, tmp_path)
    with Database(database_path) as database:
        for html in pages.values():
            _assert_complete(html)
            for language, rows, name, sql in _HOW.findall(html):
                assert language.startswith("Ask"), name
                assert len(database.frame(unescape(sql))) == int(rows.replace(",", "")), name
    assert {found[2] for found in _HOW.findall(pages["leakage"])} == {"page-gaps", "page-jobs"}
    cost = _csv(pages["index"], "overview-cost")
    assert {row["rule"]: int(row["jobs"]) for row in cost} == {"intervene": 1, "probe": 12}
    assert len(_csv(pages["index"], "overview-claims")) == 4


def test_the_explorer_shows_the_query_of_its_means(toy_probe, database_path, tmp_path):
    html = _pages(database_path, tmp_path)["economic_recall"]
    script = unescape(
        re.search(r'<pre id="explore-sql"[^>]*><code>(.*?)</code>', html, re.DOTALL)[1]
    )
    import json

    held = json.loads(unescape(re.search(r'id="explore-data">(.*?)</script>', html, re.DOTALL)[1]))
    first, second = script.rstrip(";").split(";\n\n")
    with Database(database_path) as database:
        name, sql = re.fullmatch(
            r'CREATE OR REPLACE TEMP TABLE "(\w+)" AS\n(.*)', first, re.DOTALL
        ).groups()
        database.keep(name, sql)
        frame = database.frame(second)
    assert len(frame) == len(held["rows"])
    at = len(held["dimensions"]) + 2
    shown = sorted(row[at] for row in held["rows"])
    assert frame["mean"].round_sig_figs(5).sort().to_list() == pytest.approx(shown)


def test_every_table_of_two_runs_has_a_call_that_gives_it_again(compared_runs):
    html = compared_runs
    _assert_complete(html)
    named = {}
    for language, rows, name, code in _HOW.findall(html):
        assert language == "Run this in Python"
        scope = {}
        exec(unescape(code), scope)
        named[name] = scope["frame"]
        assert len(scope["frame"]) == int(rows.replace(",", "")), name
    assert set(named) == {
        "inside", "clearest", "metrics", "page-runs", "page-shared", "page-made", "page-claims",
        "page-alone", "page-cost",
    }  # fmt: skip
    for name in ("clearest", "metrics"):
        found = [float(row["difference"]) for row in _csv(html, f"compare-{name}")]
        assert found == pytest.approx(named[name]["difference"].to_list())


def test_parameters_are_filled_in_as_strings():
    assert filled("SELECT ?, ?", ["a'b", "?"]) == "SELECT 'a''b', '?'"
    assert filled("  SELECT $1\n  WHERE b = $1", ["x"]) == "SELECT 'x'\nWHERE b = 'x'"
    assert filled("SELECT $study, $studying", {"study": "o'b"}) == "SELECT 'o''b', $studying"


def test_what_was_asked_is_what_is_kept(database_path):
    with Database(database_path) as database:
        asked = Asked(database)
        asked.keep("mine", "SELECT ? AS a", ["it's"])
        frame = asked.frame("SELECT a, $1 AS b FROM mine", ["c"])
        again = database.frame(asked.sql)
    assert frame.equals(again)
    assert frame.equals(pl.DataFrame({"a": ["it's"], "b": ["c"]}))
    assert asked.kept == ["CREATE OR REPLACE TEMP TABLE \"mine\" AS\nSELECT 'it''s' AS a"]
