"""The explorer in a real browser: choosing, citing, saving, printing, and without scripts."""

import csv
import io
from urllib.parse import parse_qs, unquote

import pytest

By = pytest.importorskip("selenium.webdriver.common.by", reason="no selenium").By
Keys = pytest.importorskip("selenium.webdriver.common.keys", reason="no selenium").Keys
Select = pytest.importorskip("selenium.webdriver.support.ui", reason="no selenium").Select

pytestmark = pytest.mark.browser


def _control(browser, label):
    """The select with this label, among those that are shown."""
    for found in browser.find_elements(By.CSS_SELECTOR, "#explore .explore-tools label"):
        if found.is_displayed() and found.text.split("\n")[0].strip() == label:
            return found.find_element(By.TAG_NAME, "select")
    return None


def _rows(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#explore tbody tr')].map("
        "r => [...r.cells].map(c => c.textContent))"
    )


def _marks(browser):
    return len(browser.find_elements(By.CSS_SELECTOR, "#explore .explore-chart g > path"))


def _hash(browser):
    fragment = browser.execute_script("return location.hash")
    return {key: value[0] for key, value in parse_qs(fragment.partition("?")[2]).items()}


def test_the_first_view_is_drawn_and_listed(visit, pages):
    browser = visit(pages.study)
    rows = _rows(browser)
    assert [row[0] for row in rows] == ["0", "0", "10", "10", "20", "20", "30", "30"]
    assert rows[0][1] == "planted"
    assert all("[" in row[2] for row in rows)
    assert _marks(browser) == 8 + 2  # points, and a line for each role
    assert browser.find_element(By.CSS_SELECTOR, "#explore .grid-count").text == "8 points"
    label = browser.find_element(By.CSS_SELECTOR, ".explore-chart svg").get_attribute("aria-label")
    assert label.startswith("chosen across step, coloured by role: 8 means")


def test_choosing_by_keyboard_changes_drawing_table_and_address(visit, pages):
    browser = visit(pages.study)
    _control(browser, "group").send_keys("all")
    assert len(_rows(browser)) == 3 * 8
    _control(browser, "role").send_keys("randomised")
    rows = _rows(browser)
    assert len(rows) == 12
    assert _hash(browser)["is.role"] == "randomised"
    Select(_control(browser, "colour")).select_by_value("grp")
    legend = browser.find_elements(By.CSS_SELECTOR, ".explore-legend li")
    assert [item.text for item in legend] == ["never", "planted false", "planted true"]
    Select(_control(browser, "across")).select_by_value("grp")
    assert _control(browser, "group") is None
    assert browser.get_log("browser") == []


def test_an_address_gives_the_same_view_again(visit, pages):
    browser = visit(pages.study)
    Select(_control(browser, "group")).select_by_value("planted_true")
    Select(_control(browser, "replicate")).select_by_value("seed 3")
    before, address = _rows(browser), browser.current_url
    assert all(row[-1] == "items" for row in before)
    browser = visit(address)
    assert _rows(browser) == before
    assert Select(_control(browser, "replicate")).first_selected_option.text == "seed 3"
    top = browser.execute_script(
        "return document.querySelector('#explore').getBoundingClientRect().top"
    )
    assert -5 < top < 60


@pytest.mark.parametrize(
    "fragment",
    [
        "#explore?metric=<b>&x=none&is.role=nobody",
        "#explore?",
        "#explore?is.__proto__=x&colour=%25",
    ],
)
def test_a_strange_address_gives_a_view_all_the_same(visit, pages, fragment):
    browser = visit(pages.study + fragment)
    assert _marks(browser) > 4
    assert len(_rows(browser)) >= 4
    assert browser.get_log("browser") == []


def test_intervals_over_items_or_replicates(visit, pages):
    browser = visit(pages.study)
    units = {row[-1] for row in _rows(browser)}
    assert units == {"replicates"}
    Select(_control(browser, "intervals over")).select_by_value("items")
    assert {row[-1] for row in _rows(browser)} == {"items"}
    assert _hash(browser)["interval"] == "items"


