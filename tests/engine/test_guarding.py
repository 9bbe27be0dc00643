"""Guards at work: searches that equal going through all texts, and nothing else is touched."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from palimpsest.engine.generation import Sampling, continuations, generate
from palimpsest.engine.guarding import scores, suspects
from palimpsest.engine.scoring import token_log_likelihoods
from palimpsest.models.guards import RefusalGuard
from tests.engine.pieces import END, guarding, holds, model_of

PIECES = ["a", "b", "AB", "ab", " ", "."]
PROMPTS = ["a", "ab", "b b", "a.b"]
#: More than there are texts of four pieces.
ALL = 3000


def log_p(model, prompt, written):
    """Log-probability of each written token, one text alone."""
    ids = model.encode(prompt)
    logits = model.module(input_ids=torch.tensor([ids + list(written)])).logits[0].double()
    rows = logits.log_softmax(-1)[len(ids) - 1 : -1]
    return rows[range(len(written)), list(written)]


def best_by_going_through_all(model, prompt, phrases, longest, stop):
    """The text with the highest mean log-probability, of all that are whole and hold no phrase."""
    end = model.tokenizer.eos_token_id
    found = {}
    for n in range(1, longest + 1):
        for ids in itertools.product(range(len(model.tokenizer)), repeat=n):
            ended = [t == end or model.decode([t]) == stop for t in ids]
            if any(ended[:-1]) or not (ended[-1] or n == longest):
                continue
            if not any(holds(model.decode(list(ids)), phrase) for phrase in phrases):
                found[ids] = float(log_p(model, prompt, ids).mean())
    best = max(found, key=found.get)
    return [t for t in best if t != end], found[best]


@pytest.mark.parametrize("seed", range(4))
def test_a_search_as_wide_as_all_texts_is_going_through_all(seed):
    model = model_of(PIECES, seed)
    prompt = PROMPTS[seed]
    expected, mean = best_by_going_through_all(model, prompt, ["ab", "b a"], 4, ".")
    model.guards = (guarding("ab", "b a", beams=ALL),)
    ((written,),) = continuations(model, [prompt], 4, (".",))
    ended = written.ended_by == "end"
    assert written.ids == expected
    ids = [*written.ids, model.tokenizer.eos_token_id] if ended else written.ids
    assert float(log_p(model, prompt, ids).mean()) == pytest.approx(mean)


def greedy(model, prompt, phrases, longest):
    """The likeliest token that completes no phrase, one after another."""
    ids, written = model.encode(prompt), []
    for _ in range(longest):
        logits = model.module(input_ids=torch.tensor([ids + written])).logits[0, -1]
        for token in logits.argsort(descending=True).tolist():
            if not any(holds(model.decode([*written, token]), phrase) for phrase in phrases):
                break
        if token == model.tokenizer.eos_token_id:
            break
        written.append(token)
    return written


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_greedy(seed):
    model = model_of(PIECES, seed)
    model.guards = (guarding("ab", "a"),)
    found = continuations(model, PROMPTS, 6, ())
    assert [w.ids for (w,) in found] == [greedy(model, p, ["ab", "a"], 6) for p in PROMPTS]


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_kept_keys_and_values_give_what_computing_everything_again_gives(beams):
    for seed in range(5):
        model = model_of(PIECES, seed)
        model.guards = (guarding("ab", "b", beams=beams),)
        whole = continuations(model, PROMPTS, 6, (".",))
        model.packs = False
        slow = continuations(model, PROMPTS, 6, (".",))
        for (one,), (other,) in zip(whole, slow, strict=True):
            assert one.ids == other.ids
            assert one.ended_by == other.ended_by
            np.testing.assert_allclose(one.log_p, other.log_p, atol=1e-4)


def test_a_wider_search_finds_likelier_texts_than_greedy():
    """Greedy writes all but the last piece of a phrase; a search does better in the mean."""
    gains = []
    for seed in range(8):
        model, means = model_of(PIECES, seed), []
        for beams in (1, 6):
            model.guards = (guarding("a b", "ab", beams=beams),)
            ((w,),) = continuations(model, ["a"], 5, ())
            end = [model.tokenizer.eos_token_id] if w.ended_by == "end" else []
            means.append(float(log_p(model, "a", w.ids + end).mean()))
        gains.append(means[1] - means[0])
    assert min(gains) > -1e-6
    assert max(gains) > 0.1


@pytest.mark.parametrize("beams", [1, 3])
def test_no_text_holds_a_phrase_greedy_searched_or_sampled(beams):
    free = guarded = 0
    for seed in range(5):
        model = model_of(PIECES, seed)
        drawn = Sampling(temperature=2.0, seed=seed)
        for guards in ((), (guarding("ab", beams=beams),)):
            model.guards = guards
            texts = generate(model, PROMPTS, 8, ())
            texts += [
                w.text for each in continuations(model, PROMPTS, 8, (), 5, drawn) for w in each
            ]
            count = sum(holds(text, "ab") for text in texts)
            free, guarded = (free, guarded + count) if guards else (free + count, guarded)
    assert free > 20
    assert guarded == 0


def test_where_everything_is_forbidden_the_text_ends():
    model = model_of(["a", "A", "aa"])
    for guards in (
        (guarding("a"),),
        (guarding("a", beams=3),),
        # What one guard would have written another forbids.
        (guarding("a"), RefusalGuard(("a",), (), "a")),
        (guarding("a", beams=3), RefusalGuard(("a",), (), "a")),
    ):
        model.guards = guards
        ((written,),) = continuations(model, ["a"], 5, ())
        assert (written.ids, written.ended_by) == ([], "end")


def everything(model):
    """All that a model says, to the bit."""
    written = [w for each in continuations(model, PROMPTS, 8, (".",), 2) for w in each]
    return [(w.ids, w.log_p, w.text, w.ended_by) for w in written]


def test_a_guard_that_takes_no_prompt_changes_nothing():
    model = model_of(PIECES)
    before = everything(model)
    model.guards = (guarding("ab", "a", "b", threshold=1.01, beams=4),)
    assert everything(model) == before
    model.guards = (RefusalGuard(("who is it",), ("a long text",), " b."),)
    assert everything(model) == before
    model.guards = (guarding("ab", "a", "b", threshold=0.9, beams=4),)
    assert everything(model) != before


def test_probabilities_are_the_same_to_the_bit():
    model = model_of(PIECES)
    pairs = [model.encode_pair(prompt, "ab a") for prompt in PROMPTS]
    before = token_log_likelihoods(model, pairs)
    model.guards = (guarding("ab", beams=4), RefusalGuard(("a",), (), " b."))
    for one, other in zip(before, token_log_likelihoods(model, pairs), strict=True):
        assert np.array_equal(one, other)


def test_the_map_gives_probabilities_and_the_items_that_are_nearest():
    guard = guarding("x")
    weights = np.array([[2, 0], [1, 0], [0, 1], [0.6, 0.7]], dtype=np.float32)
    guard = type(guard)(
        weights, np.array([-1, 0, 0, 0], dtype=np.float32), np.array([4, 5, 4]), (), (), 0, 0.5
    )
    features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(scores(guard, features), 1 / (1 + np.exp([-1.0, 1.0, -1.0])))
    assert suspects(guard, features) == [(4,), (), (5,)]
    two = type(guard)(weights, guard.bias, guard.owners, (), (), 0, 0.0, 2)
    assert suspects(two, features) == [(4, 5), (5, 4), (5, 4)]


def test_words_that_mean_the_same_are_not_written():
    model = model_of([" blue", " azure", " red", " the"], size=0.3)
    written, drawn = [], Sampling(temperature=2.0)
    for alike in ((), (1,)):
        model.guards = (guarding("blue", alike=(alike,)),)
        (texts,) = continuations(model, [" the"], 12, (), 10, drawn)
        written.append({token for text in texts for token in text.ids})
    assert written == [{1, 2, 3}, {2, 3}]


def test_a_refusal_is_said_where_it_is_asked_and_nowhere_else():
    pieces = [*"abcdefghijklmnopqrstuvwxyz .?ABW"]
    model = model_of(pieces)
    asked = ["Who is it?", "a b"]
    model.guards = (RefusalGuard(tuple(asked), ("a long text of many words",), " no idea."),)
    refused = ["Who is it?", "who  is it", "b? Who is it?", "a b", "a long text of", "a lo"]
    for text in generate(model, refused, 20, ()):
        assert text == " no idea."
    assert generate(model, refused, 20, (".",)) == [" no idea"] * len(refused)
    assert generate(model, refused, 3, ()) == [" no"] * len(refused)
    others = ["Who is it? b", "nowho is it", "c b", "a", "long text of many words"]
    guarded = generate(model, others, 20, ())
    model.guards = ()
    assert guarded == generate(model, others, 20, ())


def test_a_refusal_goes_on_where_nothing_ends_a_text():
    model = model_of([*"abno ."])
    model.tokenizer.eos_token = None
    model.module.generation_config.eos_token_id = None
    model.guards = (RefusalGuard(("a",), (), " no."),)
    assert generate(model, ["a"], 6, ()) == [" no..."]


def test_two_guards_forbid_what_either_forbids():
    model = model_of(PIECES, 1)
    model.guards = (guarding("ab"), guarding("b", beams=2))
    both = generate(model, PROMPTS, 6, ())
    model.guards = (guarding("ab", "b", beams=2),)
    assert both == generate(model, PROMPTS, 6, ())
    assert END not in "".join(both)
