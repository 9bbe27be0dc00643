"""Few-shot memory measured: nothing learnt without a rate, everything when trained to the end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from palimpsest.context import ProbeContext
from palimpsest.data.stimuli import KINDS, stimulus_lists
from palimpsest.engine.generation import of_tokens
from palimpsest.metrics.text_recall import rouge_l, words
from palimpsest.probes.few_shot_memory import measure as probe
from palimpsest.probes.few_shot_memory.lists import study_lists
from palimpsest.probes.few_shot_memory.settings import (
    PROSE_YIELDS,
    Settings,
    Stimuli,
    cells,
    check,
    deciding_settings,
)
from palimpsest.probes.few_shot_memory.testing import Moment, cut, examine
from tests.probes.numbered import State, numbered

SMALL = {
    "stimuli": ["novel"],
    "items": 4,
    "validation": 4,
    "lists": 2,
    "longest": 24,
    "exposures": [1, 2],
    "learning_rates": [0.01],
    "retention_steps": [1, 3],
    "interference_batch": 2,
    "relearning": 1,
    "rank": 4,
}


CONTEXT = ProbeContext("study", "state", 0, Path("."), {}, {})


def _cells(settings):
    return numbered(cells(settings, State))


def _measured(model, settings, chosen=None):
    found = {}
    made = chosen or _cells(settings)
    for group in probe.groups(settings, made):
        for cell, rows in probe.measure_together(model, settings, group, CONTEXT):
            assert not isinstance(rows, Exception), rows
            found[cell["id"]] = rows
    return found


def _values(rows, metric, **where):
    """item -> value, of one metric at one moment."""
    keys = ("index", "kind", "phase", "exposures", "updates", "delay")
    found = {}
    for row in rows:
        parts = row["item"].split("/")
        if row["metric"] == metric and len(parts) == len(keys):
            at = dict(zip(keys, parts, strict=True))
            if all(at[key] == str(value) for key, value in where.items()):
                found[at["index"]] = row["value"]
    return found


def test_a_rate_of_zero_changes_nothing(tiny):
    settings = Settings(**SMALL | {"learning_rates": [0.0], "lists": 1})
    ((_, rows),) = _measured(tiny, settings).items()
    for metric, kind in (("loss", "study"), ("loss", "foil"), ("prefix_50", "study")):
        before = _values(rows, metric, kind=kind, phase="study", exposures=0)
        assert len(before) == 4
        for moment in (
            {"phase": "study", "exposures": 2},
            {"phase": "same", "delay": 3},
            {"phase": "relearning", "exposures": 1},
        ):
            after = _values(rows, metric, kind=kind, **moment)
            assert after.keys() == before.keys()
            np.testing.assert_allclose(
                list(after.values()), list(before.values()), atol=1e-5, err_msg=str(moment)
            )


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_list_learnt_to_the_end_is_recognised_and_recalled(tiny, adapter):
    """The positive control; pairs never studied stay where they were, as near as may be."""
    settings = Settings(
        **SMALL
        | {"adapters": [adapter], "lists": 1, "exposures": [1, 120], "learning_rates": [0.005]}
        | {"rank": 32, "retention_steps": [], "relearning": 0, "batch_sizes": [2]}
    )
    before = {k: v.clone() for k, v in tiny.module.state_dict().items()}
    ((_, rows),) = _measured(tiny, settings).items()
    end = {"phase": "study", "exposures": 120}
    study = _values(rows, "loss", kind="study", **end)
    foils = _values(rows, "loss", kind="foil", **end)
    never = _values(rows, "loss", kind="never", **end)
    assert all(study[i] < foils[i] for i in study)
    assert min(never.values()) > max(study.values())
    if adapter == "full":
        # Low-rank changes of random weights whose projection is frozen cannot learn it all. Two
        # of the sentences begin alike, so that a shorter cue would not tell them apart.
        for metric in ("exact_50", "exact_75", "prefix_50", "rougeL", "rouge1"):
            assert set(_values(rows, metric, kind="study", **end).values()) == {1.0}, metric
    after = tiny.module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_exposures_updates_and_delays_are_logged(tiny):
    found = _measured(tiny, Settings(**SMALL))
    for rows in found.values():
        moments = {tuple(row["item"].split("/")[2:]) for row in rows if row["metric"] == "loss"}
        assert moments == {
            ("study", "0", "0", "0"),
            ("study", "1", "1", "0"),
            ("study", "2", "2", "0"),
            ("same", "2", "2", "1"),
            ("same", "2", "2", "3"),
            ("relearning", "1", "2", "3"),
        }


def test_lists_together_equal_lists_alone(tiny):
    settings = Settings(**SMALL)
    together = _measured(tiny, settings)
    alone = {}
    for cell in _cells(settings):
        alone |= _measured(tiny, settings, [cell])
    for name, rows in together.items():
        assert [(r["item"], r["metric"]) for r in rows] == [
            (r["item"], r["metric"]) for r in alone[name]
        ]
        for metric in ("loss",):
            np.testing.assert_allclose(
                [r["value"] for r in rows if r["metric"] == metric],
                [r["value"] for r in alone[name] if r["metric"] == metric],
                atol=2e-4,
            )
    assert together["0000"] != together["0001"]


class _Killed(Exception):
    pass


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("killed_at", ["_study", "_overlay", "_relearn"])
def test_a_killed_group_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch, adapter, killed_at):
    settings = Settings(
        **SMALL
        | {"adapters": [adapter], "lists": 2 if adapter == "lora" else 1}
        | {"interference": ["same", "different"], "learning_rates": [0.01, 0.02]}
    )
    whole = _measured(tiny, settings)
    # Everything is written down at once, and the second stage of this kind is never reached.
    monkeypatch.setattr(probe.Resume, "save", _save_now(probe.Resume.save))
    true, seen = getattr(probe, killed_at), []

    def killed(*args):
        seen.append(args)
        if len(seen) == (1 if killed_at == "_relearn" else 2):
            raise _Killed
        true(*args)

    monkeypatch.setattr(probe, killed_at, killed)
    context = dataclasses.replace(CONTEXT, scratch=tmp_path)
    (group,) = probe.groups(settings, _cells(settings))
    with pytest.raises(_Killed):
        list(probe.measure_together(tiny, settings, group, context))
    monkeypatch.setattr(probe, killed_at, true)
    # What was before the kill is not done again.
    monkeypatch.setattr(probe, "_choose_rates", None)
    again = list(probe.measure_together(tiny, settings, group, context))
    assert {cell["id"]: rows for cell, rows in again} == whole


def _save_now(save):
    return lambda self, facts, now=False: save(self, facts, now=True)


def test_adding_a_list_changes_no_other(tiny):
    few, more = Settings(**SMALL), Settings(**SMALL | {"lists": 3})
    old = _cells(few)
    for cell, factors in zip(old, cells(few, State), strict=True):
        assert deciding_settings(few, factors) == deciding_settings(more, factors)
        assert study_lists(tiny, few, cell) == study_lists(tiny, more, cell)


def test_order_of_foils_and_batches_do_not_matter(tiny):
    lists = study_lists(tiny, Settings(**SMALL), _cells(Settings(**SMALL))[0])
    settings, moment = Settings(**SMALL), Moment("study", 0, 0)
    rows = list(examine(tiny, settings, moment, lists.study, lists.foils))
    turned = list(examine(tiny, settings, moment, lists.study[::-1], lists.foils[::-1]))
    last = len(lists.study) - 1
    mirrored = {
        (f"{last - int(row['item'][:4]):04d}{row['item'][4:]}", row["metric"]): row["value"]
        for row in turned
    }
    for row in rows:
        assert mirrored[row["item"], row["metric"]] == pytest.approx(row["value"], abs=1e-5)


def test_word_for_word_is_what_greedy_decoding_writes(tiny):
    """Exact recall and longest prefix from one pass equal those of texts written token by token."""
    settings = Settings(**SMALL)
    lists = study_lists(tiny, settings, _cells(settings)[0])
    # One item that the model writes itself, so that something is recalled.
    written = of_tokens(tiny, [lists.study[0][:4]], 12)[0][0].ids
    study = [lists.study[0][:4] + written, *lists.study[1:]]
    rows = list(examine(tiny, settings, Moment("study", 0, 0), study, lists.foils))
    for index, ids in enumerate(study):
        for cue in settings.cues:
            at = cut(ids, cue)
            said = of_tokens(tiny, [ids[:at]], len(ids) - at)[0][0].ids
            rest = ids[at:]
            right = next(
                (i for i, (a, b) in enumerate(zip(said, rest, strict=False)) if a != b), len(said)
            )
            name = f"{100 * cue:.0f}"
            found = {
                row["metric"]: row["value"]
                for row in rows
                if row["item"].startswith(f"{index:04d}/study")
            }
            assert found[f"exact_{name}"] == float(said == rest)
            assert found[f"prefix_{name}"] == pytest.approx(right / len(rest))
            # Given the true tokens before, one at a time.
            next_ones = [of_tokens(tiny, [ids[:n]], 1)[0][0].ids[0] for n in range(1, len(ids))]
            marks = [a == b for a, b in zip(next_ones, ids[1:], strict=True)]
            assert found[f"known_{name}"] == pytest.approx(np.mean(marks[at - 1 :]))
            # The shortest beginning after which all the rest is written; one token is given.
            shortest = next(n for n in range(len(marks) + 1) if all(marks[n:]))
            assert found["extraction_strength"] == pytest.approx(1 - shortest / len(marks))
    exact = [r["value"] for r in rows if r["metric"] == "exact_50"]
    assert exact[0] == 1.0
    texts = [r for r in rows if r["metric"] == "rougeL"]
    for row, ids in zip(texts, study, strict=True):
        truth = tiny.decode(ids[cut(ids, 0.5) :])
        assert row["value"] == pytest.approx(rouge_l(words(row["text"]), words(truth)).recall)


def test_the_rate_is_chosen_on_pairs_that_are_not_tested(tiny):
    settings = Settings(
        **SMALL | {"learning_rates": [1e-6, 0.02], "lists": 1, "stimuli": ["novel"]}
    )
    ((_, rows),) = _measured(tiny, settings).items()
    facts = {(r["item"], r["metric"]): r["value"] for r in rows if r["grp"] == "fact"}
    tried = {rate: facts[f"rate/{rate:g}", "validation_loss"] for rate in (1e-6, 0.02)}
    assert facts["rate/chosen", "learning_rate"] == 0.02
    assert tried[0.02] < tried[1e-6]
    lists = study_lists(tiny, settings, _cells(settings)[0])
    shown = {tuple(ids) for ids in [*lists.study, *lists.foils]}
    assert not shown & {tuple(ids) for pair in lists.validation for ids in pair}


def test_a_run_that_diverges_fails_alone(tiny):
    settings = Settings(
        **SMALL
        | {"learning_rates": [0.01, 1e30], "rate": "each", "optimizers": ["sgd"], "lists": 1}
        | {"clip": 1e30}
    )
    outcomes = {}
    for group in probe.groups(settings, _cells(settings)):
        outcomes |= {
            cell["parameters"]["learning_rate"]: rows
            for cell, rows in probe.measure_together(tiny, settings, group, CONTEXT)
        }
    assert isinstance(outcomes[0.01], list)
    assert isinstance(outcomes[1e30], Exception)
    assert "not finite" in str(outcomes[1e30])


def test_every_kind_of_stimuli_can_be_asked_for():
    """The settings name them again, so that reading a configuration draws no list."""
    assert get_args(Stimuli) == KINDS


@pytest.mark.parametrize("kind", PROSE_YIELDS)
def test_prose_yields_what_is_promised(kind):
    n = PROSE_YIELDS[kind]
    lists = stimulus_lists(kind, n - 100, 0, validation=100)
    assert len(lists.study) + len(lists.validation) == n
    with pytest.raises(ValueError, match="use source: novel"):
        check(Settings(stimuli=[kind], items=n, validation=4), None)


def test_new_material_comes_again_in_long_training(tiny):
    settings = Settings(**SMALL | {"new_sentences": 3, "interference_batch": 2, "lists": 1})
    lists = study_lists(tiny, settings, _cells(settings)[0])
    assert len(lists.new["same"]) == 3
    run = probe._Run(_cells(settings)[0], lists, 0.0)
    shown = [tuple(e.ids) for batch in probe._new(run, "same", 2, 0, 3) for e in batch]
    assert shown == [tuple(ids) for ids in lists.new["same"]] * 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"exposures": [2, 1]}, "increasing"),
        ({"cues": [0.5, 1.0]}, "between 0 and 1"),
        ({"lists": []}, "lists"),
        ({"stimuli": ["own"]}, "path of a JSONL"),
        ({"learning_rates": [1e-3, 1e-3]}, "twice"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(ValueError, match=said):
        Settings(**SMALL | wrong)
