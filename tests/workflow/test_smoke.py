"""The whole workflow with real Snakemake: what runs, what reruns, what survives."""

from __future__ import annotations

import base64
import copy
import importlib.util
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "workflow_conftest", Path(__file__).with_name("conftest.py")
)
shared = importlib.util.module_from_spec(_SPEC)
sys.modules["workflow_conftest"] = shared
_SPEC.loader.exec_module(shared)
ROOT, STUDY, TARGET, BIN, Run, jobs = (
    shared.ROOT,
    shared.STUDY,
    shared.TARGET,
    shared.BIN,
    shared.Run,
    shared.jobs,
)

pytestmark = pytest.mark.workflow
NOTHING = "Nothing to be done"


def test_the_smoke_run_is_quick_and_whole(finished, capsys):
    with capsys.disabled():
        print(f"\nsmoke run: {finished.seconds:.0f} s")
    assert finished.seconds < 240
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


def alive(folder: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def kill_when(run: Run, moment, dice: random.Random) -> None:
    """Start the run, wait for a moment and a little more, and kill the whole process group."""
    process = run.start()
    deadline = time.monotonic() + 200
    while not moment():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.3))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(200):
        if not alive(run.folder):
            return
        time.sleep(0.05)
    raise AssertionError("processes outlived the kill")


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_numbers(copied, finished):
    """SIGKILL while models are changed and while they are probed; then the same plain command."""
    results = Path("results")
    studies = copied.plan().studies.values()
    keep = {c.id for study in studies for c in study.cells if c.role != "planted"}
    for path in (
        *results.glob("states/*planting*"),
        *results.glob(f"observations/{STUDY}/*plant*"),
    ):
        shutil.rmtree(path)
    for path in results.glob("cells/*/*"):
        if path.name.split(".")[0] not in keep:
            path.unlink()
    for path in (results / "palimpsest.duckdb", *results.glob("statistics/*")):
        path.unlink()
    dice = random.Random(11)

    def training() -> bool:
        return any(results.glob("states/*planting*/step-000001.safetensors"))

    def measuring(count: int) -> bool:
        return len(list(results.glob("cells/*/*.json"))) >= len(keep) + count

    kill_when(copied, training, dice)
    assert any(Path(".snakemake/locks").iterdir()), "the kill left no lock behind"
    kill_when(copied, lambda: measuring(1), dice)
    kill_when(copied, lambda: measuring(9), dice)
    done = copied.files("results/cells/**/*")
    copied.snakemake()
    after = copied.files("results/cells/**/*")
    whole = {p for p in done if p.endswith(".json")}
    for path in whole:
        assert after[path] == done[path], "a finished cell was measured again"
    assert copied.content() == finished.content()
    shards = "results/observations/**/*.parquet"
    assert {k: v for k, (_, v) in copied.files(shards).items()} == {
        k: v for k, (_, v) in finished.files(shards).items()
    }
    weights = "results/states/**/*.safetensors"
    assert {k: v for k, (_, v) in copied.files(weights).items()} == {
        k: v for k, (_, v) in finished.files(weights).items()
    }
    assert NOTHING in copied.snakemake(TARGET, "-n")


def test_what_follows_a_state_that_was_cut_off_is_not_forgotten(copied):
    """A state whose files are there but whose job Snakemake did not see end, and nothing after."""
    state = next(Path("results/states").glob("*planting.s0*/state.json"))
    marker = base64.b64encode(str(state).encode()).decode()
    Path(".snakemake/incomplete").mkdir(exist_ok=True)
    Path(".snakemake/incomplete", marker).write_text('{"external_jobid": null}')
    for path in Path("results/observations").glob(f"*/{state.parent.name}/*"):
        path.unlink()
    for path in (Path("results/palimpsest.duckdb"), *Path("results/statistics").glob("*")):
        path.unlink()
    made = jobs(copied.snakemake(TARGET, "-n"))
    assert (made["intervene"], made["probe"], made["analyse"], made["gather"]) == (1, 2, 6, 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def test_damage_is_named_and_mended_alone(copied, finished):
    from palimpsest.evidence.shards import ShardError
    from palimpsest.jobs import cell_file, gather, probe
    from palimpsest.models.loading import ModelError

    plan = copied.plan()
    by_id = {job.state.id.split("-")[0]: job for job in plan.studies[STUDY].jobs}
    planted, base = by_id["tiny.planting.s0"], by_id["tiny"]
    everything = str(plan.manifest_path(plan.manifest))

    flip(base.output)
    with pytest.raises(ShardError) as caught:
        gather(everything, "results/palimpsest.duckdb")
    assert f"{base.output}: content differs" in str(caught.value)
    assert "delete it and run again" in str(caught.value)
    base.output.unlink()

    lost = next(c for c in planted.cells if c.step == planted.state.steps[-1])
    flip(cell_file(lost.id))
    state = planted.state.output
    flip(state.parent / f"step-{lost.step:06d}.safetensors")
    with pytest.raises(ModelError) as caught:
        probe(str(plan.manifest_path(planted.manifest)), str(planted.output), 1, 0)
    assert f"delete {state} and run again" in str(caught.value)
    state.unlink()
    planted.output.unlink()

    before = copied.files("results/**/*")
    said = copied.snakemake(str(base.output), str(planted.output))
    made = jobs(said)
    assert (made["intervene"], made["probe"], made["prepare_model"]) == (1, 2, 0)
    after = copied.files("results/**/*")
    rewritten = {
        Path(path)
        for path in after
        if "/cells/" in path and before.get(path, (0,))[0] != after[path][0]
    }
    assert rewritten == {cell_file(lost.id), cell_file(lost.id).with_suffix(".json")}
    gather(everything, "results/palimpsest.duckdb")
    assert copied.content() == finished.content()


def test_damaged_weights_of_a_model_are_named(copied):
    from palimpsest.models.loading import ModelError, load

    (output,) = Path("results/models").glob("tiny-*/model.json")
    flip(output.parent / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load(output)
    assert f"delete {output.parent} and run again" in str(caught.value)
    shutil.rmtree(output.parent)
    # What was measured stays; only a job that needs the model makes it again.
    assert NOTHING in copied.snakemake(TARGET, "-n")
    weights = next(Path("results/observations").glob(f"{STUDY}/tiny-*/000.parquet"))
    weights.unlink()
    made = jobs(copied.snakemake(str(weights), "-n"))
    assert (made["prepare_model"], made["intervene"], made["probe"]) == (1, 0, 1)


def test_a_second_run_in_the_same_folder_is_refused(copied):
    shutil.rmtree("results/observations")
    shutil.rmtree("results/cells")
    Path("results/palimpsest.duckdb").unlink()
    first = copied.start()
    try:
        assert any("Probing" in line for line in first.stdout)
        said = copied.snakemake(TARGET, fails=True)
        assert "cannot be locked" in said
        assert any(Path(".snakemake/locks").iterdir()), "the first run's locks were taken away"
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


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