def test_names_in_the_order_of_their_values(visit, pages):
    browser = visit(pages.study + "#explore?metric=chosen&x=grp&colour=role&is.step=30&order=value")
    names = browser.execute_script(
        "return [...document.querySelectorAll('.explore-chart text[text-anchor=end]')]"
        ".map(t => t.textContent)"
    )
    means = {row[0].replace("_", " "): float(row[2].split()[0]) for row in _rows(browser)
             if row[1] == "planted"}  # fmt: skip
    shown = [name for name in names if name in means]
    assert len(set(means.values())) == 3
    assert shown == sorted(shown, key=means.get, reverse=True)
    assert Select(_control(browser, "order")).first_selected_option.text == "value"
    Select(_control(browser, "across")).select_by_value("step")
    assert _control(browser, "order") is None


def test_the_csv_is_what_is_shown(visit, pages):
    browser = visit(pages.study)
    link = browser.find_element(By.CSS_SELECTOR, "[data-explore-csv]")
    assert link.get_attribute("download") == "economic_recall-explore.csv"
    lines = unquote(link.get_attribute("href").partition(",")[2]).strip().split("\n")
    assert lines[0] == "metric,role,step,grp,replicate,mean,low,high,n,unit"
    assert len(lines) == 1 + len(_rows(browser))
    assert lines[1].startswith("chosen,planted,0,")


def test_hostile_names_in_the_csv_are_no_formulas_and_stay_whole(visit, pages):
    browser = visit(pages.spiteful)
    href = browser.find_element(By.CSS_SELECTOR, "[data-explore-csv]").get_attribute("href")
    rows = list(csv.DictReader(io.StringIO(unquote(href.partition(",")[2]))))
    assert {row["role"] for row in rows} == {
        "'" + pages.roles["randomised"],
        pages.roles["planted"],
    }
    numbers = ("mean", "low", "high", "n", "step")
    for row in rows:
        assert not [v for k, v in row.items() if v.startswith(tuple("=+-@")) and k not in numbers]
        assert all(row[key] == "" or float(row[key]) < 100 for key in numbers)
    assert browser.execute_script("return window.hacked") is None


def test_without_scripts_there_is_the_table(visit, pages, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        visit(pages.study)
        note = browser.find_element(By.CSS_SELECTOR, "[data-explore-static]")
        assert note.is_displayed()
        rows = browser.find_elements(By.CSS_SELECTOR, "#explore tbody tr")
        assert len(rows) == 8
        assert not browser.find_element(By.CSS_SELECTOR, ".explore-tools").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_drawing_fits_and_stays_readable(visit, pages, width):
    browser = visit(pages.study, (width, 800))
    for across in ("step", "grp"):
        Select(_control(browser, "across")).select_by_value(across)
        box = browser.execute_script(
            "const s = document.querySelector('.explore-chart svg');"
            "return [s.getBoundingClientRect().width, s.parentElement.clientWidth, "
            "Math.min(...[...s.querySelectorAll('text')].map("
            "t => parseFloat(getComputedStyle(t).fontSize)))]"
        )
        assert box[0] <= box[1]
        assert box[2] >= 12
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_print_shows_drawing_and_numbers(visit, pages):
    browser = visit(pages.study, media="print")
    assert browser.find_element(By.CSS_SELECTOR, ".explore-chart svg").is_displayed()
    assert browser.find_element(By.CSS_SELECTOR, "#explore table").is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, ".explore-tools").is_displayed()


def test_the_page_of_two_runs_says_what_moved(visit, pages):
    browser = visit(pages.compare)
    first = browser.find_element(By.CSS_SELECTOR, "#metrics-table tbody tr").text
    assert "changed" in first
    assert "loss" in first
    assert "never" in first
    browser.find_element(By.CSS_SELECTOR, "#metrics input[type=search]").send_keys(
        "changed planted"
    )
    assert browser.find_element(By.CSS_SELECTOR, "#metrics .grid-count").text == "1 of 18 rows"
