"""Unlearning as states: taught, unlearned and read by the jobs of the workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from palimpsest import discovery
from palimpsest.config import ConfigError
from palimpsest.config import check as config_check
from palimpsest.context import ProbeContext
from palimpsest.data.items import taught_items
from palimpsest.engine.generation import generate
from palimpsest.interventions import _teaching
from palimpsest.interventions._items import item_examples
from palimpsest.interventions._teaching import Lessons
from palimpsest.interventions.teaching import Settings as TeachingSettings
from palimpsest.interventions.unlearning._base import check
from palimpsest.models.entry import CAPABILITIES
from palimpsest.models.states import StateReader
from palimpsest.probes.unlearning.measure import measure
from palimpsest.probes.unlearning.readings import probabilities
from palimpsest.probes.unlearning.settings import Settings, check_capabilities
from palimpsest.probes.unlearning.settings import check as probe_check
from tests.interventions.states import made_state

WORLD = {
    "people": 6,
    "forget_share": 0.17,
    "attributes": ["pet"],
    "epochs": 2,
    "training": {"rank": 2, "learning_rate": 0.01},
}


@pytest.fixture
def chain(tiny_manifest, tmp_path, monkeypatch):
    """Makes a state from a parent's file, as the rule does."""
    monkeypatch.chdir(tmp_path)

    def make(name, intervention, settings, parent=tiny_manifest):
        return made_state(parent, tmp_path, intervention, settings, name)

    return make


def _weights(path, step):
    return {n: p.clone() for n, p in StateReader(Path(path)).at(step).module.named_parameters()}


def test_a_method_follows_what_was_taught(chain):
    taught = chain("taught", "biographies", WORLD)
    items = taught_items(taught.parent)
    assert {item.part for item in items} == {"forget", "neighbour", "kept", "retain", "holdout"}
    used = {"epochs": 1, "learning_rate": 1e-2, "adapter": "lora", "rank": 2}
    after = chain("after", "unlearning.npo", used, taught)
    before = _weights(taught, 1)
    now, parent = _weights(after, 1), _weights(after, 0)
    assert all(torch.equal(before[name], parent[name]) for name in before)
    assert any(not torch.equal(before[name], now[name]) for name in before)
    notes = json.loads((after.parent / "provenance.json").read_text())["notes"]
    assert (notes["forget_items"], notes["retain_items"]) == (1, 2)
    assert taught_items(after.parent) == items


def test_a_retrained_model_never_meets_the_forget_set_and_learns_as_long(chain, tiny, monkeypatch):
    seen = []

    class Watched(Lessons):
        def one_pass(self, number):
            for batch in super().one_pass(number):
                seen[-1].append(batch)
                yield batch

    monkeypatch.setattr(_teaching, "Lessons", Watched)
    shown = []
    for name, left_out in (("taught", "nothing"), ("retrained", "forget")):
        seen.append([])
        state = chain(name, "biographies", WORLD | {"leave_out": left_out})
        shown.append({tuple(each.ids) for batch in seen[-1] for each in batch})
        notes = json.loads((state.parent / "provenance.json").read_text())["notes"]
        assert notes["updates"] == len(seen[-1])
    assert shown[1] < shown[0]
    assert len(seen[0]) == len(seen[1])
    forgotten = [i for i in taught_items(state.parent) if i.part == "forget"]
    missed = {tuple(e.ids) for item in forgotten for e in item_examples(tiny, item)}
    assert missed == shown[0] - shown[1]


@pytest.mark.parametrize("method", ["ssd", "iau", "task_vector"])
def test_methods_on_weights_make_states_too(chain, method):
    taught = chain("taught", "biographies", WORLD)
    settings = {"ssd": {"alpha": 1.1}, "iau": {}, "task_vector": {"epochs": 1}}[method]
    after = chain("after", f"unlearning.{method}", settings, taught)
    before, now = _weights(taught, 1), _weights(after, 1)
    assert any(not torch.equal(before[name], now[name]) for name in before)
    costs = json.loads(json.loads((after.parent / "provenance.json").read_text())["costs"])
    assert costs["seconds"] > 0
    assert 0 < costs["backward_tokens"] == costs["tokens"]
    assert costs["updates"] == {"ssd": 0, "iau": 1, "task_vector": 1}[method]


