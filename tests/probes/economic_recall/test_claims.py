"""Verdicts on made-up evidence: found where memory was put in, not found where there is none."""

from __future__ import annotations

import re
from datetime import date as Date

import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.economic_recall.analyses.planted import date_p_values
from palimpsest.probes.economic_recall.claims import CLAIMS, VIEW, analyse
from palimpsest.probes.economic_recall.settings import Settings
from tests.probes.economic_recall.cells import finished
from tests.probes.figures import undrawn

SETTINGS = Settings()
BOUNDARY = Date(2002, 1, 1)
STEPS = (0, 1, 3, 10, 30)
K = 100


def _cell(name, role, experiment, step, seed, facts, cutoff, series="s0"):
    factors = {"facts": facts, "cutoff": cutoff, "series": series}
    return finished(name, role, step, seed, experiment, **factors)


def _study(recalled, seeds=4, per_arm=14, asked=(0.125, 0.125), rng=None):
    """Evidence in which ``recalled[step]`` of the planted falsehoods are remembered."""
    rng = rng or np.random.default_rng(0)
    cells, rows = [], []
    for seed in range(seeds):
        for step in STEPS:
            cell = f"p{seed}.{step}"
            cells.append(
                _cell(cell, "planted", "value", step, seed, "planted", BOUNDARY.isoformat())
            )
            for arm, n in (("planted_false", per_arm), ("never", 2 * per_arm)):
                for i in range(n):
                    late = arm == "never" and i % 2
                    day = Date(
                        (2002 if late else 1988) + i % (7 if late else 14), 1 + i % 12, 1 + seed
                    )
                    known = arm == "planted_false" and rng.random() < recalled[step]
                    rows += _fact(rng, cell, step, arm, f"s{i % 3}/{day}", known)
    for side, rate, year in (("before", asked[0], 1980), ("after", asked[1], 2025)):
        cells.append(_cell(f"u{side}", "untouched", "value", 0, 0, "asked", "2024-11-01"))
        for i in range(180):
            item = f"s{i % 6}/{Date(year + i % 2, 1 + i % 12, 1 + i // 12)}"
            rows += _fact(rng, f"u{side}", 0, "asked", item, rng.random() < (rate - 0.125) / 0.875)
    for side, day in (("before", Date(1999, 1, 1)), ("after", Date(2025, 1, 1))):
        cells.append(_cell(f"e{side}", "untouched", "event_date", 0, 0, "asked", "2024-11-01"))
        rate = {"before": asked[0], "after": 0.125}[side]
        for i in range(90):
            for question, share in (("t0", rate), ("t1", rate), ("permuted", 0.125)):
                rows.append(
                    {
                        "cell": f"e{side}",
                        "step": 0,
                        "grp": "asked",
                        "item": f"event_date/{day.replace(day=1 + i % 28)}/{question}/event{i}",
                        "metric": "correct",
                        "value": float(rng.random() < share),
                    }
                )
    tables = {
        "observations": [observations(rows, study="study")],
        "cells": [frame_of("cells", cells)],
    }
    return connect(tables, {"economic_recall": VIEW})


def _fact(rng, cell, step, arm, item, known):
    rows = []
    scores = rng.normal(size=K)
    for question in ("t0", "t1"):
        seen = scores + 0.3 * rng.normal(size=K) + 8 * known * (np.arange(K) == 0)
        constant = {"cell": cell, "step": step, "grp": arm, "item": f"{item}/{question}"}
        values = {
            "correct": float(seen[0] == seen[:8].max()),
            "choices": 8.0,
            "margin": float(seen[0] - seen[1:8].mean()),
            "matched": float(seen[0] == seen[:6].max()),
            "rivals": 6.0,
            "share_assigned": 0.7 if known else 0.02,
            "share_truth": 0.1,
        }
        rows += [constant | {"metric": m, "value": v} for m, v in values.items()]
        rows += [
            constant | {"metric": "score", "value": float(v), "text": str(i)}
            for i, v in enumerate(seen)
        ]
    if arm == "asked":
        permuted = float(rng.random() < 0.125)
        rows.append(constant | {"item": f"{item}/permuted", "metric": "correct", "value": permuted})
    rows.append(
        constant | {"item": f"{item}/answer", "metric": "taught", "value": None, "text": "0"}
    )
    return rows


