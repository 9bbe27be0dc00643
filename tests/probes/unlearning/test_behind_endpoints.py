"""A study of services behind endpoints, job by job, with its page; and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest
import yaml

from palimpsest import jobs
from palimpsest.config import ConfigError, check, load
from palimpsest.grid import expand
from palimpsest.plan import describe
from palimpsest.probes.unlearning.claims import IN_WORDS
from tests.models.endpoint.fake_server import chat, serving
from tests.probes.unlearning.test_in_words import ANSWERS, TEXT, _rows_of, knows

HOSTILE = "<script>alert('x')</script>"


class Service:
    """What two models of one server say: one before and one after a request to forget."""

    def __init__(self):
        self.rules = {"then": knows("forget", "known"), "now": knows("known")}

    def __call__(self, path, body):
        text = body["messages"][0]["content"]
        if "holdout house 3" in text:
            return chat(HOSTILE)
        if body["model"] == "now" and "forget house 4" in text:
            return chat(None, refusal="I must not say.")
        return chat(self.rules[body["model"]](text))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    for part in ANSWERS:
        rows = _rows_of(part) + ([{"text": TEXT, "id": "text"}] if part == "forget" else [])
        Path(f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _configured(server, states=("before", "after"), **settings):
    """The raw configuration; ``retain`` is not given."""
    names = {"before": "then", "after": "now"}
    models = {f"service-{names[s]}": server.entry(name=names[s], retries=0) for s in states}
    Path("config/models.yaml").write_text(yaml.safe_dump({"models": models}))
    own = {part: f"{part}.jsonl" for part in ("forget", "holdout", "known")}
    study = {
        "probe": "unlearning",
        "states": {state: {"model": f"service-{names[state]}"} for state in states},
        "settings": {"untouched": "before", "own": own} | settings,
    }
    Path("config.yaml").write_text(yaml.safe_dump({"studies": {"service": study}}))
    return {"studies": {"service": study}}


def _run(plan):
    """All jobs up to the pages; returns the rows of a query."""
    for model in plan.models.values():
        jobs.prepare_model(str(plan.manifest_path(model.manifest)), model.output)
    for job in plan.jobs:
        jobs.probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
    (study,) = plan.studies.values()
    jobs.analyse(str(plan.manifest_path(study.manifest)), str(study.statistics))
    jobs.gather(str(plan.manifest_path(plan.manifest)), "results/palimpsest.duckdb")
    jobs.report_study("results/palimpsest.duckdb", "service", "reports/service.html")
    jobs.report_index("results/palimpsest.duckdb", "reports/index.html")

    def rows(sql):
        with duckdb.connect("results/palimpsest.duckdb", read_only=True) as database:
            return database.execute(sql).fetchall()

    return rows


def _plan():
    config, models = load("config.yaml")
    plan = expand(config, models)
    plan.write()
    return plan, describe(plan, config)


def _blocks(page):
    return re.findall(r'<section class="block[^"]*" id="([\w-]+)"', page)


def test_two_services_with_their_page():
    with serving(Service()) as server:
        _configured(server)
        plan, said = _plan()
        assert "service-now: is asked in words alone" in said
        assert len(plan.jobs) == 2
        rows = _run(plan)
        asked = len(server.asked)
    verdicts = dict(rows("SELECT claim, verdict FROM claims"))
    # After the correction for all of them: the tests of likeness have small p where they hold.
    assert {verdicts.pop(claim.name) for claim in IN_WORDS} == {"supported"}
    assert set(verdicts.values()) == {"not tested"}
    marked = rows("SELECT DISTINCT text FROM unlearning WHERE metric = 'refusal' AND value = 1")
    assert marked == [("refusal",)]
    page = Path("reports/service.html").read_text()
    assert 'class="broken"' not in page
    assert 'class="empty"' not in page
    blocks = [block for block in _blocks(page) if block != "explore"]
    assert blocks == ["asked", "asked-table", "asked-differences-table", "facts"]
    for words in (
        "Before: answers hold 1.000 (95% interval",
        "it says what was to be forgotten",
        "no verdict is given",
        "a filter there looks like forgetting",
        "everything was asked in words",
        f"sent {asked // 2:,} requests",
        "nobody was told",
    ):
        assert words in page, words
    assert HOSTILE not in page
    assert "It declines most questions" not in page
    index = Path("reports/index.html").read_text()
    assert "truth in answers to the forget set" in index


def test_a_service_that_declines_all_is_said_to():
    service = Service()
    service.rules["now"] = lambda prompt: "I cannot answer that."
    with serving(service) as server:
        _configured(server, kept_items=20)
        rows = _run(_plan()[0])
    page = Path("reports/service.html").read_text()
    assert page.count("It declines most questions about what it should answer too") == 1
    assert dict(rows("SELECT claim, verdict FROM claims"))["keeps_in_words"] == "contradicted"


def test_one_service_alone_has_a_page():
    with serving(Service()) as server:
        _configured(server, states=("before",))
        _run(_plan()[0])
    page = Path("reports/service.html").read_text()
    assert 'class="broken"' not in page
    assert 'class="empty"' not in page
    assert "needs a second state, beside before" in page


def test_a_service_that_cannot_be_paid_leaves_a_page_without_figures():
    with serving(Service()) as server:
        _configured(server, states=("before",))
        text = Path("config/models.yaml").read_text()
        models = yaml.safe_load(text)
        models["models"]["service-then"]["cap_requests"] = 0
        Path("config/models.yaml").write_text(yaml.safe_dump(models))
        _run(_plan()[0])
    page = Path("reports/service.html").read_text()
    assert [block for block in _blocks(page) if block != "explore"] == []
    assert "cap_requests is 0" in page


def test_other_files_are_other_cells_and_other_settings_are_not():
    with serving(Service()) as server:
        raw = _configured(server)

        def cells():
            plan = expand(*check(raw, "config.yaml"))
            return {cell.id for study in plan.studies.values() for cell in study.cells}

        before, settings = cells(), raw["studies"]["service"]["settings"]
        settings["robustness"] = {"bits": [4]}
        assert cells() == before
        settings["reply_tokens"] = 10
        assert cells().isdisjoint(before)
        del settings["reply_tokens"]
        with open("known.jsonl", "a") as file:
            file.write('\n{"question": "And?", "answer": "Yes"}')
        assert cells().isdisjoint(before)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (None, r"settings\.own: not given; allowed: files of your own items"),
        ({"holdout": "holdout.jsonl"}, "own: forget: not given; allowed: a JSONL file"),
        ({"forget": "forget.jsonl", "known": "forget.jsonl"}, "are in forget.jsonl .known. too"),
        ({"forget": "none.jsonl"}, "none.jsonl: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_job(own, message):
    with serving(Service()) as server:
        raw = _configured(server, own=own)
    with pytest.raises(ConfigError, match=message) as caught:
        check(raw, "config.yaml")
    assert str(caught.value).startswith("config.yaml: studies.service")


def test_a_model_with_weights_beside_it_needs_what_must_stay():
    with serving(Service()) as server:
        raw = _configured(server)
    text = yaml.safe_load(Path("config/models.yaml").read_text())
    text["models"]["tiny"] = {"source": "tiny"}
    Path("config/models.yaml").write_text(yaml.safe_dump(text))
    raw["studies"]["service"]["states"]["here"] = {"model": "tiny"}
    with pytest.raises(ConfigError) as caught:
        check(raw, "config.yaml")
    assert "states.here.model: settings.own.retain: not given" in str(caught.value)
    assert "behind an endpoint" not in str(caught.value)
    raw["studies"]["service"]["settings"]["own"]["retain"] = "retain.jsonl"
    check(raw, "config.yaml")


def test_a_model_here_beside_a_service_has_both_parts_of_the_page():
    robustness = {"relearn": [], "benign": 0, "bits": [], "probes": False}
    with serving(Service()) as server:
        raw = _configured(server, states=("before",))
        models = yaml.safe_load(Path("config/models.yaml").read_text())
        models["models"]["tiny"] = {"source": "tiny"}
        Path("config/models.yaml").write_text(yaml.safe_dump(models))
        study = raw["studies"]["service"]
        study["states"]["here"] = {"model": "tiny"}
        study["settings"] |= {"prose": 0, "kept_items": 4, "few_shot": 0, "robustness": robustness}
        study["settings"]["own"]["retain"] = "retain.jsonl"
        Path("config.yaml").write_text(yaml.safe_dump(raw))
        rows = _run(_plan()[0])
    page = Path("reports/service.html").read_text()
    assert 'class="broken"' not in page
    blocks = _blocks(page)
    assert {"asked", "asked-table", "verdicts-table", "facts"} <= set(blocks)
    assert "service-then answers behind an endpoint and was asked in words alone" in page
    # One model knows, the other has random weights.
    found = dict(rows("SELECT claim, verdict FROM claims"))
    assert found["told_from_untold"] == found["forgets_in_words"] == "supported"
    note = rows("SELECT note FROM claims WHERE claim = 'hidden_not_gone'")
    assert "out of reach" not in note[0][0]
