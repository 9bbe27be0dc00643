"""What explains a matrix between tasks: Mantel correlation and MRQAP, nodes permuted.

Matrices are (k, k) and may be asymmetric, such as what forgetting task A (row) does to task B
(column). The diagonal is left out. The k (k - 1) cells share rows and columns and are not
independent: p-values come from permutations of nodes, rows and columns together. nan marks a pair
that was not measured; it is left out, which takes it for granted that what is missing has nothing
to do with the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palimpsest.statistics.estimate import Estimate

UNIT = "nodes"
NO_INTERVAL = "permutation gives p, no interval"
#: Entries of permuted designs held in memory at once.
ENTRIES = 5_000_000
#: A statistic as extreme as the observed one but for rounding counts as extreme.
SLACK = 1 - 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MatrixRegression:
    """Attributes:
    coefficients: of each predictor, in the order given; ``p`` by MRQAP.
    intercept: of the regression, tested by nothing.
    r_squared: share of the variance of the cells.
    n_cells: off-diagonal cells used.
    """

    coefficients: dict[str, Estimate]
    intercept: float
    r_squared: float
    n_cells: int


def mantel(
    a: ArrayLike, b: ArrayLike, n_permutations: int = 9999, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Pearson correlation of the off-diagonal cells of two (k, k) matrices, two-sided p.

    Mantel (1967, Cancer Res. 27, 209), both triangles used. Nodes of ``b`` are permuted: all k!
    ways where these are at most ``n_permutations`` + 1 (k <= 7), else seeded draws with
    (1 + as extreme) / (1 + draws). ``n`` is k. Rank the cells before for Spearman's correlation.

    Raises:
        ValueError: matrices that are not square or not of one size, fewer than 4 nodes, infinite
            cells, or fewer than 3 cells measured in both.
    """
    a, b = _matrix("a", a), _matrix("b", b)
    _same_size(a, b)
    k = len(a)
    method = f"Mantel correlation, {_described(k, n_permutations)}"
    found = np.concatenate(
        [_correlations(a, b, orders) for orders in _orders(k, n_permutations, seed, k * k)]
    )
    r = float(found[0])
    if np.isnan(r):
        note = "a matrix without variation"
        return Estimate(r, np.nan, np.nan, k, UNIT, method, level, note=note)
    return Estimate(r, np.nan, np.nan, k, UNIT, method, level, _p(found), NO_INTERVAL)


def mrqap(
    y: ArrayLike,
    predictors: Mapping[str, ArrayLike],
    n_permutations: int = 9999,
    seed: int = 0,
    level: float = 0.95,
) -> MatrixRegression:
    """Regression of matrix ``y`` on matrices, MRQAP with double semi-partialling, two-sided p.

    Dekker, Krackhardt & Snijders (2007, Psychometrika 72, 563): each predictor is replaced by its
    residual after the others, whose nodes are permuted; the statistic is t, which is pivotal, and
    not the coefficient. This holds its level where predictors are correlated and cells share rows
    and columns, which permuting ``y`` does not. Coefficients are those of ordinary least squares
    over all cells measured in ``y`` and every predictor. Permutations as :func:`mantel`; each uses
    the cells whose predictors are measured before and after it.

    Simulated size at 5%, k of 6, 10 and 14, strong row and column effects and a second predictor
    that matters and is correlated: 5%, also with 15% of the cells of ``y`` missing; 5-6% where 15%
    of a predictor's cells are missing too.

    Raises:
        ValueError: as :func:`mantel`, no predictors, fewer cells than coefficients + 1, or
            predictors that are collinear.
    """
    y = _matrix("y", y)
    given = {name: _matrix(name, x) for name, x in predictors.items()}
    if not given:
        raise ValueError("no predictors")
    _same_size(y, *given.values())
    k, names = len(y), list(given)
    known = np.all([_off_diagonal(k), *(np.isfinite(x) for x in given.values())], axis=0)
    cells = known & np.isfinite(y)
    target = y[cells]
    columns = np.stack([np.ones((k, k)), *given.values()], axis=2)
    design = columns[cells]
    beta = _least_squares(design, target)
    residual = target - design @ beta
    total = np.sum((target - target.mean()) ** 2)
    described = _described(k, n_permutations)
    coefficients = {}
    for j, name in enumerate(names, start=1):
        others = np.delete(design, j, axis=1)
        partial = _partial(columns, j, known)
        size = cells.sum() * (others.shape[1] + 1)
        t = np.concatenate([
            _t_values(target, others, partial, cells, orders)
            for orders in _orders(k, n_permutations, seed, int(size))
        ])  # fmt: skip
        coefficients[name] = Estimate(
            float(beta[j]), np.nan, np.nan, k, UNIT,
            f"MRQAP, double semi-partialling, {described}", level, _p(t),
            f"t = {t[0]:.3g}; {NO_INTERVAL}",
        )  # fmt: skip
    r_squared = float(1 - np.sum(residual**2) / total) if total > 0 else np.nan
    return MatrixRegression(coefficients, float(beta[0]), r_squared, int(cells.sum()))


