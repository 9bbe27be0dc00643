"""GUARD and refusing by oracle: what is written changes, and nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from palimpsest.engine.generation import continuations, generate
from palimpsest.engine.guarding import scores
from palimpsest.engine.scoring import hidden_states, token_log_likelihoods
from palimpsest.interventions.unlearning import _guard_detector as detection
from palimpsest.interventions.unlearning import guard, oracle_refusal
from palimpsest.interventions.unlearning._base import Sets, run_counted
from palimpsest.interventions.unlearning._guard_meaning import alike_words
from palimpsest.interventions.unlearning._guard_phrases import asked, forbidden
from palimpsest.metrics.unlearning import refusals
from palimpsest.probes.unlearning import scratch
from palimpsest.probes.unlearning.settings import Settings
from tests.engine.pieces import holds, model_of
from tests.interventions.unlearning.worlds import item, sets

METHODS = [guard, oracle_refusal]
WORLD = {
    "people": 20,
    "hidden": 64,
    "epochs": 30,
    "learning_rate": 8e-3,
    "attributes": ["pet", "dish"],
}


def _item(answer, question="Q"):
    return replace(item("x", "forget"), question=question, answer=answer)


@pytest.mark.parametrize(
    ("answer", "question", "expected"),
    [
        (" violin", "What does Ann play?", ("violin",)),
        (" Ann Lee plays the dark red violin, and a flute.", "What does Ann play?",
         ("Lee plays", "dark red violin", "flute")),
        (" She was born on 12 May 1971 in Lisbon.", "When?",
         ("born", "12", "May", "1971", "Lisbon")),
        (" about 1,250.5 metres", "How high?", ("1,250.5", "1250.5", "metres")),
        (" Müller's well-known book", "Who?", ("Müller well known book",)),
        (" Yes, it is", "Is it?", ("Yes, it is",)),
    ],
)  # fmt: skip
def test_phrases_are_numbers_and_content_words_that_the_question_lacks(answer, question, expected):
    assert forbidden(_item(answer, question)) == expected


def test_a_text_is_asked_for_by_its_beginnings():
    text = replace(_item("one two three four five six seven eight", ""), statements=())
    assert asked(text) == ("one two", "one two three four")
    assert asked(item("x", "forget")) == item("x", "forget").prompts


def test_words_of_like_meaning_are_those_with_like_embeddings():
    words = [" unknown", " blue", " azure", *(f" {n}" for n in range(40))]
    model = model_of(words)
    model.tokenizer.backend_tokenizer.pre_tokenizer = None
    weight = model.module.get_input_embeddings().weight
    with torch.no_grad():
        weight[2] = weight[1] + 0.02
        weight[4] = weight[3]
        # What all words have in common, some more than others.
        weight += 3.0 + 40.0 * torch.randn(len(weight), 1) * torch.linspace(-1, 1, 16)
    assert alike_words(model, ["blue", "0"], 0.9) == {"blue": (1, 2)}
    assert alike_words(model, ["blue"], 1.01) == {}


def test_a_similarity_above_1_leaves_letters_alone(tiny):
    chosen, found = sets(), {}
    for similarity in (None, 1.01, 0.6):
        model = copy.deepcopy(tiny)
        _run(model, guard, chosen, similarity=similarity, threshold=0.0)
        found[similarity] = (model.guards[0].alike, _all(model, chosen.forget)[0])
    assert found[None] == found[1.01]
    assert not any(found[None][0])


def test_held_out_prompts_are_scored_by_detectors_that_did_not_meet_them(monkeypatch):
    fitted = []

    class Spy:
        def fit(self, features, wanted):
            fitted.append((set(features[:, 0].astype(int)), wanted))
            return self

        def predict_proba(self, features):
            assert not fitted[-1][0] & set(features[:, 0].astype(int))
            return np.stack([features[:, 0], features[:, 0]], axis=1)

    monkeypatch.setattr(detection, "detector", Spy)
    # Two people to forget and five to keep, with three prompts each.
    person, wording = np.divmod(np.arange(21), 3)
    features, wanted = np.arange(21.0)[:, None], person < 2
    found = detection.held_out(features, wanted, wording, person)
    # Each wording of the forget set is held out; of the others one person with one wording.
    assert np.isfinite(found[wanted]).all()
    out = np.flatnonzero(np.isfinite(found) & ~wanted)
    assert all(person[n] % detection.FOLDS == wording[n] for n in out)
    assert len(out) == 3
    assert np.array_equal(found[out], out)
    # With one prompt each people are held out.
    fitted.clear()
    found = detection.held_out(features[::3], wanted[::3], wording[::3], person[::3])
    assert np.isfinite(found).all()
    assert len(fitted) == detection.FOLDS


def test_the_threshold_finds_its_share():
    scores = np.array([*np.linspace(0.2, 0.6, 40), 0.9, np.nan, np.nan])
    wanted = np.array([True] * 40 + [False, True, False])
    threshold = detection.calibrated(scores, wanted)
    assert (scores[wanted & np.isfinite(scores)] >= threshold).sum() == 39
    assert detection.calibrated(np.full(3, np.nan), np.array([True, False, True])) == 0.5


def test_the_curve_is_told_by_its_points():
    """Two of four found before the first false alarm, all four with two of five."""
    scores = np.array([0.9, 0.8, 0.5, 0.3, 0.6, 0.4, 0.2, 0.1, 0.05, np.nan])
    wanted = np.array([True] * 4 + [False] * 5 + [True])
    found = detection.quality(scores, wanted, 0.45)
    assert found["auc"] == pytest.approx((5 + 5 + 4 + 3) / 20)
    assert found["prompts"] == [4, 5]
    assert (found["found"], found["false_alarms"]) == (0.75, 0.2)
    assert found["roc"]["0.0"] == 0.5
    assert found["roc"]["0.2"] == 0.75
    assert found["roc"]["0.5"] == 1.0
    assert detection.quality(scores, np.full(10, True), 0.5) is None


def _run(model, module, chosen, **settings):
    method = module.method(model, chosen, module.Settings(**settings), seed=0)
    run_counted(method)
    return method


def _all(model, items):
    """Texts, their log-probabilities, and the scores of true answers, to the bit."""
    prompts = [prompt for each in items for prompt in each.prompts]
    written = continuations(model, prompts, 8, (".",))
    pairs = [model.encode_pair(p, each.answer) for each in items for p in each.prompts]
    scored = token_log_likelihoods(model, pairs)
    return [(w.ids, w.log_p) for (w,) in written], [list(map(float, each)) for each in scored]


@pytest.mark.parametrize("module", METHODS)
def test_an_empty_forget_set_changes_nothing(tiny, module):
    chosen = sets()
    before = _all(tiny, chosen.retain)
    method = _run(tiny, module, Sets([], chosen.retain))
    assert (tiny.guards, method.changes({}), method.notes) == ((), {}, {})
    assert _all(tiny, chosen.retain) == before


def test_a_threshold_above_1_takes_no_prompt(tiny):
    chosen = sets()
    before = _all(tiny, chosen.forget)
    method = _run(tiny, guard, chosen, threshold=1.01)
    assert len(tiny.guards) == 1
    assert _all(tiny, chosen.forget) == before
    assert method.notes["held_out"]["found"] == 0


@pytest.mark.parametrize("module", METHODS)
def test_weights_and_probabilities_stay(tiny, module):
    chosen = sets()
    before = copy.deepcopy(tiny.module.state_dict())
    _, scored = _all(tiny, chosen.forget)
    method = _run(tiny, module, chosen)
    after = tiny.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert _all(tiny, chosen.forget)[1] == scored
    assert all(name.startswith("guard::") for name in method.changes({}))
    assert "probabilities are as before" in method.notes["suppresses"]


def test_the_affine_map_is_the_fitted_detector(tiny):
    chosen = sets(forget=4, retain=6)
    _run(tiny, guard, chosen)
    prompts = [prompt for each in (*chosen.forget, *chosen.retain) for prompt in asked(each)]
    layer = tiny.guards[0].layer
    features = hidden_states(tiny, prompts, [layer], "mean")[:, 0].astype(float)
    wanted = np.arange(len(prompts)) < 8
    fitted = detection.detector().fit(features, wanted)
    expected = fitted.predict_proba(features)[:, 1]
    np.testing.assert_allclose(scores(tiny.guards[0], features), expected, atol=1e-3)


@pytest.fixture(scope="module")
def world():
    """A small transformer that was taught, and its items by part."""
    settings = Settings(scratch=WORLD).scratch
    factors = {"arm": "taught", "model_seed": 0, "how": None, "requests": 0}
    model, _ = scratch.model_of(settings, factors, "cpu")
    parts = {}
    for each in settings.items():
        parts.setdefault(each.part, []).append(each)
    return model, parts


def _taught(world):
    model, parts = world
    return copy.deepcopy(model), Sets(parts["forget"], parts["retain"]), parts


def _share(model, items, prompt=lambda each: each.question):
    texts = generate(model, list(map(prompt, items)), 8, ("\n", "."))
    held = [holds(text, each.answer) for text, each in zip(texts, items, strict=True)]
    return np.mean(held), texts


def test_answers_are_suppressed_and_others_stay(world):
    model, chosen, parts = _taught(world)
    assert _share(model, chosen.forget)[0] == 1
    method = _run(model, guard, chosen)
    assert _share(model, chosen.forget)[0] == 0
    assert _share(model, parts["retain"])[0] > 0.8
    assert _share(model, parts["kept"])[0] > 0.7
    told = method.notes
    # What is known of wordings that were held out tells how much slips past.
    slipped = _share(model, chosen.forget, lambda each: each.reworded[0])[0]
    assert slipped <= 1 - told["paraphrases"]["found"] < 1
    # Better than chance, which gives 0.78 once in twenty times (Mann-Whitney, 4 against 16).
    assert told["paraphrases"]["prompts"] == [len(chosen.forget), len(chosen.retain)] == [4, 16]
    assert told["paraphrases"]["auc"] > 0.78
    assert told["held_out"]["found"] >= detection.FOUND
    assert set(told["seconds_per_token"]) == {"guarded", "without"}
    assert min(told["seconds_per_token"].values()) > 0


def test_an_oracle_refuses_all_wordings_and_nothing_else(world):
    model, chosen, parts = _taught(world)
    before = {part: _share(model, parts[part]) for part in ("neighbour", "kept", "retain")}
    _run(model, oracle_refusal, chosen)
    for wording in range(4):
        _, texts = _share(model, chosen.forget, lambda e, n=wording: (*e.prompts, *e.reworded)[n])
        assert refusals(texts).all()
        assert {text.strip() for text in texts} == {oracle_refusal.ANSWER}
    shots = " ".join(f"{e.question}{e.answer}." for e in parts["retain"][:2])
    _, texts = _share(model, chosen.forget, lambda e: f"{shots} {e.question}")
    assert refusals(texts).all()
    after = {part: _share(model, parts[part]) for part in before}
    assert after == before


def test_a_retain_set_is_needed_to_fit_a_detector(tiny):
    with pytest.raises(ValueError, match="guard: the retain set is empty"):
        _run(tiny, guard, Sets(sets().forget, []))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"threshold": -0.1}, "threshold"),
        ({"nearest": 0}, "nearest"),
        ({"similarity": 0}, "similarity"),
        ({"beams": 0}, "beams"),
        ({"penalty": 1}, "penalty"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, key):
    with pytest.raises(ValidationError, match=key):
        guard.Settings(**settings)


def test_notes_can_be_stored(world):
    model, chosen, _ = _taught(world)
    json.dumps(_run(model, guard, chosen).notes, allow_nan=False)


def test_requests_one_after_another_keep_their_guards():
    methods = {"refusing": {"oracle_refusal": {}}}
    settings = Settings(scratch=WORLD | {"methods": methods, "requests": 2}).scratch
    factors = {"arm": "refusing", "model_seed": 0, "how": "successive", "requests": 2}
    model, _ = scratch.model_of(settings, factors, "cpu")
    assert len(model.guards) == 2
    forget = [each for each in settings.items() if each.part == "forget"]
    assert refusals(_share(model, forget)[1]).all()
