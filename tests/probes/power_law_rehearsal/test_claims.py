"""Verdicts on made-up evidence: protection where it was put in, none where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.power_law_rehearsal.analyses import read
from palimpsest.probes.power_law_rehearsal.analyses.published import targets
from palimpsest.probes.power_law_rehearsal.claims import CLAIMS, VIEW, analyse
from palimpsest.probes.power_law_rehearsal.settings import Settings
from tests.probes.figures import undrawn

TASKS = 8
SETTINGS = Settings(tasks=[TASKS])
#: Accuracy that each condition loses with every task since.
LOSS = {
    "none": 0.08, "recent_only": 0.06, "uniform": 0.01, "power": 0.01, "exponential": 0.03,
    "exponential_matched": 0.012, "everything": 0.005, "er": 0.02, "ewc": 0.03, "si": 0.04,
    "lwf": 0.07,
}  # fmt: skip


def _row(grp, item, metric, value):
    return {"grp": grp, "item": item, "metric": metric, "value": float(value)}


def _network(rng, loss, faster, gap, drawn=None):
    """Rows of a network that loses so much a task, and learns later tasks so much faster."""
    rows = []
    matrix = np.full((TASKS, TASKS), np.nan)
    for after in range(TASKS):
        for on in range(after + 1):
            matrix[after, on] = np.clip(0.9 - loss * (after - on) + rng.normal(0, 0.01), 0, 1)
            rows.append(
                _row("matrix", f"{after}/{on}", "accuracy", round(250 * matrix[after, on]) / 250)
            )
            rows.append(_row("matrix", f"{after}/{on}", "loss", 1 - matrix[after, on]))
    for on in range(TASKS):
        rows.append(_row("matrix", f"-1/{on}", "accuracy", 0.1))
        rows.append(_row("tested", str(on), "examples", 250))
    summary = {
        "average_accuracy": matrix[-1].mean(),
        "oldest_accuracy": matrix[-1, 0],
        "learned_accuracy": np.diagonal(matrix).mean(),
        "min_accuracy": matrix[-1].min(),
        "gap_recovered": gap + rng.normal(0, 0.005),
    }
    rows += [_row("summary", "network", name, value) for name, value in summary.items()]
    for task in range(TASKS):
        early = 0.5 + faster * (task > 0) + rng.normal(0, 0.01)
        rows.append(_row("learning", str(task), "early_area", early))
        rows.append(_row("learning", str(task), "reached", 1))
        needed = 400 * (1 - faster * (task > 0)) + rng.normal(0, 5)
        rows.append(_row("learning", str(task), "examples_to_criterion", needed))
        rows.append(_row("learning", str(task), "updates_to_criterion", needed / 20))
    rows += [_row("gap", str(step), "accuracy_change", -gap / (1 + step)) for step in range(5)]
    for lag in range(1, TASKS) if drawn is not None else ():
        rows.append(_row("returned", str(lag), "expected", 1000 / lag))
        rows.append(_row("returned", str(lag), "drawn", drawn(lag)))
    return rows


def _study(loss=LOSS, faster=0.3, gap=0.1, seeds=10, lengths=(TASKS,), same_faster=0.3):
    """Evidence of all conditions and both controls."""
    cells, rows = [], []

    def add(benchmark, condition, seed, tasks, found):
        name = f"{benchmark}{condition}{seed}{tasks}"
        parameters = {
            "tasks": tasks, "width": 100, "compute": "matched", "condition": condition,
            "network_seed": seed,
        }  # fmt: skip
        cells.append(
            {
                "study": "s", "cell": name, "probe": "power_law_rehearsal", "state": "networks",
                "role": "networks", "model": "networks", "seed": 0, "step": 0,
                "experiment": benchmark, "parameters": json.dumps(parameters), "status": "done",
            }
        )  # fmt: skip
        rows.append(observations(found, study="s", cell=name, step=0))

    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for tasks in lengths:
            for condition, each in loss.items():
                drawn = (
                    (lambda lag, rng=rng: rng.poisson(1000 / lag)) if condition == "power" else None
                )
                add("permuted", condition, seed, tasks, _network(rng, each, faster, gap, drawn))
        add("identical", "none", seed, TASKS, _network(rng, 0.0, same_faster, 0.0))
        add("shuffled", "none", seed, TASKS, _network(rng, 0.0, 0.0, 0.0))
    import polars as pl

    return {
        "observations": [pl.concat(rows)],
        "cells": [frame_of("cells", cells)],
    }


def _judged(settings=SETTINGS, **changed):
    with connect(_study(**changed), {"power_law_rehearsal": VIEW}) as connection:
        statistics, claims = analyse(connection, settings, "s")
    return statistics, {claim["claim"]: claim for claim in claims}


def test_what_was_put_in_is_found():
    statistics, claims = _judged(lengths=(TASKS, TASKS // 2))
    verdicts = {name: claim["verdict"] for name, claim in claims.items()}
    assert verdicts == dict.fromkeys((c.name for c in CLAIMS), "supported")
    assert claims["beats_no_rehearsal"]["note"].startswith("against recent_only")
    assert claims["not_inferior_to_regularisers"]["note"].startswith("against ewc")
    level = {
        row["arm"]: row["estimate"]
        for row in statistics
        if row["analysis"] == "level"
        and row["metric"] == "average_accuracy"
        and row["series"] == "permuted"
        and row["factor"].startswith(f"{TASKS} tasks")
    }
    for condition, loss in LOSS.items():
        expected = np.mean([0.9 - loss * lag for lag in range(TASKS)])
        assert level[condition] == pytest.approx(expected, abs=0.01)


def test_no_protection_and_no_facilitation():
    flat = dict.fromkeys(LOSS, 0.05)
    _, claims = _judged(loss=flat | {"ewc": 0.01, "uniform": 0.01}, faster=-0.3, gap=0.0)
    assert claims["beats_no_rehearsal"]["verdict"] == "inconclusive"
    assert claims["not_inferior_to_regularisers"]["verdict"] == "contradicted"
    assert claims["not_inferior_to_uniform"]["verdict"] == "contradicted"
    assert claims["facilitates"]["verdict"] == "contradicted"
    assert claims["stability_gap"]["verdict"] == "inconclusive"
    assert claims["robust"]["verdict"] == "not tested"


def test_controls_that_fail_are_seen():
    _, claims = _judged(same_faster=-0.2)
    assert claims["identical_tasks_facilitate"]["verdict"] == "contradicted"


def test_the_margin_is_that_of_the_settings():
    narrow = Settings(tasks=[TASKS], margin=0.001)
    worse = LOSS | {"uniform": 0.008}
    _, claims = _judged(loss=worse)
    assert claims["not_inferior_to_uniform"]["verdict"] == "supported"
    _, claims = _judged(narrow, loss=worse)
    assert claims["not_inferior_to_uniform"]["verdict"] == "contradicted"


def test_contrasts_are_paired_and_corrected():
    statistics, _ = _judged()
    rows = {
        row["arm"]: row
        for row in statistics
        if row["analysis"] == "contrast" and row["metric"] == "average_accuracy"
        and row.get("series") == "permuted"
    }  # fmt: skip
    assert set(rows) == {f"power - {other}" for other in LOSS if other != "power"}
    assert all(row["q"] >= row["p"] for row in rows.values())
    assert rows["power - none"]["estimate"] == pytest.approx(0.07 * 3.5, abs=0.01)


def test_drawn_lags_that_disobey_are_seen():
    statistics, _ = _judged()
    (fair,) = [row for row in statistics if row["analysis"] == "drawn"]
    assert fair["p"] > 0.001
    made = _study()
    import polars as pl

    spoiled = made["observations"][0].with_columns(
        value=pl.when((pl.col("metric") == "drawn") & (pl.col("item") == "7"))
        .then(pl.col("value") * 2)
        .otherwise("value")
    )
    with connect(made | {"observations": [spoiled]}, {"power_law_rehearsal": VIEW}) as connection:
        statistics, _ = analyse(connection, SETTINGS, "s")
    (unfair,) = [row for row in statistics if row["analysis"] == "drawn"]
    assert unfair["p"] < 1e-6


def test_retention_is_drawn_for_every_condition_and_every_interval_in_its_figure():
    statistics, _ = _judged()
    filled, hidden = undrawn("power_law_rehearsal", statistics)
    assert {"retention", "schedules", "accuracy", "contrasts", "course"} <= set(filled)
    assert hidden == []
    points = [r for r in statistics if r["analysis"] == "retention" and r["series"] == "permuted"]
    assert {(r["arm"], r["step"]) for r in points} == {
        (condition, lag) for condition in LOSS for lag in range(TASKS)
    }
    curves = {r["arm"] for r in statistics if r["analysis"] == "retention_curve"}
    assert curves == set(LOSS)


def test_environments_are_described_with_their_pairs():
    statistics, _ = _judged()
    mean = {
        row["arm"]: row["estimate"]
        for row in statistics
        if row["analysis"] == "environment" and row["metric"] == "mean_lag"
    }
    assert mean["exponential_matched"] == pytest.approx(mean["power"])
    assert mean["recent_only"] == 1
    assert mean["exponential"] < mean["power"] < mean["uniform"]


def test_every_claim_has_its_words():
    from palimpsest.probes.power_law_rehearsal.pages.words import _SAID

    assert set(_SAID) == {claim.name for claim in CLAIMS}


def test_published_targets_are_whole():
    frame = targets()
    assert set(frame["strategy"]) == {"gdumb", "lwf", "si", "agem"}
    assert (frame["tolerance"] > 0).all()


def test_a_study_without_networks_has_no_verdicts():
    empty = {name: [frame.clear() for frame in frames] for name, frames in _study(seeds=2).items()}
    with connect(empty, {"power_law_rehearsal": VIEW}) as connection:
        assert read(connection, "s", SETTINGS).summary.is_empty()
        _, claims = analyse(connection, SETTINGS, "s")
    assert {claim["verdict"] for claim in claims} == {"not tested"}


def test_a_smaller_budget_is_a_level_that_must_hold_too():
    conditions = {
        "none": {},
        "power": {"environment": {"kind": "power"}},
        "power_tenth": {"environment": {"kind": "power", "budget": 0.1}},
    }
    settings = Settings(tasks=[TASKS], conditions=conditions)
    losses = {"none": 0.08, "power": 0.01, "power_tenth": 0.05}
    _, claims = _judged(settings, loss=losses)
    assert claims["robust"]["verdict"] == "supported"
    assert "power_tenth" in claims["robust"]["note"]
    _, claims = _judged(settings, loss=losses | {"power_tenth": 0.1})
    assert claims["robust"]["verdict"] == "contradicted"


def test_shares_of_what_came_back_are_means_over_networks():
    """Of two networks one draws 10 and 30 examples of two ages, the other 50 and 50."""
    import polars as pl

    from palimpsest.probes.power_law_rehearsal.analyses.schedules import _shares

    part = pl.DataFrame(
        {"network_seed": [0, 0, 1, 1], "lag": [1, 2, 1, 2], "drawn": [10.0, 30.0, 50.0, 50.0]}
    )
    rows = {row["step"]: row for row in _shares(part, {"arm": "law"})}
    assert {lag: row["estimate"] for lag, row in rows.items()} == {1: 0.375, 2: 0.625}
    # Two networks, 0.25 and 0.5: t of one degree of freedom, within what a share can be.
    assert (rows[1]["low"], rows[1]["high"], rows[1]["n"]) == (0.0, 1.0, 2)
    three = pl.concat([part, part.head(2).with_columns(pl.col("network_seed") + 2)])
    assert _shares(three, {})[0]["high"] < 1
