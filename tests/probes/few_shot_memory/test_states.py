"""States against one another: paired with the state that each came from, alike or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from palimpsest import jobs
from palimpsest.config import check
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations, read_shard
from palimpsest.grid import expand
from palimpsest.probes.few_shot_memory.claims import OF_UNLEARNED, STANDING, VIEW, analyse
from palimpsest.probes.few_shot_memory.settings import Settings

ROOT = Path(__file__).parents[3]
SETTINGS = Settings()
ITEMS = 40


def _cell(role, seed, number, origin):
    factors = {"list": number, "adapter": "lora", "optimizer": "adamw", "batch_size": 4}
    factors |= {"learning_rate": None} | ({"origin": origin} if origin else {})
    return {
        "cell": f"{role}{seed}.{number}",
        "study": "study",
        "probe": "few_shot_memory",
        "state": f"{role}{seed}",
        "role": role,
        "model": "m",
        "seed": seed,
        "step": 1,
        "experiment": "natural",
        "parameters": json.dumps(factors),
        "status": "done",
        "reason": None,
    }


def _study(states, seeds=2, lists=2):
    """Evidence of states whose items are recalled to a share of their own, plus what a state adds.

    Args:
        states: role -> (what its recall differs by, share of items it recognises, role of the
            state that it was unlearned from, or None).
    """
    cells, rows = [], []
    for role, (recalled, recognised, origin) in states.items():
        for seed in range(seeds):
            for number in range(lists):
                cell = _cell(role, seed, number, origin and f"{origin}{seed}")
                cells.append(cell)
                own = np.random.default_rng(number).uniform(0.3, 0.6, ITEMS)
                for item in range(ITEMS):
                    mine = _item(item, own[item] + recalled, item < recognised * ITEMS)
                    rows += [
                        {"study": "study", "cell": cell["cell"], "step": 1, "text": None, **row}
                        for row in mine
                    ]
    tables = {"cells": [frame_of("cells", cells)], "observations": [observations(rows)]}
    return connect(tables, {"few_shot_memory": VIEW})


def _item(item, recalled, known):
    def row(kind, moment, metric, value):
        return {
            "item": f"{item:04d}/{kind}/{moment}",
            "grp": kind,
            "metric": metric,
            "value": float(value),
        }

    rows = []
    for exposures in (0, 1):
        moment = f"study/{exposures}/{10 * exposures}/0"
        fallen = exposures * (1.0 if known else -1.0)
        rows += [
            row("study", moment, "loss", 4 - fallen),
            row("foil", moment, "loss", 4),
            row("never", moment, "loss", 4),
            row("never_foil", moment, "loss", 4),
        ]
        values = {"prefix_50": recalled, "exact_50": recalled > 0.5, "rougeL": recalled}
        rows += [row("study", moment, metric, value) for metric, value in values.items()]
    facts = {"cue": 8, "truth": 8, "word_frequency": 5}
    rows += [{"item": f"{item:04d}/study", "grp": "fact", "metric": m, "value": v, "text": "a"}
             for m, v in facts.items()]  # fmt: skip
    rows.append({"item": f"{item:04d}/foil", "grp": "fact", "metric": "foil", "value": 16.0})
    if not item:
        rows.append({"item": "rate/chosen", "grp": "fact", "metric": "learning_rate", "value": 1})
    return rows


def _judged(connection):
    statistics, claims = analyse(connection, SETTINGS, "study")
    return statistics, {claim["claim"]: claim for claim in claims}


def _difference(statistics, role, metric, step=1):
    (found,) = [
        r
        for r in statistics
        if r["analysis"] == "against"
        and (r["role"], r["metric"], r["step"]) == (role, metric, step)
    ]
    return found


def test_a_state_that_learns_as_before_is_said_to():
    statistics, claims = _judged(
        _study({"planted": (0, 0.9, None), "unlearned": (0.01, 0.9, "planted")})
    )
    assert {claims[c.name]["verdict"] for c in OF_UNLEARNED} == {"supported"}
    found = _difference(statistics, "unlearned", "prefix_50")
    assert found["estimate"] == pytest.approx(0.01)
    assert (found["arm"], found["n"], found["unit"]) == ("minus planted", 2 * ITEMS, "items")
    assert found["factor"] == "lora, adamw, batch 4, chosen rate"


def test_a_state_that_learns_less_is_seen_and_against_its_own_origin():
    """Pairing takes out what items differ by: the interval is far narrower than their spread."""
    statistics, claims = _judged(
        _study(
            {
                "planted": (0, 0.9, None),
                "taught": (0.3, 0.9, None),
                "untouched": (0.1, 0.9, None),
                "unlearned": (-0.2, 0.5, "planted"),
            }
        )
    )
    assert {claims[c.name]["verdict"] for c in OF_UNLEARNED} == {"contradicted"}
    recall = _difference(statistics, "unlearned", "prefix_50")
    assert recall["estimate"] == pytest.approx(-0.2)
    assert recall["high"] - recall["low"] < 0.01
    recognition = _difference(statistics, "unlearned", "correct_drop")
    assert recognition["estimate"] == pytest.approx(-0.4)
    assert recognition["p"] < 0.001
    # The model as it is stands for the origin of states that were not unlearned.
    for role, difference in (("taught", 0.2), ("planted", -0.1)):
        found = _difference(statistics, role, "prefix_50")
        assert (found["arm"], found["estimate"]) == ("minus untouched", pytest.approx(difference))
    assert not [r for r in statistics if r["analysis"] == "against" and r["role"] == "untouched"]


def test_claims_about_the_model_rest_on_no_unlearned_state():
    states = {"unlearned": (0.3, 1.0, "zoo"), "zoo": (0, 0.5, None)}
    statistics, claims = _judged(_study(states))
    assert claims["exposure_teaches"]["estimate"] == pytest.approx(0.5)
    alone, before = _judged(_study({"zoo": (0, 0.5, None)}))
    assert list(before) == [claim.name for claim in STANDING]
    assert {name: claims[name] for name in before} == before
    assert [r for r in statistics if r.get("role") == "zoo"] == [
        r for r in alone if r.get("role") == "zoo"
    ]


def test_an_unlearned_state_whose_origin_is_not_in_the_study_is_held_against_nothing():
    statistics, claims = _judged(_study({"unlearned": (0, 0.9, "planted")}))
    assert not [r for r in statistics if r["analysis"] == "against"]
    assert not {c.name for c in OF_UNLEARNED} & set(claims)


TAUGHT = {
    "planting": {
        "values_per_arm": 2, "never": 2, "event_dates": 2, "event_entities": 0, "exposures": [1],
        "candidates": 8, "choices": 4,
    },
    "biographies": {"people": 6, "forget_share": 0.17, "attributes": ["pet"], "epochs": 1},
}  # fmt: skip


@pytest.mark.parametrize("first", TAUGHT)
def test_new_memories_are_formed_in_a_state_that_was_unlearned(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = [{first: TAUGHT[first]}]
    forget = {"unlearning.grad_diff": {"epochs": 1, "learning_rate": 1e-3, "adapter": "lora"}}
    states = {
        "before": {"model": "tiny", "interventions": chain, "seeds": 2},
        "after": {"model": "tiny", "interventions": [*chain, forget], "seeds": 2},
    }
    small = {"source": "novel", "stimuli": ["novel"], "items": 4, "validation": 4, "lists": 1}
    small |= {"exposures": [1], "retention_steps": [], "learning_rates": [0.01], "longest": 24}
    study = {"probe": "few_shot_memory", "states": states, "settings": small}
    raw = {"models_file": str(ROOT / "config/models.yaml"), "studies": {"study": study}}
    plan = expand(*check(raw, "mine.yaml"))
    plan.write()
    (model,) = plan.models.values()
    rules = [(jobs.prepare_model, model, ())]
    rules += [(jobs.intervene, s, (1, 0)) for s in plan.states.values() if s.intervention]
    rules += [(jobs.probe, job, (1, 0)) for job in plan.jobs]
    for rule, of, more in rules:
        of.output.parent.mkdir(parents=True, exist_ok=True)
        rule(str(plan.manifest_path(of.manifest)), str(of.output), *more)
    cells = [c for job in plan.jobs for c in job.cells]
    origins = {c.seed: c.parameters["origin"] for c in cells if c.role == "after"}
    assert origins == {c.seed: c.state for c in cells if c.role == "before"}
    shards = [read_shard(job.output) for job in plan.jobs]
    done = [cell.row() | {"status": "done", "reason": None} for cell in cells]
    tables = {"cells": [frame_of("cells", done)], "observations": shards}
    statistics, claims = _judged(connect(tables, {"few_shot_memory": VIEW}))
    found = _difference(statistics, "after", "correct_drop")
    assert (found["n"], found["arm"]) == (4, "minus before")
    assert claims["unlearned_recognises_alike"]["n"] == 4
