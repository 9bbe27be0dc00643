import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import duckdb
import pytest

from palimpsest.evidence.database import Database
from palimpsest.reports import build
from palimpsest.reports.blocks import Column, Figure, StudyPage, Table
from palimpsest.reports.build import build_index, build_study
from palimpsest.reports.figure_style import panels
from palimpsest.reports.reproducibility import differences

_VOID = {"meta", "img", "input", "br", "hr", "link", "wbr"}
_URLS = {"href", "src", "action", "formaction", "data", "poster", "srcset", "background"}


class Page(HTMLParser):
    """Elements of a page; fails on markup that is not well nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self):
        return "".join(data for tag, data in self.texts if tag not in ("style", "script"))


@pytest.fixture
def study(toy_probe, database_path, tmp_path):
    return build_study(database_path, "economic_recall", tmp_path / "page.html").read_text("utf-8")


@pytest.fixture
def index(toy_probe, database_path, tmp_path):
    return build_index(database_path, tmp_path / "index.html").read_text("utf-8")


def built(toy_probe, database_path, tmp_path, *blocks, **fields):
    toy_probe.page = lambda database, study: StudyPage(
        study, "Title", "Question?", [], list(blocks), **fields
    )
    return build_study(database_path, "economic_recall", tmp_path / "p.html").read_text("utf-8")


def test_the_page_has_its_parts_in_order(study):
    anchors = [
        attrs["id"] for tag, attrs in Page(study).elements if tag == "section" and "id" in attrs
    ]
    assert anchors == [
        "summary", "warnings", "claims", "reading", "curve", "estimates", "forest", "answers",
        "absent", "explore", "methods", "references", "limitations", "provenance", "glossary",
    ]  # fmt: skip


def test_ids_are_unique_and_inner_links_lead_somewhere(study, index):
    for html in (study, index):
        elements = Page(html).elements
        ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
        assert len(ids) == len(set(ids))
        targets = {
            attrs[key].lstrip("#").split()[0]
            for _, attrs in elements
            for key in ("href", "aria-controls", "aria-labelledby", "data-copy", "data-table")
            if key in attrs and (key != "href" or attrs[key].startswith("#"))
        }
        assert targets <= set(ids)


def test_the_overview_says_by_how_much_numbers_differ_elsewhere(index):
    assert differences() in Page(index).text


def test_no_outside_request_and_no_inline_handler(study, index):
    for html in (study, index):
        for tag, attrs in Page(html).elements:
            assert tag not in {"link", "iframe", "object", "embed", "base", "form", "img", "audio"}
            assert not [key for key in attrs if key.startswith("on")]
            assert "style" not in attrs
            for key in _URLS & attrs.keys():
                allowed = ("#", "data:text/csv", "https://arxiv.org/")
                plain_file = re.fullmatch(r"[\w%-]+\.html(#[\w-]+)?", attrs[key])
                assert attrs[key].startswith(allowed) or plain_file


def test_the_policy_names_exactly_the_style_and_script_of_the_page(study):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', study)[1]
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", study, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_answers_stay_text(study, toy):
    page = Page(study)
    scripts = [attrs for tag, attrs in page.elements if tag == "script"]
    data = [{"type": "application/json", "id": f"{name}-data"} for name in ("claims", "explore")]
    assert scripts == [{}, *data]
    assert study.count("<svg onload") == study.count("<img") == 0
    for text in toy.HOSTILE:
        visible = "".join(build.formatting.without_hidden(text))
        assert visible in page.text
    for character in "\u202e\u202c\u200b\u200d\ufeff\x00\x1b\x07\x7f\u2028\u2029\r":
        assert character not in study


def test_hostile_text_everywhere_else(toy, toy_probe, tmp_path):
    path = toy.write_database(tmp_path / "h.duckdb", study="economic_recall", hostile=False)
    bad = "</script><script>window.hacked=1</script>\"'><svg onload=x>\u202e{{ 777*7 }}"
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE claims SET statement=$1, note=$1, verdict=$1, unit=$1", [bad])
        connection.execute("UPDATE cells SET role=$1, reason=$1, model=$1, experiment=$1", [bad])
        connection.execute("UPDATE provenance SET job=$1, command=$1, device=$1, rule=$1", [bad])
        connection.execute("UPDATE statistics SET arm=$1, role=$1, note=$1", [bad])
        connection.execute("UPDATE models SET source=$1, revision=$1", [bad])
        connection.execute("UPDATE run SET value=$1 WHERE key IN ('content', 'created')", [bad])
        listed = [{"study": "economic_recall", "probe": "toy", "title": bad, "question": bad,
                   "settings": {"a": bad}, "page": "javascript:alert(1)//" + bad}]  # fmt: skip
        connection.execute("UPDATE run SET value=? WHERE key='studies'", [json.dumps(listed)])
    for html in (
        build_study(path, "economic_recall", tmp_path / "s.html").read_text("utf-8"),
        build_index(path, tmp_path / "i.html").read_text("utf-8"),
    ):
        page = Page(html)
        scripts = [attrs.get("id") for tag, attrs in page.elements if tag == "script"]
        assert scripts in ([None, "claims-data", "explore-data"], [None, "claims-data"])
        assert "{{ 777*7 }}" in page.text
        assert "5439" not in page.text
        assert not any("onload" in attrs for _, attrs in page.elements)
        assert "\u202e" not in html
        links = [attrs["href"] for _, attrs in page.elements if "href" in attrs]
        assert not any(link.lower().startswith("javascript") for link in links)
        data = [text for tag, text in page.texts if tag == "script"][-1]
        json.loads(data)


def test_claims_are_stated_with_everything_a_reader_needs(study):
    text = " ".join(Page(study).text.split())
    assert "0.71 [0.54, 0.88] n = 24 facts p < 0.001" in text
    assert "p = 0.0504" in text  # not rounded to 0.050
    assert "−0.0040 [−0.0210, −0.0004]" in text  # not rounded to touch zero
    assert "Test one-sided bootstrap over facts, null 0.125, alpha 0.05" in text
    assert (
        "Power a study of this size finds 0.18 beyond the threshold with power 80%, about" in text
    )
    assert "Holm's over the 3 claims of this study that have one" in text
    for verdict in ("supported", "inconclusive", "contradicted", "not tested"):
        assert f"verdict-{verdict.replace(' ', '-')}" in study


def test_power_is_said_of_what_the_test_asks(study):
    text = " ".join(Page(study).text.split())
    assert "finds 0.18 beyond the threshold with power 80%" in text
    assert text.count("shows no difference to lie within 0.18 with power 80%") == 1


def test_gaps_are_named_with_their_reasons_and_beside_the_numbers(study):
    text = " ".join(Page(study).text.split())
    assert "Partial report: 3 of 48 cells are not done" in text
    assert "2 failed: loss became NaN at step 4" in text
    assert "1 missing: loss became NaN at step 4" in text
    assert "mixed model did not converge" in text
    marked = re.findall(r'<section class="block \w+" id="(\w+)".*?</section>', study, re.DOTALL)
    affected = [
        block
        for block, body in zip(
            marked,
            re.findall(r'<section class="block.*?</section>', study, re.DOTALL),
            strict=True,
        )
        if "Partial data: 3 of 24 cells" in body
    ]
    assert affected == ["curve", "estimates", "forest", "answers"]


@pytest.mark.parametrize(
    ("sql", "numbers", "wanting"),
    [
        ("0.5 AS estimate, 0.4 AS low, 0.6 AS high", {}, "n"),
        ("0.5 AS estimate, 3 AS n", {}, "low, high"),
        ("0.5 AS estimate, 0.4 AS low, 0.6 AS high, NULL AS n", {}, "n"),
        ("1 AS x, 0.5 AS y, 0 AS low, 1 AS high, 3 AS n", {"y": ("low", "top")}, "top"),
    ],
)
def test_a_figure_without_intervals_or_n_is_not_shown(
    sql, numbers, wanting, toy_probe, database_path, tmp_path
):
    drawn = {"numbers": numbers} if numbers else {}
    figure = Figure("figure", "T", "Caption.", "a", f"SELECT {sql}", lambda _: panels()[0], **drawn)
    text = Page(built(toy_probe, database_path, tmp_path, figure)).text
    assert f"figure 'figure' draws numbers without {wanting}:" in text


def test_a_figure_says_which_intervals_are_missing_and_why(toy_probe, database_path, tmp_path):
    some = (
        "SELECT * FROM (VALUES (0.5, 0.4, 0.6, 3), (0.7, NULL, NULL, 1), (NULL, NULL, NULL, NULL)) "
        "AS t(estimate, low, high, n)"
    )
    html = built(
        toy_probe, database_path, tmp_path,
        Figure("some", "T", "Caption.", "a", some, lambda _: panels()[0]),
        Figure("none", "T", "Ranks.", "a", "SELECT 7 AS rank, 9 AS n", lambda _: panels()[0],
               bare="A rank has no interval."),
    )  # fmt: skip
    text = " ".join(Page(html).text.split())
    assert "Caption. Without interval: 1 of 2 numbers." in text
    assert "Ranks. A rank has no interval." in text
    assert "Not shown:" not in text


def test_captions_may_be_functions_and_the_query_shown_is_the_query_run(
    toy_probe, database_path, tmp_path
):
    html = built(
        toy_probe, database_path, tmp_path,
        Table("t", "T", lambda frame: f"n = {frame['n'].item():,}",
              "SELECT count(*) AS n, $study AS study FROM cells WHERE study = $study",
              {"n": Column("n", "number"), "study": Column("Study")}),
    )  # fmt: skip
    page = Page(html)
    assert "n = 48" in page.text
    sql = next(text for tag, text in page.texts if tag == "code" and "count(*) AS n, '" in text)
    with Database(database_path) as database:
        assert database.frame(sql).row(0) == (48, "economic_recall")


def test_a_study_named_like_an_attack_cannot_leave_its_string(toy, toy_probe, tmp_path):
    name = "o'brien'; DROP TABLE cells; --"
    path = toy.write_database(tmp_path / "q.duckdb", study=name)
    html = build_study(path, name, tmp_path / "p.html").read_text("utf-8")
    assert "45 of 48 cells done" in Page(html).text
    assert "Not shown:" not in html


def test_cells_of_a_table(toy_probe, database_path, tmp_path):
    html = built(
        toy_probe, database_path, tmp_path,
        Table(
            "t", "T", "c",
            "SELECT 0.7083 AS e, 0.6 AS lo, 0.8 AS hi, 0.0004 AS p, 0.125 AS share, "
            "'supported' AS v, 'a_b' AS code, NULL::DOUBLE AS none, 'NaN'::DOUBLE AS nan, "
            "'x' AS word",
            {
                "e": Column("E", "interval", low="lo", high="hi"),
                "p": Column("P", "p"),
                "share": Column("Share", "percent"),
                "v": Column("V", "verdict"),
                "code": Column("Code", "code"),
                "none": Column("None", "number"),
                "nan": Column("NaN", "number"),
                "word": Column("Word", help="what a word is"),
            },
        ),
    )  # fmt: skip
    row = re.search(r'<tbody id="t-rows">\s*<tr>(.*?)</tr>', html, re.DOTALL)[1]
    assert '<td class="right" data-v="0.7083">0.71 [0.60, 0.80]</td>' in row
    assert ">&lt; 0.001</td>" in row
    assert ">12.5%</td>" in row
    assert "verdict-supported" in row
    assert "<code>a_b</code>" in row
    assert row.count('class="missing"') == 2
    assert "no value stored" in row
    assert "the computation gave none" in row
    assert "what a word is" in Page(html).text


def test_an_address_that_is_not_http_is_not_linked(study):
    assert "javascript:alert(1)" not in study
    assert 'href="https://arxiv.org/abs/2202.07646"' in study


def test_the_index_has_every_claim_map_cost_and_queries(index, database_path):
    text = " ".join(Page(index).text.split())
    assert "4 claims: 1 supported, 1 contradicted, 1 inconclusive, 1 not tested" in text
    assert 'href="economic_recall.html#claim-1"' in index
    assert "21/24" in text
    assert "2 failed" in text
    assert "601 observations" in text
    assert "0.71 [0.60, 0.80] chosen of <b>8</b> after 30 exposures; n = 24 facts" in text
    # A headline without a role stands for every state of the model that has none of its own.
    assert text.count("of no role; n = 24 facts") == 1
    assert "this study singles out no number of this state" in index
    assert "15 W for each granted CPU thread" in text
    # 12 probe jobs of 61.5 + k seconds on one thread, one job of 412 s on two, at 15 W.
    joules = 15 * (sum(61.5 + k for k in range(12)) + 2 * 412)
    assert f"about {joules / 3600:.2g} Wh" in text
    with Database(database_path) as database:
        for _, sql in build._QUERIES:
            assert not database.frame(sql.rstrip(";")).is_empty()


def test_what_is_missing_is_a_dash_with_its_reason_beside_it(study):
    gaps = re.findall(r'<span class="missing"[^>]*>(.*?)</span>', study)
    assert gaps
    assert set(gaps) == {"–"}


def test_every_figure_says_to_scroll_where_it_is_too_wide(study):
    assert study.count('class="note sideways"') == study.count("<figure>") > 0
