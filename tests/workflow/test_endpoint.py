"""A real server of the OpenAI protocol (``transformers serve``) against the engine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from palimpsest.data.items import Item
from palimpsest.engine.generation import generate
from palimpsest.models.endpoint.model import Endpoint
from palimpsest.models.endpoint.replies import Answer
from palimpsest.probes.unlearning.answers import STOP, judged_prompts
from palimpsest.probes.unlearning.in_words import read_in_words
from palimpsest.probes.unlearning.readings import prompted, read
from palimpsest.probes.unlearning.settings import Settings
from tests.workflow.conftest import Run, jobs

pytestmark = [pytest.mark.workflow, pytest.mark.model]
KEY = "sk-canary-c0ffee42"
PROMPTS = [
    "The capital of France is",
    "According to statistical records, the US unemployment rate amounted in 2009 to",
    "Q: Which year followed 1999? A:",
]


@dataclass
class Server:
    """A running server; its log has a line a request."""

    base_url: str
    log: Path

    def requests(self) -> int:
        return self.log.read_text().count('"POST /v1/')


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serves any model whose folder is named; loads it at its first request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [str(Path(sys.executable).parent / "transformers"), "serve"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with open(log, "w") as handle:
        process = subprocess.Popen(
            command,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield Server(f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address, process, log, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=1).read()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def _endpoint(server, manifest, **more):
    entry = {"source": "endpoint", "base_url": server.base_url, "name": str(manifest.parent)}
    return Endpoint(entry | more, {"retries": 0, "timeout_s": 120})


def test_greedy_completions_are_those_of_the_engine(
    server, smollm, smollm_manifest, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    served = _endpoint(server, smollm_manifest, mode="completions")
    given = [answer.text for answer in served.answers(PROMPTS, 8)]
    assert given == generate(smollm, PROMPTS, 8, stop=())
    assert len(set(given)) == len(PROMPTS)


def test_greedy_chats_are_those_of_the_engine(
    server, smollm, smollm_manifest, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    served = _endpoint(server, smollm_manifest)
    asked = [served.ask("", prompt) for prompt in PROMPTS[:1]]
    opened = [
        smollm.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
        )
        for text in asked
    ]
    given = [answer.text for answer in served.answers(asked, 8)]
    assert given == [text.lstrip() for text in generate(smollm, opened, 8, stop=())]


def _item(part, country, capital):
    question = f"Q: What is the capital of {country}? A:"
    return Item(
        country,
        part,
        question,
        (),
        (f"The capital of {country} is",),
        f" {capital}",
        (" Rome", " Oslo"),
        (f"Die Hauptstadt von {country} ist",),
    )


def test_items_asked_in_words_are_answered_as_the_engine_answers(
    server, smollm, smollm_manifest, tmp_path, monkeypatch
):
    """The same questions and other prompts, of a model here and behind a server."""
    monkeypatch.chdir(tmp_path)
    items = [
        _item("forget", "France", "Paris"),
        _item("forget", "Japan", "Tokyo"),
        _item("holdout", "Freedonia", "Fredville"),
        _item("retain", "Spain", "Madrid"),
        _item("retain", "Egypt", "Cairo"),
    ]
    settings = Settings(answer_tokens=8, reply_tokens=8)
    served = _endpoint(server, smollm_manifest, mode="completions")
    other = prompted(settings, items, small=False)
    written = generate(smollm, [prompt for *_, prompt in other], 8, stop=STOP)
    there, here = (
        {
            (r["grp"], r["item"], r["metric"]): (r["value"], r["text"])
            for r in rows
            if r["metric"] in ("refusal", "exact_match", "rouge_l_by_chance")
            or r["metric"].endswith("rouge_l")
        }
        for rows in (
            read_in_words(served, settings, items),
            [
                *read(smollm, settings, items, small=False),
                *judged_prompts(other, [Answer(text) for text in written]),
            ],
        )
    )
    assert there == here
    assert len({text for _, text in here.values()}) > 10
    # It knows this much, and not the capital of a country that nobody was told of.
    assert there["forget", "France", "reworded_rouge_l"][0] == 1
    assert there["holdout", "Freedonia", "reworded_rouge_l"][0] == 0


@pytest.fixture
def run(server, tiny_manifest, tmp_path, monkeypatch):
    """A small study of the tiny model behind the server, through Snakemake."""
    folder = tmp_path / "run"
    (folder / "config").mkdir(parents=True)
    monkeypatch.chdir(folder)
    entry = {
        "source": "endpoint",
        "base_url": server.base_url,
        "name": str(tiny_manifest.parent),
        "mode": "completions",
        "key_env": "CANARY_KEY",
        "price_in": 1.0,
        "price_out": 4.0,
        "cap_usd": 1.0,
        "knowledge_cutoff": "2000-01-01",
    }
    models = {"served": entry, "tiny": {"source": "tiny"}}
    Path("config/models.yaml").write_text(yaml.safe_dump({"models": models}))
    run = Run(folder, environment={"CANARY_KEY": KEY})
    settings = {
        "series": ["us_unemployment_rate"],
        "dates_per_series": 4,
        "dates_after_cutoff": 4,
        "events": 4,
        "experiments": ["value", "event_order", "embedding"],
        "candidates": 8,
        "choices": 4,
    }
    study = {"probe": "economic_recall", "states": {"untouched": {"model": "served"}}}
    run.configure({"compute": {"gpu": 1}, "studies": {"recall": study | {"settings": settings}}})
    return run


def test_a_study_through_snakemake_costs_nothing_again_and_needs_no_gpu(run, server, tiny):
    said = run.snakemake("report_all")
    assert jobs(said)["probe"] == 1
    assert "served: embedding is left out" in said
    assert run.rows("SELECT DISTINCT status FROM cells") == [("done",)]
    asked = server.requests()
    assert asked > 20
    ((usage,),) = run.rows("SELECT usage FROM provenance WHERE usage IS NOT NULL")
    usage = json.loads(usage)
    assert usage["failed_tries"] == 0
    assert usage["usd"] == pytest.approx(
        (usage["tokens_in"] + 4 * usage["tokens_out"]) / 1e6, rel=1e-9
    )

    pairs = run.rows(
        "SELECT max(text) FILTER (metric = 'prompt'), max(text) FILTER (metric = 'answer') "
        "FROM economic_recall WHERE question LIKE '%answer' GROUP BY cell, series, date, question"
    )
    prompts, answers = zip(*pairs, strict=True)
    assert list(answers) == generate(tiny, prompts, 8, stop=("\n", ". "))

    for path in [*run.folder.glob("results/cells/*/*"), *run.folder.glob("results/*.duckdb")]:
        path.unlink()
    before = set(run.folder.glob("results/observations/*/*/*"))
    for path in before:
        path.unlink()
    run.snakemake("results/palimpsest.duckdb")
    assert server.requests() == asked
    assert set(run.folder.glob("results/observations/*/*/*")) == before

    files = [p for p in run.folder.rglob("*") if p.is_file()]
    assert any(p.suffix == ".log" for p in files)
    assert [p for p in files if KEY.encode() in p.read_bytes()] == []
    assert KEY not in said
