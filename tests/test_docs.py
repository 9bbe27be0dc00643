"""What the documents promise is there: queries run, examples validate, commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from palimpsest.cli import _parser
from palimpsest.config import check
from palimpsest.evidence.gather import connect
from palimpsest.probes.economic_recall.claims import VIEW

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_three_queries():
    assert len(_blocks("sql")) == 3


@pytest.mark.parametrize("query", _blocks("sql"))
def test_queries_of_the_readme_run(query):
    connect({}, {"economic_recall": VIEW}).execute(query).fetchall()


def test_example_configuration_is_valid(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    rows = "".join(f"{1990 + i // 12}-{1 + i % 12:02d},{i % 7}.{i % 10}\n" for i in range(60))
    (tmp_path / "data" / "swiss.csv").write_text("date,value\n" + rows)
    (tmp_path / "data" / "events.jsonl").write_text(
        '{"date": "2008-09-15", "headline": "Bank fails at once", "entity": "Bank"}\n'
    )
    monkeypatch.chdir(tmp_path)
    (example,) = _blocks("yaml")
    raw = yaml.safe_load(example) | {"models_file": str(ROOT / "config" / "models.yaml")}
    config, _ = check(raw, "README.md")
    assert config.data.series[0].kind == "rate"


def test_every_command_of_the_readme_exists():
    actions = next(a for a in _parser()._actions if a.choices)
    for command in re.findall(r"`palimpsest (\w+)", README):
        assert command in actions.choices, command
    assert set(re.findall(r"\| `palimpsest (\w+)", README)) == set(actions.choices)


def test_files_that_documents_name_exist():
    for document in ("README.md", "CONTRIBUTING.md", "config/README.md", "profiles/README.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for name in re.findall(r"`((?:src|config|profiles|tests)/[\w./-]+\.\w+)`", text):
            assert (ROOT / name).exists(), (document, name)
