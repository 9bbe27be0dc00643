"""Rows of prefix trees: what they share, how attention cuts them, and on which architectures."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.engine import packing, scoring
from palimpsest.engine.examples import Example, scored_tokens
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.packing import Layout
from palimpsest.engine.plain import plain_scores
from palimpsest.engine.rows import Row, chains, plan
from palimpsest.engine.training import Trainer, TrainingSettings
from palimpsest.models.language_model import LanguageModel

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
GROUPED = SMALL | {"num_key_value_heads": 2}


def _model(name, **config):
    torch.manual_seed(1)
    built = getattr(transformers, f"{name}Config")(**config)
    module = transformers.AutoModelForCausalLM.from_config(built).eval()
    return LanguageModel(module, tokenizer=None)


ids = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(st.lists(ids, min_size=1, max_size=15), st.integers(1, 40), st.sampled_from([0, 3, 1e9]))
def test_rows_hold_every_sequence_as_a_path(sequences, budget, exchange):
    seen = []
    for row, members in plan(sequences, budget, exchange):
        trees = np.searchsorted(row.starts, range(len(row.tokens)), side="right") - 1
        for index, path in members:
            seen.append(index)
            assert [row.tokens[node] for node in path] == sequences[index]
            assert [row.depths[node] for node in path] == list(range(len(path)))
            tree = trees[path[0]]
            assert all(trees[node] == tree for node in path)
            ancestors = row.sees(tree)[path[-1] - row.starts[tree]]
            assert sorted(path) == list(row.starts[tree] + np.flatnonzero(ancestors))
        longest = max(len(sequences[index]) for index, _ in members)
        assert len(row.tokens) <= max(budget, longest)
        for tree in range(len(row.starts)):
            chain = row.sees(tree)
            assert row.branched[tree] or (chain == np.tril(np.ones_like(chain))).all()
    assert sorted(seen) == list(range(len(sequences)))


def test_sequences_share_only_what_pays():
    """A prompt of 50 tokens is shared by its answers, one common first word by nobody."""
    prompt = list(range(50))
    answers = [[*prompt, 60 + i, 70 + i] for i in range(8)]
    sentences = [[0, *range(100 + 30 * i, 130 + 30 * i)] for i in range(8)]
    ((row, _),) = plan(answers, 10_000, exchange=100)
    assert row.sizes() == [50 + 16]
    ((row, _),) = plan(sentences, 10_000, exchange=100)
    assert row.sizes() == [31] * 8
    ((row, _),) = plan(sentences, 10_000, exchange=1e9)
    assert row.sizes() == [1 + 8 * 30]


def test_trees_of_like_size_are_stacked():
    sizes = [100, 5, 98, 6, 100]
    row = chains([list(range(size)) for size in sizes])
    layout = Layout(row, torch.device("cpu"))
    assert sorted(tuple(stack.index.shape) for stack in layout.stacks) == [(2, 6), (3, 100)]
    whole = Layout(chains([[1, 2, 3]] * 4), torch.device("cpu"))
    assert whole.places is None
    assert whole.back is None


ARCHITECTURES = [
    ("Llama", GROUPED),
    ("GPTNeoX", SMALL),
    ("Qwen2", GROUPED),
    ("Qwen3", GROUPED | {"head_dim": 8}),
    ("Olmo2", GROUPED | {"pad_token_id": 0}),
    ("Mistral", GROUPED | {"sliding_window": 7, "head_dim": 8}),
    ("Phi", SMALL | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}),
]


@pytest.mark.parametrize(("name", "config"), ARCHITECTURES, ids=[a for a, _ in ARCHITECTURES])
def test_equals_the_plain_computation_on(name, config):
    model = _model(name, **config)
    model.packs = True
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 97, size=size).tolist() for size in (12, 3, 25, 12)]
    pairs = [(p, rng.integers(3, 97, size=n).tolist()) for p in prompts for n in (1, 2, 4)]
    for budget in (20, 1000):
        got = scoring.token_log_likelihoods(model, pairs, budget)
        for values, (head, tail) in zip(got, pairs, strict=True):
            np.testing.assert_allclose(values, plain_scores(model, head, tail).log_p, atol=2e-5)


def test_soft_caps_are_refused_and_scored_plainly():
    model = _model("Gemma2", **GROUPED, head_dim=8, pad_token_id=0)
    with pytest.raises(packing.NotPackableError, match="softcap"):
        packing.hidden(model, Layout(chains([[3, 4, 5]]), torch.device("cpu")))
    model.encode = lambda text: [5, 6, 7, 8, 9]
    (values,) = scoring.token_log_likelihoods(model, [([5, 6], [7, 8])])
    assert model.packs is False
    np.testing.assert_allclose(values, plain_scores(model, [5, 6], [7, 8]).log_p)


#: What their scores are beyond last hidden states times the projection.
OWN_SCORES = [
    ("Granite", GROUPED | {"logits_scaling": 4.0}),
    ("Cohere", GROUPED | {"logit_scale": 0.25, "pad_token_id": 0}),
    ("Gemma2", GROUPED | {"head_dim": 8, "pad_token_id": 0, "final_logit_softcapping": 3.0}),
]


@pytest.mark.parametrize(("name", "config"), OWN_SCORES, ids=[name for name, _ in OWN_SCORES])
def test_training_heeds_how_a_model_makes_its_scores(name, config):
    """Equal to a plain loop over the model's own loss; what needs packed rows says that it does."""
    model = _model(name, **config)
    model.encode = lambda text: [5, 6, 7, 8, 9]
    with torch.no_grad():
        # Scores large enough that a factor changes the loss.
        model.module.get_output_embeddings().weight.mul_(40)
    twin = copy.deepcopy(model)
    rng = np.random.default_rng(0)
    ids = [tuple(rng.integers(3, 97, size=n).tolist()) for n in (9, 5)]
    batch = [Example(each, (False, *[True] * (len(each) - 1))) for each in ids]
    trainer = Trainer(model, TrainingSettings(adapter="full", learning_rate=1e-3, batch_size=2))
    trainer.run([batch] * 3)
    assert model.packs is False

    twin.module.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(twin.module.parameters(), lr=1e-3, weight_decay=0.0)
    for expected in trainer.losses:
        found = [twin.module(input_ids=torch.tensor([each])).logits[0] for each in ids]
        loss = torch.nn.functional.cross_entropy(
            torch.cat([scores[:-1] for scores in found]),
            torch.cat([torch.tensor(each[1:]) for each in ids]),
        )
        assert expected == pytest.approx(float(loss.detach()), abs=2e-5)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    lora = TrainingSettings(adapter="lora", rank=2)
    with pytest.raises(packing.NotPackableError, match=f"{name}ForCausalLM"):
        ManyAdapters(model, lora, [0, 1])
    with pytest.raises(packing.NotPackableError, match=f"{name}ForCausalLM"):
        scored_tokens(model, batch)


def test_the_model_is_left_as_it_was():
    model = _model("Llama", **GROUPED)
    before = model.module.config._attn_implementation
    with contextlib.suppress(RuntimeError), packing.packed(model):
        assert model.module.config._attn_implementation == packing.ATTENTION
        raise RuntimeError
    assert model.module.config._attn_implementation == before


@pytest.mark.parametrize("branches", [False, True])
def test_gradients_equal_those_of_separate_sentences(branches):
    model = _model("Llama", **GROUPED)
    sentences = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12], list(range(10, 30))]
    row, paths = Row(), []
    for sentence in sentences:
        paths.append(row.add(sentence, new_tree=not branches or sentence[0] != 5))
    states = packing.hidden(model, Layout(row, torch.device("cpu")))
    torch.cat([states[path[-1]] for path in paths]).sin().sum().backward()
    got = {
        name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None
    }
    model.module.zero_grad()
    last = [
        model.module.get_decoder()(torch.tensor([s])).last_hidden_state[0, -1] for s in sentences
    ]
    torch.cat(last).sin().sum().backward()
    for name, gradient in got.items():
        expected = model.module.get_parameter(name).grad
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
