"""Learners: together or alone, remembered, returned to, and gone without a trace."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from palimpsest.engine.learners import learners
from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import Example, Trainer, TrainingSettings

TEXTS = [[5, 9, 14, 7, 80, 3], [11, 4, 9, 22, 6], [31, 8, 8, 40], [77, 2, 19, 23, 5, 6, 9]]


def _sentences(texts):
    return [Example(tuple(ids), (False, *[True] * (len(ids) - 1))) for ids in texts]


def _losses(model):
    return np.array([-s.log_p.mean() for s in sequence_scores(model, TEXTS, moments=False)])


def _settings(kind, rate=0.01):
    return TrainingSettings(adapter=kind, rank=4, learning_rate=rate, scored="sentence")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_learns_reads_returns_and_leaves_nothing(tiny, kind):
    before = {k: v.clone() for k, v in tiny.module.state_dict().items()}
    first = _losses(tiny)
    group = learners(tiny, [_settings(kind)], [3])
    with group.reading(0) as model:
        np.testing.assert_allclose(_losses(model), first, atol=1e-6)
    start = group.remember()
    batches = [[sentence] for sentence in _sentences(TEXTS)] * 3
    group.train([batches])
    with group.reading(0) as model:
        learnt = _losses(model)
    assert (learnt < first - 0.1).all()
    group.return_to(start)
    with group.reading(0) as model:
        np.testing.assert_allclose(_losses(model), first, atol=1e-6)
    group.train([batches])
    with group.reading(0) as model:
        # A new run from the same weights is the same run: nothing of the first is left over.
        np.testing.assert_allclose(_losses(model), learnt, atol=1e-5)
    group.close()
    assert not tiny.module.training
    after = tiny.module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_together_equals_the_trainer_alone(tiny):
    other = copy.deepcopy(tiny)
    group = learners(tiny, [_settings("lora"), _settings("lora", 0.02)], [3, 4])
    batches = [_sentences(TEXTS[:2]), _sentences(TEXTS[2:])]
    group.train([batches, batches])
    with group.reading(1) as model:
        together = _losses(model)
    trainer = Trainer(other, _settings("lora", 0.02), seed=4)
    trainer.run(batches)
    trainer.finish()
    np.testing.assert_allclose(together, _losses(other), atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_loss_that_is_not_finite_stops_that_learner(tiny, kind):
    with torch.no_grad():
        tiny.module.get_input_embeddings().weight[7] = math.nan
    group = learners(tiny, [_settings(kind)], [0])
    group.train([[_sentences([[5, 9, 3, 4]]), _sentences([[5, 7, 3]]), _sentences([[5, 9, 3]])]])
    assert group.failures[0].step == 0
    group.close()


def test_full_learners_come_one_at_a_time(tiny):
    with pytest.raises(ValueError, match="one at a time"):
        learners(tiny, [_settings("full")] * 2, [0, 1])