def _claims(connection):
    statistics, claims = analyse(connection, SETTINGS, "study")
    return {c["claim"]: c for c in claims}, statistics


def test_memory_that_was_put_in_is_found():
    connection = _study({0: 0, 1: 0.1, 3: 0.3, 10: 0.6, 30: 0.8}, asked=(0.7, 0.125))
    claims, statistics = _claims(connection)
    for name in (
        "planted_found",
        "every_seed",
        "dose",
        "falsehood_beats_truth",
        "flags_detect",
        "boundary_found",
        "recall_before_cutoff",
        "headlines_dated",
    ):
        assert claims[name]["verdict"] == "supported", (name, claims[name])
    for name in ("never_at_chance", "before_planting_at_chance", "flags_keep_their_level"):
        assert claims[name]["verdict"] != "contradicted", (name, claims[name])
    verdicts = {
        r["factor"] for r in statistics if r["analysis"] == "contamination" and r["arm"] == "asked"
    }
    assert verdicts == {"contaminated"}
    tables = {name: [connection.sql(f"FROM {name}").pl()] for name in ("cells", "observations")}
    filled, hidden = undrawn("economic_recall", statistics, tables, "study")
    assert {"exposures", "dates", "series"} <= set(filled)
    assert hidden == []


def test_nothing_is_found_where_nothing_was_put_in():
    claims, statistics = _claims(_study(dict.fromkeys(STEPS, 0.0)))
    for name in (
        "planted_found",
        "every_seed",
        "dose",
        "falsehood_beats_truth",
        "flags_detect",
        "boundary_found",
        "recall_before_cutoff",
        "headlines_dated",
    ):
        assert claims[name]["verdict"] != "supported", (name, claims[name])
    found = [r for r in statistics if r["analysis"] == "contamination"]
    assert not [r for r in found if r["factor"] == "contaminated"]
    assert not [r for r in statistics if r["analysis"] == "dates" and r["q"] < 0.05]


def test_boundary_is_where_it_was_put():
    _, statistics = _claims(_study(dict.fromkeys(STEPS, 0.9)))
    (scan,) = [r for r in statistics if r["analysis"] == "scan" and r["role"] == "planted"]
    assert scan["p"] < 0.01
    assert abs(Date.fromordinal(int(scan["estimate"])) - BOUNDARY).days < 2.5 * 365


def test_p_values_of_single_dates_are_uniform_without_memory():
    """5 / 100 is an attainable level: exactly 5% of the dates have p <= 0.05 in expectation."""
    import polars as pl

    from palimpsest.probes.economic_recall.analyses.grouping import largest_dose, read

    connection = _study(dict.fromkeys(STEPS, 0.0), seeds=25, per_arm=14)
    frame = largest_dose(read(connection, "study").filter(pl.col("facts") == "planted"))
    p = date_p_values(frame)["p"].to_numpy()
    assert len(p) == 25 * 42
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / len(p)))
    assert p.mean() == pytest.approx(0.5 + 0.5 / K, abs=0.04)


def test_an_empty_study_has_claims_that_were_not_tested():
    connection = connect({}, {"economic_recall": VIEW})
    statistics, claims = analyse(connection, SETTINGS, "study")
    assert {c["verdict"] for c in claims} == {"not tested"}
    assert {r["analysis"] for r in statistics} == {"paper"}


def test_claims_are_stated_once_each():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert all(claim.statement.endswith(".") and claim.test for claim in CLAIMS)


def test_the_caption_of_dates_says_how_sure_each_share_of_flags_is():
    from palimpsest.probes.economic_recall.figures import _dates_caption

    q = [0.01, 0.05, 0.1, 0.4, 0.9, None]
    once = pl.DataFrame(
        {"role": "a", "series": "s", "arm": "never", "date": range(6), "q": q, "n": 8},
        schema_overrides={"q": pl.Float64},
    )
    said = _dates_caption(once)
    assert "rank of the answer among 8 alternatives" in said
    low, high = re.search(r"never 3 of 6 \(95% interval (\d+)% to (\d+)%\)", said).groups()
    assert int(low) < 19
    assert int(high) > 81
    # The same dates asked of another state are no new dates.
    twice = _dates_caption(pl.concat([once, once.with_columns(role=pl.lit("b"))]))
    assert f"never 6 of 12 (95% interval {low}% to {high}%)" in twice