def _correlations(a: Array, b: Array, orders: NDArray[np.intp]) -> Array:
    """(orders,) correlation of a with b in each order of its nodes, over cells both have."""
    off = _off_diagonal(len(a))
    x = a[off]
    y = _permuted(b, orders)[:, off]
    use = np.isfinite(x) & np.isfinite(y)
    n = use.sum(1)
    if n[0] < 3:
        raise ValueError("fewer than 3 cells measured in both matrices")
    x, y = np.where(use, x, 0.0), np.where(use, y, 0.0)
    x = np.where(use, x - (x.sum(1) / n)[:, None], 0.0)
    y = np.where(use, y - (y.sum(1) / n)[:, None], 0.0)
    scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    flat = scale <= 1e-12 * np.nanmax(np.abs(a)) * np.nanmax(np.abs(b))
    return np.where(flat, np.nan, (x * y).sum(1) / np.where(flat, 1.0, scale))


def _partial(columns: Array, j: int, known: NDArray[np.bool_]) -> Array:
    """(k, k) residual of column ``j`` after the others, nan where a predictor is missing.

    Cells that only the outcome lacks count, so that permuting does not lose them.
    """
    every = columns[known]
    others, own = np.delete(every, j, axis=1), every[:, j]
    partial = np.full(known.shape, np.nan)
    partial[known] = own - others @ _least_squares(others, own)
    return partial


def _t_values(
    target: Array,
    others: Array,
    partial: Array,
    cells: NDArray[np.bool_],
    orders: NDArray[np.intp],
) -> Array:
    """(orders,) t of a permuted residual beside the other predictors, over cells it has."""
    moved = _permuted(partial, orders)[:, cells]
    use = np.isfinite(moved)
    q = others.shape[1] + 1
    design = np.empty((len(orders), len(target), q))
    design[..., :-1], design[..., -1] = others, np.where(use, moved, 0.0)
    design *= use[..., None]
    y = target * use
    gram = np.swapaxes(design, 1, 2) @ design
    moments = (np.swapaxes(design, 1, 2) @ y[..., None])[..., 0]
    inverse = np.linalg.pinv(gram, hermitian=True)
    beta = (inverse @ moments[..., None])[..., 0]
    rest = np.maximum((y**2).sum(1) - (beta * moments).sum(1), 0.0)
    error = np.sqrt(rest / np.maximum(use.sum(1) - q, 1) * inverse[:, -1, -1])
    return np.divide(beta[:, -1], error, out=np.full(len(orders), np.inf), where=error > 0)


def _permuted(matrix: Array, orders: NDArray[np.intp]) -> Array:
    """(orders, k, k): rows and columns of ``matrix`` in each order."""
    return matrix[orders[:, :, None], orders[:, None, :]]


def _orders(k: int, n_permutations: int, seed: int, size: int) -> list[NDArray[np.intp]]:
    """Orders of nodes in blocks, the given order first; ``size`` entries are needed for one."""
    if _exact(k, n_permutations):
        orders = np.array(list(permutations(range(k))))
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.permuted(np.tile(np.arange(k), (n_permutations, 1)), axis=1)
        orders = np.concatenate([np.arange(k)[None], drawn])
    block = max(1, ENTRIES // size)
    return [orders[start : start + block] for start in range(0, len(orders), block)]


def _exact(k: int, n_permutations: int) -> bool:
    return k <= 12 and factorial(k) <= n_permutations + 1


def _described(k: int, n_permutations: int) -> str:
    if _exact(k, n_permutations):
        return f"all {factorial(k)} permutations of nodes"
    return f"{n_permutations} permutations of nodes"


def _p(found: Array) -> float:
    """Share of statistics as far from 0 as the first, itself among them; nan are not counted."""
    size = np.abs(found[~np.isnan(found)])
    return float(np.mean(size >= size[0] * SLACK))


def _least_squares(design: Array, target: Array) -> Array:
    if len(design) <= design.shape[1]:
        raise ValueError(f"{len(design)} cells for {design.shape[1]} coefficients")
    # columns of one length, so that collinear is told from small
    length = np.sqrt((design**2).sum(0))
    if not (length > 0).all():
        raise ValueError("predictors are collinear: one is 0 in all cells")
    beta, _, rank, _ = np.linalg.lstsq(design / length, target, rcond=1e-10)
    if rank < design.shape[1]:
        raise ValueError("predictors are collinear, with each other or with a constant")
    return beta / length


def _off_diagonal(k: int) -> NDArray[np.bool_]:
    return ~np.eye(k, dtype=bool)


def _matrix(name: str, values: ArrayLike) -> Array:
    matrix = np.array(values, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 4:
        raise ValueError(f"{name}: a square matrix of 4 nodes or more, not {matrix.shape}")
    if np.isinf(matrix[_off_diagonal(len(matrix))]).any():
        raise ValueError(f"{name}: infinite cells; nan marks what was not measured")
    np.fill_diagonal(matrix, np.nan)
    return matrix


def _same_size(*matrices: Array) -> None:
    sizes = sorted({len(m) for m in matrices})
    if len(sizes) > 1:
        raise ValueError(f"matrices of {sizes} nodes")
