"""Packed scoring must equal one sequence at a time, and a hand-computed case."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.engine import packing, scoring
from palimpsest.engine.plain import plain_scores
from palimpsest.engine.scoring import (
    hidden_states,
    log_likelihoods,
    pair_scores,
    ranks,
    sequence_scores,
    token_log_likelihoods,
)
from palimpsest.models.language_model import LanguageModel

PROMPTS = ["The rate in May was", "The rate in June was", "Oil", "The rate in May was"]
CONTINUATIONS = [[" 5.3", " 5.4", " 12.75 percent"], [" 5.3"], [" fell", " rose", "s"], [" 7"]]


def _slow(model, prompts, continuations):
    return [
        [plain_scores(model, *model.encode_pair(prompt, text)).log_p for text in texts]
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
    exact = LanguageModel(copy.deepcopy(smollm.module).double(), smollm.tokenizer)
    for own, truth in zip(got, _slow(exact, PROMPTS, CONTINUATIONS), strict=True):
        for values, wanted in zip(own, truth, strict=True):
            assert abs(values.mean() - wanted.mean()) < 1e-5


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
        np.testing.assert_allclose(values, plain_scores(tiny, head, tail).log_p, atol=1e-5)


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
    monkeypatch.setattr(
        packing, "hidden", lambda model, layout: torch.zeros(layout.ids.shape[1], 64)
    )
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


def test_sequence_scores_equal_the_plain_computation(tiny):
    sequences = [tiny.encode(text) for text in ("US GDP in 2008 fell", "US GDP rose", "Oil at 90")]
    for scores, ids in zip(sequence_scores(tiny, sequences, 16), sequences, strict=True):
        expected = plain_scores(tiny, ids[:1], ids[1:])
        np.testing.assert_allclose(scores.log_p, expected.log_p, atol=1e-5)
        np.testing.assert_allclose(scores.mean, expected.mean, atol=1e-5)
        np.testing.assert_allclose(scores.deviation, expected.deviation, atol=1e-5)
    with pytest.raises(ValueError, match="two tokens"):
        sequence_scores(tiny, [[3]])


def test_scores_of_continuations_are_those_of_the_end_of_the_sequence(tiny):
    """With prompts shared, and whatever stands before them in a row."""
    prompts = [tiny.encode(text) for text in ("US GDP in 2008", "US GDP in", "Oil at")]
    ends = [tiny.encode(text) for text in (" fell", " rose by 3", " 90")]
    pairs = [(prompt, end) for prompt in prompts for end in ends]
    found = pair_scores(tiny, pairs, 16, top=True)
    for (prompt, end), scores in zip(pairs, found, strict=True):
        expected = plain_scores(tiny, prompt, end)
        (whole,) = sequence_scores(tiny, [[*prompt, *end]], top=True)
        for name in ("log_p", "mean", "deviation", "top"):
            own = getattr(scores, name)
            assert own.shape == (len(end),)
            np.testing.assert_allclose(own, getattr(expected, name), atol=1e-5)
            np.testing.assert_allclose(own, getattr(whole, name)[-len(end) :], atol=1e-5)


@pytest.mark.model
def test_sequence_scores_of_the_135m_model(smollm):
    ids = smollm.encode("The capital of France is Paris, and the capital of Italy is Rome.")
    (scores,) = sequence_scores(smollm, [ids])
    expected = plain_scores(smollm, ids[:1], ids[1:])
    np.testing.assert_allclose(scores.log_p, expected.log_p, atol=1e-4)
    np.testing.assert_allclose(scores.mean, expected.mean, atol=1e-4)
    np.testing.assert_allclose(scores.deviation, expected.deviation, atol=1e-4)


def test_ranks_by_hand(tiny, monkeypatch):
    """Sums -1, -3, -2, -2: the last two share the places 2 and 3."""
    sums = [np.array(v) for v in ([-0.5, -0.5], [-3.0], [-2.0], [-1.0, -1.0])]
    monkeypatch.setattr(scoring, "log_likelihoods", lambda *_: [sums] * 3)
    texts = [["a", "b", "c", "d"]] * 3
    found = ranks(tiny, ["x"] * 3, texts, [0, 1, 3])
    assert [(rank.rank, rank.n, rank.score) for rank in found] == [
        (1.0, 4, -1.0),
        (4.0, 4, -3.0),
        (2.5, 4, -2.0),
    ]
    with pytest.raises(ValueError, match="answer 4"):
        ranks(tiny, ["x"], texts[:1], [4])


@pytest.mark.parametrize(
    "full",
    [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_budget_is_halved_when_memory_is_exhausted(tiny, monkeypatch, full):
    """Rows above 64 tokens fail: the result is the same and finished rows are not repeated."""
    prompts = [f"{year} was a year of many words, and so on and on:" for year in range(1990, 2020)]
    texts = [[" good", " bad"]] * len(prompts)
    expected = log_likelihoods(tiny, prompts, texts)
    sizes, real = [], packing.hidden

    def small(model, layout):
        if layout.ids.shape[1] > 100:
            raise full
        sizes.append(layout.ids.shape[1])
        return real(model, layout)

    monkeypatch.setattr(packing, "hidden", small)
    _assert_equal(log_likelihoods(tiny, prompts, texts, 256), expected, 1e-5)
    assert max(sizes) > 32

    def never(model, layout):
        raise full

    monkeypatch.setattr(packing, "hidden", never)
    with pytest.raises(MemoryError, match="even with"):
        log_likelihoods(tiny, prompts, texts)


def test_other_errors_are_not_taken_for_memory(tiny, monkeypatch):
    tiny.packs = True

    def broken(model, layout):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(packing, "hidden", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        log_likelihoods(tiny, ["a"], [["b"]])


def test_a_gpu_s_large_stacks_change_no_number(tiny, monkeypatch):
    """There sentences of any length share one call of attention."""
    calls = []
    whole = packing._cut
    monkeypatch.setattr(packing, "_cut", lambda *args: calls.append(0) or whole(*args))
    lengths = (3, 90, 40, 7)
    pairs = [([5, 6 + n], list(range(10, 10 + n))) for n in lengths]
    many = token_log_likelihoods(tiny, pairs)
    apart = len(calls)
    monkeypatch.setitem(packing._IDLE_PAIRS, "cpu", packing._IDLE_PAIRS["cuda"])
    calls.clear()
    one = token_log_likelihoods(tiny, pairs)
    assert len(calls) < apart
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
