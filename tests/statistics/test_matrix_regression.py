"""Regression of matrices: ordinary least squares, permutations by hand, size and power."""

from itertools import permutations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import pearsonr

from palimpsest.statistics.matrix_regression import mantel, mrqap
from tests.calibration import keeps_size, studies


def off(matrix):
    return np.asarray(matrix)[~np.eye(len(matrix), dtype=bool)]


def with_effects(rng, k, rows=1.0, columns=1.0):
    """Noise that shares rows and columns, so that cells are not independent."""
    noise = rng.standard_normal((k, k))
    return noise + rows * rng.standard_normal((k, 1)) + columns * rng.standard_normal((1, k))


def missing(rng, matrix, share=0.15):
    return np.where(rng.random(matrix.shape) < share, np.nan, matrix)


@pytest.mark.parametrize("gaps", [False, True])
def test_coefficients_are_those_of_least_squares(gaps):
    rng = np.random.default_rng(1)
    y, a, b = (with_effects(rng, 8) for _ in range(3))
    y, a = y + 0.7 * a, missing(rng, a) if gaps else a
    found = mrqap(y, {"a": a, "b": b}, n_permutations=20)
    use = np.isfinite(off(a))
    design = sm.add_constant(np.column_stack([off(a), off(b)])[use])
    reference = sm.OLS(off(y)[use], design).fit()
    mine = [found.intercept, found.coefficients["a"].estimate, found.coefficients["b"].estimate]
    assert mine == pytest.approx(reference.params)
    assert found.r_squared == pytest.approx(reference.rsquared)
    assert found.n_cells == use.sum()
    assert f"t = {reference.tvalues[1]:.3g}" in found.coefficients["a"].note


@pytest.mark.parametrize("gaps", [False, True])
def test_exact_p_is_the_count_over_all_orders(gaps):
    """The procedure of the paper in a loop, with statsmodels' regression."""
    rng = np.random.default_rng(2)
    k = 5
    y, a, b = (with_effects(rng, k) for _ in range(3))
    a, y = (missing(rng, a), missing(rng, y)) if gaps else (a, y)
    known = np.isfinite(a) & ~np.eye(k, dtype=bool)
    cells = known & np.isfinite(y)
    residual = np.full((k, k), np.nan)
    residual[known] = sm.OLS(a[known], sm.add_constant(b[known])).fit().resid
    t = []
    for order in permutations(range(k)):
        moved = residual[np.ix_(order, order)]
        use = cells & np.isfinite(moved)
        design = np.column_stack([sm.add_constant(b[use]), moved[use]])
        t.append(abs(sm.OLS(y[use], design).fit().tvalues[-1]))
    p = mrqap(y, {"a": a, "b": b}).coefficients["a"].p
    assert p == pytest.approx(np.mean(np.array(t) >= t[0] - 1e-9))


def test_mantel_is_a_correlation_and_counts_orders():
    rng = np.random.default_rng(3)
    a, b = with_effects(rng, 5), with_effects(rng, 5)
    found = mantel(a, b)
    orders = [list(o) for o in permutations(range(5))]
    r = [abs(pearsonr(off(a), off(b[np.ix_(o, o)]))[0]) for o in orders]
    assert found.estimate == pytest.approx(pearsonr(off(a), off(b))[0])
    assert found.p == pytest.approx(np.mean(np.array(r) >= r[0] - 1e-9))
    assert "all 120" in found.method


def test_one_predictor_tests_the_correlation():
    """t rises with r, so that both procedures order permutations alike."""
    rng = np.random.default_rng(4)
    y, x = with_effects(rng, 6), with_effects(rng, 6)
    assert mrqap(y, {"x": x}).coefficients["x"].p == pytest.approx(mantel(y, x).p)


def test_the_diagonal_counts_for_nothing():
    rng = np.random.default_rng(5)
    y, x = with_effects(rng, 5), with_effects(rng, 5)
    other = x.copy()
    np.fill_diagonal(other, 1e6)
    assert mantel(y, x) == mantel(y, other)


