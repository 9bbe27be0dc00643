"""Drift of modules after steps whose size is known."""

import numpy as np
import pytest

from palimpsest.metrics.module_drift import module_drift, switch_sensitivity

RNG = np.random.default_rng(0)
BEFORE = {"layer.weight": RNG.normal(size=(3, 5, 4)), "layer.bias": RNG.normal(size=(3, 4)),
          "head": RNG.normal(size=(3, 4, 2))}  # fmt: skip
GRADIENT = {name: RNG.normal(size=tensor.shape) for name, tensor in BEFORE.items()}
MODULES = {"layer": ["layer.weight", "layer.bias"], "head": ["head"]}


def step(rate):
    return {name: BEFORE[name] - rate * GRADIENT[name] for name in BEFORE}


def test_nothing_moves_without_a_learning_rate():
    drift = module_drift(BEFORE, step(0))
    assert list(drift) == list(BEFORE)
    assert not any(drift.values())


def test_one_step_moves_by_the_rate_times_the_mean_absolute_gradient():
    drift = module_drift(BEFORE, step(0.1), leading=1)
    for name, gradient in GRADIENT.items():
        each = [0.1 * np.mean(np.abs(gradient[network])) for network in range(3)]
        assert drift[name] == pytest.approx(each)


def test_a_module_is_its_tensors_weighted_by_their_size():
    whole = module_drift(BEFORE, step(0.1), MODULES, leading=1)
    parts = module_drift(BEFORE, step(0.1), leading=1)
    assert list(whole) == ["layer", "head"]
    joined = (20 * parts["layer.weight"] + 4 * parts["layer.bias"]) / 24
    assert whole["layer"] == pytest.approx(joined)
    assert whole["head"] == pytest.approx(parts["head"])
    assert module_drift(BEFORE, step(0.1))["head"] == pytest.approx(whole["head"].mean())


def test_sensitivity_by_hand():
    drift = np.array([[9.0, 1.0, 1.0, 1.0], [6.0, 3.0, 2.0, 1.0], [1.0, 1.0, 0.5, 9.0]])
    assert switch_sensitivity(drift) == pytest.approx((6 / 2 + 1 / 1) / 2)
    scaled = switch_sensitivity(np.stack([drift, 7 * drift]))
    assert scaled == pytest.approx([2, 2])  # a learning rate does not change it
    assert switch_sensitivity(np.ones((4, 5))) == 1
    assert switch_sensitivity([[1, 1], [1, 0]]) == np.inf
    assert np.isnan(switch_sensitivity(np.zeros((2, 2))))


def test_impossible_drifts_raise():
    with pytest.raises(ValueError, match="head"):
        module_drift(BEFORE, {name: BEFORE[name] for name in BEFORE if name != "head"})
    with pytest.raises(ValueError, match="head has shape"):
        module_drift(BEFORE, BEFORE | {"head": np.zeros((3, 4, 1))})
    with pytest.raises(ValueError, match="no parameters"):
        module_drift(BEFORE, BEFORE, {"nothing": []})
    for wrong in (np.ones((1, 3)), np.ones((3, 1)), -np.ones((2, 2))):
        with pytest.raises(ValueError, match="at least two"):
            switch_sensitivity(wrong)
