"""A probe made from the template works: measured, analysed, drawn, and its own test passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.scaffold import new_probe

ROOT = Path(__file__).parent.parent

RUN = """
import json, sys
from pathlib import Path
from palimpsest.config import check
from palimpsest.evidence.database import Database
from palimpsest.grid import expand
from palimpsest import jobs
from palimpsest.reports.build import build_study

raw = {"models_file": sys.argv[1], "studies": {"mine": {"probe": "my_probe", "states": {
    "untouched": {"model": "tiny"}}}}}
plan = expand(*check(raw, "test"))
plan.write()
for model in plan.models.values():
    jobs.prepare_model(str(plan.manifest_path(model.manifest)), str(model.output))
for job in plan.jobs:
    jobs.probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
(study,) = plan.studies.values()
jobs.analyse(str(plan.manifest_path(study.manifest)), str(study.statistics))
jobs.gather(str(plan.manifest_path(plan.manifest)), "results/palimpsest.duckdb")
build_study("results/palimpsest.duckdb", "mine", Path("reports/mine.html"))
with Database("results/palimpsest.duckdb") as database:
    print(database.frame("SELECT claim, verdict, n FROM claims").rows())
"""


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    return tmp_path


def _python(checkout, *arguments):
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_probe_works_from_end_to_end(checkout):
    lines = new_probe("my_probe", checkout)
    assert any("probe: my_probe" in line for line in lines)
    run = _python(checkout, "-c", RUN, str(ROOT / "config" / "models.yaml"))
    assert run.returncode == 0, run.stderr[-2000:]
    assert "('order_counts', " in run.stdout
    page = (checkout / "reports" / "mine.html").read_text()
    assert "My probe" in page
    assert "<svg" in page
    tested = _python(
        checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests"
    )
    assert tested.returncode == 0, tested.stdout[-2000:]
    assert "3 passed" in tested.stdout


@pytest.mark.parametrize("name", ["My", "_x", "a-b", "../x", "", "9a", "a__b"])
def test_bad_names_are_refused(checkout, name):
    with pytest.raises(ValueError, match="snake_case"):
        new_probe(name, checkout)


def test_nothing_is_overwritten(checkout):
    with pytest.raises(FileExistsError):
        new_probe("economic_recall", checkout)
    with pytest.raises(ValueError, match="repository's root"):
        new_probe("fine", checkout / "tests")
