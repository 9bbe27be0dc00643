"""Time-blocked prediction: planted signals, trends that the date explains, no leak, size."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.ridge import (
    BlockedPrediction,
    gain,
    natural_cubic_basis,
    ridge_time_blocked,
    spline_time_blocked,
    time_folds,
)
from tests.calibration import covers, keeps_size, studies

DATES = np.arange(150)


def test_folds_are_contiguous_embargoed_and_never_split_a_date():
    dates = np.repeat(np.arange(20), 3)[::-1]
    folds = time_folds(dates, 4, gap=2)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    for train, test in folds:
        tested = dates[test]
        assert tested.max() - tested.min() == 4
        distance = np.abs(dates[train][:, None] - tested).min(axis=1)
        assert distance.min() == 3
    with pytest.raises(ValueError, match="distinct dates"):
        time_folds(np.arange(3), 5, 0)
    with pytest.raises(ValueError, match="nothing to train"):
        time_folds(np.arange(6), 2, 3)


def test_predictions_equal_sklearns_ridge_in_every_fold():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4)) * [1, 10, 0.1, 3]
    y = x @ [1, 0.1, 5, 0] + rng.standard_normal(60)
    ours = ridge_time_blocked(x, y, np.arange(60), gap=0, alphas=(3.0,))
    for train, test in time_folds(np.arange(60), 5, 0):
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=[3.0])).fit(x[train], y[train])
        assert ours.predictions[test] == pytest.approx(model.predict(x[test]))
        assert ours.baseline[test] == pytest.approx(y[train].mean())


def test_alpha_is_that_of_a_blocked_ridge_cv():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((80, 30))
    y = x[:, 0] + rng.standard_normal(80)
    alphas = (0.1, 10.0, 100.0, 1000.0)
    ours = ridge_time_blocked(x, y, np.arange(80), gap=0, alphas=alphas)
    train, _ = time_folds(np.arange(80), 5, 0)[0]
    blocks = np.empty(64, dtype=int)
    for number, (_, test) in enumerate(time_folds(np.arange(64), 4, 0)):
        blocks[test] = number
    errors = [
        sum(
            np.sum(
                (
                    make_pipeline(StandardScaler(), RidgeCV(alphas=[alpha]))
                    .fit(x[train[a]], y[train[a]])
                    .predict(x[train[b]])
                    - y[train[b]]
                )
                ** 2
            )
            for a, b in PredefinedSplit(blocks).split()
        )
        for alpha in alphas
    ]
    assert ours.alphas[0] == alphas[int(np.argmin(errors))]


def test_planted_linear_signal_is_recovered_and_the_date_does_not_explain_it():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((150, 50))
    y = x[:, :5].sum(axis=1) + rng.standard_normal(150)
    ridge = ridge_time_blocked(x, y, DATES, n_permutations=99)
    spline = spline_time_blocked(DATES, y)
    assert 0.6 < ridge.r2.estimate < 5 / 6
    assert ridge.r2.low < ridge.r2.estimate < ridge.r2.high
    assert (ridge.r2.p, ridge.r.p) == (0.01, 0.01)
    assert spline.r2.estimate < 0.1
    assert gain(ridge, spline, y, DATES).low > 0.3


def test_a_smooth_trend_is_explained_by_the_date_as_well():
    rng = np.random.default_rng(3)
    trend = 3 * (DATES / 150) ** 2
    x = trend[:, None] + 0.5 * rng.standard_normal((150, 10))
    y = trend + 0.2 * rng.standard_normal(150)
    ridge = ridge_time_blocked(x, y, DATES, n_permutations=99)
    spline = spline_time_blocked(DATES, y)
    assert ridge.r2.p == 0.01  # the shuffle null has no trend, as documented
    assert spline.r2.estimate > 0.9
    assert gain(ridge, spline, y, DATES).low < 0


def test_shuffled_targets_give_nothing():
    rng = np.random.default_rng(4)
    p, r2 = [], []
    n = studies(200)
    for seed in range(n):
        x, y = rng.standard_normal((50, 6)), rng.standard_normal(50)
        result = ridge_time_blocked(
            x, y, np.arange(50), 3, alphas=(10.0, 1000.0), n_permutations=19, seed=seed
        )
        p.append(result.r2.p)
        r2.append(result.r2.estimate)
    rejected = sum(np.array(p) <= 0.05)
    assert keeps_size("ridge_time_blocked: 50 dates, shuffled targets", rejected, n)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.11)
    assert np.mean(r2) < 0.01


def test_gain_covers_where_two_predict_equally_well():
    """Predictions with errors of their own on 120 dates: the true gain is 0."""
    rng, n = np.random.default_rng(7), studies(300)
    dates, nothing = np.arange(120), Estimate(np.nan, np.nan, np.nan, 0, "", "")
    block = dates // 24
    hits = 0
    for seed in range(n):
        y, one, two = rng.standard_normal((3, 120))
        models = [
            BlockedPrediction(0.6 * y + 0.5 * e, np.zeros(120), block, (), nothing, nothing)
            for e in (one, two)
        ]
        found = gain(*models, y, dates, n_replicates=399, seed=seed)
        hits += found.low <= 0 <= found.high
    assert covers("ridge gain: 120 dates, equal predictions", hits, n)


def test_natural_basis_spans_scipys_natural_splines_and_is_linear_outside():
    knots = np.array([0.0, 0.2, 0.5, 0.7, 1.0])
    inside, outside = np.linspace(0, 1, 200), np.linspace(1, 2, 50)
    reference = CubicSpline(knots, [0.3, -1, 2, 0.5, 1.5], bc_type="natural")
    design = np.column_stack([np.ones(200), natural_cubic_basis(inside, knots)])
    fitted = np.linalg.lstsq(design, reference(inside), rcond=None)[0]
    assert design.shape == (200, 5)
    assert design @ fitted == pytest.approx(reference(inside), abs=1e-9)
    assert np.diff(natural_cubic_basis(outside, knots), n=2, axis=0) == pytest.approx(0, abs=1e-9)


def test_rows_keep_their_order():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    order = rng.permutation(60)
    one = ridge_time_blocked(x, y, np.arange(60))
    two = ridge_time_blocked(x[order], y[order], np.arange(60)[order])
    assert two.predictions == pytest.approx(one.predictions[order])
    assert two.r2.low == pytest.approx(one.r2.low)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="shape"):
        ridge_time_blocked(np.ones(5), np.ones(5), np.arange(5))
    with pytest.raises(ValueError, match="one date"):
        spline_time_blocked(np.arange(5), np.ones(6))
    y = np.random.default_rng(6).standard_normal(60)
    five, four = (spline_time_blocked(np.arange(60), y, n_blocks=k) for k in (5, 4))
    with pytest.raises(ValueError, match="same folds"):
        gain(five, four, y, np.arange(60))
