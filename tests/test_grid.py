"""What changes when the configuration changes, and what does not."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from palimpsest import grid
from palimpsest.config import check
from palimpsest.files import read_json
from palimpsest.grid import expand
from palimpsest.manifests import Plan

ROOT = Path(__file__).parent.parent
SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
STUDY = "economic_recall"
SMOKE["studies"] = {STUDY: SMOKE["studies"][STUDY]}


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch, tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)


def plan(raw: dict | None = None) -> Plan:
    return expand(*check(copy.deepcopy(SMOKE if raw is None else raw), "config.yaml"))


def cells(found: Plan) -> dict[str, grid.Cell]:
    return {cell.id: cell for study in found.studies.values() for cell in study.cells}


def manifests(found: Plan) -> set[Path]:
    return {found.manifest_path(job.manifest) for job in found.jobs} | {
        found.manifest_path(state.manifest) for state in found.states.values() if state.intervention
    }


def variant(**settings: object) -> dict:
    raw = copy.deepcopy(SMOKE)
    raw["studies"][STUDY]["settings"] |= settings
    return raw


def reordered(node: object) -> object:
    if isinstance(node, dict):
        return {key: reordered(node[key]) for key in reversed(node)}
    return node


def test_the_smoke_study():
    found = plan()
    assert len(found.models) == 1
    assert sorted(s.id.split("-")[0] for s in found.states.values()) == [
        "tiny",
        "tiny.grad_diff.s0",
        "tiny.grad_diff.s1",
        "tiny.planting.s0",
        "tiny.planting.s1",
        "tiny.randomise.s0",
    ]
    assert len(cells(found)) == sum(len(job.cells) for job in found.jobs)
    assert {cell.role for cell in cells(found).values()} == {
        "untouched",
        "randomised",
        "planted",
        "unlearned",
    }


def test_order_of_keys_changes_nothing():
    one, other = plan(), plan(reordered(SMOKE))
    assert set(cells(one)) == set(cells(other))
    assert set(one.states) == set(other.states)
    assert manifests(one) == manifests(other)


def test_defaults_written_out_change_nothing():
    raw = copy.deepcopy(SMOKE)
    config, _ = check(raw, "config.yaml")
    study = config.studies[STUDY]
    raw["studies"][STUDY]["settings"] = study.settings.model_dump(mode="json")
    planting = study.states["planted"].interventions[0].planting
    raw["studies"][STUDY]["states"]["planted"]["interventions"] = [
        {"planting": planting.model_dump(mode="json")}
    ]
    raw["compute"] = {"threads": 1, "gpu": 0}
    raw["data"] = {"accept": [], "series": []}
    one, other = plan(), plan(raw)
    assert set(cells(one)) == set(cells(other))
    assert [m["rule"] for m in one.manifests()] == [m["rule"] for m in other.manifests()]
    assert {one.manifest_path(m) for m in one.manifests()} == {
        other.manifest_path(m) for m in other.manifests()
    }


def test_number_of_seeds_is_their_list():
    raw = copy.deepcopy(SMOKE)
    raw["studies"][STUDY]["states"]["planted"]["seeds"] = [0, 1]
    assert set(cells(plan(raw))) == set(cells(plan()))


def test_how_jobs_run_changes_no_identity():
    raw = SMOKE | {"compute": {"threads": 4, "gpu": 1, "memory_mb": 9000, "runtime_minutes": 5}}
    assert manifests(plan(raw)) == manifests(plan())


@pytest.mark.parametrize("what", ["seed", "model", "role", "study"])
def test_what_is_added_leaves_all_else_as_it_is(what):
    raw = copy.deepcopy(SMOKE)
    states = raw["studies"][STUDY]["states"]
    if what == "seed":
        states["planted"]["seeds"] = 3
    elif what == "model":
        models = yaml.safe_load((ROOT / "config/models.yaml").read_text())
        models["models"]["tiny2"] = {"source": "tiny", "seed": 7}
        Path("models.yaml").write_text(yaml.safe_dump(models))
        raw["models_file"] = "models.yaml"
        states["second"] = {"model": "tiny2"}
    elif what == "role":
        states["again"] = states["planted"] | {"seeds": [5]}
    else:
        raw["studies"]["other"] = copy.deepcopy(raw["studies"][STUDY])
    one, other = plan(), plan(raw)
    assert set(cells(one)) < set(cells(other))
    assert set(one.states) <= set(other.states)
    assert manifests(one) < manifests(other)


@pytest.mark.parametrize(
    "setting",
    [
        {"answer_tokens": 7},
        {"embedding_dates": 24},
        {"cutoff_distances": [-3, 3]},
        {"context": 4},
        {"events": 14},
        {"tolerance_rate": 0.2},
        {"subset_per_series": 2},
        {"choices": 5},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_one_setting_changes_the_cells_that_depend_on_it_and_no_other(setting):
    from palimpsest.probes.economic_recall.settings import Settings, deciding_settings

    (name,) = setting
    one, other = cells(plan()), cells(plan(variant(**setting)))
    dependent = {
        i
        for i, cell in one.items()
        if name
        in deciding_settings(
            Settings(), {"experiment": cell.experiment, "step": cell.step} | cell.parameters
        )
    }
    assert dependent, "a setting on which nothing depends"
    assert dependent < set(one), "a setting on which all depends"
    assert set(one) - set(other) == dependent
    assert len(one) == len(other)


def test_a_setting_of_an_intervention_changes_its_states_alone():
    raw = copy.deepcopy(SMOKE)
    raw["studies"][STUDY]["states"]["planted"]["interventions"][0]["planting"]["never"] = 10
    one, other = plan(), plan(raw)
    gone = {i for i in one.states if i not in other.states}
    # What is unlearned follows what is planted, and both states of the file share the settings.
    assert gone == {i for i in one.states if ".planting." in i or ".grad_diff." in i}
    changed = {c.role for i, c in cells(one).items() if i not in cells(other)}
    assert changed == {"planted", "unlearned"}


def test_two_interventions_are_a_chain_whose_first_link_is_shared():
    raw = copy.deepcopy(SMOKE)
    steps = raw["studies"][STUDY]["states"]["planted"]["interventions"]
    raw["studies"][STUDY]["states"]["both"] = {
        "model": "tiny",
        "interventions": [*steps, {"randomise": {}}],
        "seeds": 2,
    }
    found = plan(raw)
    both = found.studies[STUDY].roles["both"][1]
    assert [link.intervention for link in both.chain] == [None, "planting", "randomise"]
    assert both.parent.id == found.studies[STUDY].roles["planted"][1].id
    reverse = copy.deepcopy(raw)
    reverse["studies"][STUDY]["states"]["both"]["interventions"].reverse()
    assert plan(reverse).studies[STUDY].roles["both"][1].id != both.id


def test_code_of_a_method_is_part_of_its_identity(monkeypatch):
    one = plan()
    real = grid.code_fingerprint

    def other_planting(module, files=None):
        return "new" if module == "interventions.planting" else real(module, files)

    monkeypatch.setattr(grid, "code_fingerprint", other_planting)
    other = plan()
    assert {i for i in one.states if i not in other.states} == {
        i for i in one.states if ".planting." in i or ".grad_diff." in i
    }

    def other_probe(module, files=None):
        return "new" if module == "probes.economic_recall" else real(module, files)

    monkeypatch.setattr(grid, "code_fingerprint", other_probe)
    assert set(plan().states) == set(one.states)
    assert not set(cells(plan())) & set(cells(one))


def test_files_that_shape_the_report_are_no_part_of_a_cell():
    files = {"settings.py", "checks.py", "claims.py", "figures.py"}
    assert files <= set(grid.NOT_MEASURING)
    assert "measure.py" not in grid.NOT_MEASURING


def own_series(path: str, **more: object) -> dict:
    raw = variant(series=["us_unemployment_rate", "eur_usd", "mine"])
    raw["data"] = {"series": [{"name": "mine", "path": path} | more]}
    return raw


def write_series(path: str, last: float = 3.0) -> str:
    rows = [f"{2000 + i // 12}-{i % 12 + 1:02d}-01,{1 + i % 7}.{i % 10}" for i in range(60)]
    Path(path).write_text("date,value\n" + "\n".join(rows) + f"\n2005-01-01,{last}\n")
    return path


def test_content_and_wording_of_own_series_decide_and_their_place_does_not():
    one = plan(own_series(write_series("a.csv")))
    moved = plan(own_series(write_series("b.csv")))
    assert set(cells(one)) == set(cells(moved))
    assert manifests(one) == manifests(moved)
    changed = plan(own_series(write_series("c.csv", last=4.0)))
    assert not {c for c in cells(one) if "mine" in str(cells(one)[c].parameters)} & set(
        cells(changed)
    )
    for more in ({"phrase": "my rate"}, {"unit": " percent"}, {"kind": "rate"}, {"decimals": 2}):
        worded = plan(own_series("a.csv", **more))
        mine = {i for i, c in cells(one).items() if c.parameters.get("series") == "mine"}
        assert mine
        assert not mine & set(cells(worded)), more


def test_data_that_a_state_does_not_use_changes_no_state():
    write_series("a.csv")
    raw = SMOKE | {"data": {"series": [{"name": "mine", "path": "a.csv"}], "accept": ["GPL-3"]}}
    one, other = plan(), plan(raw)
    assert set(one.states) == set(other.states)
    assert manifests(one) == manifests(other)


def test_a_manifest_that_lies_about_places_is_written_again():
    write_series("a.csv")
    write_series("b.csv")
    one, other = plan(own_series("a.csv")), plan(own_series("b.csv"))
    one.write()
    path = one.manifest_path(one.jobs[0].manifest)
    assert read_json(path)["data_block"]["series"][0]["path"] == "a.csv"
    other.write()
    assert read_json(path)["data_block"]["series"][0]["path"] == "b.csv"


def test_manifests_are_written_once_and_mended():
    found = plan()
    found.write()
    paths = sorted(Path("results/manifests").iterdir())
    assert len(paths) == len({found.manifest_path(m) for m in found.manifests()})
    before = [path.stat().st_mtime_ns for path in paths]
    found.write()
    assert [path.stat().st_mtime_ns for path in paths] == before
    whole = paths[0].read_text()
    paths[0].write_text(whole[:50])
    found.write()
    assert json.loads(paths[0].read_text()) == json.loads(whole)


def local_model(name: str) -> dict:
    Path("models.yaml").write_text(
        yaml.safe_dump({"models": {"tiny": {"source": "directory", "path": name}}})
    )
    return SMOKE | {"models_file": "models.yaml"}


def test_a_local_model_trained_anew_in_the_same_place_is_another_model():
    folder = Path("mine")
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(3_000_000))
    one = plan(local_model("mine"))
    assert set(plan(local_model("mine")).states) == set(one.states)
    weights.touch()
    assert set(plan(local_model("mine")).states) == set(one.states)
    weights.write_bytes(b"\1" * 3_000_000)
    other = plan(local_model("mine"))
    assert not set(one.states) & set(other.states)
    assert not set(cells(one)) & set(cells(other))


def test_a_knowledge_cutoff_is_no_property_of_the_weights():
    models = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    models["models"]["tiny"]["knowledge_cutoff"] = "2001-01-01"
    Path("models.yaml").write_text(yaml.safe_dump(models))
    one, other = plan(), plan(SMOKE | {"models_file": "models.yaml"})
    assert set(one.states) == set(other.states)
    # It decides what is asked at large, and nothing of what was planted.
    changed = [c for i, c in cells(one).items() if i not in cells(other)]
    assert {c.role for c in changed} == {"untouched", "randomised", "planted", "unlearned"}
    assert {c.parameters["facts"] for c in changed} == {"asked"}


def test_a_study_of_ten_thousand_cells_is_expanded_in_seconds():
    raw = copy.deepcopy(SMOKE)
    planted = raw["studies"][STUDY]["states"]["planted"]
    planted["seeds"] = 400
    planted["interventions"][0]["planting"]["exposures"] = list(range(1, 13))
    config, models = check(raw, "config.yaml")
    start = time.process_time()
    found = expand(config, models)
    assert time.process_time() - start < 5
    assert len(cells(found)) > 10_000
    assert len(found.jobs) + len(found.states) <= 1000
    start = time.process_time()
    found.write()
    assert time.process_time() - start < 5


def test_importing_the_grid_loads_nothing_heavy():
    code = (
        "import sys, palimpsest.grid\n"
        "print([m for m in ('torch', 'transformers', 'pandas', 'polars', 'duckdb', 'scipy',"
        " 'sklearn', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    assert done.stdout.strip() == "[]"


def test_the_job_with_the_most_work_behind_it_comes_first():
    """The rank of a job: its own time and the longest of what can only follow it."""
    from palimpsest.order import INTERVENTION, after, seconds

    raw = copy.deepcopy(SMOKE)
    raw["studies"][STUDY]["states"] = {
        "untouched": {"model": "tiny"},
        "planted": {"model": "tiny", "interventions": [{"planting": {}}]},
        "unlearned": {
            "model": "tiny",
            "interventions": [{"planting": {}}, {"unlearning.npo": {"epochs": 1}}],
        },
    }
    found = plan(raw)
    left = after(found)
    longest = {
        state: max(seconds(job) for job in found.jobs if job.state.id == state)
        for state in {job.state.id for job in found.jobs}
    }
    ends = [state for state in found.states.values() if len(state.chain) == 3]
    assert ends
    for end in ends:
        base, planted, unlearned = (state.id for state in end.chain)
        assert left[unlearned] == longest[unlearned] > 0
        assert left[planted] == max(longest[planted], INTERVENTION + left[unlearned])
        assert left[base] >= INTERVENTION + left[planted] > left[planted] > left[unlearned]