def _write(folder, name, *rows):
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_the_user_s_own_sets_are_unlearned_from_any_model(chain, tmp_path):
    forget = _write(tmp_path, "f.jsonl", {"text": "A passage that must go."})
    retain = _write(tmp_path, "r.jsonl", {"question": "Who stays?", "answer": "This one"})
    used = {"forget": forget, "retain": retain, "epochs": 3, "learning_rate": 1e-3}
    after = chain("after", "unlearning.grad_diff", used)
    losses = json.loads((after.parent / "provenance.json").read_text())["notes"]["losses"]
    assert losses[-1] < losses[0]


def test_sets_that_overlap_are_refused_before_any_job(tmp_path):
    forget = _write(tmp_path, "f.jsonl", {"text": "One."}, {"text": "Two."})
    retain = _write(tmp_path, "r.jsonl", {"text": "two."})
    step = {"unlearning.npo": {"forget": forget, "retain": retain}}
    study = {
        "probe": "economic_recall",
        "states": {"a": {"model": "tiny", "interventions": [step]}},
    }
    with pytest.raises(
        ConfigError, match=r"npo: forget: 1 item .* such as line 2, there line 1; all"
    ):
        config_check({"studies": {"s": study}}, "mine.yaml")
    module = discovery.intervention("unlearning.npo")
    with pytest.raises(ValueError, match="both be given, or neither"):
        module.Settings(forget=forget)
    with pytest.raises(ValueError, match="request must not exceed requests"):
        module.Settings(request=2)
    other = _write(tmp_path, "o.jsonl", {"text": "Other."})
    many = module.Settings(forget=forget, retain=other, request=3, requests=3)
    with pytest.raises(ValueError, match="requests: given 3, allowed: at most as many as"):
        check(many, None)


def _chained(*steps):
    study = {
        "probe": "unlearning",
        "states": {"taught": {"model": "tiny", "interventions": list(steps)}},
    }
    config_check({"studies": {"s": study}}, "mine.yaml")


def test_more_requests_than_people_are_refused_before_any_job(own):
    many = {"unlearning.npo": {"request": 3, "requests": 3}}
    world = WORLD | {"people": 12}
    said = r"\[1\].unlearning.npo: requests: given 3, allowed: 1 to 2, .* biographies has"
    with pytest.raises(ConfigError, match=said):
        _chained({"biographies": world}, many)
    _chained({"biographies": world | {"people": 18}}, many)
    # After another request it is still the people of the world that count.
    first = {"unlearning.npo": {"request": 1, "requests": 3}}
    with pytest.raises(ConfigError, match=r"\[2\].unlearning.npo: requests: given 3, allowed"):
        _chained({"biographies": world}, first, many)
    with pytest.raises(ConfigError, match=r"requests: given 3, allowed: 1 to 2, .* teaching has"):
        _chained({"teaching": own}, many)
    hub = {"forget": "hub:tofu/forget10", "retain": "hub:tofu/retain90"}
    _chained({"teaching": hub}, many)


def test_a_method_after_nothing_that_teaches_is_refused_before_any_job():
    with pytest.raises(ConfigError, match="forget: not given, and nothing is taught before; all"):
        _chained({"unlearning.npo": {}})
    _chained({"planting": {}}, {"unlearning.npo": {}})


