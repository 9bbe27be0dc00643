"""Verdicts and claims on evidence whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.unlearning.claims import CLAIMS, VIEW, analyse
from palimpsest.probes.unlearning.settings import Settings
from tests.probes.figures import undrawn

ITEMS, RUNS, NEVER = 20, 5, 10
#: Facts where these are the units and likeness is to be shown.
MANY = 120
KNOWN, UNKNOWN = 0.95, 0.08

#: arm -> probability of the forget set where asked, hidden (reworded, probe), of what must stay,
#: and mean log-likelihood of the forget set beside a holdout at -6.
ARMS = {
    "taught": (KNOWN, KNOWN, KNOWN, 0.0),
    "retrained": (UNKNOWN, UNKNOWN, KNOWN, -6.0),
    "grad_ascent": (0.02, 0.05, 0.5, -12.0),
    "npo": (0.05, 0.06, 0.7, -8.0),
    "ssd": (UNKNOWN, UNKNOWN, KNOWN, -6.0),
    "iau": (0.5, 0.6, KNOWN, -2.0),
    "simnpo": (UNKNOWN, 0.7, KNOWN, -6.0),
    "rmu": (UNKNOWN, UNKNOWN, KNOWN, -12.0),
    "retain_finetune": (KNOWN, KNOWN, KNOWN, 0.0),
    "guard": (KNOWN, KNOWN, KNOWN, 0.0),
}
#: What else is true of an arm, where it is not what follows from the above: truth in written
#: answers about the forget set and about what must stay, the probability of what is trained on
#: again, refusals of what must stay, how much runs differ in log-likelihood, and loss of prose.
ELSE = {
    "guard": {"said": 0.0, "answered": KNOWN},
    "careless guard": {"said": 0.0, "answered": 0.6},
    "idle guard": {"said": KNOWN, "answered": KNOWN},
    "half a guard": {"said": 0.55, "answered": KNOWN},
    "refuser": {"answered": 0.0, "declined": 0.97},
    "over-fitter": {"stays": 0.5, "answered": KNOWN, "retain": KNOWN},
    "under-fitter": {"retain": 0.5},
    "talker": {"said": 0.6},
    "wavering": {"runs": 2.5},
    "speechless": {"prose": 4.0},
    "mumbling": {"fluency": 3.0},
    "wordy": {"prose": 3.05},
}


def _row(grp, item, metric, value):
    return {"grp": grp, "item": str(item), "metric": metric, "value": float(value), "text": None}


def _model(rng, arm, items=ITEMS):
    """Rows of one model."""
    rows = _of_model(rng, arm, items)
    if arm == "guard":
        rows += [_row("model", "detector", "auc", 0.9), _row("model", "detector", "found", 0.7)]
    return rows


def _of_model(rng, arm, items):
    direct, hidden, stays, level = ARMS.get(arm.split()[-1], ARMS["retrained"])
    also = {"said": direct, "retain": stays, "declined": 0.02, "runs": 0.0, "prose": 3.0}
    also |= {"answered": stays, "stays": stays, "fluency": 4.0} | ELSE.get(arm, {})
    shift = rng.normal(0, 0.02)
    level += rng.normal(0, also["runs"])
    # Some answers are likelier than others, for every model: the first half of the losses.
    usual = np.random.default_rng(0).normal(0, 1.3, (2, items))

    def near(value):
        return float(np.clip(value + shift + rng.normal(0, 0.02), 0.001, 0.999))

    rows = []
    for number in range(items):
        item = f"Person {number}/pet"
        for metric, value in (("probability", direct), ("rouge_l", also["said"])):
            rows.append(_row("forget", item, metric, near(value)))
        for metric in ("reworded", "linear_probe"):
            rows.append(_row("forget", item, metric, near(hidden)))
        rows.append(_row("forget", item, "refusal", near(0.02)))
        ratio = np.exp(rng.normal(-3 if direct > 0.4 else 0, 1))
        rows.append(_row("forget", item, "truth_ratio", ratio))
        score = level + usual[0, number] + rng.normal(0, 0.7)
        rows.append(_row("forget", item, "min_k", score))
        rows.append(_row("holdout", item, "min_k", -6 + usual[1, number] + rng.normal(0, 0.7)))
        rows.append(_row("forget", item, "loss", level + usual[0, number] + rng.normal(0, 0.7)))
        rows.append(_row("holdout", item, "loss", -6 + usual[1, number] + rng.normal(0, 0.7)))
        for part in ("kept", "neighbour", "retain"):
            value = also["retain"] if part == "retain" else also["stays"]
            rows.append(_row(part, item, "probability", near(value)))
            rows.append(_row(part, item, "rouge_l", near(also["answered"])))
            rows.append(_row(part, item, "refusal", near(also["declined"])))
        rows.append(_row("prose", number, "loss", also["prose"] + rng.normal(0, 0.02)))
        rows.append(_row("prose", number, "fluency", also["fluency"] + rng.normal(0, 0.1)))
    for updates in (1, 8):
        for number in range(items):
            place, shown = f"5/{updates}/Person {number}/pet", number < 5
            # What was hidden is back at once, what is gone must be learned.
            value = (0.9 if updates == 8 or hidden > 0.4 else 0.3) if shown else near(hidden)
            rows.append(_row("relearn", place, "shown" if shown else "others", value))
    return rows


def _stage(rng, done, loss):
    """Rows of a model that was asked for some people so far, of four; each request costs some."""
    rows = []
    for number in range(5 * done):
        rows.append(_row("forget", f"Person {number}/pet", "probability", UNKNOWN))
    for part in ("kept", "neighbour"):
        for number in range(ITEMS):
            value = KNOWN - loss * done + rng.normal(0, 0.01)
            rows.append(_row(part, f"Person {number}/pet", "probability", value))
    return rows


def _study(changed=None, seed=0, runs=RUNS, never=NEVER, items=ITEMS):
    """All statistics by (analysis, arm, metric), and claims by name."""
    rng = np.random.default_rng(seed)
    cells, rows = [], []
    for arm in ARMS:
        for run in range(never if arm == "retrained" else runs):
            stages = [(None, 0)]
            if arm == "npo":
                stages += [("successive", 1), ("successive", 2), ("successive", 4), ("at once", 2)]
            for how, done in stages:
                name = f"{arm}{run}{how}{done}"
                factors = {"arm": arm, "model_seed": run, "how": how, "requests": done}
                cells.append(
                    {
                        "study": "s", "cell": name, "probe": "unlearning", "state": "networks",
                        "role": "networks", "model": "networks", "seed": 0, "step": 0,
                        "experiment": "scratch", "status": "done",
                        "parameters": json.dumps(factors),
                    }
                )  # fmt: skip
                loss = 0.1 if how == "successive" else 0.0
                truth = (changed or {}).get(arm, arm)
                found = _stage(rng, done, loss) if done else _model(rng, truth, items)
                rows.append(observations(found, study="s", cell=name, step=0))
    tables = {"observations": [pl.concat(rows)], "cells": [frame_of("cells", cells)]}
    methods = {arm: {arm: {}} for arm in ARMS if arm not in ("taught", "retrained")}
    settings = Settings(scratch={"methods": methods, "taught": runs, "retrained": never})
    with connect(tables, {"unlearning": VIEW}) as connection:
        statistics, claims = analyse(connection, settings, "s")
    return statistics, {claim["claim"]: claim for claim in claims}


@pytest.fixture(scope="module")
def study():
    return _study(seed=1)


def _verdicts(statistics):
    return {row["arm"]: row["metric"] for row in statistics if row["analysis"] == "verdict"}


#: What is true of every method in :data:`ARMS`.
VERDICTS = {
    "retain_finetune": "did nothing",
    "grad_ascent": "damaged",
    "npo": "damaged",
    "ssd": "forgot",
    "simnpo": "suppressed",
    "rmu": "suppressed",
    "iau": "partly",
    "guard": "suppressed",
}


def test_every_verdict_is_given_where_it_is_true(study):
    """A method that does nothing is labelled so, and one that is retraining forgot."""
    assert _verdicts(study[0]) == {"taught": "did nothing"} | VERDICTS


def test_with_two_models_an_arm_facts_are_the_units():
    """The same truths, told from pairs of answers to the same facts."""
    statistics, _ = _study(runs=2, never=3, items=MANY)
    assert _verdicts(statistics) == VERDICTS
    rows = [row for row in statistics if row["analysis"] == "verdict"]
    assert {(row["unit"], row["n"]) for row in rows} == {("facts", MANY)}
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    for truth, word in (("retrained", "forgot"), ("taught", "did nothing")):
        changed = dict.fromkeys(methods, truth)
        statistics, _ = _study(changed, seed=4, runs=2, never=3, items=MANY)
        found = _verdicts(statistics)
        assert [found[arm] for arm in methods].count(word) >= len(methods) - 1


def test_a_method_that_changes_nothing_at_all_did_nothing():
    """Then all differences are exactly zero, which is no share of successes."""
    from palimpsest.probes.unlearning.analyses.contrasts import mean_of

    found = mean_of(np.zeros(8), "facts")
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)
    assert mean_of(np.array([0.0, 0.1, 0.2]), "facts").high > 0.2


def test_the_reference_score_leaves_a_retrained_model_out_of_its_own_mean(study):
    levels = {
        row["arm"]: row["estimate"]
        for row in study[0]
        if row["analysis"] == "level" and row["metric"] == "membership reference"
    }
    assert levels["taught"] > 0.99
    assert levels["retrained"] == pytest.approx(0.5, abs=0.1)


def test_the_evidence_names_what_gave_a_method_away(study):
    notes = {row["arm"]: row["note"] for row in study[0] if row["analysis"] == "verdict"}
    assert "linear probe +0.6" in notes["simnpo"]
    assert "others after relearning 5" in notes["simnpo"]
    assert notes["rmu"].startswith("told from models that never knew by membership, loss -0.")
    assert "relatives' facts lost 0.2" in notes["npo"]


def test_every_model_replaced_by_a_retrained_one_forgot():
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    statistics, claims = _study(dict.fromkeys(methods, "retrained"), seed=1)
    found = _verdicts(statistics)
    assert {found[arm] for arm in methods} == {"forgot"}
    assert claims["nothing_is_nothing"]["verdict"] == "contradicted"
    assert claims["hidden_not_gone"]["verdict"] != "supported"
    assert claims["relearning_undoes"]["estimate"] <= 1 / len(methods)


def test_every_model_replaced_by_a_taught_one_did_nothing():
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    statistics, _ = _study(dict.fromkeys(methods, "taught"), seed=2)
    assert set(_verdicts(statistics).values()) == {"did nothing"}


def test_claims_follow_the_evidence(study):
    verdicts = {name: claim["verdict"] for name, claim in study[1].items()}
    assert verdicts == {
        "taught_is_told": "supported",
        "calibrated": "supported",
        "nothing_is_nothing": "supported",
        "npo_over_ascent": "supported",
        "ssd_competitive": "supported",
        "iau_balance": "contradicted",
        "guard_hides": "supported",
        "guard_keeps": "supported",
        "requests_add_up": "supported",
        "relearning_undoes": "inconclusive",
        "hidden_not_gone": "supported",
    }


def test_more_retrained_models_say_the_same_of_the_level(study):
    """By the test of methods: five models against all others."""
    _, claims = _study(never=30)
    assert claims["calibrated"]["verdict"] == "supported"
    for one in (claims["calibrated"], study[1]["calibrated"]):
        assert one["low"] < 0.05 < one["high"] < 0.1
    assert (claims["calibrated"]["n"], claims["calibrated"]["unit"]) == (30, "retrained models")


def test_all_measures_at_once(study):
    rows = {
        (row["arm"], row["metric"]): row["p"] for row in study[0] if row["analysis"] == "together"
    }
    assert rows["ssd", "forgetting"] > 0.05
    assert rows["ssd", "utility"] > 0.05
    for arm in ("taught", "iau", "simnpo", "rmu"):
        assert rows[arm, "forgetting"] < 0.01
    assert rows["grad_ascent", "utility"] < 0.01


def test_requests_one_after_another_and_at_once(study):
    rows = {
        (row["factor"], row["step"], row["metric"]): row
        for row in study[0]
        if row["analysis"] == "requests"
    }
    assert set(rows) == {
        (how, done, metric)
        for how in ("successive", "at once")
        for done in (1, 2, 4)
        for metric in ("forgotten", "kept")
    }
    # The whole set at once is the method itself, the first request the same in both.
    assert rows["at once", 4, "kept"]["estimate"] == pytest.approx(0.7 / KNOWN, abs=0.05)
    assert rows["at once", 1, "kept"] == rows["successive", 1, "kept"] | {"factor": "at once"}
    assert rows["successive", 4, "forgotten"]["estimate"] == pytest.approx(1, abs=0.05)
    assert rows["successive", 4, "kept"]["estimate"] == pytest.approx(0.55 / KNOWN, abs=0.05)
    assert rows["at once", 2, "kept"]["estimate"] == pytest.approx(1, abs=0.05)
    assert {row["n"] for row in rows.values()} == {RUNS}


def test_changes_and_membership_by_fact(study):
    change = {(row["arm"], row["metric"]): row for row in study[0] if row["analysis"] == "change"}
    assert change["iau", "forget probability"]["high"] < -0.3
    assert change["retain_finetune", "forget probability"]["low"] < 0.02
    assert change["npo", "kept probability"]["estimate"] == pytest.approx(0.7 - KNOWN, abs=0.04)
    areas = {
        (row["arm"], row["metric"]): row
        for row in study[0]
        if row["analysis"] == "membership" and row["factor"] == "loss"
    }
    assert areas["taught", "area"]["low"] > 0.8
    assert areas["taught", "rate"]["estimate"] is None
    assert "needs 1000 negatives" in areas["taught", "rate"]["note"]
    assert areas["ssd", "area"]["low"] < 0.5 < areas["ssd", "area"]["high"]
    assert areas["rmu", "area"]["high"] < 0.2


def test_the_detector_of_a_guard_is_among_the_statistics(study):
    found = {
        r["metric"]: (r["arm"], r["estimate"]) for r in study[0] if r["analysis"] == "detector"
    }
    assert found == {"auc": ("guard", pytest.approx(0.9)), "found": ("guard", pytest.approx(0.7))}


def test_a_guard_is_judged_by_what_is_written(study):
    notes = {row["arm"]: row["note"] for row in study[0] if row["analysis"] == "verdict"}
    said = "gone from written answers alone: probabilities are as before"
    assert notes["guard"] == said
    # The p of the test of likeness, and not that of a difference.
    assert study[1]["guard_keeps"]["p"] < 0.05
    for runs, never in ((RUNS, NEVER), (2, 3)):
        statistics, claims = _study({"guard": "careless guard"}, runs=runs, never=never)
        (note,) = (
            row["note"]
            for row in statistics
            if row["analysis"] == "verdict" and row["arm"] == "guard"
        )
        assert _verdicts(statistics)["guard"] == "damaged"
        assert note.startswith("other people's facts lost 0.3")
        assert "of their written answers; relatives' facts lost 0.3" in note
        assert note.endswith(said)
        assert claims["guard_hides"]["verdict"] == "supported"
        assert claims["guard_keeps"]["verdict"] == "contradicted"
        assert claims["guard_keeps"]["estimate"] == pytest.approx(0.6 - KNOWN, abs=0.05)
        # Written answers that changed by half are neither gone nor as before.
        changed = {"guard": "idle guard", "npo": "half a guard"}
        statistics, claims = _study(changed, runs=runs, never=never)
        found = _verdicts(statistics)
        assert (found["guard"], found["npo"]) == ("did nothing", "cannot tell")
        assert claims["guard_hides"]["verdict"] == "contradicted"
        assert claims["guard_keeps"]["verdict"] == "supported"


def test_without_taught_knowledge_nothing_is_told():
    statistics, claims = _study({"taught": "retrained"}, seed=3)
    assert claims["taught_is_told"]["verdict"] != "supported"
    assert not _verdicts(statistics)


def test_equivalence_is_shown_and_not_assumed(study):
    rows = {
        (row["analysis"], row["arm"]): row
        for row in study[0]
        if row["metric"] == "forget probability" and row["analysis"] in ("distance", "equivalence")
    }
    assert rows["equivalence", "ssd"]["p"] < 0.05
    assert rows["distance", "ssd"]["q"] > 0.05
    assert rows["equivalence", "iau"]["p"] > 0.5
    assert rows["distance", "iau"]["q"] < 1e-4


def test_the_front_and_ranks(study):
    front = {
        (row["arm"], row["metric"]): row["estimate"]
        for row in study[0]
        if row["analysis"] == "front"
    }
    assert front["ssd", "balance"] > 0.95
    assert front["grad_ascent", "rank"] > front["npo", "rank"] > front["ssd", "rank"]
    assert front["iau", "on the front"] < front["ssd", "on the front"]
    ahead = front["npo", "balance"] - front["grad_ascent", "balance"]
    assert study[1]["npo_over_ascent"]["estimate"] == pytest.approx(ahead)


def test_membership_is_the_area_under_the_curve(study):
    levels = {
        row["arm"]: row["estimate"]
        for row in study[0]
        if row["analysis"] == "level" and row["metric"] == "membership loss"
    }
    assert levels["taught"] > 0.99
    assert levels["retrained"] == pytest.approx(0.5, abs=0.1)
    assert levels["rmu"] < 0.05


def test_every_claim_has_its_words():
    from palimpsest.probes.unlearning.pages.words import _SAID

    assert set(_SAID) == {claim.name for claim in CLAIMS}


def test_every_interval_is_drawn(study):
    filled, hidden = undrawn("unlearning", study[0])
    assert {"front", "robustness", "populations", "relearning", "requests"} <= set(filled)
    assert hidden == []
