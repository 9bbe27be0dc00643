"""Unlearning measured: models are as if alone, attacks leave them as they were, bad input."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from palimpsest.config import check as config_check
from palimpsest.context import ProbeContext
from palimpsest.data.biographies import (
    _GAPS,
    ATTRIBUTES,
    SERIES,
    biographies,
    strangers,
    words,
)
from palimpsest.data.items import of_part
from palimpsest.models.networks import Networks
from palimpsest.probes.unlearning import measure as probe
from palimpsest.probes.unlearning import scratch
from palimpsest.probes.unlearning.attacks import _rounded, attacked
from palimpsest.probes.unlearning.fitting import weights_of
from palimpsest.probes.unlearning.readings import (
    chosen,
    probabilities,
    read,
)
from palimpsest.probes.unlearning.settings import (
    DEFAULT_METHODS,
    Settings,
    cells,
    check,
    deciding_settings,
    piece,
)
from tests.probes.numbered import numbered

SMALL = {
    "people": 12,
    "forget_share": 0.17,
    "hidden": 32,
    "batch_size": 24,
    "epochs": 30,
    "learning_rate": 1e-2,
    "retrained": 2,
    "taught": 2,
    "methods": {
        "ascent": {"grad_ascent": {"learning_rate": 1e-3, "epochs": 3}},
        "dampened": {"ssd": {}},
    },
}
CONTEXT = ProbeContext("study", "state", 0, Path("."), {}, {})


class State:
    """A state of networks."""

    steps = (0,)

    class model:
        entry = {"source": "networks"}


def _settings(**changed):
    robustness = {"relearn": [2], "updates": [1, 4, 30], "learning_rate": 5e-3}
    return Settings(scratch=SMALL | changed, robustness=robustness, kept_items=10)


def _factors(arm, seed, how=None, requests=0):
    return {"arm": arm, "model_seed": seed, "how": how, "requests": requests}


def _measured(settings, arm, seed, how=None, requests=0):
    cell = {"experiment": "scratch", "parameters": _factors(arm, seed, how, requests)}
    rows = list(probe.measure(Networks(), settings, cell, CONTEXT))
    return {(r["grp"], r["item"], r["metric"]): r["value"] for r in rows}


def _mean(rows, part, metric):
    return np.mean([v for (grp, _, m), v in rows.items() if (grp, m) == (part, metric)])


@pytest.fixture(scope="module")
def measured():
    settings = _settings()
    return {arm: _measured(settings, arm, 0) for arm in ("taught", "retrained", "ascent")}


def test_what_was_taught_is_found_and_nothing_else(measured):
    """Positive and negative control: a planted memory, a model that never met it, a holdout."""
    assert _mean(measured["taught"], "forget", "probability") > 0.8
    assert _mean(measured["retrained"], "forget", "probability") < 0.3
    for arm in ("taught", "retrained"):
        assert _mean(measured[arm], "kept", "probability") > 0.8
        assert _mean(measured[arm], "holdout", "probability") < 0.3
    assert _mean(measured["taught"], "forget", "rouge_l") > 0.8
    assert _mean(measured["taught"], "forget", "reworded") > 0.5
    # Members are told by every score: all are higher where the fact was taught.
    for score in ("loss", "zlib", "min_k", "min_k_plus_plus", "gradient_norm"):
        taught = measured["taught"]
        assert _mean(taught, "forget", score) > _mean(taught, "holdout", score)
    # The truth is the likeliest of six.
    assert _mean(measured["taught"], "forget", "exposure") > np.log2(6) - 0.4


def test_a_model_that_knew_is_back_sooner(measured):
    def after(arm, place, metric):
        found = [
            value
            for (grp, item, name), value in measured[arm].items()
            if (grp, name) == ("relearn", metric) and item.startswith(f"{place}/")
        ]
        return np.mean(found)

    assert after("taught", "2/1", "others") > after("retrained", "2/1", "others") + 0.4
    assert after("taught", "2/4", "others") > 2 * after("retrained", "2/4", "others")
    assert after("retrained", "2/30", "shown") > 0.5
    assert _mean(measured["taught"], "forget", "linear_probe") > 0.5
    assert _mean(measured["taught"], "forget", "logit_lens") > 0.5
    assert _mean(measured["taught"], "holdout", "logit_lens") < 0.4
    # A model that never knew hides nothing, and training on other facts brings nothing back.
    assert _mean(measured["retrained"], "forget", "linear_probe") < 0.4
    assert _mean(measured["retrained"], "forget", "logit_lens") < 0.4
    assert _mean(measured["taught"], "forget", "benign") > 0.4
    assert _mean(measured["retrained"], "forget", "benign") < 0.2
    for bits in ("bits_8", "bits_4"):
        assert _mean(measured["taught"], "forget", bits) > 0.8
        assert _mean(measured["retrained"], "forget", bits) < 0.3
    taught, never = (_mean(measured[arm], "forget", "prefixed") for arm in ("taught", "retrained"))
    assert taught > 3 * never


def test_a_method_changes_its_model_alone(measured):
    assert _mean(measured["ascent"], "forget", "probability") < 0.6
    again = _measured(_settings(), "taught", 0)
    assert again == measured["taught"]
    assert _measured(_settings(), "ascent", 0) == measured["ascent"]


def test_requests_come_one_after_another_or_at_once():
    """Two people are forgotten one by one: after each request what was asked so far is read."""
    settings = _settings(successive=["ascent"], requests=2)
    assert settings.scratch.stages() == [
        ("ascent", "successive", 1),
        ("ascent", "successive", 2),
    ]
    assert _settings(people=20, successive=["ascent"], requests=3).scratch.stages()[3:] == [
        ("ascent", "at once", 2)
    ]
    first = _measured(settings, "ascent", 0, "successive", 1)
    second = _measured(settings, "ascent", 0, "successive", 2)
    asked = [{item for grp, item, _ in rows if grp == "forget"} for rows in (first, second)]
    assert asked[0] < asked[1]
    assert len({item.split("/")[0] for item in asked[1]}) == 2
    # The second request goes on from the first: what was asked first is not read from a model that
    # met the second alone.
    items = settings.scratch.items()
    alone, _ = scratch.model_of(settings.scratch, _factors("ascent", 0, "at once", 1), "cpu")
    again = {
        ("forget", item.id, "probability"): value
        for item, value in zip(
            of_part(items, "forget"), probabilities(alone, of_part(items, "forget")), strict=True
        )
    }
    for key, value in first.items():
        if key[0] == "forget":
            # Other questions stood beside it: equal to float32 rounding, which is the hardware's.
            assert again[key] == pytest.approx(value, abs=1e-5)
    for key, value in second.items():
        if key[0] == "forget" and key[1] in asked[0]:
            assert value != pytest.approx(first[key], abs=1e-4)


def test_attacks_leave_the_model_as_it_was():
    settings = _settings()
    model, _ = scratch.model_of(settings.scratch, _factors("taught", 0), "cpu")
    before = copy.deepcopy(model.module.state_dict())
    items = settings.scratch.items()
    rows = list(attacked(model, settings, items, small=True))
    assert {r["metric"] for r in rows} >= {"benign", "bits_8", "bits_4", "linear_probe"}
    after = model.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_rounding_keeps_so_many_levels():
    model, _ = scratch.model_of(_settings().scratch, _factors("taught", 0), "cpu")
    weight = model.module.get_output_embeddings().weight
    original = weight.detach().clone()
    with _rounded(model, 3):
        assert max(len(torch.unique(row)) for row in weight) <= 7
        step = original.abs().amax(1, keepdim=True) / 3
        assert bool(((weight - original).abs() <= step / 2 + 1e-6).all())
    assert torch.equal(weight, original)


def test_a_language_model_is_read_with_low_rank_attacks(tiny):
    settings = _settings()
    items = biographies(8, 0.2, ["pet", "dish"], 0)
    before = copy.deepcopy(tiny.module.state_dict())
    asked = chosen(settings, items)
    rows = [*read(tiny, settings, asked, False), *attacked(tiny, settings, items, small=False)]
    assert all(np.isfinite(r["value"]) for r in rows)
    after = tiny.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    forget = of_part(items, "forget")
    assert len({r["item"] for r in rows if r["grp"] == "forget"}) == len(forget)
    assert probabilities(tiny, forget).shape == (len(forget),)


def test_cells_of_one_taught_model_stay_in_one_job():
    settings = _settings()
    found = numbered(cells(settings, State))
    arms = [(c["parameters"]["arm"], c["parameters"]["model_seed"]) for c in found]
    assert len(arms) == len(set(arms)) == 2 + 2 * 3

    class Cell:
        def __init__(self, parameters):
            self.parameters = parameters

    pieces = {piece(Cell(c["parameters"])) for c in found}
    assert pieces == {"retrained 0", "retrained 1", "taught 0", "taught 1"}
    other = _settings(methods=dict(reversed(SMALL["methods"].items())))
    assert cells(other, State) == cells(settings, State)


def test_a_method_s_settings_decide_its_cells_alone():
    one = _settings()
    other = _settings(methods=SMALL["methods"] | {"ascent": {"grad_ascent": {"epochs": 4}}})

    def deciding(settings, arm):
        return deciding_settings(settings, {"experiment": "scratch"} | _factors(arm, 0))

    assert deciding(one, "ascent") != deciding(other, "ascent")
    for arm in ("taught", "retrained", "dampened"):
        assert deciding(one, arm) == deciding(other, arm)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"people": 4, "forget_share": 0.4}, "allowed: at least 6"),
        ({"successive": ["ascent"], "requests": 5}, "requests: given 5, allowed: 2 to 2"),
        ({"attributes": ["shoe"]}, "attributes: given .'shoe'., allowed: birthplace"),
        (
            {"methods": {"led": {"rmu": {"layer": 2}}}},
            "scratch.methods.led: layer: given 2, allowed: 0 to 1$",
        ),
        (
            {"methods": {"few": {"ssd": {"only": ["*.mpl.*"]}}}},
            r"scratch.methods.few: only: \*.mpl.\* fits no weight; allowed: .*layers.1.mlp.up_proj",
        ),
    ],
)
def test_worlds_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        check(_settings(**changed), None)


def test_the_names_of_weights_are_those_of_the_models():
    own = _settings().scratch
    model = scratch.blank(own, 0, "cpu")
    assert sorted(weights_of(own.layers)) == sorted(n for n, _ in model.module.named_parameters())
    check(_settings(methods={"few": {"ssd": {"only": ["*.mlp.*"]}}}), None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"retrained": 1}, "at least two models"),
        ({"methods": {"taught": {"npo": {}}}}, "neither taught nor retrained"),
        ({"methods": {"a": {"npo": {"forget": "f.jsonl", "retain": "r.jsonl"}}}}, "world is made"),
        ({"methods": {"a": {"npo": {"bta": 1}}}}, "bta"),
        ({"successive": ["npo"]}, "successive: given npo, allowed: ascent, dampened"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        _settings(**changed)


def test_an_unknown_method_is_named_with_those_there_are():
    study = {
        "probe": "unlearning",
        "states": {"one": {"model": "networks"}},
        "settings": {"scratch": {"methods": {"a": {"nopo": {}}}}},
    }
    with pytest.raises(ValueError, match="nopo") as caught:
        config_check({"studies": {"s": study}}, "mine.yaml")
    assert all(name in str(caught.value) for name in DEFAULT_METHODS)


def test_people_are_made_by_rule():
    items = biographies(40, 0.1, ATTRIBUTES, 0)
    counts = {part: len(of_part(items, part)) for part in ("forget", "neighbour", "kept", "retain")}
    assert counts == {"forget": 20, "neighbour": 20, "kept": 80, "retain": 80}
    assert len(of_part(items, "holdout")) == 20
    assert len({item.id for item in items}) == len(items)
    assert biographies(40, 0.1, ATTRIBUTES, 0) == items
    assert biographies(40, 0.1, ATTRIBUTES, 1) != items
    families = [
        {item.id.split("/")[0].split()[1] for item in of_part(items, part)}
        for part in ("forget", "neighbour")
    ]
    assert families[0] == families[1]
    for item in items:
        assert item.answer not in item.perturbed
        assert len(set(item.perturbed)) == 5
        assert not set(item.reworded) & set(item.prompts)
    every = " ".join(p + i.answer for i in items for p in (*i.prompts, *i.reworded))
    known = set(words())
    assert set(every.replace("?", " ? ").replace(":", " : ").split()) <= known


def test_strangers_are_in_no_world_and_like_those_who_are_to_be_forgotten():
    items = biographies(40, 0.1, ATTRIBUTES, 0)
    found = strangers(items, 1001, ATTRIBUTES, 0)
    assert len({item.id for item in found}) == len(found) == 1001
    assert {item.part for item in found} == {"stranger"}
    names = [{item.id.split("/")[0] for item in each} for each in (items, found)]
    assert not names[0] & names[1]
    given, known = ({name.split()[k] for name in names[0]} for k in (0, 1))
    assert not given & {name.split()[0] for name in names[1]}
    assert {name.split()[1] for name in names[1]} < known
    assert found == strangers(items, 1001, ATTRIBUTES, 0)
    # In a large world given names are used up; people are new all the same.
    large = biographies(200, 0.1, ["pet"], 0)
    more = strangers(large, 500, ["pet"], 0)
    assert not {item.id for item in large} & {item.id for item in more}
    with pytest.raises(ValueError, match="strangers: given 15000, allowed: at most 14"):
        strangers(items, 15000, ["pet"], 0)


def test_the_first_model_of_each_arm_alone_is_asked_about_strangers():
    settings = _settings(strangers=30)
    counts = [
        settings.scratch.strangers_of(_factors(arm, seed))
        for arm in ("retrained", "taught", "ascent")
        for seed in (0, 1)
    ]
    assert counts == [30, 0] * 3
    assert settings.scratch.strangers_of(_factors("ascent", 0, "at once", 1)) == 0
    rows = _measured(settings, "taught", 0)
    scores = {metric for part, _, metric in rows if part == "stranger"}
    assert scores == {"loss", "zlib", "min_k", "min_k_plus_plus"}
    assert len({item for part, item, _ in rows if part == "stranger"}) == 30
    assert _mean(rows, "forget", "loss") > _mean(rows, "stranger", "loss") + 1

    # Only what is asked of it decides a cell.
    def deciding(count, seed):
        chosen = {"experiment": "scratch"} | _factors("taught", seed)
        return deciding_settings(_settings(strangers=count), chosen)

    assert deciding(30, 0) != deciding(40, 0)
    assert deciding(30, 1) == deciding(40, 1)


def test_series_with_dates_and_texts():
    items = biographies(20, 0.1, ["pet", *SERIES], 0, texts=True)
    texts = [item for item in items if not item.question]
    assert len(texts) == 22
    assert len({item.answer for item in texts}) == len(texts)
    assert all(item.id.split("/")[0] in item.answer for item in texts)
    assert [item.part for item in texts].count("forget") == 2
    # In three wordings, and each in another that nothing is trained on: the same is said.
    gaps = {word for values in _GAPS.values() for word in values.split()}
    wordings = set()
    for item in texts:
        own, held = (text.strip(".").split() for text in (item.answer, item.paraphrased))
        assert gaps & set(own) == gaps & set(held)
        filled = gaps | set(item.id.split("/")[0].split())
        own, held = (" ".join(w for w in each if w not in filled) for each in (own, held))
        assert own != held
        wordings |= {own, held}
    assert len(wordings) == 3
    assert item.prompts == ("",)
    in_1931 = next(item for item in items if item.id.endswith("sheep_1931"))
    assert "1931" in in_1931.question
    assert in_1931.answer.strip().isdigit()
    # Facts stay what they are without them.
    assert biographies(20, 0.1, ["pet", *SERIES], 0) == items[: -len(texts)]
    every = " ".join(p + i.answer for i in items for p in (*i.prompts, *i.reworded))
    cut = every.replace("?", " ? ").replace(":", " : ").replace(".", " . ").split()
    assert set(cut) <= set(words())
