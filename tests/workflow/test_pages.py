"""The pages of a real run in a real browser, and Snakemake's own report."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.browser]
STUDIES = ("economic_recall", "few_shot_memory")
PAGES = ("index", *STUDIES)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(params=PAGES)
def address(finished, request):
    return (finished.folder / f"reports/{request.param}.html").as_uri()


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
    assert asked <= {address, "about:blank"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_accessible_and_no_wider_than_the_screen(visit, address, axe, size, scheme):
    browser = visit(address, SIZES[size], scheme)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= SIZES[size][0]
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(r => done(r.violations.map("
        "v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html + n.failureSummary)}`)))"
    )
    assert found == []


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_and_table_has_its_query_and_its_numbers(visit, finished, study):
    browser = visit((finished.folder / f"reports/{study}.html").as_uri())
    blocks = browser.execute_script(
        "return [...document.querySelectorAll('section.block:not(.explore)')].map(f => [f.id, "
        "!f.querySelector('.broken'), f.innerHTML.includes('SELECT'), "
        "!!f.querySelector('a[download][href^=\"data:text/csv\"], .empty')])"
    )
    assert len(blocks) >= 10
    assert [block for block in blocks if not all(block)] == []
    # Random weights give no number in words, so that errors of answers have nothing to show.
    empty = browser.execute_script(
        "return [...document.querySelectorAll('section.block')]"
        ".filter(f => f.querySelector('.empty')).map(f => f.id)"
    )
    assert set(empty) <= {"gain", "errors-table"}


def test_snakemake_writes_its_report_with_captions(copied):
    copied.snakemake("report_all", "--report", "workflow.html")
    text = (copied.folder / "workflow.html").read_text("utf-8")
    assert "economic_recall.html" in text
    for words in ("Palimpsest", "Studies", "Overview"):
        assert words in text
