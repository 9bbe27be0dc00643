"""Texts: equal to computing everything again for every token, whatever stands beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from palimpsest.engine import generation, packing
from palimpsest.engine.generation import Sampling, continuations, cut, generate
from palimpsest.engine.plain import packs
from palimpsest.engine.sampling import drawn
from palimpsest.engine.scoring import log_likelihoods

PROMPTS = [
    "a",
    "The unemployment rate in 2009 was",
    "GDP",
    "The unemployment rate in 2010 was",
    "xyz xyz",
    "GDP",
]
DRAWN = Sampling(temperature=1.0, seed=3)


def _argmax(model, prompt, steps):
    ids = model.encode(prompt)
    start = len(ids)
    with torch.inference_mode():
        for _ in range(steps):
            token = int(model.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == model.tokenizer.eos_token_id:
                break
            ids.append(token)
    return model.decode(ids[start:])


def test_equals_step_by_step_argmax(tiny):
    got = generate(tiny, PROMPTS, 12, stop=())
    assert got == [_argmax(tiny, prompt, 12) for prompt in PROMPTS]
    assert packs(tiny)


@pytest.mark.model
def test_equals_the_library_s_greedy_text(smollm):
    """The 135M model, prompts with a common header: what transformers writes one by one."""
    header = "Question: What is the capital of Italy? Answer: Rome.\n"
    prompts = [
        f"{header}Question: What is {what}? Answer:"
        for what in ("the capital of France", "two plus two", "the colour of snow")
    ]
    got = generate(smollm, [*prompts, "The capital of France is"], 10)
    for prompt, text in zip(prompts, got, strict=False):
        ids = torch.tensor([smollm.encode(prompt)])
        with torch.inference_mode():
            whole = smollm.module.generate(ids, max_new_tokens=10, do_sample=False)
        assert text == cut(smollm.decode(whole[0, ids.shape[1] :].tolist()), ("\n",))
    assert "Paris" in got[0]
    assert "Paris" in got[3]


@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "sampled"])
def test_batches_order_and_neighbours_do_not_matter(tiny, sampling):
    whole = continuations(tiny, PROMPTS, 9, (), 3, sampling)
    for size in (1, 2, 5):
        other = continuations(tiny, PROMPTS, 9, (), 3, sampling, batch_size=size)
        for a, b in zip(whole, other, strict=True):
            assert [s.ids for s in a] == [s.ids for s in b]
            np.testing.assert_allclose(
                np.concatenate([s.log_p for s in a]),
                np.concatenate([s.log_p for s in b]),
                atol=1e-5,
            )
    turned = continuations(tiny, PROMPTS[:5][::-1], 9, (), 3, sampling)
    assert [[s.ids for s in t] for t in turned[::-1]] == [[s.ids for s in t] for t in whole[:5]]


def test_the_same_prompt_again_is_another_draw(tiny):
    """Samples of one prompt differ, as do two mentions of it; another seed is another text."""
    first, again = continuations(tiny, ["GDP", "GDP"], 12, (), 2, DRAWN)
    texts = {tuple(s.ids) for s in (*first, *again)}
    assert len(texts) == 4
    (other,) = continuations(tiny, ["GDP"], 12, (), 2, Sampling(1.0, seed=4))
    assert other[0].ids != first[0].ids


def test_log_probabilities_are_those_of_scoring(tiny):
    for sampling in (None, Sampling(temperature=2.0)):
        for prompt, (written,) in zip(
            PROMPTS, continuations(tiny, PROMPTS, 6, (), 1, sampling), strict=True
        ):
            ids = tiny.encode(prompt)
            with torch.inference_mode():
                logits = tiny.module(input_ids=torch.tensor([ids + written.ids])).logits[0]
            log_p = torch.log_softmax(logits, -1)[len(ids) - 1 : -1]
            expected = log_p.gather(-1, torch.tensor(written.ids)[:, None])[:, 0]
            np.testing.assert_allclose(written.log_p, expected, atol=1e-4)


def test_sequences_that_end_early_leave_the_others_alone(tiny):
    """One is ended by a stop string, one by the end of the text, the rest by their length."""
    whole = continuations(tiny, PROMPTS, 12, ())
    mark = tiny.decode(whole[1][0].ids[:3])[-1:]
    end = whole[2][0].ids[5]
    tiny.module.generation_config.eos_token_id = [end, 0]
    found = continuations(tiny, PROMPTS, 12, (mark,))
    for (before,), (after,) in zip(whole, found, strict=True):
        n = len(after.ids)
        assert after.ids == before.ids[:n]
        assert after.text == cut(tiny.decode(after.ids), (mark,))
        if after.ended_by == "end":
            assert before.ids[n] == end
        elif after.ended_by == "stop":
            assert mark in tiny.decode(after.ids)
            assert mark not in after.text
        else:
            assert n == 12
    assert {w.ended_by for (w,) in found} >= {"stop", "end"}


def test_nothing_to_write(tiny):
    assert continuations(tiny, [], 3) == []
    assert generate(tiny, ["abc"], 0) == [""]


def test_a_stop_string_may_span_tokens(tiny):
    (text,) = generate(tiny, ["abc"], 8, stop=())
    mark = text[2:5]
    assert generate(tiny, ["abc"], 8, stop=(mark,)) == [text[: text.index(mark)]]


def test_a_processor_decides(tiny):
    """Only one token is left to choose; prompts and the tokens so far are as they should be."""
    seen = []

    def only_seven(prompts, written, logits):
        seen.append((list(prompts), [len(w) for w in written]))
        allowed = torch.full_like(logits, -torch.inf)
        allowed[:, 7] = 0
        return allowed

    found = continuations(tiny, PROMPTS[:2], 3, (), logits_processor=only_seven)
    assert all(w.ids == [7, 7, 7] and w.log_p == [0, 0, 0] for (w,) in found)
    assert [sorted(prompts) for prompts, _ in seen] == [[0, 1]] * 3
    assert [lengths for _, lengths in seen] == [[0, 0], [1, 1], [2, 2]]


def test_draws_have_the_model_s_distribution(tiny):
    """4,000 first tokens against the probabilities, words that are rare taken together."""
    found = continuations(tiny, ["The rate"], 1, (), 4000, Sampling(1.0, seed=1))
    first = [s.ids[0] if s.ids else tiny.tokenizer.eos_token_id for s in found[0]]
    with torch.inference_mode():
        logits = tiny.module(input_ids=torch.tensor([tiny.encode("The rate")])).logits[0, -1]
    expected = 4000 * torch.softmax(logits.double(), -1).numpy()
    counts = np.bincount(first, minlength=len(expected))
    order = np.argsort(expected)
    groups = np.add.reduceat(counts[order], np.arange(0, len(order), 8))
    wanted = np.add.reduceat(expected[order], np.arange(0, len(order), 8))
    assert chisquare(groups, wanted).pvalue > 0.01


def test_limits_of_sampling(tiny):
    greedy = continuations(tiny, PROMPTS, 6, ())
    for sampling in (Sampling(1.0, top_k=1), Sampling(1.0, top_p=1e-9), Sampling(1e-6)):
        found = continuations(tiny, PROMPTS, 6, (), 1, sampling)
        assert [w.ids for (w,) in found] == [w.ids for (w,) in greedy]
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": -1}):
        with pytest.raises(ValueError, match="must not be negative"):
            Sampling(**wrong)


def test_drawn_by_hand():
    """Shares .5, .3, .2: top_p = .6 keeps the first two, as 5 to 3; top_k = 2 the same."""
    log_p = np.log([0.2, 0.5, 0.3])
    for sampling in (Sampling(1.0, top_p=0.6), Sampling(1.0, top_k=2)):
        draw = np.random.default_rng(0)
        counts = np.bincount([drawn(log_p, sampling, draw) for _ in range(4000)], minlength=3)
        assert counts[0] == 0
        assert chisquare(counts[1:], [2500, 1500]).pvalue > 0.01
    draw = np.random.default_rng(0)
    warm = [drawn(log_p, Sampling(0.5), draw) for _ in range(4000)]
    shares = np.array([0.04, 0.25, 0.09]) / 0.38
    assert chisquare(np.bincount(warm), 4000 * shares).pvalue > 0.01


@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "sampled"])
def test_equals_the_plain_computation_where_rows_cannot_be_packed(tiny, sampling):
    expected = continuations(tiny, PROMPTS, 6, (), 2, sampling)
    tiny.packs = False
    plain = continuations(tiny, PROMPTS, 6, (), 2, sampling)
    for a, b in zip(expected, plain, strict=True):
        assert [s.ids for s in a] == [s.ids for s in b]


def test_a_sliding_window_is_kept():
    """Mistral sees seven tokens back; what it writes is what the whole model would."""
    from tests.engine.test_packing import GROUPED, _model

    model = _model("Mistral", **GROUPED, sliding_window=7, head_dim=8)
    model.packs = True
    ids = list(range(5, 25))
    cache_batch = [generation.Draft(0, ids, None), generation.Draft(1, ids[:4], None)]
    model.tokenizer = type("Nothing", (), {"eos_token_id": None, "decode": lambda *a, **k: ""})()
    writer = generation.Writer(model, 8, (), Sampling(), None)
    writer.write(cache_batch)
    for sequence in cache_batch:
        twin = generation.Draft(0, sequence.ids, None)
        with torch.inference_mode():
            writer._plainly(twin)
        assert sequence.written.ids == twin.written.ids


def test_less_memory_means_smaller_batches(tiny, monkeypatch):
    expected = continuations(tiny, PROMPTS, 6, (), 2, DRAWN)
    real, sizes = packing.hidden, []

    def small(model, layout):
        if layout.ids.shape[1] > 40:
            raise torch.OutOfMemoryError("full")
        sizes.append(layout.ids.shape[1])
        return real(model, layout)

    monkeypatch.setattr(packing, "hidden", small)
    found = continuations(tiny, PROMPTS, 6, (), 2, DRAWN)
    assert [[s.ids for s in t] for t in found] == [[s.ids for s in t] for t in expected]

    def never(model, layout):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(packing, "hidden", never)
    with pytest.raises(MemoryError, match="one sequence"):
        generate(tiny, PROMPTS, 3)


def test_likelier_texts_score_higher(tiny):
    """What greedy decoding writes is likelier, token by token, than another token there."""
    (written,) = continuations(tiny, ["GDP"], 1, ())[0]
    ((best, other),) = log_likelihoods(tiny, ["GDP"], [[tiny.decode(written.ids), "#"]])
    assert written.log_p[0] >= other[0]
    assert written.log_p[0] == pytest.approx(best[0], abs=1e-5) or len(best) > 1


def test_cut_at_the_first_stop_string():
    assert cut("5.3 percent\nnext", ("\n", " percent")) == "5.3"
    assert cut("5.3", ("\n",)) == "5.3"


def test_refuses_an_empty_prompt(tiny):
    with pytest.raises(ValueError, match="at least one token"):
        generate(tiny, [""], 3)
