"""A new probe from the template: a folder that works, and a test that can fail."""

from __future__ import annotations

import re
from pathlib import Path

TEMPLATE = Path(__file__).parent / "probes" / "_template"

TEST = '''"""{title}: its controls, on a model of which both answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from palimpsest.context import ProbeContext
from palimpsest.probes.{name} import measure
from palimpsest.probes.{name}.settings import Settings

CELL = {{"experiment": "shuffled", "step": 0, "parameters": {{}}}}
CONTEXT = ProbeContext("study", "state", 0, Path("."), {{}}, {{}})


def _difference(monkeypatch, knows):
    """Ordered minus shuffled on a model that likes what it knows."""

    def scores(model, prompts, continuations):
        return [[np.array([0.0 if knows(t) else -2.0]) for t in texts] for texts in continuations]

    monkeypatch.setattr(measure, "log_likelihoods", scores)
    rows = list(measure.measure(None, Settings(), CELL, CONTEXT))
    groups = {{g: [r["value"] for r in rows if r["grp"] == g] for g in ("ordered", "shuffled")}}
    return np.mean(groups["ordered"]) - np.mean(groups["shuffled"])


def test_positive_control(monkeypatch):
    assert _difference(monkeypatch, lambda text: text in Settings().sentences) > 1.5


def test_negative_control(monkeypatch):
    assert _difference(monkeypatch, lambda text: True) == 0


def test_on_a_real_model(tiny):
    rows = list(measure.measure(tiny, Settings(), CELL, CONTEXT))
    assert len(rows) == len(Settings().sentences) * (1 + Settings().shuffles)
    assert all(np.isfinite(row["value"]) and row["value"] < 0 for row in rows)
'''


def new_probe(name: str, root: Path) -> list[str]:
    """Copy the template to ``src/palimpsest/probes/<name>`` and write its test.

    Args:
        name: name of the probe, in snake_case.
        root: root of the repository.

    Returns:
        Lines for the user: what was made, and what to do next.

    Raises:
        ValueError: the name is no snake_case word, or ``root`` is no checkout of Palimpsest.
        FileExistsError: a probe or a test of this name exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError(f"probe name {name!r}: allowed are words in snake_case, such as my_probe")
    probes = root / "src" / "palimpsest" / "probes"
    if not probes.is_dir():
        raise ValueError(f"{root}: no src/palimpsest/probes; run this in the repository's root")
    folder, test = probes / name, root / "tests" / "probes" / name / f"test_{name}.py"
    for place in (folder, test):
        if place.exists():
            raise FileExistsError(f"{place} exists already")
    title = name.replace("_", " ").capitalize()
    folder.mkdir()
    for source in sorted(TEMPLATE.glob("*.py")):
        text = source.read_text(encoding="utf-8").replace("_template", name)
        text = text.replace("the template probe", name.replace("_", " "))
        text = text.replace('TITLE = "Template"', f'TITLE = "{title}"')
        (folder / source.name).write_text(text, encoding="utf-8")
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(TEST.format(name=name, title=title), encoding="utf-8")
    return [
        f"Made {folder.relative_to(root)} and {test.relative_to(root)}.",
        f"Try it:    python -m pytest {test.relative_to(root)}",
        "Ask it of a model: add this to the studies of a configuration:",
        f"  {name}:",
        f"    probe: {name}",
        "    states:",
        "      untouched: {model: smollm2-135m-instruct}",
        "Then change settings.py (what is asked), measure.py (how), claims.py (what is claimed)",
        "and figures.py (what is shown).",
    ]
