"""Hostile names, pickles, and code that comes with weights."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from palimpsest.config import ConfigError, check
from palimpsest.grid import expand
from palimpsest.manifests import RESULTS
from palimpsest.models.loading import ModelError, load, prepare
from palimpsest.plan import describe
from tests.faults.figures import record
from tests.faults.test_untrusted import MODELS, configuration

HOSTILE = [
    "../../x", "a/b", "/etc/x", "..", ".", "", " ", "-rf", "--help", "CON", "a\0b", "a\nb",
    "x" * 65, "ü", "\u202ea", "a b", "$(id)", "`id`", "a;b", "a|b", "~", "a..b", "a.", "{x}",
    "%s", "'",
]  # fmt: skip


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with files of the user's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("models.yaml").write_text(yaml.safe_dump(MODELS))
    Path("mine.csv").write_text(
        "date,value\n" + "".join(f"{1950 + i},{i % 7}.5\n" for i in range(60))
    )
    Path("events.jsonl").write_text('{"date": "2008-09", "headline": "A b", "entity": "A"}\n')
    return folder


def small() -> dict:
    raw = configuration()
    del raw["data"]["events"]
    study = raw["studies"]["economic_recall"]
    study["states"] = {"untouched": {"model": "tiny"}}
    return raw | {"studies": {"economic_recall": study}}


def renamed(kind: str, name: str) -> dict:
    """The configuration, with a hostile name of one kind."""
    raw = small()
    study = raw["studies"]["economic_recall"]
    if kind == "study":
        raw["studies"] = {name: study}
    elif kind == "state":
        study["states"] = {name: {"model": "tiny"}}
    elif kind == "series":
        raw["data"]["series"][0]["name"] = name
    else:
        study["states"] = {"untouched": {"model": name}}
        models = {"models": {name: {"source": "tiny"}}}
        Path("models.yaml").write_text(json.dumps(models))
    return raw


@pytest.mark.parametrize("kind", ["study", "state", "model", "series"])
def test_hostile_names_are_refused(kind, workplace):
    # A series' name is part of no file's name, and may be long.
    names = [name for name in HOSTILE if (kind, name) != ("series", "x" * 65)]
    for name in names:
        raw, before = renamed(kind, name), everything_in(workplace.parent)
        with pytest.raises(ConfigError) as caught:
            check(raw, "config.yaml")
        assert str(caught.value).isprintable() or "\n" in str(caught.value)
        assert everything_in(workplace.parent) == before
    record(f"hostile names of a {kind}", tried=len(names), lost=0)


def everything_in(folder: Path) -> dict[Path, int]:
    """Every file and folder, with its time of change."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", ["study", "state", "model"])
def test_the_longest_names_stay_below_the_limits_of_file_systems(kind):
    raw = renamed(kind, "x" * 64)
    study = next(iter(raw["studies"].values()))
    state = next(iter(study["states"].values()))
    state["interventions"] = [
        {"planting": None},
        {"unlearning.random_labels": {"epochs": 1}},
    ]
    plan = expand(*check(raw, "config.yaml"))
    plan.write()
    names = [job.study + "." + job.state.id + "." + job.batch for job in plan.jobs]
    names += [part for job in plan.jobs for part in job.output.parts]
    # A temporary file has thirteen characters more, a record beside a shard sixteen.
    assert max(len(name.encode()) for name in names) < 255 - 30
    assert all(RESULTS in path.parents for path in (job.output for job in plan.jobs))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"source": "hub", "name": "../../x", "revision": "main"}, "name"),
        ({"source": "hub", "name": "a/b/c", "revision": "main"}, "name"),
        ({"source": "hub", "name": "-rf", "revision": "main"}, "name"),
        ({"source": "hub", "name": "a/b", "revision": "../../../x"}, "revision"),
        ({"source": "hub", "name": "a/b", "revision": "x/../../y"}, "revision"),
        ({"source": "hub", "name": "a/b", "revision": "/etc/x"}, "revision"),
        ({"source": "package", "package": "..x", "file": "x.gguf"}, "package"),
        ({"source": "package", "package": "os.path", "file": "x.gguf"}, "package"),
        ({"source": "package", "package": "x", "file": "../../x.gguf"}, "file"),
        ({"source": "package", "package": "x", "file": "/etc/passwd"}, "file"),
    ],
)
def test_places_of_weights_cannot_lead_out(entry, key):
    raw = small()
    raw["studies"]["economic_recall"]["states"]["untouched"]["model"] = "m"
    Path("models.yaml").write_text(yaml.safe_dump({"models": {"m": entry}}))
    with pytest.raises(ConfigError, match=rf"models\.m\.{key}"):
        check(raw, "config.yaml")


class Canary:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "resume.pt"])
def test_pickles_are_refused_and_never_loaded(tiny_manifest, tmp_path, name, capsys):
    canary = tmp_path / "canary"
    folder = tmp_path / "model"
    shutil.copytree(tiny_manifest.parent, folder)
    (folder / "model.safetensors").unlink()
    evil = pickle.dumps(Canary(canary))
    (folder / name).write_bytes(evil)
    if name == "resume.pt":
        import hashlib

        from palimpsest.engine.resuming import read

        assert read(folder / name) == {}
        (folder / name).write_bytes(evil + hashlib.sha256(evil).digest())
        with pytest.raises(pickle.UnpicklingError):
            read(folder / name)
    else:
        with pytest.raises(ModelError):
            load(prepared(folder))
    assert not canary.exists()
    record(f"pickles as {name}", tried=1, lost=0)


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({canary!r}).touch()
class MyConfig(LlamaConfig):
    model_type = "mine"
