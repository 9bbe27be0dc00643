"""Streams of several seeds in one pool: none depends on which stand beside it."""

from __future__ import annotations

import numpy as np
import pytest

from palimpsest.data.digits import Digits
from palimpsest.probes.power_law_rehearsal import streams as module
from palimpsest.probes.power_law_rehearsal.settings import Settings

SETTINGS = Settings(benchmarks=["split_class"], train_per_task=1000, test_per_task=1000, batch=10)


@pytest.fixture(autouse=True)
def uneven(monkeypatch):
    """Digits whose classes have from 20 to 65 training and from 10 to 28 test images."""
    labels = [
        np.repeat(np.arange(10), least + step * np.arange(10)) for least, step in [(20, 5), (10, 2)]
    ]
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (len(part), 784), dtype=np.uint8) for part in labels]
    digits = Digits("uneven", 10, images[0], labels[0], images[1], labels[1])
    monkeypatch.setattr(module, "load_digits", lambda source: digits)
    module._streams.cache_clear()
    yield
    module._streams.cache_clear()


def _shown(seeds, of):
    found = module.streams(SETTINGS, tuple(("split_class", seed) for seed in seeds), 5, "cpu")
    tasks = found.tasks([seeds.index(of)])
    return [
        (found.pool.inputs[task.train[0]], found.pool.inputs[task.test[0]], task) for task in tasks
    ], found


def test_a_stream_has_what_the_smallest_pair_of_classes_could_have():
    shown, _ = _shown([3], 3)
    assert {(len(train), len(test)) for train, test, _ in shown} == {(40, 20)}


def test_a_stream_is_the_same_beside_others():
    alone, _ = _shown([3], 3)
    among, found = _shown([1, 3, 4], 3)
    for (train, test, _), (other_train, other_test, task) in zip(alone, among, strict=True):
        assert train.equal(other_train)
        assert test.equal(other_test)
        assert set(found.task_of[task.train[0]]) == {task.number}
