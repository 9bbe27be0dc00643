"""The pages of a real run in a real browser, and Snakemake's own report."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
import yaml

from palimpsest.reports.build import BUDGET

pytestmark = [pytest.mark.workflow, pytest.mark.browser]
SMOKE = Path(__file__).parents[2] / "config/smoke.yaml"
STUDIES = tuple(yaml.safe_load(SMOKE.read_text("utf-8"))["studies"])
PAGES = ("index", *STUDIES)
#: Between them both widths and both themes.
VIEWS = [((1280, 900), "light"), ((390, 844), "dark")]
#: What a run of random weights cannot fill: no more may be empty, and why.
EMPTY: dict[str, set[str]] = {
    # Answers hold no number in words, so that errors of answers have nothing to show.
    "economic_recall": {"gain", "errors-table"},
    # Its settings ask for no delay and for one kind of list.
    "few_shot_unlearned": {"retention", "forms", "memorability", "forms-table", "fits-table"},
    # No published figure has so small a stream.
    "power_law_rehearsal": {"targets-table"},
    # Nothing was learned, so that no forget ratio has a sense.
    "unforgettable_generalization": {
        "predictors", "predictors-table", "transfer-table", "likeness-table",
    },
}  # fmt: skip


@pytest.fixture(params=PAGES)
def address(finished, request):
    return (finished.folder / f"reports/{request.param}.html").as_uri()


def test_every_page_of_the_run_is_looked_at(finished):
    there = {path.stem for path in (finished.folder / "reports").glob("*.html")}
    assert there == set(PAGES)


def test_every_page_keeps_within_its_budget(finished):
    sizes = {page: (finished.folder / f"reports/{page}.html").stat().st_size for page in PAGES}
    assert {page: size for page, size in sizes.items() if size > BUDGET} == {}


def test_a_page_has_no_error_and_asks_for_nothing(visit, address):
    browser = visit(address)
    time.sleep(0.3)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    # A bitmap of a figure is in the page itself.
    asked = {url for url in asked if not url.startswith("data:image/png;base64,")}
    assert asked <= {address, "about:blank"}


@pytest.mark.parametrize(("size", "scheme"), VIEWS)
def test_a_page_is_accessible_and_no_wider_than_the_screen(visit, address, axe, size, scheme):
    browser = visit(address, size, scheme)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.execute_script(axe)
    browser.set_script_timeout(240)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(r => done(r.violations.map("
        "v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html + n.failureSummary)}`)))"
    )
    assert found == []


def test_a_page_is_printed_with_every_figure(visit, address):
    browser = visit(address, scheme="dark", media="print")
    figures = browser.execute_script(
        "return [...document.querySelectorAll('.drawing svg')].map(s => {"
        "const b = s.getBoundingClientRect(); return [b.width, b.height]})"
    )
    assert all(width > 300 and height > 60 for width, height in figures)
    sheet = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(base64.b64decode(sheet["data"])) > 20_000


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_and_table_has_its_query_and_its_numbers(visit, finished, study):
    browser = visit((finished.folder / f"reports/{study}.html").as_uri())
    blocks = browser.execute_script(
        "return [...document.querySelectorAll('section.block:not(.explore):not(.prose)')].map(f => "
        "[f.id, !f.querySelector('.broken'), f.innerHTML.includes('SELECT'), "
        "!!f.querySelector('a[download][href^=\"data:text/csv\"], .empty')])"
    )
    assert len(blocks) >= 5
    assert [block for block in blocks if not all(block)] == []
    empty = browser.execute_script(
        "return [...document.querySelectorAll('section.block')]"
        ".filter(f => f.querySelector('.empty')).map(f => f.id)"
    )
    assert set(empty) == EMPTY.get(study, set())
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('section.figure:not(:has(.empty))')].map(f => "
        "[f.id, f.querySelectorAll('.drawing svg path, .drawing svg use').length])"
    )
    assert [name for name, marks in drawn if marks < 3] == []
    shown = browser.execute_script(
        "return [...document.querySelectorAll('section.table:not(:has(.empty)), section.gallery"
        ":not(:has(.empty))')].map(f => [f.id, f.querySelectorAll('tbody tr, .card').length])"
    )
    assert [name for name, rows in shown if not rows] == []


def test_snakemake_writes_its_report_with_captions(copied):
    copied.snakemake("report_all", "--report", "workflow.html")
    text = (copied.folder / "workflow.html").read_text("utf-8")
    assert "economic_recall.html" in text
    for words in ("Palimpsest", "Studies", "Overview"):
        assert words in text
