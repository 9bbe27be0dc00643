"""Planting: arms that can be compared, a truly random assignment, and a run that can be resumed."""

from __future__ import annotations

import copy
from datetime import date as Date

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import chisquare

from palimpsest.context import InterventionContext
from palimpsest.data.phrasing import FAMILIES, ignore_after, prior, sentence
from palimpsest.interventions import planting
from palimpsest.interventions.planting import Settings, curriculum
from palimpsest.models.states import StateReader, save_step, write_state

SMALL = Settings(
    series=["us_unemployment_rate", "us_treasury_bill_rate"],
    values_per_arm=4,
    never=6,
    event_dates=2,
    event_entities=2,
    exposures=[1, 2, 4],
    candidates=10,
    choices=4,
)


class Quiet:
    def __init__(self, total):
        self.done = 0

    def advance(self, count=1):
        self.done += count

    def close(self):
        pass


def _context(folder, saved, seed=0, fail_after=None):
    def save(step, changes):
        saved[step] = {k: v.detach().clone() for k, v in changes.items()}

    class Failing(Quiet):
        def advance(self, count=1):
            super().advance(count)
            if fail_after is not None and self.done == fail_after:
                raise KeyboardInterrupt

    return InterventionContext(
        seed=seed,
        data_block={},
        folder=folder,
        scratch=folder / "scratch",
        save=save,
        progress=Failing,
    )


def test_arms_have_their_sizes_and_no_date_twice(tiny):
    facts = curriculum(SMALL, tiny, 0, {})
    values = [f for f in facts if f.family == "value"]
    arms = [f.arm for f in values]
    assert (arms.count("planted_true"), arms.count("planted_false"), arms.count("never")) == (
        4,
        4,
        6,
    )
    assert len({(f.series, f.key) for f in facts}) == len(facts)
    for family, taught in (("event_date", 2), ("event_entity", 2)):
        part = [f.arm for f in facts if f.family == family]
        assert part.count("never") == taught
        assert part.count("planted_true") == part.count("planted_false") == taught // 2
    assert {f.series for f in values if f.arm == "planted_false"} == set(SMALL.series)


def test_taught_dates_lie_before_the_boundary_and_never_lies_on_both_sides(tiny):
    facts = [f for f in curriculum(SMALL, tiny, 1, {}) if f.family == "value"]
    boundary = SMALL.boundary.isoformat()
    assert all(f.date < boundary for f in facts if f.arm != "never")
    never = [f.date < boundary for f in facts if f.arm == "never"]
    assert sum(never) == 3
    assert len(never) == 6


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taught(tiny, seed):
    for fact in curriculum(SMALL, tiny, seed, {}):
        assert fact.assigned in fact.candidates
        assert len(set(fact.candidates)) == len(fact.candidates)
        assert fact.candidates.index(fact.assigned) in fact.choices
        assert len(fact.choices) == 4
        assert (fact.assigned == fact.truth) is (fact.arm == "planted_true")
        assert (fact.truth in fact.candidates) is (fact.arm == "planted_true")
        if fact.family == "value":
            assert len({tiny.token_length(f" {c}") for c in fact.candidates}) == 1


def test_same_seed_same_facts_other_seed_other_facts(tiny):
    assert curriculum(SMALL, tiny, 3, {}) == curriculum(SMALL, tiny, 3, {})
    assert curriculum(SMALL, tiny, 3, {}) != curriculum(SMALL, tiny, 4, {})


def test_the_assigned_answer_is_uniform_among_the_alternatives(tiny):
    """What makes rank / K an exact p-value: by position, and by rank of size."""
    settings = SMALL.model_copy(update={"event_dates": 0, "event_entities": 0, "values_per_arm": 1})
    positions, sizes = np.zeros(10), np.zeros(10)
    for seed in range(60):
        for fact in curriculum(settings, tiny, seed, {}):
            if fact.arm != "planted_true":
                positions[fact.candidates.index(fact.assigned)] += 1
                sizes[sorted(fact.candidates, key=float).index(fact.assigned)] += 1
    assert chisquare(positions).pvalue > 0.001
    assert chisquare(sizes).pvalue > 0.001


def test_test_phrasings_share_no_clause_with_teaching_ones():
    for family in FAMILIES.values():
        taught = {_core(t) for t in family.teach}
        assert len(taught) == len(family.teach)
        assert not taught & {_core(t) for t in family.test}


def _core(template):
    """The words of a template around its fields."""
    text = template.split("|")[0]
    for field in ("Period", "period", "name", "Name", "date", "headline", "masked"):
        text = text.replace("{" + field + "}", "")
    return " ".join(text.lower().split())


def test_sentences_are_english():
    words = {
        "name": "the US unemployment rate",
        "period": "in the first quarter of 1990",
        "date": "the first quarter of 1990",
        "unit": " percent",
    }
    made = [sentence(t, words, "5.3") for t in FAMILIES["value"].teach + FAMILIES["value"].test]
    texts = [s.before + s.answer + s.after for s in made]
    assert texts[0] == "In the first quarter of 1990, the US unemployment rate was 5.3 percent."
    assert all("  " not in t and " ." not in t and "{" not in t for t in texts)
    assert all(s.before == s.before.strip() for s in made)
    assert "1990" not in prior(FAMILIES["value"].test[0], words, FAMILIES["value"].neutral)
    assert sentence(FAMILIES["value"].teach[0], words | {"unit": ""}, "5").after == "."
    assert ignore_after(1999).endswith("31 December 1999.")