def test_a_missing_cell_is_left_out_of_the_correlation():
    rng = np.random.default_rng(6)
    a, b = missing(rng, with_effects(rng, 9)), missing(rng, with_effects(rng, 9))
    use = np.isfinite(off(a)) & np.isfinite(off(b))
    expected = pearsonr(off(a)[use], off(b)[use])[0]
    assert mantel(a, b, n_permutations=50).estimate == pytest.approx(expected)


def rejections(study, n_studies, **settings):
    found = []
    for number in range(n_studies):
        y, predictors = study(np.random.default_rng(number))
        result = mrqap(y, predictors, n_permutations=199, seed=number, **settings)
        found.append([e.p <= 0.05 for e in result.coefficients.values()])
    return np.mean(found, axis=0)


def correlated(rng, k=10):
    """Two predictors that share row effects, which y has too but for another reason."""
    common = rng.standard_normal((k, 1))
    return with_effects(rng, k) + common, with_effects(rng, k) + common


def test_size_with_shared_rows_and_columns():
    """y depends on b alone; a is correlated with b; ordinary t tests reject far too often."""

    def study(rng):
        a, b = correlated(rng)
        return with_effects(rng, 10) + b, {"a": a, "b": b}

    n = studies(600)
    size, power = rejections(study, n)
    assert size > 0.03
    assert keeps_size("mrqap: 10 nodes that share effects", size * n, n)
    assert power > 0.9
    ordinary = [
        sm.OLS(off(y), sm.add_constant(np.column_stack([off(x) for x in xs.values()])))
        .fit().pvalues[1] <= 0.05
        for y, xs in (study(np.random.default_rng(n)) for n in range(300))
    ]  # fmt: skip
    assert np.mean(ordinary) > 0.15


def test_size_with_missing_cells_and_power_with_a_planted_relation():
    def study(rng):
        a, b = correlated(rng)
        y = with_effects(rng, 10, 0.3, 0.3) + 0.8 * b
        return missing(rng, y), {"a": a, "b": b}

    n = studies(400)
    size, power = rejections(study, n)
    assert size > 0.025
    assert keeps_size("mrqap: 10 nodes, 15% of cells missing", size * n, n)
    assert power > 0.9


def test_size_of_mantel():
    p = []
    n = studies(800)
    for number in range(n):
        rng = np.random.default_rng(number)
        p.append(mantel(with_effects(rng, 9), with_effects(rng, 9), 199, number).p)
    assert np.mean(np.array(p) <= 0.05) > 0.035
    assert keeps_size("mantel: 9 nodes that share effects", sum(np.array(p) <= 0.05), n)


def test_a_copy_has_the_smallest_p():
    x = with_effects(np.random.default_rng(7), 7)
    found = mantel(x, -x)
    assert found.estimate == pytest.approx(-1)
    assert found.p == pytest.approx(1 / 5040)
    assert mrqap(2 * x + 1, {"x": x}).coefficients["x"].p == pytest.approx(1 / 5040)


def test_nothing_varies():
    x = with_effects(np.random.default_rng(8), 5)
    found = mantel(np.full((5, 5), 0.1), x)
    assert np.isnan(found.estimate)
    assert found.p is None


@pytest.mark.parametrize(
    ("predictors", "match"),
    [({}, "no predictors"), ({"x": np.ones((3, 3))}, "x: a square"), ({"x": np.eye(6)}, "nodes"),
     ({"x": np.ones((5, 5))}, "collinear"), ({"x": np.zeros((5, 5))}, "collinear"),
     ({"x": np.full((5, 5), np.inf)}, "infinite"), ({"x": np.full((5, 5), np.nan)}, "0 cells")],
)  # fmt: skip
def test_bad_input_is_refused(predictors, match):
    with pytest.raises(ValueError, match=match):
        mrqap(with_effects(np.random.default_rng(9), 5), predictors)
