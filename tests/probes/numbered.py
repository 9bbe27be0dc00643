"""Cells of a probe as jobs get them, for tests that measure without a workflow."""

from __future__ import annotations


class State:
    """A model as it is, with one checkpoint."""

    steps = (0,)
    chain = ()


def numbered(made):
    """What a probe's ``cells`` gives, with an identity and its factors as parameters."""
    return [
        {
            "id": f"{number:04d}",
            "experiment": cell.pop("experiment"),
            "step": cell.pop("step"),
            "parameters": cell,
        }
        for number, cell in enumerate(made)
    ]
