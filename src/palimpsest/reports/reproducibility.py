"""What is only statistically reproducible, and by how much numbers were found to differ."""

from __future__ import annotations

import json
from importlib import resources


def differences() -> str:
    """What was measured, in words; ``make faults`` measures it again (``elsewhere.json``)."""
    text = resources.files(__package__).joinpath("elsewhere.json").read_text(encoding="utf-8")
    found = json.loads(text)
    return (
        "Measured on a small run with random weights, training included: with two threads in place "
        f"of one {found['with two threads']}; with the instructions of an older processor "
        f"{found['with the instructions of an older processor']}. In SmolLM2-135M, with two "
        f"threads, {found['135M weights with two threads']}. How far long training on other "
        "hardware goes apart was not measured."
    )
