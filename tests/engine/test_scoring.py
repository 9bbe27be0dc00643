"""Packed scoring must equal one sequence at a time, and a hand-computed case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.engine import scoring
from palimpsest.engine.scoring import hidden_states, log_likelihoods, token_log_likelihoods

PROMPTS = ["The rate in May was", "The rate in June was", "Oil", "The rate in May was"]
CONTINUATIONS = [[" 5.3", " 5.4", " 12.75 percent"], [" 5.3"], [" fell", " rose", "s"], [" 7"]]


def _slow(model, prompts, continuations):
    return [
        [scoring._plain(model, *model.encode_pair(prompt, text)) for text in texts]
        for prompt, texts in zip(prompts, continuations, strict=True)
    ]


def _assert_equal(got, expected, tolerance):
    for row_got, row_expected in zip(got, expected, strict=True):
        for a, b in zip(row_got, row_expected, strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("budget", [8, 40, 4096])
def test_equals_unbatched_on_the_tiny_model(tiny, budget):
    got = log_likelihoods(tiny, PROMPTS, CONTINUATIONS, token_budget=budget)
    assert tiny.packs is True
    _assert_equal(got, _slow(tiny, PROMPTS, CONTINUATIONS), 1e-5)


@pytest.mark.model
def test_equals_unbatched_on_the_135m_model(smollm):
    got = log_likelihoods(smollm, PROMPTS, CONTINUATIONS)
    assert smollm.packs is True
    _assert_equal(got, _slow(smollm, PROMPTS, CONTINUATIONS), 1e-4)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_set_of_sequences(tiny, data):
    ids = st.lists(st.integers(0, 6), min_size=1, max_size=7)
    pairs = data.draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=12))
    budget = data.draw(st.integers(4, 40))
    got = token_log_likelihoods(tiny, pairs, budget)
    for values, (head, tail) in zip(got, pairs, strict=True):
        np.testing.assert_allclose(values, scoring._plain(tiny, head, tail), atol=1e-5)


def test_hand_computed_uniform_model(tiny):
    """With all weights zero every token has probability 1 / vocabulary."""
    with torch.no_grad():
        for weight in tiny.module.parameters():
            weight.zero_()
    (values,) = log_likelihoods(tiny, ["abc"], [["de"]])[0]
    np.testing.assert_allclose(values, -np.log(tiny.module.config.vocab_size), rtol=1e-6)


def test_shared_tokens_are_computed_once(tiny):
    prompt = "A long prompt that a hundred candidates share:"
    candidates = [f" {i / 10:.1f}" for i in range(100, 200)]
    tiny.packs = True
    tiny.tokens = 0
    log_likelihoods(tiny, [prompt], [candidates], token_budget=4096)
    unshared = len(candidates) * len(tiny.encode(prompt + candidates[0]))
    assert tiny.tokens < unshared / 50


def test_falls_back_where_packing_is_not_exact(tiny, monkeypatch):
    expected = _slow(tiny, PROMPTS, CONTINUATIONS)
    monkeypatch.setattr(scoring, "_forward", lambda model, row: torch.zeros(len(row.tokens), 64))
    got = log_likelihoods(tiny, PROMPTS, CONTINUATIONS)
    assert tiny.packs is False
    _assert_equal(got, expected, 1e-6)


def test_refuses_continuations_without_tokens(tiny):
    with pytest.raises(ValueError, match="no token"):
        log_likelihoods(tiny, ["a"], [[""]])
    with pytest.raises(ValueError, match="zip"):
        log_likelihoods(tiny, ["a", "b"], [["c"]])


def test_empty_prompt_begins_a_document(tiny):
    head, tail = tiny.encode_pair("", "ab")
    assert head == [tiny.tokenizer.bos_token_id]
    assert tiny.decode(tail) == "ab"


def test_space_at_the_end_of_a_prompt_belongs_to_the_continuation(tiny):
    assert tiny.encode_pair("a ", "b") == tiny.encode_pair("a", " b")


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_hidden_states_equal_the_library_s(tiny, pooling):
    texts = ["US GDP in 2008", "US GDP in 2009", "x"]
    got = hidden_states(tiny, texts, [0, -1], pooling)
    assert got.shape == (3, 2, 64)
    for index, text in enumerate(texts):
        ids = torch.tensor([tiny.encode(text)])
        with torch.inference_mode():
            every = tiny.module(input_ids=ids, output_hidden_states=True).hidden_states
            last = tiny.module.model.layers[-1]
            kept = {}
            handle = last.register_forward_hook(lambda m, i, o, kept=kept: kept.update(out=o))
            tiny.module(input_ids=ids)
            handle.remove()
        final = kept["out"][0] if isinstance(kept["out"], tuple) else kept["out"]
        for position, states in enumerate((every[1][0], final.reshape(-1, 64))):
            pooled = states[-1] if pooling == "last" else states.mean(0)
            np.testing.assert_allclose(got[index, position], pooled.numpy(), atol=1e-5)


def test_budget_is_halved_when_memory_is_exhausted():
    seen = []

    def run(budget):
        seen.append(budget)
        if budget > 100:
            raise torch.OutOfMemoryError("full")
        return [budget]

    assert scoring.with_retry_on_memory(run, 512) == [64]
    assert seen == [512, 256, 128, 64]
    with pytest.raises(RuntimeError, match="out of memory"):
        scoring.with_retry_on_memory(lambda b: run(1000), 512)
