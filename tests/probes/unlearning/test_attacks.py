"""What is read of hidden states: the linear probe's weights and the logit lens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.data.biographies import biographies
from palimpsest.probes.unlearning.attacks import _inside, _ridge


@pytest.mark.parametrize("n", [5, 40])
def test_the_ridge_is_that_of_its_normal_equations(n):
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(n, 12)), generator.normal(size=(n, 3))
    penalty = 1e-2 * np.square(features).mean() * n
    wanted = np.linalg.solve(features.T @ features + penalty * np.eye(12), features.T @ target)
    np.testing.assert_allclose(_ridge(features, target), wanted, rtol=1e-6, atol=1e-8)


def test_the_lens_is_the_head_on_every_layer(tiny):
    items = biographies(6, 0.2, ["birthplace", "profession"], seed=0)
    asked = [item for item in items if item.question and item.part in ("forget", "holdout")]
    found = {row["item"]: row["value"] for row in _inside(tiny, asked)}
    assert found
    decoder, head = tiny.module.get_decoder(), tiny.module.get_output_embeddings()
    for item in asked:
        question, answer = tiny.encode_pair(item.question, item.answer)
        with torch.inference_mode():
            layers = tiny.module(torch.tensor([question]), output_hidden_states=True).hidden_states
            # The last of them has been normed already.
            read = [decoder.norm(layer[0, -1]) for layer in layers[1:-1]] + [layers[-1][0, -1]]
            p = [head(state).softmax(-1)[answer[0]].item() for state in read]
        assert found[item.id] == pytest.approx(max(p), rel=1e-4)
