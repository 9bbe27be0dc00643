"""Membership at few false alarms: of one model, against strangers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.unlearning.analyses.frames import read
from palimpsest.probes.unlearning.analyses.membership import membership
from palimpsest.probes.unlearning.claims import VIEW
from palimpsest.probes.unlearning.settings import Settings
from tests.probes.unlearning.studied import cell, row

#: What the second model of an arm remembers is not what its first one is judged by.
LEVELS = {("taught", 0): 0.0, ("taught", 1): -6.0, ("retrained", 0): -6.0, ("retrained", 1): 0.0}


def _rows(rng, level, strangers):
    """Twenty forgotten facts, of which half are remembered; a holdout and strangers at -6."""
    rows = []
    for k in range(20):
        found = level if k % 2 else -6.0
        rows.append(row("forget", f"{k}", "loss", found + rng.normal(0, 0.1)))
        rows.append(row("holdout", f"{k}", "loss", -6 + rng.normal(0, 0.1)))
    rows += [row("stranger", f"{k}", "loss", -6 + rng.normal()) for k in range(strangers)]
    return rows


def _rates(strangers):
    rng = np.random.default_rng(0)
    cells = [cell(*place) for place in LEVELS]
    rows = []
    for (arm, run), level in LEVELS.items():
        found = _rows(rng, level, 0 if run else strangers)
        rows.append(observations(found, study="s", cell=f"{arm} {run}", step=0))
    tables = {"observations": [pl.concat(rows)], "cells": [frame_of("cells", cells)]}
    with connect(tables, {"unlearning": VIEW}) as connection:
        found, _ = membership(read(connection, "s", Settings()), Settings())
    return {r["arm"]: r for r in found if (r["metric"], r["factor"]) == ("rate", "loss")}


def test_against_a_thousand_strangers_the_rate_is_a_number():
    found = _rates(1000)
    assert found["taught"]["estimate"] == pytest.approx(0.5)
    assert found["taught"]["n"] == 20
    assert "of 1000 negatives" in found["taught"]["note"]
    assert found["retrained"]["estimate"] == 0


def test_with_fewer_it_is_not_told():
    for strangers in (0, 999):
        found = _rates(strangers)
        assert found["taught"]["estimate"] is None
        assert f"needs 1000 negatives, not {strangers or 20}" in found["taught"]["note"]
