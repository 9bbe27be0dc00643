"""What verdicts rest on: traps that are no forgetting, what others report, relearning."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palimpsest.probes.unlearning.analyses.evidence import DAMAGED, LOSSES, evidence
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.statistics import Estimate
from tests.probes.unlearning.test_claims import (
    ARMS,
    KNOWN,
    MANY,
    NEVER,
    RUNS,
    _study,
    _verdicts,
)


@pytest.fixture(scope="module")
def study():
    return _study(seed=1)


def test_few_facts_show_no_likeness_and_nothing_else():
    """Twenty facts cannot show that membership is as in models that never knew: "forgot" is not
    said for want of evidence, and nothing else is."""
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    statistics, _ = _study(dict.fromkeys(methods, "retrained"), seed=4, runs=2, never=3)
    assert set(_verdicts(statistics).values()) <= {"cannot tell", "forgot"}
    notes = [r["note"] for r in statistics if r.get("metric") == "cannot tell"]
    assert len(notes) > len(methods) / 2
    assert all(note.startswith("not shown: membership, ") for note in notes)


#: Truth of one method -> its verdict and what is said for it, where it is not the method's own.
TRAPS = {
    # Declines everything, with probabilities as in models that never knew.
    "refuser": ("damaged", "other people's facts lost 0.9"),
    # Keeps what it trains on again, and loses the rest; and the other way round.
    "over-fitter": ("damaged", "other people's facts lost 0.4"),
    "under-fitter": ("forgot", "measures have gone at least 80%"),
    # The truth is gone from probabilities and not from what is written.
    "talker": ("suppressed", "told from models that never knew by ROUGE-L +0.5"),
    # Runs go either way in membership: no difference is significant, and none is ruled out.
    "wavering": ("cannot tell", "not shown: membership, "),
    # Language is lost, or its variety; a little of it is not.
    "speechless": ("damaged", "a token of prose costs "),
    "mumbling": ("damaged", "what is written lost "),
    "wordy": ("forgot", "measures have gone at least 80%"),
}


class _Kept:
    """Measures of what must stay, each with a loss and its p; none of what is to be forgotten."""

    def __init__(self, losses):
        every = (f"{part} {metric}" for part in DAMAGED for metric in LOSSES)
        self.losses = dict(zip(every, losses, strict=False))
        self.data = type("Data", (), {"retrained": "retrained"})

    def metrics(self):
        return dict.fromkeys(self.losses, "utility")

    def values(self, arm, metric):
        return np.empty(0)

    def against(self, arm, metric):
        size, p = self.losses[metric]
        size *= LOSSES[metric.split()[1]][0]
        ends = (size - 0.1, size + 0.1) if p < 0.05 else (size - 1, size + 1)
        return Estimate(size, *ends, 5, "models", "t interval", p=p)

    apart = against

    def apart_at_best(self, arm, metric):
        return 1.0


def test_a_loss_among_many_measures_must_stand_holms_correction():
    """Twelve measures of a method that costs nothing: one with p = 0.02 is what chance gives."""
    chance = [(0.15, 0.02), *[(0.01, 0.5)] * 11]
    assert evidence(_Kept(chance), Settings(), "npo").lost == []
    assert evidence(_Kept(chance[:1]), Settings(), "npo").lost == [
        "other people's facts lost 0.15 of their probability"
    ]
    shown = [(0.15, 0.004), *[(0.01, 0.5)] * 11]
    assert len(evidence(_Kept(shown), Settings(), "npo").lost) == 1
    # What is told from no loss, but is small, is no damage.
    assert evidence(_Kept([(0.05, 1e-6)]), Settings(), "npo").lost == []


def test_what_the_order_of_requests_costs_is_told_beside_what_their_number_costs(study):
    (order,) = (row for row in study[0] if row["analysis"] == "order of requests")
    # After all four, 0.55 is kept of them one after another and 0.7 of the same at once.
    assert order["estimate"] == pytest.approx((0.55 - 0.7) / KNOWN, abs=0.05)
    assert study[1]["requests_add_up"]["note"] == (
        "kept after the last, one after another minus at once: npo "
        f"{order['estimate']:+.2f} [{order['low']:.2f}, {order['high']:.2f}]"
    )


def test_a_claim_that_was_not_tested_says_what_it_lacks():
    """Not "no data" where there are data: too few facts, no such method, too few models."""
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    _, claims = _study(dict.fromkeys(methods, "retain_finetune"), seed=4, runs=2, never=3, items=7)
    notes = {name: c["note"] for name, c in claims.items() if c["verdict"] == "not tested"}
    assert notes["calibrated"] == "needs retrained models to hold out and 3 others; here are 3"
    none = "no method has gone 80% of the way where asked directly"
    assert notes["relearning_undoes"] == notes["hidden_not_gone"] == none
    _, claims = _study(seed=4, runs=2, never=3, items=7)
    assert claims["relearning_undoes"]["note"] == (
        "with so few models facts are the units, and only 2 facts can be compared; a test needs 4"
    )


def test_what_damaged_and_hid_is_told_for_both():
    """Damage does not stand for forgetting: what gives the facts away stands beside it."""
    statistics, _ = _study({"npo": "grad_ascent", "rmu": "speechless"}, seed=5)
    notes = {r["arm"]: r["note"] for r in statistics if r["analysis"] == "verdict"}
    assert "told from models that never knew by" not in notes["rmu"]
    found = {r["arm"]: r["metric"] for r in statistics if r["analysis"] == "verdict"}
    assert found["npo"] == found["rmu"] == "damaged"
    assert "; told from models that never knew by membership, loss -" in notes["npo"]


@pytest.mark.parametrize("units", ["models", "facts"])
def test_traps_are_not_called_forgetting(units):
    methods = [arm for arm in ARMS if arm not in ("taught", "retrained")]
    changed = dict(zip(methods, TRAPS, strict=True))
    few = {"runs": 2, "never": 3, "items": MANY} if units == "facts" else {}
    statistics, _ = _study(changed, seed=5, **few)
    found = {r["arm"]: r for r in statistics if r["analysis"] == "verdict"}
    for arm, truth in changed.items():
        if units == "facts" and truth == "wavering":
            continue
        word, evidence = TRAPS[truth]
        assert (found[arm]["metric"], found[arm]["unit"]) == (word, units), truth
        assert evidence in found[arm]["note"]
    # Of what must stay, all at once, what is trained on again is no part.
    together = {r["arm"]: r["p"] for r in statistics if r.get("metric") == "utility"}
    arm_of = {truth: arm for arm, truth in changed.items()}
    if units == "models":
        assert together[arm_of["over-fitter"]] < 0.01
        assert together[arm_of["under-fitter"]] > 0.05
    refused = found[next(arm for arm, truth in changed.items() if truth == "refuser")]
    assert "other people's facts are declined 9" in refused["note"]


def test_what_others_report_against_every_retrained_model(study):
    rows = {(r["arm"], r["metric"]): r for r in study[0] if r["analysis"] == "quality"}
    p = {arm: rows[arm, "forget quality, median"]["estimate"] for arm in ARMS}
    assert p["taught"] < 1e-4
    assert p["iau"] < 1e-4
    assert min(p["ssd"], p["retrained"]) > 0.2
    # One retrained model against another: by the choice of the pair p is anything.
    never = [rows["retrained", f"forget quality, {each}"] for each in ("least", "median", "most")]
    assert never[0]["estimate"] < 0.2 < 0.9 < never[2]["estimate"]
    assert never[1]["n"] == NEVER * (NEVER - 1) / 2
    assert rows["ssd", "forget quality, median"]["n"] == NEVER * RUNS
    leak = {arm: rows[arm, "PrivLeak"] for arm in ARMS}
    assert leak["taught"]["high"] < -90
    assert leak["rmu"]["estimate"] > 50
    for arm in ("ssd", "retrained"):
        assert leak[arm]["low"] < 0 < leak[arm]["high"]
    facts, _ = _study(runs=2, never=3)
    assert {r["arm"] for r in facts if r["analysis"] == "quality"} == set(ARMS)


def test_what_was_hidden_is_back_in_fewer_updates(study):
    rows = {(r["arm"], r["metric"]): r for r in study[0] if r["analysis"] == "back"}
    assert rows["retrained", "updates"]["estimate"] == 8
    for arm in ("taught", "simnpo", "iau"):
        assert rows[arm, "updates"]["estimate"] == 1
        assert rows[arm, "minus retrained"]["high"] < 0
    assert rows["ssd", "minus retrained"]["estimate"] == 0
    assert {row["factor"] for row in rows.values()} == {"5 taught again"}


def test_what_is_never_back_counts_as_twice_the_last_update(study):
    from palimpsest.probes.unlearning.analyses.relearning import _updates

    curves = pl.DataFrame(
        {"run": [0, 0, 1, 1], "updates": [1, 8, 1, 8], "value": [0.1, 0.2, 0.1, 0.7]}
    )
    assert _updates(curves, 0.5).tolist() == [np.inf, 8.0]
