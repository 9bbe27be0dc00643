"""Statistics and claims on simulated studies whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.gather import connect, frame_of
from palimpsest.evidence.shards import observations
from palimpsest.probes.unforgettable_generalization.claims import CLAIMS, HEADLINES, VIEW, analyse
from palimpsest.probes.unforgettable_generalization.settings import Settings
from palimpsest.statistics.headlines import headlines
from tests.probes.figures import undrawn

NAME = "unforgettable_generalization"
SIZES = {"train": 32, "near": 16, "test": 20, "template": 20, "topic": 20}
LAYERS = (3, 9)
KNOWN = 0.97

#: task -> share of what was above chance that unseen items lose, and confidence before.
REACH = {
    "one": (0.0, 0.97), "two": (0.1, 0.94), "three": (0.3, 0.9), "four": (0.5, 0.86),
    "five": (0.7, 0.82), "six": (0.85, 0.78), "seven": (1.0, 0.74), "eight": (1.0, 0.7),
}  # fmt: skip


class Simulated:
    """A study: every task is forgotten as far as said, and one of them takes another with it."""

    def __init__(self, seed=0, reach=None, trained=1.0, spill=1.0, probes=0.9, learned=KNOWN):
        self.rng = np.random.default_rng(seed)
        self.reach, self.trained, self.spill = reach or REACH, trained, spill
        self.probes, self.learned = probes, learned
        self.known = {}

    def accuracy(self, lost):
        return self.learned - lost * (self.learned - 0.5)

    def answer(self, item, grp, right, confidence):
        """Right with this probability; the truth is choice 0."""
        hit = float(self.rng.random() < right)
        return self.said(item, grp, hit, confidence)

    def said(self, item, grp, hit, confidence):
        p = confidence if hit else 1 - confidence
        return [
            {"item": item, "grp": grp, "metric": metric, "value": value, "text": None}
            for metric, value in (
                ("right", hit), ("p_right", p), ("confidence", confidence), ("entropy", 0.5),
                ("chosen", 1 - hit),
            )
        ]  # fmt: skip

    def items(self, task):
        return [(f"{task}/{grp}/{k}", grp) for grp, n in SIZES.items() for k in range(n)]

    def layers(self, task, right):
        rows = [
            {"item": item, "grp": grp, "metric": f"probe/{layer}",
             "value": float(self.rng.random() < right), "text": None}
            for item, grp in self.items(task)
            for layer in LAYERS
            if grp in ("test", "template", "topic")
        ]  # fmt: skip
        control = {"item": "task", "grp": "states", "value": 0.5, "text": None}
        return [*rows, *(control | {"metric": f"control/{layer}"} for layer in LAYERS)]

    def before(self, task):
        confidence = self.reach[task][1]
        rows = []
        for item, grp in self.items(task):
            rows += self.answer(item, grp, self.learned, confidence)
            self.known[item] = rows[-5]["value"]
            asked = {"item": item, "grp": grp}
            rows.append(asked | {"metric": "prompt", "value": 2.0, "text": "Asked?"})
            rows.append(asked | {"metric": "truth", "value": 0.0, "text": "yes"})
        kind = "family " + str(sorted(self.reach).index(task) // 2)
        family = {"item": "task", "grp": "states", "metric": "family", "value": 0.0, "text": kind}
        rows += [family, *self.layers(task, 0.9)]
        for layer in LAYERS:
            for metric in ("variance", "distance", "rank"):
                value = 1 - self.reach[task][0] + 0.01 * self.rng.normal()
                rows.append(
                    {"item": "task", "grp": "states", "metric": f"{metric}/{layer}",
                     "value": value, "text": None}
                )  # fmt: skip
        for kind in ("prompts", "choices", "states"):
            rows += [
                {"item": other, "grp": "similarity", "metric": kind,
                 "value": 1.0 if other == task else float(self.rng.random()), "text": None}
                for other in self.reach
            ]  # fmt: skip
        return rows

    def after(self, task, arm):
        """Rows of an arm."""
        lost = {"forget": (self.trained, self.reach[task][0]), "continued": (0.0, 0.0),
                "broken_head": (1.0, 1.0), "lookup": (1.0, 0.0)}[arm]  # fmt: skip
        rows = []
        for item, grp in self.items(task):
            if arm == "lookup" and grp != "train":
                rows += self.said(item, grp, self.known[item], 0.9)
                continue
            share = lost[0] if grp in ("train", "near") else lost[1]
            rows += self.answer(item, grp, self.accuracy(share), 0.6)
        if arm == "forget":
            for other in self.reach:
                if other == task:
                    continue
                share = self.spill if (task, other) == ("eight", "one") else 0.0
                for k in range(30):
                    right = self.accuracy(share)
                    rows += self.answer(f"{other}/test/{k}", "other", right, 0.9)
            for metric, value in (("passes", 2.0), ("updates", 8.0), ("ended", 1.0)):
                rows.append(
                    {"item": "run", "grp": "course", "metric": metric, "value": value, "text": None}
                )
        if arm in ("forget", "broken_head"):
            rows += self.layers(task, self.probes if arm == "forget" else 0.9)
        return rows

    def relearned(self, task, right):
        return [
            {"item": f"{updates}/{task}/test/{k}", "grp": "relearned", "metric": "right",
             "value": float(self.rng.random() < right), "text": None}
            for updates in (1, 4)
            for k in range(20)
        ]  # fmt: skip


def study(simulated, seeds=2, untouched=None):
    """Statistics by (analysis, metric, arm, series), and claims by name."""
    cells, rows = [], []

    def add(role, replicate, task, arm, found):
        name = f"{role}{replicate}{task}{arm}"
        mode = "fixed_random" if arm == "forget" else None
        cells.append(
            {
                "study": "s", "cell": name, "probe": NAME, "state": f"{role}.{replicate}",
                "role": role, "model": "m", "seed": replicate, "step": 0, "experiment": task,
                "status": "done",
                "parameters": json.dumps({"arm": arm, "mode": mode, "replicate": replicate}),
            }
        )  # fmt: skip
        rows.append(observations(found, study="s", cell=name, step=0))

    for replicate in range(seeds):
        for task in simulated.reach:
            add("taught", replicate, task, "before", simulated.before(task))
            for arm in ("forget", "continued", "broken_head", "lookup"):
                found = simulated.after(task, arm)
                if arm == "forget":
                    found += simulated.relearned(task, 0.9)
                add("taught", replicate, task, arm, found)
            add("untouched", replicate, task, "first", simulated.relearned(task, 0.5))
            if untouched:
                add("untouched", replicate, task, "before", untouched.before(task))
                add("untouched", replicate, task, "forget", untouched.after(task, "forget"))
    tables = {"observations": [pl.concat(rows)], "cells": [frame_of("cells", cells)]}
    with connect(tables, {NAME: VIEW}) as connection:
        statistics, claims = analyse(connection, Settings(), "s")
    by_key = {(r["analysis"], r["metric"], r.get("arm"), r.get("series")): r for r in statistics}
    return by_key, {claim["claim"]: claim for claim in claims}


@pytest.fixture(scope="module")
def found():
    return study(Simulated(), seeds=4)


def test_of_states_that_were_not_taught_the_overview_tells_what_they_know():
    found, _ = study(Simulated(), untouched=Simulated(seed=1, learned=0.7))
    known = found["mean", "right_before", "before", None]
    assert known["role"] == "untouched"
    assert known["n"] == len(REACH)
    assert known["low"] < 0.7 < known["high"]
    stated = headlines(list(found.values()), HEADLINES)
    assert {row["role"]: row["metric"].split()[0] for row in stated} == {
        "taught": "forget",
        "untouched": "unseen",
    }


def test_every_claim_is_judged_and_true_ones_are_supported(found):
    _, claims = found
    assert set(claims) == {claim.name for claim in CLAIMS}
    verdicts = {name: claim["verdict"] for name, claim in claims.items()}
    for name in (
        "trained_forgotten",
        "generalisation_varies",
        "doubt_predicts",
        "uniformity_predicts",
        "forgetting_spills",
        "probes_recover",
        "relearned_sooner",
        "true_labels_keep",
        "head_reaches_all",
        "table_reaches_nothing",
        "table_forgets_its_own",
    ):
        assert verdicts[name] == "supported", (name, claims[name])
    assert claims["forgetting_spills"]["note"] == "one after forgetting eight"


def test_ratios_are_those_of_the_simulation(found):
    rows, _ = found
    for task, (lost, _) in REACH.items():
        unseen = rows["ratio", "unseen", "forget", task]
        assert unseen["low"] - 0.1 < lost < unseen["high"] + 0.1
        train = rows["ratio", "train", "forget", task]
        assert train["low"] - 0.1 < 1.0 < train["high"] + 0.1
        reach = rows["generalisation", "unseen", "forget", task]
        assert 0 <= reach["estimate"] <= 1
    kept = rows["transfer", "two", "forget", "one"]
    assert kept["estimate"] == pytest.approx(0.0, abs=0.25)
    spilt = rows["transfer", "one", "forget", "eight"]
    assert spilt["estimate"] > 0.5


def test_what_is_not_so_is_contradicted():
    """Nothing is forgotten, tasks are alike, nothing spills over, and probes fail."""
    alike = dict.fromkeys(REACH, (0.0, 0.9))
    _, claims = study(Simulated(1, alike, trained=0.0, spill=0.0, probes=0.5))
    for name in ("trained_forgotten", "probes_recover"):
        assert claims[name]["verdict"] == "contradicted", claims[name]
    for name in ("generalisation_varies", "forgetting_spills"):
        assert claims[name]["verdict"] in ("contradicted", "inconclusive"), claims[name]
    # Ratios that hardly differ are predicted by nothing.
    for name in ("doubt_predicts", "uniformity_predicts"):
        assert claims[name]["verdict"] != "supported", claims[name]


def test_ten_tasks_are_predicted_from_one_another():
    reach = {f"task {k}": (k / 9, 0.97 - 0.03 * k) for k in range(10)}
    rows, _ = study(Simulated(3, reach))
    joint = rows["left out", "loss and confidence and variance", None, None]
    assert joint["estimate"] > 0.5
    layer = rows["predictor", "variance, layer 3", None, None]
    assert layer["high"] < 0


def test_what_was_not_learned_has_no_ratio():
    rows, claims = study(Simulated(2, learned=0.5))
    undefined = [
        row["estimate"] is None
        for (analysis, split, arm, _), row in rows.items()
        if (analysis, split, arm) == ("ratio", "unseen", "forget")
    ]
    # A guesser is two errors above chance now and then.
    assert np.mean(undefined) > 0.7
    for name in ("generalisation_varies", "doubt_predicts", "true_labels_keep"):
        assert claims[name]["verdict"] != "supported"


def test_spilling_is_not_found_where_there_is_none():
    """The largest of 12 pairs, in studies without any: the interval is for all of them."""
    lost = dict.fromkeys(list(REACH)[:4], (0.5, 0.9))
    found = [study(Simulated(seed, lost))[1]["forgetting_spills"] for seed in range(8)]
    assert sum(claim["verdict"] == "supported" for claim in found) <= 1


def test_every_interval_is_drawn(found):
    statistics = list(found[0].values())
    filled, hidden = undrawn(NAME, statistics)
    assert set(filled) == {"ratios", "transfer", "depth", "relearning", "predictors"}
    assert hidden == []


def test_the_course_is_a_mean_over_replicates(found):
    rows = {key[1]: row for key, row in found[0].items() if key[0] == "course"}
    assert set(rows) == {"passes", "updates", "ended"}
    for metric, value in (("passes", 2.0), ("updates", 8.0), ("ended", 1.0)):
        assert (rows[metric]["estimate"], rows[metric]["n"]) == (value, 4)
        assert rows[metric]["unit"] == "replicates"
