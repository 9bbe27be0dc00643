"""Rows of the table of cells, for evidence that is made by hand."""

from __future__ import annotations

import json


def finished(name, role, step, seed, experiment="value", **factors):
    """A finished cell; what is None is no factor of it."""
    given = {key: value for key, value in factors.items() if value is not None}
    return {
        "cell": name,
        "study": "study",
        "probe": "economic_recall",
        "state": f"{role}{seed}",
        "role": role,
        "model": "m",
        "seed": seed,
        "step": step,
        "experiment": experiment,
        "parameters": json.dumps(given),
        "status": "done",
        "reason": None,
    }