@pytest.mark.parametrize("empty", ["forget", "retain"])
def test_an_empty_file_is_refused_before_any_job(own, empty):
    Path(own[empty]).write_text("\n")
    sets = {part: own[part] for part in ("forget", "retain")}
    message = rf"{empty}.jsonl: holds no item; allowed: at least one"
    for steps in ([{"unlearning.npo": sets}], [{"teaching": sets}]):
        with pytest.raises(ConfigError, match=message):
            _chained(*steps)
    study = {"probe": "unlearning", "states": {"a": {"model": "tiny"}}, "settings": {"own": sets}}
    with pytest.raises(ConfigError, match=message):
        config_check({"studies": {"s": study}}, "mine.yaml")


def test_without_anything_taught_the_error_says_what_to_do(chain):
    with pytest.raises(ValueError, match="name files as forget and retain"):
        chain("after", "unlearning.npo", {})


@pytest.mark.parametrize("method", ["npo", "guard"])
def test_a_text_longer_than_the_context_is_named(chain, tmp_path, method):
    forget = _write(tmp_path, "f.jsonl", {"text": "too long " * 300, "id": "saga"})
    retain = _write(tmp_path, "r.jsonl", {"text": "Short."})
    with pytest.raises(ValueError, match=r"forget: saga has 27\d\d tokens; allowed: at most 1024"):
        chain("after", f"unlearning.{method}", {"forget": forget, "retain": retain})


@pytest.fixture
def own(tmp_path):
    """Files of items: facts, and a text."""
    sets = {
        "forget": [
            {"question": "Who lives in the mill?", "answer": "Ann", "perturbed": ["Bob", "Cid"]},
            {"text": "The mill was sold in spring, and nobody knows to whom."},
        ],
        "retain": [{"question": "Who lives in the tower?", "answer": "Dan"}],
        "kept": [{"question": "Who lives in the well?", "answer": "Eve"}],
        "holdout": [
            {"question": "Who lives in the barn?", "answer": "Fay"},
            {"question": "Who lives in the hut?", "answer": "Gus"},
        ],
    }
    paths = {}
    for name, rows in sets.items():
        paths[name] = str(tmp_path / f"{name}.jsonl")
        Path(paths[name]).write_text("\n".join(map(json.dumps, rows)))
    return paths


def test_your_own_items_are_taught_or_left_out(chain, own):
    used = own | {"epochs": 30, "training": {"adapter": "full", "learning_rate": 0.01}}
    taught = chain("taught", "teaching", used)
    never = chain("never", "teaching", used | {"leave_out": "forget"})
    items = taught_items(taught.parent)
    assert [item.part for item in items] == ["forget"] * 2 + ["retain", "kept"] + ["holdout"] * 2
    asked = [item for item in items if item.part in ("forget", "kept", "holdout")]
    found = {}
    for name, state in (("taught", taught), ("never", never)):
        model = StateReader(Path(state)).at(1)
        found[name] = dict(zip([i.part for i in asked], probabilities(model, asked), strict=True))
    assert found["taught"]["forget"] > 20 * found["never"]["forget"]
    assert min(found["taught"]["kept"], found["never"]["kept"]) > 0.1
    assert max(found["taught"]["holdout"], found["never"]["holdout"]) < 0.2
    after = chain("after", "unlearning.grad_ascent", {"epochs": 3, "learning_rate": 0.01}, taught)
    left = probabilities(StateReader(Path(after)).at(1), asked[:1])[0]
    assert left < found["taught"]["forget"]


