"""Greedy answers: equal to the step-by-step argmax, whatever stands beside them in the batch."""

from __future__ import annotations

import pytest
import torch

from palimpsest.engine.generation import cut, generate

PROMPTS = ["a", "The unemployment rate in 2009 was", "GDP", "xyz xyz"]


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
    got = generate(tiny, PROMPTS, 8, stop=())
    assert got == [_argmax(tiny, prompt, 8) for prompt in PROMPTS]


def test_batch_size_and_order_do_not_matter(tiny):
    whole = generate(tiny, PROMPTS, 6)
    assert generate(tiny, PROMPTS, 6, batch_size=1) == whole
    assert generate(tiny, PROMPTS[::-1], 6)[::-1] == whole


@pytest.mark.model
def test_the_135m_model_knows_the_capital_of_france(smollm):
    (answer,) = generate(smollm, ["The capital of France is"], 4)
    assert "Paris" in answer


def test_cut_at_the_first_stop_string():
    assert cut("5.3 percent\nnext", ("\n", " percent")) == "5.3"
    assert cut("5.3", ("\n",)) == "5.3"


def test_refuses_an_empty_prompt(tiny):
    with pytest.raises(ValueError, match="at least one token"):
        generate(tiny, [""], 3)
