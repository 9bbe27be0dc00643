"""Power-law rehearsal measured: networks are as if alone, controls find what is there."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from palimpsest import discovery
from palimpsest.config import check as config_check
from palimpsest.context import ProbeContext
from palimpsest.grid import expand
from palimpsest.interventions.continual._environments import Environment, odds
from palimpsest.models.networks import Networks
from palimpsest.probes.power_law_rehearsal import measure as probe
from palimpsest.probes.power_law_rehearsal.conditions import Condition, resolved, schedule
from palimpsest.probes.power_law_rehearsal.settings import (
    Settings,
    cells,
    check,
    cost,
    deciding_settings,
)
from palimpsest.probes.power_law_rehearsal.streams import streams
from tests.probes.numbered import State, numbered

SMALL = {
    "tasks": [4],
    "widths": [16],
    "seeds": 2,
    "train_per_task": 200,
    "test_per_task": 50,
    "traced_tasks": 2,
    "traced_examples": 20,
    "trace_first": 3,
    "trace_every": 4,
    "windows": [3],
    "early": 8,
    "controls": False,
    "conditions": {
        "none": {},
        "power": {"environment": {"kind": "power"}},
        "uniform": {"environment": {"kind": "uniform"}},
        "ewc": {"strategy": {"ewc": {}}},
    },
}
CONTEXT = ProbeContext("study", "state", 0, Path("."), {}, {})


def _settings(**changed):
    return Settings(**SMALL | changed)


def _cells(settings):
    return numbered(cells(settings, State))


def _measured(settings, chosen=None):
    """(benchmark, condition, seed, compute, tasks) -> {(grp, item, metric): value}."""
    found = {}
    for group in probe.groups(settings, chosen or _cells(settings)):
        for cell, rows in probe.measure_together(Networks(), settings, group, CONTEXT):
            assert not isinstance(rows, Exception), rows
            f = cell["parameters"]
            key = (cell["experiment"], f["condition"], f["network_seed"], f["compute"], f["tasks"])
            found[key] = {(r["grp"], r["item"], r["metric"]): r["value"] for r in rows}
    return found


def test_a_network_does_not_depend_on_which_others_are_measured():
    settings = _settings()
    whole = _measured(settings)
    alone = [c for c in _cells(settings) if c["parameters"]["condition"] == "power"][1:]
    (key, rows), *none = _measured(settings, alone).items()
    assert not none
    assert rows == whole[key]


def test_plain_networks_are_those_of_a_zero_budget_to_the_bit():
    conditions = SMALL["conditions"] | {
        "zero": {"environment": {"kind": "power", "budget": 0}},
        "weightless": {"strategy": {"ewc": {"strength": 0}}},
    }
    found = _measured(_settings(conditions=conditions))
    for seed in (0, 1):
        plain = found["permuted", "none", seed, "matched", 4]
        for other in ("zero", "weightless"):
            assert found["permuted", other, seed, "matched", 4] == plain
        assert found["permuted", "power", seed, "matched", 4] != plain


def test_exponent_zero_is_uniform_and_a_steep_one_brings_back_the_last_task_alone():
    conditions = {
        "uniform": {"environment": {"kind": "uniform"}},
        "flat": {"environment": {"kind": "power", "exponent": 0}},
        "recent": {"environment": {"kind": "recent_only"}},
        "steep": {"environment": {"kind": "power", "exponent": 2000}},
        "power": {"environment": {"kind": "power"}},
    }
    found = _measured(_settings(conditions=conditions))

    def of(name):
        return found["permuted", name, 0, "matched", 4]

    assert of("flat") == of("uniform")
    assert of("steep") == of("recent")
    assert of("steep") != of("flat") != of("power")
    assert of("steep")["returned", "1", "drawn"] == 3 * 10 * 10
    assert of("steep")["returned", "2", "drawn"] == 0


def test_networks_of_seeds_differ_and_conditions_share_what_they_begin_with():
    found = _measured(_settings())
    first = {
        (condition, seed): rows["matrix", "-1/0", "loss"]
        for (_, condition, seed, _, _), rows in found.items()
    }
    for seed in (0, 1):
        assert len({value for (_, s), value in first.items() if s == seed}) == 1
    assert first["none", 0] != first["none", 1]
    # Nothing has returned before the first task ends; half the batch is new all the same.
    after = [
        found["permuted", c, 0, "matched", 4]["matrix", "0/0", "loss"] for c in SMALL["conditions"]
    ]
    assert len(set(after)) == 1


def test_compute_is_matched_or_free():
    found = _measured(_settings(compute=["matched", "free"]))
    for condition, new, old, free in (("none", 800, 0, 40), ("power", 500, 300, 70)):
        matched = found["permuted", condition, 0, "matched", 4]
        assert matched["summary", "network", "updates"] == 40
        assert matched["summary", "network", "new_examples"] == new
        assert matched["summary", "network", "rehearsed_examples"] == old
        more = found["permuted", condition, 0, "free", 4]
        assert more["summary", "network", "updates"] == free
        assert more["summary", "network", "new_examples"] == 800
        assert more["summary", "network", "rehearsed_examples"] == 2 * old


def test_schedule_of_everything_and_of_a_growing_total():
    everything = Environment(kind="everything")
    assert schedule(everything, 4, 20, 10, "matched") == [
        (10, 20, 0), (10, 10, 10), (10, 7, 13), (10, 5, 15)
    ]  # fmt: skip
    published = Environment(kind="power", shift=10, exponent=5.6, budget=None)
    assert [new for _, new, _ in schedule(published, 10, 2048, 5, "free")][-1] == pytest.approx(
        2048 / 2.62, abs=5
    )


def test_drawn_lags_follow_the_law():
    settings = _settings(train_per_task=400, seeds=3, tasks=[8])
    found = _measured(settings)
    drawn, expected = np.zeros(7), np.zeros(7)
    for (_, condition, _, _, _), rows in found.items():
        if condition == "power":
            drawn += [rows["returned", str(lag), "drawn"] for lag in range(1, 8)]
            expected += [rows["returned", str(lag), "expected"] for lag in range(1, 8)]
    assert drawn.sum() == pytest.approx(expected.sum())
    by_hand = np.zeros(7)
    for task in range(1, 8):
        lags = np.arange(task, 0, -1)
        np.add.at(by_hand, lags - 1, 3 * 200 * odds(Environment(kind="power"), lags))
    np.testing.assert_allclose(expected, by_hand)
    assert chi2.sf(((drawn - expected) ** 2 / expected).sum(), 6) > 1e-4


def test_a_history_of_visits_is_each_network_s_own():
    conditions = {"power": {"environment": {"kind": "power", "clock": "recency", "visits": 2}}}
    found = _measured(_settings(conditions=conditions, tasks=[6]))
    rows = [found["permuted", "power", seed, "matched", 6] for seed in (0, 1)]
    drawn = [[row.get(("returned", str(lag), "drawn"), 0) for lag in range(1, 6)] for row in rows]
    assert drawn[0] != drawn[1]
    assert all(sum(one) == 5 * 10 * 10 for one in drawn)


def test_a_bounded_store_brings_back_few_examples():
    conditions = {
        "power": {"environment": {"kind": "power"}},
        "store": {"environment": {"kind": "power"}, "kept": 3},
    }
    settings = _settings(conditions=conditions)
    groups = probe.groups(settings, _cells(settings))
    assert len(groups) == 2
    for group in groups:
        made = probe._group(settings, group, "cpu")
        tasks = made.streams.tasks(made.rows)
        shown = tasks[2].train[:, :200].reshape(2, 10, 20).transpose(1, 0, 2)
        draw = [np.random.default_rng(seed) for seed in (0, 1)]
        plan = probe._experience(made, tasks, tasks[2], shown, draw)
        returned = plan.examples[:, 0, plan.current :]
        most = 6 if group[0]["parameters"]["condition"] == "store" else 400
        assert len(np.unique(returned)) <= most
        assert set(made.streams.task_of[returned].ravel()) == {0, 1}


@pytest.mark.parametrize(
    ("benchmark", "classes"),
    [
        ("permuted", 10),
        ("rotated", 10),
        ("split_task", 10),
        ("split_domain", 2),
        ("split_class", 10),
    ],
)
def test_streams_lie_in_one_pool(benchmark, classes):
    settings = _settings(benchmarks=[benchmark], tasks=[5])
    made = streams(settings, ((benchmark, 4), (benchmark, 9)), 5, "cpu")
    assert made.classes == classes
    assert made.train.shape[:2] == made.test.shape[:2] == (2, 5)
    every = np.concatenate([made.train.ravel(), made.test.ravel()])
    assert len(np.unique(every)) == len(every)
    for task in range(5):
        assert (made.task_of[made.train[:, task]] == task).all()
    tasks = made.tasks([1, 0, 1])
    np.testing.assert_array_equal(tasks[3].train, made.train[[1, 0, 1], 3])


@pytest.mark.parametrize("benchmark", ["rotated", "split_task", "split_domain", "split_class"])
def test_every_benchmark_is_measured(benchmark):
    found = _measured(_settings(benchmarks=[benchmark], seeds=1))
    tasks = 5 if benchmark.startswith("split") else 4
    for key, rows in found.items():
        assert key[-1] == tasks
        values = np.array(list(rows.values()))
        assert np.isfinite(values).all()
        assert 0 <= rows["summary", "network", "average_accuracy"] <= 1


def test_controls_find_what_is_there_and_nothing_where_nothing_is():
    """Identical tasks are kept and make the next faster; shuffled labels teach nothing."""
    settings = _settings(
        conditions={"none": {}, "power": {"environment": {"kind": "power"}}},
        controls=True,
        seeds=3,
        widths=[50],
        tasks=[8],
        train_per_task=1600,
        test_per_task=200,
        early=10,
    )
    found = _measured(settings)

    def mean(benchmark, condition, grp, item, metric):
        values = [
            rows[grp, item, metric]
            for (b, c, *_), rows in found.items()
            if (b, c) == (benchmark, condition)
        ]
        return np.mean(values)

    kept = mean("identical", "none", "summary", "network", "forgetting_first")
    lost = mean("permuted", "none", "summary", "network", "forgetting_first")
    assert kept < 0.02 < 0.1 < lost
    assert mean("permuted", "power", "summary", "network", "forgetting_first") < lost - 0.05
    first, last = (mean("identical", "none", "learning", t, "early_area") for t in ("0", "7"))
    assert last > first + 0.2
    first, last = (mean("shuffled", "none", "learning", t, "early_area") for t in ("0", "7"))
    assert abs(last - first) < 0.08
    assert mean("shuffled", "none", "summary", "network", "average_accuracy") < 0.2


def test_a_network_whose_loss_is_not_finite_fails_alone():
    conditions = SMALL["conditions"] | {"ewc": {"strategy": {"ewc": {"strength": 1e30}}}}
    settings = _settings(conditions=conditions)
    outcomes = {}
    for group in probe.groups(settings, _cells(settings)):
        for cell, rows in probe.measure_together(Networks(), settings, group, CONTEXT):
            outcomes.setdefault(cell["parameters"]["condition"], []).append(rows)
    assert all(isinstance(rows, probe.LossNotFiniteError) for rows in outcomes["ewc"])
    assert "update" in str(outcomes["ewc"][0])
    assert all(isinstance(rows, list) for rows in outcomes["none"] + outcomes["power"])


def test_large_studies_take_fewer_seeds_at_once(monkeypatch):
    settings = _settings(seeds=6)
    monkeypatch.setattr(probe, "MOST_BYTES", 2 * 4 * 250 * 784)
    sizes = [
        len({probe._stream_of(cell) for cell in group})
        for group in probe.groups(settings, _cells(settings))
    ]
    assert max(sizes) == 2
    assert sum(len(g) for g in probe.groups(settings, _cells(settings))) == len(_cells(settings))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": [1]}, "tasks must be integers from 2"),
        ({"tasks": [4, 4]}, "tasks must not name anything twice"),
        ({"reference": "powr"}, "reference must name a condition"),
        ({"windows": [1]}, "windows must be integers from 2"),
        ({"train_per_task": 10}, "at least one batch"),
        ({"seeds": [1, 1]}, "seeds must be"),
        ({"conditions": {"power": {"match": "total"}}}, "match and to must be given together"),
        ({"conditions": {"power": {"match": "total", "to": "x"}}}, "power.to: given 'x'"),
        ({"conditions": {"Power": {}}, "reference": "Power"}, "lower-case"),
        ({"conditions": {"power": {"strategy": {"ewc": {}, "si": {}}}}}, "exactly one of"),
        (
            {
                "conditions": {
                    "none": {},
                    "power": {"environment": {"kind": "power"}, "match": "mean_lag", "to": "none"},
                }
            },
            "nothing returns",
        ),
    ],
)
def test_bad_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        _settings(**changed)


def test_what_cannot_be_run_is_refused_before_any_job():
    with pytest.raises(ValueError, match="source"):
        check(_settings(source="/nowhere"), None)
    views = {"power": {"strategy": {"view_batch": {"offsets": [5]}}}}
    with pytest.raises(ValueError, match="offsets"):
        check(_settings(conditions=views), None)
    check(_settings(), None)


def test_matched_environments_are_solved_for_their_stream():
    conditions = {
        "power": Condition(environment={"kind": "power"}),
        "other": Condition(environment={"kind": "exponential"}, match="mean_lag", to="power"),
    }
    short, long = (resolved(conditions, "other", tasks) for tasks in (5, 20))
    assert short.kind == long.kind == "exponential"
    assert short.scale < long.scale
    assert resolved(conditions, "power", 5) == conditions["power"].environment


def test_a_cell_depends_on_its_own_condition_alone():
    settings = _settings()
    other = _settings(
        conditions=SMALL["conditions"] | {"ewc": {"strategy": {"ewc": {"strength": 3}}}}, margin=0.1
    )
    factors = {"condition": "power", "tasks": 4}
    assert deciding_settings(settings, factors) == deciding_settings(other, factors)
    ewc = {"condition": "ewc", "tasks": 4}
    assert deciding_settings(settings, ewc) != deciding_settings(other, ewc)


def test_a_default_study_costs_what_the_budget_allows():
    settings = Settings()
    seconds = sum(cost(settings, cell) for cell in cells(settings, State))
    assert 60 < seconds < 400


def test_thousands_of_networks_are_planned_in_seconds():
    """Code is read and environments are matched once, not for every network."""
    study = {
        "probe": "power_law_rehearsal",
        "states": {"networks": {"model": "networks"}},
        "settings": {"seeds": 300, "controls": False},
    }
    config, models = config_check({"studies": {"many": study}}, "mine.yaml")
    start = time.process_time()
    plan = expand(config, models)
    assert time.process_time() - start < 5
    assert sum(len(job.cells) for job in plan.jobs) == 3300


def test_every_strategy_can_live_in_an_environment():
    conditions = {
        name: {"environment": {"kind": "power"}, "strategy": {name: {}}}
        for name in discovery.strategies()
        if name != "view_batch"
    }
    conditions["view_batch"] = {"strategy": {"view_batch": {"offsets": [0]}}}
    conditions["gdumb"]["strategy"]["gdumb"] = {"buffer": 40, "full": "reservoir", "epochs": 2}
    settings = _settings(conditions=conditions, reference="naive", seeds=1, tasks=[3])
    found = _measured(settings)
    assert {key[1] for key in found} == set(discovery.strategies())


def test_what_a_strategy_tells_is_recorded():
    conditions = {
        "hft": {"strategy": {"hft": {}}},
        "fpf": {"strategy": {"fpf": {"buffer": 40, "steps": 2}}},
    }
    found = _measured(_settings(conditions=conditions, reference="hft", seeds=1))
    share = found["permuted", "hft", 0, "matched", 4]["summary", "network", "share_trained"]
    assert 0.4 < share < 0.6
    layers = found["permuted", "fpf", 0, "matched", 4]
    told = [layers["summary", "network", f"sensitivity_layer_{place}"] for place in range(3)]
    assert min(told) > 0


def test_the_order_in_which_conditions_are_written_down_changes_no_job():
    settings = _settings()
    other = _settings(conditions=dict(reversed(SMALL["conditions"].items())))
    assert cells(other, State) == cells(settings, State)
