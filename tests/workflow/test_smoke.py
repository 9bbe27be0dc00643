"""The whole workflow with real Snakemake: what runs, what reruns, what survives."""

from __future__ import annotations

import copy
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import BIN, NOTHING, ROOT, STUDY, TARGET, Run, jobs

pytestmark = pytest.mark.workflow


def test_the_smoke_run_is_whole(finished, capsys):
    with capsys.disabled():
        print(f"\nsmoke run: {finished.seconds:.0f} s")
    made = jobs(finished.said)
    assert (made["prepare_model"], made["intervene"], made["probe"]) == (2, 6, 18)
    assert finished.rows("SELECT DISTINCT status FROM cells") == [("done",)]
    assert finished.rows("SELECT count(*) > 1000 FROM observations") == [(True,)]
    roles = finished.rows("SELECT DISTINCT role FROM economic_recall ORDER BY role")
    assert roles == [("planted",), ("randomised",), ("unlearned",), ("untouched",)]
    done = {rule for (rule,) in finished.rows("SELECT DISTINCT rule FROM provenance")}
    assert done == {"prepare_model", "intervene", "probe", "analyse"}
    assert "The plan" in finished.said
    assert not list(finished.folder.glob("results/scratch/*"))


def test_a_rerun_has_nothing_to_do(finished):
    assert NOTHING in finished.snakemake(TARGET, "-n")


def reordered(node):
    if isinstance(node, dict):
        return {key: reordered(node[key]) for key in reversed(node)}
    return node


def test_order_of_keys_and_defaults_written_out_rerun_nothing(copied):
    raw = reordered(copied.config)
    settings = raw["studies"][STUDY]["settings"]
    settings |= {"tolerance_rate": 0.1, "tolerance_level": 0.01}
    raw["compute"] = {"threads": 1, "gpu": 0}
    copied.configure(raw)
    assert NOTHING in copied.snakemake(TARGET, "-n")
    before = copied.content()
    copied.snakemake(TARGET)
    assert copied.content() == before


def test_what_is_added_or_changed_is_computed_and_nothing_else(copied):
    """A seed and a model are added; then one factor is changed with them, and all is run."""
    before = {
        kind: copied.files(f"results/{kind}")
        for kind in ("cells/**/*", "observations/**/*.parquet", "states/**/*", "models/**/*")
    }
    old_cells = {c.id: c for c in copied.plan().studies[STUDY].cells}
    raw = copied.config
    states = raw["studies"][STUDY]["states"]
    states["planted"]["seeds"] = 3
    states["second"] = {"model": "tiny2"}
    with open("config/models.yaml", "a") as handle:
        handle.write("\n  tiny2: {source: tiny, seed: 7, layers: 1}\n")
    copied.configure(raw)
    planned = jobs(copied.snakemake(TARGET, "-n"))
    assert {rule: planned[rule] for rule in ("prepare_model", "intervene", "probe")} == {
        "prepare_model": 1,
        "intervene": 1,
        "probe": 2,
    }

    raw["studies"][STUDY]["settings"]["embedding_dates"] = 24
    copied.configure(raw)
    copied.snakemake(TARGET)
    new_cells = {c.id: c for c in copied.plan().studies[STUDY].cells}
    gone = {i for i in old_cells if i not in new_cells}
    assert {old_cells[i].experiment for i in gone} == {"embedding"}
    assert gone == {i for i, c in old_cells.items() if c.experiment == "embedding"}
    made = {i for i in new_cells if i not in old_cells}
    assert {(c.role, c.seed) for i, c in new_cells.items() if i in made} == {
        ("planted", 2),
        ("second", 0),
        ("untouched", 0),
    }
    after = {kind: copied.files(f"results/{kind}") for kind in before}
    for kind in ("cells/**/*", "states/**/*", "models/**/*"):
        assert before[kind].items() <= after[kind].items(), f"{kind}: something was made again"
    written = {Path(path).stem for path in after["cells/**/*"].keys() - before["cells/**/*"].keys()}
    assert {name.split(".")[0] for name in written} == made
    for path, (_, content) in before["observations/**/*.parquet"].items():
        changed = after["observations/**/*.parquet"][path][1] != content
        assert changed == (f"/{STUDY}/" in path and ".s" not in path), path


