"""Verdicts on made-up evidence: memory where it was put in, none where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.few_shot_memory.analyses import read
from palimpsest.probes.few_shot_memory.claims import STANDING, VIEW, analyse
from palimpsest.probes.few_shot_memory.settings import Settings
from tests.probes.figures import undrawn

SETTINGS = Settings()
KINDS = ("natural", "random_words")
DELAYS = (1, 2, 5, 10, 20)


def _rows(rng, item, kind, moment, metric, value):
    return {"item": f"{item:04d}/{kind}/{moment}", "grp": kind, "metric": metric, "value": value}


def _study(learnt, kept, recalled, lists=3, items=24, rates=(None,), seed=0):
    """Evidence of lists whose loss falls by ``learnt`` nats at full strength.

    Args:
        learnt: exposures -> drop of the studied items' loss, in nats a token.
        kept: delay -> share of the drop that is left.
        recalled: (stimuli, exposures, delay) -> mean share of the rest recalled.
    """
    rng = np.random.default_rng(seed)
    cells, rows = [], []
    for stimuli in KINDS:
        for number in range(lists):
            for rate in rates:
                name = f"{stimuli}{number}{rate}"
                cells.append(_cell(name, stimuli, number, rate))
                mine = []
                gain = 1.0 if rate is None else rate
                base = rng.normal(4, 0.7, (2, items))
                never = rng.normal(4, 0.7, (2, items))
                moments = [("study", e, 0, d) for e, d in learnt.items()]
                moments += [("same", max(learnt), t, learnt[max(learnt)] * kept[t]) for t in DELAYS]
                for phase, exposures, delay, drop in moments:
                    at = f"{phase}/{exposures}/{6 * exposures}/{delay}"
                    moved = (exposures > 0) * rng.normal(0.1, 0.05, (2, items))
                    study = base[0] - gain * drop - moved[0] * (exposures > 0)
                    for item in range(items):
                        mine.append(_rows(rng, item, "study", at, "loss", study[item]))
                        foil = base[1, item] - moved[1, item]
                        mine.append(_rows(rng, item, "foil", at, "loss", foil))
                        share = recalled(stimuli, exposures, delay)
                        prefix = float(np.clip(rng.normal(share, 0.05), 0, 1)) if share else 0.0
                        for cue in (25, 50, 75):
                            mine.append(_rows(rng, item, "study", at, f"prefix_{cue}", prefix))
                            exact = float(prefix > 0.95)
                            mine.append(_rows(rng, item, "study", at, f"exact_{cue}", exact))
                            mine.append(_rows(rng, item, "study", at, f"known_{cue}", prefix))
                        mine.append(_rows(rng, item, "study", at, "rougeL", prefix))
                    if phase == "study":
                        shift = (exposures > 0) * rng.normal(0.1, 0.05, (2, items))
                        for item in range(items):
                            for row, kind in enumerate(("never", "never_foil")):
                                value = never[row, item] - shift[row, item]
                                mine.append(_rows(rng, item, kind, at, "loss", value))
                facts = [("rate/chosen", "learning_rate", rate or 0.001)]
                if rate is not None:
                    facts += [
                        (f"rate/{rate}", "validation_recognition", 0.9 if rate == 1.0 else 0.5),
                        (f"rate/{rate}", "validation_loss", 2 - rate),
                    ]
                mine += [
                    {"item": item, "grp": "fact", "metric": m, "value": v} for item, m, v in facts
                ]
                for item in range(items):
                    for metric in ("cue", "truth", "foil", "word_frequency"):
                        n = float(rng.integers(8, 16))
                        kind = "foil" if metric == "foil" else "study"
                        fact = {"item": f"{item:04d}/{kind}", "grp": "fact", "metric": metric}
                        mine.append(fact | {"value": n, "text": "a"})
                rows += [
                    {"study": "study", "cell": name, "step": 0, "text": None, **row} for row in mine
                ]
    return cells, rows


def _cell(name, stimuli, number, rate):
    factors = {"list": number, "adapter": "lora", "optimizer": "adamw", "batch_size": 4}
    return {
        "cell": name,
        "study": "study",
        "probe": "few_shot_memory",
        "state": "base",
        "role": "untouched",
        "model": "m",
        "seed": 0,
        "step": 0,
        "experiment": stimuli,
        "parameters": json.dumps(factors | {"learning_rate": rate}),
        "status": "done",
        "reason": None,
    }


def _judged(cells, rows, settings=SETTINGS):
    tables = {"cells": [frame_of("cells", cells)], "observations": [observations(rows)]}
    with connect(tables, {"few_shot_memory": VIEW}) as connection:
        statistics, claims = analyse(connection, settings, "study")
        data = read(connection, "study")
    return statistics, {claim["claim"]: claim for claim in claims}, data


KEPT = {1: 0.9, 2: 0.8, 5: 0.6, 10: 0.45, 20: 0.4}


def _fades(stimuli, exposures, delay):
    if not exposures:
        return 0.0
    if delay:
        return {1: 0.9, 2: 0.8, 5: 0.6, 10: 0.3, 20: 0.28}[delay]
    return (0.99 if stimuli == "natural" else 0.8) * min(1.0, exposures / 3)


def test_memory_that_is_there():
    strong = {0: 0.0, 1: 4.0, 2: 5.0, 3: 6.0}
    cells, rows = _study(strong, KEPT, _fades)
    statistics, claims, _ = _judged(cells, rows)
    assert {name for name, claim in claims.items() if claim["verdict"] == "supported"} == {
        "one_exposure",
        "three_exposures",
        "steep_then_gradual",
        "recognition_outlives_recall",
        "sentences_beat_strings",
        "never_studied_at_floor",
        "exposure_teaches",
    }
    # Nothing is left word for word at the end of this made-up run.
    assert claims["some_survive"]["estimate"] == 0
    assert claims["one_exposure"]["n"] == 72
    analyses = {row["analysis"] for row in statistics}
    assert {"recognition", "recall", "retention", "form", "memorability", "paper"} <= analyses
    assert {"curve", "retained"} <= analyses
    filled, hidden = undrawn(
        "few_shot_memory", statistics, {"cells": [frame_of("cells", cells)]}, "study"
    )
    assert {"recognition", "recall", "cues", "retention", "forms", "memorability"} <= set(filled)
    assert hidden == []


def test_curves_are_drawn_above_the_floor_and_through_the_points():
    strong = {0: 0.0, 1: 4.0, 2: 5.0, 3: 6.0}
    statistics, _, _ = _judged(*_study(strong, KEPT, _fades))
    for memory in ("recognition", "recall"):
        mine = [
            row
            for row in statistics
            if row["analysis"] in ("curve", "retained")
            and row["series"] == "natural"
            and row["factor"].startswith(memory)
        ]
        points = {row["step"]: row for row in mine if row["analysis"] == "retained"}
        curve = {row["step"]: row for row in mine if row["analysis"] == "curve"}
        assert points.keys() == {0, *DELAYS}
        assert set(DELAYS) <= curve.keys()
        for step, row in points.items():
            assert curve[step]["low"] <= curve[step]["estimate"] <= curve[step]["high"]
            assert curve[step]["estimate"] == pytest.approx(row["estimate"], abs=0.2)
    # Known before study: nothing here, so what is recalled is what is drawn.
    assert points[0]["estimate"] == pytest.approx(0.99, abs=0.03)


def test_the_floor_of_recall_is_that_of_the_condition_itself():
    """Another state that knew half of the tokens before study changes no curve of the first."""
    strong = {0: 0.0, 1: 4.0, 2: 5.0, 3: 6.0}
    cells, rows = _study(strong, KEPT, _fades)

    def curves(cells, rows):
        return {
            (row["series"], row["factor"], row["step"]): row["estimate"]
            for row in _judged(cells, rows)[0]
            if row["analysis"] == "retained" and row["role"] == "untouched"
        }

    alone = curves(cells, rows)
    other = [cell | {"cell": f"{cell['cell']}b", "role": "other"} for cell in cells]
    knew = [
        row
        | {"cell": f"{row['cell']}b"}
        | ({"value": 0.5} if row["metric"] == "known_50" and "/study/0/" in row["item"] else {})
        for row in rows
    ]
    both = curves(cells + other, rows + knew)
    assert both == alone


def test_what_predicts_memorability_is_found():
    """Items whose base loss is higher fall further here by design; other predictors do nothing."""
    cells, rows = _study({0: 0.0, 1: 2.0, 2: 3.0}, KEPT, _fades, lists=4)
    base = {
        (row["cell"], row["item"][:4]): row["value"]
        for row in rows
        if row["metric"] == "loss" and row["grp"] == "study" and "study/0/" in row["item"]
    }
    for row in rows:
        after = row["metric"] == "loss" and row["grp"] == "study" and "study/0/" not in row["item"]
        if after:
            row["value"] -= 0.5 * (base[row["cell"], row["item"][:4]] - 4) / 0.7
    statistics, _, _ = _judged(cells, rows)
    found = {
        row["metric"]: row
        for row in statistics
        if row["analysis"] == "memorability" and row["series"] == "natural"
    }
    assert len(found) == 3
    slopes = {name.split(" by ")[1].split(",")[0]: row for name, row in found.items()}
    assert slopes["base loss"]["low"] > 0
    assert slopes["base loss"]["estimate"] == pytest.approx(0.5, abs=0.1)
    for name in ("length", "word frequency"):
        assert slopes[name]["low"] < 0 < slopes[name]["high"]


def test_no_memory_where_there_is_none():
    nothing = {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}
    _, claims, _ = _judged(*_study(nothing, dict.fromkeys(DELAYS, 1.0), lambda *_: 0.0))
    assert claims["never_studied_at_floor"]["verdict"] == "not tested"
    assert claims["exposure_teaches"]["verdict"] != "supported"
    assert claims["one_exposure"]["verdict"] == "contradicted"
    assert claims["three_exposures"]["verdict"] == "contradicted"
    assert claims["sentences_beat_strings"]["verdict"] == "inconclusive"
    assert claims["recognition_outlives_recall"]["verdict"] == "not tested"


def test_every_claim_is_judged_once():
    _, claims, _ = _judged(*_study({0: 0.0, 1: 1.0, 3: 2.0}, KEPT, _fades, lists=1))
    assert claims.keys() == {claim.name for claim in STANDING}


def test_claims_are_judged_at_the_rate_that_validation_chose():
    strong = {0: 0.0, 1: 4.0, 2: 5.0, 3: 6.0}
    cells, rows = _study(strong, KEPT, _fades, rates=(0.01, 1.0))
    statistics, claims, data = _judged(cells, rows)
    assert claims["one_exposure"]["verdict"] == "supported"
    assert claims["one_exposure"]["n"] == 72
    chosen = data.pairs.filter(data.pairs["chosen"])["rate"].unique().to_list()
    assert chosen == [1.0]
    # The other rate is reported too, as what it is.
    weak = [
        row["estimate"]
        for row in statistics
        if row["analysis"] == "recognition"
        and row["metric"] == "correct"
        and row["factor"].endswith(" rate 0.01")
        and row["step"] == 1
        and row["arm"] == "studied"
    ]
    assert len(weak) == 2
    assert max(weak) < 0.75


def test_pairs_by_hand():
    """One pair: base 5 and 4, after study 3 and 3.5: preferred by loss, and by the drop."""
    cells = [_cell("c", "natural", 0, None)]
    losses = {("study", 0): 5.0, ("foil", 0): 4.0, ("study", 1): 3.0, ("foil", 1): 3.5}
    rows = [
        {"study": "study", "cell": "c", "step": 0, "text": None}
        | _rows(None, 0, kind, f"study/{e}/{e}/0", "loss", value)
        for (kind, e), value in losses.items()
    ]
    rows.append(
        {"study": "study", "cell": "c", "step": 0, "text": None, "item": "rate/chosen"}
        | {"grp": "fact", "metric": "learning_rate", "value": 0.01}
    )
    tables = {"cells": [frame_of("cells", cells)], "observations": [observations(rows)]}
    with connect(tables, {"few_shot_memory": VIEW}) as connection:
        pairs = read(connection, "study").pairs.sort("exposures")
    assert pairs["correct"].to_list() == [0.0, 1.0]
    assert pairs["margin"].to_list() == pytest.approx([0.0, 1.5])
    assert pairs["correct_drop"].to_list() == [0.5, 1.0]
    assert pairs["correct_sum"].to_list() == [None, None]
    # 6 tokens against 5: 3 * 5 > 3.5 * 4, so by the sum the foil is preferred.
    for metric, kind, n in (("cue", "study", 2), ("truth", "study", 4), ("foil", "foil", 5)):
        fact = {"study": "study", "cell": "c", "step": 0, "text": "a", "item": f"0000/{kind}"}
        rows.append(fact | {"grp": "fact", "metric": metric, "value": float(n)})
    tables["observations"] = [observations(rows)]
    with connect(tables, {"few_shot_memory": VIEW}) as connection:
        pairs = read(connection, "study").pairs.sort("exposures")
    assert pairs["correct_sum"].to_list() == [0.0, 0.0]