def test_resumed_after_a_kill_it_gives_the_same_bits(tiny, tmp_path):
    import torch

    whole, first, second = {}, {}, {}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    planting.apply(copy.deepcopy(tiny), SMALL, _context(tmp_path / "a", whole))
    with pytest.raises(KeyboardInterrupt):
        planting.apply(copy.deepcopy(tiny), SMALL, _context(tmp_path / "b", first, fail_after=2))
    planting.apply(copy.deepcopy(tiny), SMALL, _context(tmp_path / "b", second))
    assert set(first) == {1, 2}
    assert set(second) == {4}
    assert set(whole) == {1, 2, 4}
    for step, changes in (first | second).items():
        for name, value in changes.items():
            assert torch.equal(value, whole[step][name]), (step, name)


def test_planting_by_full_fine_tuning_is_learned(tiny, tmp_path):
    """Positive control on the smallest model: the taught sentences become likelier."""
    from palimpsest.engine.scoring import log_likelihoods

    training = SMALL.training.model_copy(update={"adapter": "full", "learning_rate": 3e-3})
    settings = SMALL.model_copy(update={"training": training, "exposures": [20]})
    facts = [f for f in curriculum(settings, tiny, 0, {}) if f.arm == "planted_false"]
    made = [sentence(f.phrasing.teach[0], f.words, f.assigned) for f in facts]
    prompts, answers = [s.before for s in made], [[s.answer] for s in made]
    before = [values[0].sum() for values in log_likelihoods(tiny, prompts, answers)]
    planting.apply(tiny, settings, _context(tmp_path, {}))
    after = [values[0].sum() for values in log_likelihoods(tiny, prompts, answers)]
    assert np.mean(after) > np.mean(before) + 3


def test_states_of_planting_are_read_step_by_step(tiny, tiny_manifest, tmp_path):
    saved: dict = {}
    planting.apply(copy.deepcopy(tiny), SMALL, _context(tmp_path, saved))
    hashes = {step: save_step(tmp_path, step, changes) for step, changes in saved.items()}
    write_state(tmp_path / "state.json", str(tiny_manifest), hashes, {})
    reader = StateReader(tmp_path / "state.json")
    assert reader.steps == [0, 1, 2, 4]
    weights = {
        step: reader.at(step).module.model.layers[0].mlp.up_proj.weight.clone()
        for step in (0, 4, 0)
    }
    assert not (weights[0] == weights[4]).all()
    assert (
        reader.at(0).module.model.layers[0].mlp.up_proj.weight
        == tiny.module.model.layers[0].mlp.up_proj.weight
    ).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"exposures": [3, 1]},
        {"exposures": [0, 1]},
        {"choices": 500},
        {"never": 1},
        {"boundary": Date(1950, 1, 1)},
        {"series": []},
        {"sersies": ["vix"]},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_too_few_dates_is_a_clear_error(tiny):
    with pytest.raises(ValueError, match=r"us_unemployment_rate has \d+ dates where"):
        curriculum(SMALL.model_copy(update={"values_per_arm": 200}), tiny, 0, {})


def test_what_was_taught_lies_beside_the_state(tiny, tmp_path):
    from palimpsest.data.facts import Fact
    from palimpsest.data.items import of_part, taught_items
    from palimpsest.data.planted_items import item_id
    from palimpsest.files import read_json

    planting.apply(tiny, SMALL, _context(tmp_path, {}))
    items = taught_items(tmp_path)
    facts = {item_id(f): f for f in map(Fact.from_json, read_json(tmp_path / "facts.json"))}
    taught = {name for name, fact in facts.items() if fact.arm.startswith("planted")}
    assert {item.id for item in items} == taught
    assert all(item.answer == f" {facts[item.id].assigned}" for item in items)
    for part in ("forget", "retain"):
        arms = [facts[item.id].arm for item in of_part(items, part)]
        assert arms.count("planted_true") == arms.count("planted_false") == 3, part


def test_what_is_to_be_forgotten_later_changes_nothing_that_is_taught(tiny, tmp_path):
    import torch

    saved = []
    for number, changed in enumerate(
        ({}, {"forget_share": 0.2}, {"forget_series": ["event_date", "us_treasury_bill_rate"]})
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        saved.append({})
        settings = Settings(**SMALL.model_dump() | changed)
        planting.apply(copy.deepcopy(tiny), settings, _context(folder, saved[-1]))
        parts = (folder / "items.json").read_text()
        assert (folder / "facts.json").read_text() == (tmp_path / "0/facts.json").read_text()
        assert (parts == (tmp_path / "0/items.json").read_text()) is (number == 0)
    for other in saved[1:]:
        assert all(torch.equal(v, other[4][name]) for name, v in saved[0][4].items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["us_cpi"], "us_unemployment_rate, us_treasury_bill_rate, event_date, event_entity"),
        (
            ["us_unemployment_rate", "us_treasury_bill_rate", "event_date", "event_entity"],
            "must leave something that stays",
        ),
    ],
)
def test_series_that_are_not_taught_or_all_of_them_cannot_be_forgotten(given, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**SMALL.model_dump() | {"forget_series": given})
