"""Tables that are taken along: as Markdown and as LaTeX."""

import re

import pytest

from tests.browser.test_report import _css

pytestmark = pytest.mark.browser


def test_copying_a_table_as_markdown_and_latex(visit, pages):
    browser = visit(pages.study)
    browser.execute_script(
        "window.copied = []; Object.defineProperty(navigator, 'clipboard',"
        "{value: {writeText: (t) => { copied.push(t); return Promise.resolve(); }}})"
    )
    _css(browser, "#estimates input[type=search]").send_keys("planted_true randomised")
    for kind in ("markdown", "latex"):
        _css(browser, f"#estimates [data-export={kind}]").click()
    _css(browser, "#methods [data-copy]").click()
    markdown, latex, methods = browser.execute_script("return copied")
    rows = markdown.strip().split("\n")
    assert rows[0].startswith("| State | Arm | Exposures | Chosen")
    assert rows[1] == "|---|---|---:|---:|---:|---:|---|"
    assert rows[2].startswith("| randomised | planted\\_true | 0 | 0.11 \\[0.00, 0.27\\] | 24 |")
    # What is the same in all rows is said once, on the page and in what is taken along.
    assert rows[-2:] == ["", "In all rows: Unit: facts."]
    assert len(rows) == 8
    assert "\\begin{tabular}{llrrrrl}" in latex
    assert "randomised & planted\\_true & 0 & 0.11 [0.00, 0.27] & 24 & -- & -- \\\\" in latex
    assert latex.endswith("\\end{tabular}\n\nIn all rows: Unit: facts.\n")
    assert methods.startswith("We planted 24 false")
    assert _css(browser, ".announcer").get_attribute("textContent") == "Copied"


def _copied(browser, table):
    """What copying a table as Markdown and as LaTeX gives, row by row."""
    browser.execute_script(
        "window.copied = []; Object.defineProperty(navigator, 'clipboard', {configurable: true,"
        "value: {writeText: (t) => { copied.push(t); return Promise.resolve(); }}});"
        "document.querySelectorAll('details').forEach(d => d.open = true)"
    )
    for kind in ("markdown", "latex"):
        _css(browser, f"[data-export={kind}][data-table={table}]").click()
    return [text.strip().split("\n") for text in browser.execute_script("return copied")]


def _cells(row):
    """Cells of a Markdown row, as a reader of the rendered table sees them."""
    cells = [""]
    for escaped, plain in re.findall(r"\\([\W_])|(.)", row):
        if plain == "|":
            cells.append("")
        else:
            cells[-1] += escaped or plain
    return [cell.strip() for cell in cells[1:-1]]


@pytest.mark.parametrize("table", ["estimates-table", "page-claims-table", "explore-table"])
def test_hostile_names_stay_text_in_markdown_and_latex(visit, pages, table):
    markdown, latex = _copied(visit(pages.spiteful), table)
    bad = pages.roles["planted"]
    end = -2 if markdown[-1].startswith(("In all rows: ", "No value in any row: ")) else None
    assert {len(_cells(row)) for row in markdown[2:end]} == {len(_cells(markdown[0]))}
    for row in markdown[2:]:
        assert not re.search(r"(?<!\\)[<*`$&~]", row)
    assert any(bad in _cells(row) for row in markdown)
    expected = (
        r"[a] \textbar{} 100\% *b* \textless{}script\textgreater{}window.hacked=1\textless{}/script"
        r"\textgreater{} \textbackslash{}\textbackslash{} \$x\_1\$ \&lt; "
        r"\textasciitilde{}\textasciitilde{}c\textasciitilde{}\textasciitilde{} `d` \#1 "
        r"\{e\} 10$^{-3}$"
    )
    assert any(expected in row for row in latex)
    # Behind the end of a row or a rule, a bracket or a star would be read as an argument.
    assert not [row for row in latex if row.startswith(("[", "*"))]


def test_a_table_with_wide_cells_is_copied_with_as_many_cells_in_every_row(visit, pages):
    markdown, latex = _copied(visit(pages.index), "page-map-table")
    assert {len(_cells(row)) for row in markdown} == {4}
    assert {row.count("&") for row in latex if row.endswith(r" \\")} == {3}
    rows = [_cells(row) for row in markdown[2:]]
    assert all(rows[i][0] for i in range(len(rows)))
    _, latex = _copied(visit(pages.index), "page-cost-table")
    assert any(r"\%" in row for row in latex)  # the share that is drawn as a bar