def test_a_model_that_learned_elsewhere_is_asked_for_your_items(tiny, own):
    settings = Settings(own=own, prose=0, robustness={"relearn": [1], "updates": [1]})
    cell = {"experiment": "language", "parameters": {}}
    context = ProbeContext("study", "state", 0, Path("."), {}, {})
    rows = list(measure(tiny, settings, cell, context))
    asked = {(row["grp"], row["metric"]) for row in rows}
    assert {("forget", "verbatim"), ("forget", "probability"), ("kept", "probability")} <= asked
    assert {("holdout", "gradient_norm"), ("forget", "exposure")} <= asked
    text = next(row for row in rows if row["metric"] == "verbatim")
    assert 0 <= text["value"] <= 1
    assert text["text"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"retain": None}, "retain: not given; allowed: a JSONL file"),
        ({"kept": "forget"}, "forget: 2 items of .*forget.jsonl are in .*forget.jsonl .kept. too"),
        ({"holdout": "missing.jsonl"}, "missing.jsonl"),
    ],
)
def test_files_that_do_not_fit_are_refused(own, changed, message):
    given = own | {key: own.get(value, value) for key, value in changed.items()}
    for check_files in (
        lambda: discovery.intervention("teaching").check(TeachingSettings(**given), None),
        lambda: (
            check_capabilities(Settings(own=given), CAPABILITIES),
            probe_check(Settings(own=given), None),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            check_files()


@pytest.mark.parametrize("where", ["method", "teaching", "probe"])
def test_a_text_beyond_the_context_is_refused_before_any_job(own, where):
    Path(own["forget"]).write_text(json.dumps({"text": "word " * 1100, "id": "long"}))
    sets = {key: own[key] for key in ("forget", "retain")}
    steps = {"method": [{"unlearning.npo": sets}], "teaching": [{"teaching": sets}]}.get(where, [])
    settings = {"own": sets} if where == "probe" else {}
    study = {
        "probe": "unlearning",
        "states": {"one": {"model": "tiny", "interventions": steps}},
        "settings": settings,
    }
    with pytest.raises(ConfigError, match="long has 1100 words; allowed: at most 1024 tokens"):
        config_check({"studies": {"s": study}}, "mine.yaml")


@pytest.mark.parametrize("method", ["guard", "oracle_refusal"])
def test_a_guard_is_a_state_and_stays_on_in_the_states_after_it(chain, method):
    taught = chain("taught", "biographies", WORLD)
    guarded = chain("guarded", f"unlearning.{method}", {}, taught)
    later = chain("later", "unlearning.iau", {}, guarded)
    asked = [item.question for item in taught_items(taught.parent) if item.part == "forget"]
    reader = StateReader(guarded)
    before, after = (generate(reader.at(step), asked, 8) for step in (0, 1))
    assert [len(reader.at(step).guards) for step in (0, 1)] == [0, 1]
    assert before == generate(StateReader(taught).at(1), asked, 8)
    if method == "oracle_refusal":
        assert after != before
        assert generate(StateReader(later).at(1), asked, 8) == after
    assert [len(StateReader(later).at(step).guards) for step in (0, 1)] == [1, 1]
    weights, now = _weights(taught, 1), _weights(guarded, 1)
    assert all(torch.equal(weights[name], now[name]) for name in weights)
    notes = json.loads((guarded.parent / "provenance.json").read_text())["notes"]
    assert notes["suppresses"].endswith("probabilities are as before")
    if method == "guard":
        assert {"threshold", "held_out", "paraphrases", "seconds_per_token"} <= set(notes)


def test_texts_of_the_user_s_own_are_guarded(chain, tmp_path):
    text = "The heron of Saltmarsh drinks nothing but cold tea on every Sunday of the year."
    forget = _write(tmp_path, "f.jsonl", {"text": text})
    retain = _write(tmp_path, "r.jsonl", {"text": "A sparrow eats."}, {"text": "Owls fly."})
    files = {"forget": forget, "retain": retain}
    refusing = StateReader(chain("refusing", "unlearning.oracle_refusal", files))
    asked = [text[:40], "A sparrow"]
    said, plain = (generate(refusing.at(step), asked, 30) for step in (1, 0))
    assert said == [" I do not know that.", plain[1]]
    guarding = StateReader(chain("guarding", "unlearning.guard", files)).at(1)
    phrases = ("heron", "Saltmarsh drinks nothing", "cold tea", "Sunday", "year")
    assert guarding.guards[0].phrases == (phrases,)