def test_a_wrong_configuration_stops_before_any_job(copied):
    raw = copied.config
    settings = raw["studies"][STUDY]["settings"]
    settings["candidats"] = settings.pop("candidates")
    copied.configure(raw)
    before = copied.files("results/manifests/*")
    said = copied.snakemake(TARGET, "-n", fails=True)
    told = [line for line in said.splitlines() if line.strip()]
    at = next(i for i, line in enumerate(told) if "the configuration cannot be used" in line)
    assert len(told) - at <= 8, said
    assert f"config.yaml: studies.{STUDY}.settings.candidats" in said
    assert "did you mean candidates?" in said
    assert "Traceback" not in said
    assert "Job stats" not in said
    assert copied.files("results/manifests/*") == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("studies: {a: 1}\nstudies: {b: 1}\n", "given twice"),
        ("- a\n- b\n", "Config file"),
        ("studies: [1\n", "Config file"),
    ],
    ids=["a key twice", "a list", "no YAML"],
)
def test_a_file_that_is_no_configuration_stops_before_any_job(tmp_path, text, word):
    run = Run(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    said = run.snakemake("-n", fails=True)
    assert word in said
    assert "Traceback" not in said


def test_gpus_are_shared_on_a_workstation_and_not_limited_on_a_cluster(copied):
    raw = copied.config
    raw["compute"] = {"gpu": 1}
    copied.configure(raw)
    outer = copied.folder / "Snakefile"
    outer.write_text(
        f'include: "{ROOT}/Snakefile"\n'
        'limit = workflow.global_resources.get("gpu")\n'
        'print("LIMIT", getattr(limit, "value", limit), file=sys.stderr)\n'
    )
    environment = os.environ | {
        "PALIMPSEST_FAKE_DEVICES": "3",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def limit(*arguments: str) -> str:
        # The target comes first: --resources takes all words that follow it.
        command = ["snakemake", TARGET, "-s", "Snakefile", "--configfile", "config.yaml", "-n"]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=copied.folder,
        )
        assert done.returncode == 0, done.stderr
        return next(line for line in done.stderr.splitlines() if line.startswith("LIMIT"))

    local = ("--cores", "4", "--workflow-profile", str(ROOT / "profiles/default"))
    assert limit(*local) == "LIMIT 3"
    assert limit("--cores", "4", "--resources", "gpu=2") == "LIMIT 2"
    assert limit("--workflow-profile", str(ROOT / "profiles/slurm")) == "LIMIT None"


def test_a_default_configuration_that_cannot_be_read_is_named_with_its_line(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("studies:\n  one:\n\tprobe: unlearning\n")
    command = [str(BIN / "snakemake"), "-n", "-s", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "config/config.yaml: not valid YAML" in said
    assert "line 3, column 1" in said


def test_profiles_are_found_in_a_clone(tmp_path):
    """Plain `snakemake` in the root folder, as a user types it."""
    for name in ("workflow", "profiles", "config", "scripts", "src"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "Snakefile", tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"

    def dry(*arguments: str) -> str:
        done = subprocess.run(
            ["snakemake", "-n", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    smoke = ("--configfile", "config/smoke.yaml")
    said = dry("--cores", "2", *smoke)
    assert "Using workflow specific profile profiles/default" in said
    assert jobs(said)["probe"] == 18
    said = dry("--workflow-profile", "profiles/slurm", *smoke)
    assert "Using workflow specific profile profiles/slurm" in said
    # Seconds of work, not of the clock: others may share the cores.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    paper = dry("--cores", "2", "--configfile", "config/paper.yaml")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 30
    assert sum(jobs(paper).values()) <= 1000


def test_two_gathers_from_the_same_shards_are_equal(copied):
    from palimpsest.jobs import gather

    manifest = copied.plan()
    path = str(manifest.manifest_path(manifest.manifest))
    tables = ("observations", "cells", "provenance", "claims", "statistics", "models")
    before = {t: sorted(map(repr, copied.rows(f"SELECT * FROM {t}"))) for t in tables}
    content = copied.content()
    gather(path, "results/palimpsest.duckdb")
    assert copied.content() == content
    assert {t: sorted(map(repr, copied.rows(f"SELECT * FROM {t}"))) for t in tables} == before


def test_a_cell_that_fails_leaves_the_study_complete(copied):
    """A series of the user's own that is too short for the experiment on hidden states."""
    from palimpsest.jobs import analyse, gather, probe

    rows = "\n".join(f"19{80 + i}-01-01,{3 + i % 3}.{i}" for i in range(5))
    Path("short.csv").write_text(f"date,value\n{rows}\n")
    raw = copy.deepcopy(copied.config)
    raw["data"] = {"series": [{"name": "short", "path": "short.csv", "frequency": "year"}]}
    study = raw["studies"][STUDY]
    raw["studies"] = {STUDY: study}
    study["states"] = {"untouched": {"model": "tiny"}}
    study["settings"] |= {
        "series": ["us_unemployment_rate", "short"],
        "experiments": ["embedding"],
    }
    copied.configure(raw)
    plan = copied.plan()
    plan.write()
    (job,) = plan.jobs
    probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
    (one,) = plan.studies.values()
    analyse(str(plan.manifest_path(one.manifest)), str(one.statistics))
    gather(str(plan.manifest_path(plan.manifest)), "results/palimpsest.duckdb")
    found = copied.rows("SELECT parameters, status, reason FROM cells ORDER BY status")
    assert [(("short" in p), s, r is None) for p, s, r in found] == [
        (False, "done", True),
        (True, "failed", False),
    ]
    assert "Error" in found[1][2]
    assert copied.rows("SELECT count(*) > 0 FROM observations") == [(True,)]


def test_a_partial_report_marks_what_is_missing(copied, monkeypatch):
    import types

    from palimpsest.partial import build

    shard = next(Path("results/observations").glob(f"{STUDY}/tiny-*/000.parquet"))
    shard.unlink()
    pages = []
    fake = types.ModuleType("palimpsest.reports.build")
    fake.build_study = lambda database, study, page: pages.append((str(database), study, str(page)))
    fake.build_index = lambda database, page: pages.append((str(database), "index", str(page)))
    monkeypatch.setitem(sys.modules, "palimpsest.reports.build", fake)
    whole = Path("results/palimpsest.duckdb").read_bytes()
    page = build(copied.plan(), allow_missing=True)
    assert page == Path("reports/partial/index.html")
    database = "results/partial/palimpsest.duckdb"
    assert pages == [
        *(
            (database, study, f"reports/partial/{study}.html")
            for study in sorted(copied.plan().studies)
        ),
        (database, "index", "reports/partial/index.html"),
    ]
    partial = Run(copied.folder)
    assert Path("results/palimpsest.duckdb").read_bytes() == whole
    shutil.copy(database, "results/palimpsest.duckdb")
    counted = (
        f"SELECT role || ' ' || status, count(*) FROM cells WHERE study = '{STUDY}' GROUP BY 1"
    )
    status = dict(partial.rows(counted))
    assert status.keys() == {
        "untouched missing",
        "randomised done",
        "planted done",
        "unlearned done",
    }
    missing = partial.rows("SELECT DISTINCT reason FROM cells WHERE status = 'missing'")
    assert missing == [("its job has not finished",)]
    with pytest.raises(Exception, match="missing"):
        build(copied.plan(), allow_missing=False)
