"""Membership scores by hand, in their limits, and on a planted and an unseen text."""

from __future__ import annotations

import copy
import zlib

import numpy as np
import pytest

from palimpsest.engine.scoring import sequence_scores
from palimpsest.engine.training import Example, Trainer, TrainingSettings
from palimpsest.metrics import membership

LOG_P = [-1.0, -4.0, -2.0, -3.0, -10.0]


def test_by_hand():
    assert membership.loss(LOG_P) == -4.0
    text = "five tokens"
    assert membership.zlib(LOG_P, text) == -4.0 / len(zlib.compress(b"five tokens"))
    assert membership.min_k(LOG_P, 0.2) == -10.0
    assert membership.min_k(LOG_P, 0.59) == -7.0
    assert membership.min_k(LOG_P, 0.01) == -10.0
    assert membership.reference(LOG_P, [-6.0, -6.0]) == 2.0
    # Standardised: 1, -1, 0, 2, -5.
    mean, deviation = [-2.0, -3.0, -2.0, -5.0, -5.0], [1.0] * 5
    assert membership.min_k_plus_plus(LOG_P, mean, deviation, 0.4) == -3.0


def test_limits():
    """The whole text is the loss; a distribution without spread counts with the floor."""
    assert membership.min_k(LOG_P, 1) == membership.loss(LOG_P)
    assert membership.min_k_plus_plus([-0.5], [0.0], [0.0]) == pytest.approx(-500.0)
    assert membership.min_k_plus_plus(LOG_P, np.zeros(5), np.ones(5), 0.4) == membership.min_k(
        LOG_P, 0.4
    )


def test_refuses_nothing_and_impossible_shares():
    for call in (membership.loss, membership.min_k):
        with pytest.raises(ValueError, match="no token"):
            call([])
    for share in (0, 1.01):
        with pytest.raises(ValueError, match="share"):
            membership.min_k(LOG_P, share)


def test_uniform_model_standardises_to_zero(tiny):
    """Where all words are equally likely nothing deviates: min-k++ is zero whatever the text."""
    for weight in tiny.module.parameters():
        weight.data.zero_()
    (scores,) = sequence_scores(tiny, [[1, 7, 3, 9]])
    found = membership.battery(scores, "abc")
    assert found["min_k_plus_plus"] == pytest.approx(0, abs=1e-3)
    assert found["loss"] == pytest.approx(-np.log(tiny.module.config.vocab_size))


def test_finds_a_planted_text_and_nothing_else(tiny):
    """Positive and negative control: the taught text rises above its past, the others do not."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 250, size=20).tolist() for _ in range(6)]
    untouched = sequence_scores(copy.deepcopy(tiny), texts)
    taught = tuple(texts[0])
    trainer = Trainer(tiny, TrainingSettings(adapter="full", learning_rate=3e-3))
    trainer.run([[Example(taught, (False,) + (True,) * 19)]] * 60)
    trainer.finish()
    gains = {}
    for number, (now, then) in enumerate(zip(sequence_scores(tiny, texts), untouched, strict=True)):
        after, before = membership.battery(now, "x"), membership.battery(then, "x")
        gains[number] = {name: after[name] - before[name] for name in after}
        gains[number]["reference"] = membership.reference(now.log_p, then.log_p)
    for name, gain in gains[0].items():
        assert gain > 0
        assert all(gain > gains[other][name] for other in range(1, 6)), name
    assert gains[0]["reference"] > 3
    assert all(gains[other]["reference"] < 0.1 for other in range(1, 6))
