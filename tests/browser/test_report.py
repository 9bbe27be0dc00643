"""The pages in a real browser: what a reader sees, clicks, types, prints; and what must not run."""

import base64
import json
import time

import pytest

By = pytest.importorskip("selenium.webdriver.common.by", reason="no selenium").By
Keys = pytest.importorskip("selenium.webdriver.common.keys", reason="no selenium").Keys

pytestmark = pytest.mark.browser

DESKTOP, PHONE = (1280, 900), (390, 844)


def _css(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def _column(browser, table, number):
    """Texts of the visible cells of a column."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]}-table tbody tr`)]"
        ".filter(r => !r.hidden).map(r => r.cells[arguments[1]].innerText)",
        table,
        number,
    )


def _background(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("name", ["study", "leakage", "index", "compare"])
def test_no_error_and_no_request(visit, pages, name):
    address = getattr(pages, name)
    browser = visit(address)
    time.sleep(0.3)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert requests <= {address, "about:blank"}
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.title").endswith(("Palimpsest", "report"))


def test_hostile_answers_do_nothing_and_read_as_text(visit, pages):
    browser = visit(pages.study)
    browser.execute_script(
        "document.querySelectorAll('.card').forEach(c => c.hidden = false);"
        "document.querySelectorAll('details').forEach(d => d.open = true)"
    )
    for element in browser.find_elements(By.CSS_SELECTOR, ".answered dd")[:12]:
        browser.execute_script(
            "for (const e of ['mouseover', 'click', 'focus'])"
            "arguments[0].dispatchEvent(new Event(e, {bubbles: true}))",
            element,
        )
    time.sleep(0.2)
    assert browser.execute_script("return window.hacked") is None
    answers = browser.execute_script(
        "return [...document.querySelectorAll('.answered dd')].map(e => e.textContent)"
    )
    assert "<script>window.hacked=1</script>" in answers
    assert "⟨U+202E⟩fdp.exe⟨U+202C⟩ and ⟨U+200B⟩nothing⟨U+200D⟩ ⟨U+FEFF⟩" in answers
    assert len(answers) == 5 + len(pages.hostile)
    children = browser.execute_script(
        "return [...document.querySelectorAll('.answered dd *')].map(e => e.className || e.tagName)"
    )
    assert set(children) <= {"hidden-character", "I"}


def test_a_script_that_got_in_would_not_run(visit, pages):
    """The second wall: the content policy blocks injected scripts, handlers and styles."""
    browser = visit(pages.study)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=1\">')"
    )
    time.sleep(0.2)
    assert browser.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in e["message"] for e in browser.get_log("browser"))


def test_sorting_by_click_is_numeric_and_turns_round(visit, pages):
    browser = visit(pages.study)
    button = _css(browser, "#estimates-table th:nth-child(4) button")
    for direction in ("ascending", "descending"):
        button.click()
        head = _css(browser, "#estimates-table th:nth-child(4)")
        assert head.get_attribute("aria-sort") == direction
        values = [float(text.split()[0]) for text in _column(browser, "estimates", 3)]
        assert values == sorted(values, reverse=direction == "descending")
        assert len(set(values)) > 5
    steps_button = _css(browser, "#estimates-table th:nth-child(3) button")
    steps_button.click()
    assert head.get_attribute("aria-sort") is None
    assert [int(text) for text in _column(browser, "estimates", 2)] == sorted([0, 10, 20, 30] * 6)


def test_sorting_by_keyboard_and_missing_values_last(visit, pages):
    browser = visit(pages.study)
    button = _css(browser, "#estimates-table th:nth-child(6) button")
    for key in (Keys.ENTER, Keys.SPACE):
        button.send_keys(key)
        values = _column(browser, "estimates", 5)
        assert [text.startswith("–") for text in values] == [False] * 18 + [True] * 6
    head = _css(browser, "#estimates-table th:nth-child(6)")
    assert head.get_attribute("aria-sort") == "descending"


def test_filtering_a_table(visit, pages):
    browser = visit(pages.study)
    box = _css(browser, "#estimates input[type=search]")
    box.send_keys("PLANTED_true randomised")
    assert _column(browser, "estimates", 1) == ["planted_true"] * 4
    assert _css(browser, "#estimates .grid-count").text == "4 of 24 rows"
    box.clear()
    box.send_keys("nothing like it")
    assert _column(browser, "estimates", 1) == []
    # What all rows have in common stands above the table, and is found in each of them.
    box.clear()
    box.send_keys("facts planted_true RANDOMISED")
    assert _column(browser, "estimates", 1) == ["planted_true"] * 4
    box.clear()
    box.send_keys("facts")
    assert _css(browser, "#estimates .grid-count").text == "24 rows"


def test_filtering_the_gallery_and_showing_more(visit, pages):
    browser = visit(pages.study)
    visible = "return [...document.querySelectorAll('.card')].filter(c => !c.hidden).length"
    assert browser.execute_script(visible) == 12
    _css(browser, "#answers .grid-more button").click()
    assert browser.execute_script(visible) == 5 + len(pages.hostile)
    _css(browser, "#answers select[data-key=verdict]").send_keys("planted")
    assert browser.execute_script(visible) == 1
    assert _css(browser, "#answers .grid-count").text.startswith("1 of")


def test_dark_and_light(visit, pages):
    browser = visit(pages.study)
    light = _background(browser)
    toggle = _css(browser, "[data-theme-toggle]")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    dark = _background(browser)
    assert dark != light
    assert toggle.get_attribute("aria-pressed") == "true"
    ink = browser.execute_script(
        "return getComputedStyle(document.querySelector('.drawing text')).fill"
    )
    assert min(int(part) for part in ink[4:-1].split(",")) > 150
    browser.refresh()
    assert _background(browser) == dark
    _css(browser, "[data-theme-toggle]").click()
    assert _background(browser) == light
    browser.execute_script("localStorage.clear()")
    assert _background(visit(pages.study, scheme="dark")) == dark


def test_a_browser_that_refuses_storage_still_switches(visit, pages, browser):
    source = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})"
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        visit(pages.study)
        light = _background(browser)
        _css(browser, "[data-theme-toggle]").click()
        assert _background(browser) != light
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.parametrize("name", ["study", "leakage", "index", "compare"])
@pytest.mark.parametrize("size", [DESKTOP, (800, 900), PHONE, (320, 700)])
def test_the_page_never_scrolls_sideways(visit, pages, name, size):
    browser = visit(getattr(pages, name), size)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]


def test_contents_lead_to_their_places(visit, pages):
    browser = visit(pages.study)
    for link in browser.find_elements(By.CSS_SELECTOR, ".toc a"):
        link.click()
        target = link.get_attribute("hash")
        top = browser.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().top", target
        )
        at_end = browser.execute_script(
            "return innerHeight + scrollY >= document.documentElement.scrollHeight - 2"
        )
        assert -2 <= top < 60 or at_end


def test_contents_fold_on_a_phone_and_stay_on_a_desk(visit, pages):
    browser = visit(pages.study, PHONE)
    details = _css(browser, ".toc details")
    assert details.get_attribute("open") is None
    _css(browser, ".toc summary").click()
    _css(browser, ".toc a[href='#claims']").click()
    assert details.get_attribute("open") is None
    browser = visit(pages.study)
    assert _css(browser, ".toc details").get_attribute("open") is not None
    browser.execute_script("scrollTo(0, 4000)")
    time.sleep(0.2)
    top = browser.execute_script(
        "return document.querySelector('.toc').getBoundingClientRect().top"
    )
    assert top == 0
    assert len(browser.find_elements(By.CSS_SELECTOR, ".toc [aria-current]")) == 1


def test_details_open_to_the_query_and_the_numbers(visit, pages):
    browser = visit(pages.study)
    summary = _css(browser, "#curve .source summary")
    summary.click()
    assert "FROM statistics" in _css(browser, "#curve-sql").text
    assert "$study" not in _css(browser, "#curve-sql").text
    assert len(_column(browser, "curve-data", 0)) == 24


def test_the_csv_is_the_data(visit, pages):
    browser = visit(pages.study)
    link = _css(browser, "#answers a[download]")
    assert link.get_attribute("download") == "economic_recall-answers.csv"
    text = browser.execute_async_script(
        "const done = arguments[1]; const x = decodeURIComponent(arguments[0].href); done(x)", link
    )
    assert "'=HYPERLINK" in text
    assert "'@SUM(A1)" in text


def test_print_keeps_figures_and_drops_controls(visit, pages):
    browser = visit(pages.study, scheme="dark", media="print")
    for figure in browser.find_elements(By.CSS_SELECTOR, ".drawing svg"):
        assert figure.is_displayed()
        assert figure.size["width"] > 300
    for selector in (".toc", ".theme", ".grid-tools", ".downloads", ".anchor"):
        assert not _css(browser, selector).is_displayed()
    assert _background(browser) == "rgb(255, 255, 255)"
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert ink == "rgb(0, 0, 0)"
    sheet = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(base64.b64decode(sheet["data"])) > 20_000


def _printed(browser, selector):
    """How many of the elements are there before, on paper, and after."""
    shown = (
        f"[...document.querySelectorAll('{selector}')].filter("
        "e => getComputedStyle(e).display !== 'none').length"
    )
    browser.execute_script(f"addEventListener('beforeprint', () => {{ window.found = {shown}; }})")
    before = browser.execute_script(f"return {shown}")
    browser.execute_cdp_cmd("Page.printToPDF", {})
    return before, *browser.execute_script(f"return [window.found, {shown}]")


def test_paper_has_every_card_and_every_row(visit, pages):
    cards = 5 + len(pages.hostile)
    assert _printed(visit(pages.study), "#answers .card") == (12, cards, 12)
    assert _printed(visit(pages.long), "#rows tbody tr") == (50, 120, 50)


def test_paper_says_how_much_a_filter_leaves_out(visit, pages):
    browser = visit(pages.long)
    _css(browser, "#rows input[type=search]").send_keys("odd")
    assert _printed(browser, "#rows tbody tr") == (50, 60, 50)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    count = _css(browser, "#rows .grid-count")
    assert count.is_displayed()
    assert count.text == "60 of 120 rows"
    for control in ("input[type=search]", ".grid-more"):
        assert not _css(browser, f"#rows {control}").is_displayed()


def test_keyboard_reaches_the_text_first(visit, pages):
    browser = visit(pages.study)
    _css(browser, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the text"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def test_without_scripts_everything_is_there(visit, pages, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        visit(pages.study)
        cards = browser.find_elements(By.CSS_SELECTOR, ".card")
        assert len(cards) == 5 + len(pages.hostile)
        assert cards[-1].is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("name", ["study", "leakage", "index", "compare"])
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")]
)
def test_accessibility(visit, pages, axe, name, size, scheme):
    browser = visit(getattr(pages, name), size, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(r => done(r.violations.map("
        "v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html + n.failureSummary)}`)))"
    )
    assert found == []


def test_the_overview_shows_claims_of_one_verdict(visit, pages):
    browser = visit(pages.index)
    shown = "return [...document.querySelectorAll('.claim')].filter(c => c.offsetParent).length"
    every = browser.execute_script(shown)
    select = _css(browser, "[data-claims] select")
    select.send_keys("contradicted")
    assert browser.execute_script(shown) == 1 < every
    assert _css(browser, "[data-claims] .grid-count").text == "1 shown"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".claims-of:not([hidden])")) == 1
    select.send_keys(Keys.HOME)
    assert browser.execute_script(shown) == every
