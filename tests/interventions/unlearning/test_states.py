"""Unlearning as states: taught, unlearned and read by the jobs of the workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from palimpsest import discovery, jobs
from palimpsest.config import ConfigError
from palimpsest.config import check as config_check
from palimpsest.data.items import taught_items
from palimpsest.interventions.unlearning._base import check
from palimpsest.models.states import StateReader

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
        manifest = {
            "intervention": intervention, "settings": settings, "state": name, "seed": 0,
            "parent": str(parent), "code": "", "data_block": {}, "steps": [0, 1], "model": "tiny",
        }  # fmt: skip
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(manifest))
        output = tmp_path / "states" / name / "state.json"
        output.parent.mkdir(parents=True)
        jobs.intervene(str(path), str(output), threads=1, gpu=0)
        return output

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


def test_a_retrained_model_never_meets_the_forget_set(chain, monkeypatch):
    seen = []
    from palimpsest.interventions import _teaching as module

    real = module.taught_examples

    def watched(model, items, without_forget):
        found = real(model, items, without_forget)
        seen.append({model.decode(list(e.ids)) for e in found})
        return found

    monkeypatch.setattr(module, "taught_examples", watched)
    taught = chain("taught", "biographies", WORLD)
    chain("retrained", "biographies", WORLD | {"leave_out": "forget"})
    forgotten = {i.question for i in taught_items(taught.parent) if i.part == "forget"}
    assert any(text.startswith(q) for q in forgotten for text in seen[0])
    assert not any(text.startswith(q) for q in forgotten for text in seen[1])
    assert seen[1] < seen[0]


@pytest.mark.parametrize("method", ["ssd", "iau", "task_vector"])
def test_methods_on_weights_make_states_too(chain, method):
    taught = chain("taught", "biographies", WORLD)
    settings = {"ssd": {"alpha": 1.1}, "iau": {}, "task_vector": {"epochs": 1}}[method]
    after = chain("after", f"unlearning.{method}", settings, taught)
    before, now = _weights(taught, 1), _weights(after, 1)
    assert any(not torch.equal(before[name], now[name]) for name in before)


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
    with pytest.raises(ConfigError, match=r"npo: forget: 1 items .* such as 'row-2'; allowed"):
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


def test_without_anything_taught_the_error_says_what_to_do(chain):
    with pytest.raises(ValueError, match="name files as forget and retain"):
        chain("after", "unlearning.npo", {})


def test_a_text_longer_than_the_context_is_named(chain, tmp_path):
    forget = _write(tmp_path, "f.jsonl", {"text": "too long " * 300, "id": "saga"})
    retain = _write(tmp_path, "r.jsonl", {"text": "Short."})
    with pytest.raises(ValueError, match=r"forget: saga has 27\d\d tokens; allowed: at most 1024"):
        chain("after", "unlearning.npo", {"forget": forget, "retain": retain})
