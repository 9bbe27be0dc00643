"""A study of a model behind an endpoint, job by job: faults, caps, secrets, pages."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
import yaml

from palimpsest import jobs
from palimpsest.cleaning import clean
from palimpsest.cli import main
from palimpsest.config import ConfigError, check, load
from palimpsest.grid import expand
from palimpsest.jobs import cell_file
from palimpsest.plan import describe
from tests.models.endpoint.fake_server import Reply, chat, script, serving

KEY = "sk-canary-5d1c77e0"
SETTINGS = {
    "series": ["us_unemployment_rate"],
    "dates_per_series": 4,
    "dates_after_cutoff": 4,
    "events": 4,
    "events_after_cutoff": 2,
    "candidates": 8,
    "choices": 4,
    "cutoff_distances": [-5],
    "subset_per_series": 2,
}


class Run:
    """A working directory with one study of one endpoint."""

    def __init__(self, server, **access):
        self.server = server
        Path("config").mkdir(exist_ok=True)
        self.set(**access)

    def set(self, **access):
        entry = self.server.entry(
            key_env="CANARY_KEY", knowledge_cutoff="2000-01-01", retries=1, timeout_s=5
        )
        models = {"models": {"served": entry | access}}
        Path("config/models.yaml").write_text(yaml.safe_dump(models))
        study = {"probe": "economic_recall", "states": {"untouched": {"model": "served"}}}
        raw = {"studies": {"recall": study | {"settings": SETTINGS}}}
        Path("config.yaml").write_text(yaml.safe_dump(raw))
        self.config, models = load("config.yaml")
        self.plan = expand(self.config, models)
        self.plan.write()
        (self.job,) = self.plan.jobs
        (self.model,) = self.plan.models.values()

    def probe(self):
        """Prepare and probe; returns the status of cells and the record of the job."""
        jobs.prepare_model(str(self.plan.manifest_path(self.model.manifest)), self.model.output)
        jobs.probe(str(self.plan.manifest_path(self.job.manifest)), str(self.job.output), 1, 0)
        facts = json.loads(self.job.output.with_suffix(".json").read_text())
        return facts["cells"], facts["provenance"]

    def pages(self):
        """Everything after the probe."""
        (study,) = self.plan.studies.values()
        jobs.analyse(str(self.plan.manifest_path(study.manifest)), str(study.statistics))
        database = "results/palimpsest.duckdb"
        jobs.gather(str(self.plan.manifest_path(self.plan.manifest)), database)
        jobs.report_study(database, "recall", "reports/recall.html")
        jobs.report_index(database, "reports/index.html")

    def rows(self, sql):
        with duckdb.connect("results/palimpsest.duckdb", read_only=True) as database:
            return database.execute(sql).fetchall()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_KEY", KEY)


def _letters(path, body):
    """Refuses some, chooses B else, and counts four tokens."""
    text = body["messages"][0]["content"]
    if "fourth quarter" in text:
        return chat(None, refusal="I must not say.")
    reply = chat("B" if "Choices" in text else "5.5 percent", tokens=4)
    reply.body["model"] = "m-2026-05-01"
    return reply


def test_a_whole_study_with_its_pages_and_no_key_in_any_file(tmp_path):
    with serving(_letters) as server:
        run = Run(server, price_in=1.0, price_out=10.0)
        cells, record = run.probe()
        assert [c["reason"] for c in cells] == [None] * len(cells)
        assert len(cells) == 6
        usage = json.loads(record["usage"])
        assert usage["requests"] == len(server.asked)
        assert usage["usd"] == pytest.approx(
            (usage["tokens_in"] * 1 + usage["tokens_out"] * 10) / 1e6
        )
        run.pages()
        asked = len(server.asked)

        refused = run.rows("SELECT count(*) FROM observations WHERE metric = 'refusal'")
        assert refused[0][0] > 0
        marked = run.rows(
            "SELECT DISTINCT c.text FROM observations r JOIN observations c "
            "USING (cell, item) WHERE r.metric = 'refusal' AND c.metric LIKE 'category%'"
        )
        assert marked == [("refusal",)]
        notes = run.rows("SELECT note FROM claims WHERE claim = 'planted_found'")
        assert "served answers behind an endpoint" in notes[0][0]
        page, index = (
            Path("reports/recall.html").read_text(),
            Path("reports/index.html").read_text(),
        )
        assert f"sent {asked:,} requests" in page
        assert "choices were asked in words" in page
        assert "the server calls it m-2026-05-01" in page
        assert f"{asked:,} requests and" in index

        # What was asked is not asked again, whatever is deleted on the way to a new answer.
        for cell in run.job.cells:
            cell_file(cell.id).unlink()
        again, record = run.probe()
        assert again == cells
        assert json.loads(record["usage"])["requests"] == 0
        assert len(server.asked) == asked
        assert server.asked[0][2]["authorization"] == f"Bearer {KEY}"
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > asked
    assert [p for p in files if KEY.encode() in p.read_bytes()] == []


def test_a_cap_ends_the_study_cleanly_and_a_higher_one_goes_on(capsys):
    with serving(_letters) as server:
        run = Run(server, cap_requests=60, concurrency=1)
        cells, record = run.probe()
        done = {c["cell"] for c in cells if c["reason"] is None}
        assert 0 < len(done) < len(cells)
        reasons = {c["reason"] for c in cells if c["reason"]}
        assert all(r.startswith("SpendingCapError: cap_requests is 60") for r in reasons)
        assert len(server.asked) == json.loads(record["usage"])["requests"] == 60
        run.pages()
        assert run.rows("SELECT count(*) FROM cells WHERE status = 'failed'")[0][0] == len(
            cells
        ) - len(done)

        before = run.job
        run.set(cap_requests=1000, concurrency=1)
        assert [c.id for c in run.job.cells] == [c.id for c in before.cells]
        manifests = {run.plan.manifest_path(job.manifest) for job in (before, run.job)}
        assert len(manifests) == 2, "Snakemake would not run the job again"
        cells, record = run.probe()
        assert all(c["reason"] is None for c in cells)
        assert record["cells_reused"] == len(done)
        bodies = [json.dumps(body, sort_keys=True) for _, body, _ in server.asked]
        assert len(set(bodies)) == len(bodies), "something was asked twice"


def test_a_cap_that_leaves_nothing_is_no_crash():
    with serving(_letters) as server:
        run = Run(server, cap_requests=0)
        cells, _ = run.probe()
        assert all("cap_requests is 0" in c["reason"] for c in cells)
        assert server.asked == []
        run.pages()
        assert "cap_requests is 0" in Path("reports/recall.html").read_text()


def test_how_it_is_reached_changes_neither_cells_nor_jobs():
    with serving(_letters) as server:
        run = Run(server)
        before = run.job, run.plan.manifest_path(run.job.manifest)
        run.set(price_in=3.0, retries=9, concurrency=2, timeout_s=1, key_env="OTHER_KEY")
        assert run.model.id == before[0].state.model.id
        assert run.plan.manifest_path(run.job.manifest) == before[1]
        written = json.loads(before[1].read_text())
        assert written["access"]["price_in"] == 3.0
        for change in ({"seed": 1}, {"extra": {"top_k": 1}}):
            run.set(**change)
            assert {c.id for c in run.job.cells}.isdisjoint(c.id for c in before[0].cells), change


def test_a_server_that_is_down_stops_the_job_and_a_rerun_goes_on():
    with serving(_letters) as server:
        run = Run(server, concurrency=1)
        waiting = [_letters] * 60
        server.answer = lambda path, body: (
            waiting.pop()(path, body) if waiting else Reply({"error": {"message": "down"}}, 503)
        )
        with pytest.raises(OSError, match=r"503 \(down\), in 2 tries"):
            run.probe()
        assert not run.job.output.exists()
        server.answer = _letters
        cells, record = run.probe()
        assert all(c["reason"] is None for c in cells)
        assert record["cells_reused"] > 0


def test_a_prompt_that_is_rejected_fails_its_cell_alone():
    def answer(path, body):
        if "archive" in body["messages"][0]["content"]:
            return Reply({"error": {"message": "too long"}}, 400)
        return _letters(path, body)

    with serving(answer) as server:
        cells, _ = Run(server).probe()
    reasons = [c["reason"] for c in cells if c["reason"]]
    assert len(reasons) == 1
    assert "400 (too long)" in reasons[0]


def test_check_asks_once_and_says_what_there_is(capsys):
    with serving(_letters) as server:
        Run(server, price_in=1.0)
        for asked in (1, 0):
            assert main(["models", "check", "served", "--configfile", "config.yaml"]) == 0
            said = capsys.readouterr().out
            assert "gives generation" in said
            assert f"{asked} requests now and {1 - asked} replies from the cache" in said
            assert "0.0000 USD in all" in said
        assert len(server.asked) == 1
        server.answer = script(Reply({"error": {"message": KEY}}, 401))
        Run(server, seed=5)
        assert main(["models", "check", "served", "--configfile", "config.yaml"]) == 1
        said = capsys.readouterr().err
        assert "refuses the key in the environment variable CANARY_KEY" in said
        assert KEY not in said


def test_the_plan_says_what_is_left_out_and_cleaning_spares_what_was_paid_for():
    with serving(_letters) as server:
        run = Run(server)
        text = describe(run.plan, run.config)
        assert "served: embedding is left out" in text
        assert "served: choices are asked in words" in text
        run.probe()
        kinds = {"states": False, "failed": False, "orphans": True, "everything": True}
        clean(run.plan, **kinds, dry_run=False)
        assert [p.name for p in Path("results").iterdir()] == ["requests"]
        asked = len(server.asked)
        run.plan.write()
        run.probe()
        assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("probe", "word"),
    [
        ("few_shot_memory", "needs log likelihoods and gradients to train it"),
        ("unforgettable_generalization", "gradients to train it"),
        ("power_law_rehearsal", "gradients to train it"),
    ],
)
def test_probes_that_need_weights_refuse_before_any_job(probe, word):
    with serving(_letters) as server:
        run = Run(server)
    raw = {"studies": {"x": {"probe": probe, "states": {"a": {"model": "served"}}}}}
    with pytest.raises(ConfigError) as caught:
        check(raw, "config.yaml")
    text = str(caught.value)
    assert text.startswith("config.yaml: studies.x.states.a.model: given 'served', allowed: for")
    assert word in text
    assert "served is behind an endpoint and gives generation alone" in text
    assert run.model.behind_endpoint


def test_interventions_are_refused_before_any_job():
    with serving(_letters) as server:
        Run(server)
    state = {"model": "served", "interventions": [{"planting": {}}]}
    raw = {"studies": {"x": {"probe": "economic_recall", "states": {"a": state}}}}
    with pytest.raises(ConfigError, match="interventions: given planting, allowed: none"):
        check(raw, "config.yaml")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"base_url": "localhost:8000"}, "begins with http"),
        ({"base_url": f"http://user:{KEY}@host/v1"}, "without user"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "without user"),
        ({"key_env": KEY}, "pattern"),
        ({"api_key": KEY}, "unknown key"),
        ({"base_url": f"http://host/{KEY}/v1"}, "without a key in it (see key_env)"),
        ({"extra": {"messages": "none"}}, "have their place"),
        (
            {"extra": {"api_key": KEY[:10]}},
            "served.extra: given a mapping, allowed",
        ),
        ({"extra": {"Authorization": "none"}}, "hold no key or password"),
        ({"extra": {"user": KEY}}, "hold no key or password"),
        ({"extra": {KEY: True}}, "hold no key or password"),
        # The whole entry is wrong: none of its values is repeated.
        (
            {"extra": {"n": KEY[:10]}, "cap_usd": 1},
            "given the keys ['base_url', 'cap_usd', 'extra'",
        ),
        ({"logprobs": "completions_echo"}, "needs mode: completions"),
        ({"logprobs": "chat_top", "mode": "completions"}, "needs mode: chat"),
        ({"extra": {"top_logprobs": 5}}, "have their place"),
        ({"cap_usd": 1.0}, "needs price_in and price_out"),
        ({"mode": "responses"}, "chat"),
    ],
)
def test_entries_that_cannot_be_used_are_refused_and_no_secret_is_repeated(fields, word):
    with serving(_letters) as server, pytest.raises(ConfigError) as caught:
        Run(server, **fields)
    assert word in str(caught.value)
    assert KEY[:10] not in str(caught.value)


@pytest.mark.parametrize("place", ["base_url", "name", "extra"])
def test_the_key_itself_is_refused_wherever_it_stands(place, monkeypatch):
    """Whatever it looks like: what jobs will read from the environment is known here too."""
    monkeypatch.setenv("CANARY_KEY", "horse battery")
    fields = {
        "base_url": {"base_url": "http://host/horse battery/v1"},
        "name": {"name": "the horse battery model"},
        "extra": {"extra": {"user": "a horse battery"}},
    }[place]
    with serving(_letters) as server:
        with pytest.raises(ConfigError, match="without the key that is in CANARY_KEY") as caught:
            Run(server, **fields)
        assert "horse" not in str(caught.value)
        monkeypatch.setenv("CANARY_KEY", "none")
        Run(server, extra={"reasoning_effort": "none"})
