"""The smoke configuration with something wrong in it, and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from palimpsest.config import ConfigError, check

ROOT = Path(__file__).parent.parent
SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
FILE = "config/mine.yaml"
E = "studies/economic_recall"


def changed(place: str, value: object = ..., rename: str | None = None) -> dict:
    """The smoke configuration with one place set, renamed, or (with neither) left out."""
    raw = copy.deepcopy(SMOKE)
    *parents, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    node = raw
    for part in parents:
        node = node[part]
    if rename is not None:
        node[rename] = node.pop(last)
    elif value is ...:
        del node[last]
    else:
        node[last] = value
    return raw


def message_of(raw: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        check(raw, FILE)
    return str(caught.value)
