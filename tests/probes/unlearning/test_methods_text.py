"""The methods text tells what a study did and nothing else."""

from __future__ import annotations

import json

import pytest

from palimpsest.probes.unlearning.pages.methods import methods
from tests.probes.unlearning.studied import cell, database, row

WORLD = {"people": 8, "forget_share": 0.25, "attributes": ["birthplace", "pet"], "epochs": 5}


def _made(tmp_path, statistics, metrics=("probability",)):
    cells = [cell(role, run, experiment="language") for role in ("taught", "retrained")
             for run in (0, 1)]  # fmt: skip
    made = [
        {"job": each["cell"], "rule": "intervene", "state": each["state"],
         "settings": json.dumps(WORLD)}
        for each in cells
    ]  # fmt: skip
    rows = [("taught 0", [row("forget", "Ann/pet", metric, 0.5) for metric in metrics])]
    after = {"taught": ["biographies"], "retrained": ["biographies"]}
    found = database(tmp_path, cells, rows, provenance=made, after=after, statistics=statistics)
    return " ".join(methods(found, "s"))


def _stated(analysis, unit):
    return {"analysis": analysis, "metric": "m", "arm": "npo", "n": 2, "unit": unit}


def test_a_small_study_of_a_language_model_tells_its_world_and_no_tests_that_it_lacks(tmp_path):
    said = _made(tmp_path, [_stated("distance", "facts"), _stated("together", "models")])
    assert "World: 8 fictitious people with 2 attributes each (birthplace, pet), 25%" in said
    assert (
        "the state taught (2 models) knows the forget set, the state retrained (2 models)" in said
    )
    assert "pairs of a method's and the retrained models' answers" in said
    for word in ("calibration", "equivalence", "Welch intervals", "bits", "logit", "MUSE",
                 "membership", "Verdicts:", "taught again", "texts"):  # fmt: skip
        assert word not in said


@pytest.mark.parametrize(
    ("analysis", "unit", "word"),
    [
        ("calibration", "models", "calibration by holding out"),
        ("equivalence", "models", "two one-sided tests"),
        ("distance", "models", "Welch intervals"),
        ("verdict", "models", "Verdicts: did nothing below 20%"),
    ],
)
def test_what_was_done_is_told(tmp_path, analysis, unit, word):
    assert word in _made(tmp_path, [_stated(analysis, unit)])


def test_measures_and_attacks_are_those_that_were_taken(tmp_path):
    said = _made(tmp_path, [], ["exposure", "bits_4", "logit_lens", "min_k", "verbatim"])
    assert "after the question exposure by the rank of the truth" in said
    assert "weights rounded to 4 bits; the logit lens" in said
    assert "membership by min-k, as the area" in said
    assert "of texts the ROUGE-L F1" in said