class MyModel(LlamaForCausalLM):
    config_class = MyConfig
"""


@pytest.fixture
def with_code(tiny_manifest, tmp_path, monkeypatch) -> Path:
    """A folder whose model is made by code that lies in it and leaves a canary."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    folder = tmp_path / "with_code"
    shutil.copytree(tiny_manifest.parent, folder)
    (folder / "model.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "architectures": ["MyModel"],
        "auto_map": {"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(CODE.format(canary=str(tmp_path / "canary")))
    return folder


def prepared(folder: Path, **more) -> Path:
    output = folder.parent / "made/model.json"
    prepare("mine", {"source": "directory", "path": str(folder), **more}, output)
    return output


def test_code_beside_weights_is_not_run_without_a_word(with_code, tmp_path):
    output = prepared(with_code)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(output)
    assert not (tmp_path / "canary").exists()


def test_code_beside_weights_runs_where_the_entry_says_so(with_code, tmp_path, tiny):
    output = prepared(with_code, trust_remote_code=True)
    model = load(output)
    assert (tmp_path / "canary").exists()
    assert type(model.module).__name__ == "MyModel"
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.module(ids).logits, tiny.module(ids).logits)


def test_code_that_has_changed_is_not_run(with_code, tmp_path):
    output = prepared(with_code, trust_remote_code=True)
    (with_code / "mine.py").write_text(CODE.format(canary=str(tmp_path / "other")))
    with pytest.raises(ModelError, match=r"mine\.py: content differs"):
        load(output, verify=False)
    assert not (tmp_path / "other").exists()


def test_code_of_other_places_is_refused(with_code):
    config = json.loads((with_code / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = "someone/else--mine.MyConfig"
    (with_code / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json: auto_map takes code from another"):
        prepared(with_code, trust_remote_code=True)
    del config["auto_map"]["AutoConfig"]
    (with_code / "config.json").write_text(json.dumps(config))
    (with_code / "inner").mkdir()
    (with_code / "inner/x.py").touch()
    with pytest.raises(ModelError, match=r"inner/x\.py: code in an inner folder"):
        prepared(with_code, trust_remote_code=True)


def trusting(entry: dict) -> dict:
    raw = small()
    raw["studies"]["economic_recall"]["states"]["untouched"]["model"] = "m"
    Path("models.yaml").write_text(yaml.safe_dump({"models": {"m": entry}}))
    return raw


@pytest.mark.parametrize("revision", ["main", "v1.0", "a" * 39, "A" * 40, "g" * 40])
def test_a_hub_model_is_trusted_at_a_full_commit_alone(revision):
    entry = {"source": "hub", "name": "a/b", "revision": revision, "trust_remote_code": True}
    with pytest.raises(ConfigError, match="a full commit, 40 hexadecimal digits"):
        check(trusting(entry), "config.yaml")


@pytest.mark.parametrize(
    "entry", [{"source": "tiny"}, {"source": "package", "package": "x", "file": "x.gguf"}]
)
def test_there_is_no_code_to_trust_in_other_sources(entry):
    with pytest.raises(ConfigError, match="trust_remote_code"):
        check(trusting(entry | {"trust_remote_code": True}), "config.yaml")


def test_trust_is_part_of_the_identity_and_the_plan_warns():
    entry = {"source": "hub", "name": "a/b", "revision": "a" * 40}
    plain = expand(*check(trusting(entry), "config.yaml"))
    config, models = check(trusting(entry | {"trust_remote_code": True}), "config.yaml")
    plan = expand(config, models)
    assert plan.models["m"].id != plain.models["m"].id
    assert plan.models["m"].manifest["entry"]["trust_remote_code"] is True
    assert "WARNING  m: runs the code that comes with its weights" in describe(plan, config)
    assert "WARNING" not in describe(plain, config)


@pytest.mark.workflow
def test_the_report_displays_whose_code_was_run(copied):
    """The database is gathered as if the model had been trusted."""
    from palimpsest.files import read_json, write_json
    from palimpsest.jobs import gather
    from palimpsest.reports.build import build_index

    plan = copied.plan()
    manifest = read_json(plan.manifest_path(plan.manifest))
    manifest["models"][0]["entry"]["trust_remote_code"] = True
    write_json("trusting.json", manifest)
    words = "Code that came with the weights was executed"
    for path, said in ((plan.manifest_path(plan.manifest), False), ("trusting.json", True)):
        gather(str(path), "results/palimpsest.duckdb")
        build_index("results/palimpsest.duckdb", "reports/index.html")
        assert (words in Path("reports/index.html").read_text("utf-8")) == said
    assert "<code>trust_remote_code</code>: tiny." in Path("reports/index.html").read_text("utf-8")
