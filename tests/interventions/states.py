"""States made as the rule makes them, for tests without a workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from palimpsest import jobs


def made_state(
    parent: Path,
    folder: Path,
    intervention: str,
    settings: dict[str, Any],
    name: str = "state",
    seed: int = 0,
) -> Path:
    """``state.json`` of an intervention after a parent; its one checkpoint is step 1."""
    manifest = {
        "intervention": intervention, "settings": settings, "state": name, "seed": seed,
        "parent": str(parent), "code": "", "data_block": {}, "steps": [0, 1], "model": "tiny",
    }  # fmt: skip
    path = folder / f"{name}.json"
    path.write_text(json.dumps(manifest))
    output = folder / "states" / name / "state.json"
    output.parent.mkdir(parents=True)
    jobs.intervene(str(path), str(output), threads=1, gpu=0)
    return output
