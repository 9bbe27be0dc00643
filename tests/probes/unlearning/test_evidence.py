"""What verdicts rest on: traps that are no forgetting, what others report, relearning."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.probes.unlearning.test_claims import (
    ARMS,
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
    "speechless": ("damaged", "a word of prose costs "),
    "mumbling": ("damaged", "what is written lost "),
    "wordy": ("forgot", "measures have gone at least 80%"),
}


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
