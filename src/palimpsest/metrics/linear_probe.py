"""Linear probes: what of a task can be read off hidden states, layer by layer.

A probe is ridge regression onto one-hot labels (an intercept, not penalised, and one column a
class); the class with the highest prediction is its answer. With n items and many more features
everything is exact in the (n, n) products between items: nothing depends on the basis of the
features, which are centred and not scaled one by one.

Cross-validation is nested: outer folds give the accuracy, and the penalty of each is chosen within
its training items alone, by the squared error of leaving out inner folds, which ridge regression
has in closed form. Classes have equal weight in the fit, and folds are stratified by label as far
as groups allow: a fold with more of a class leaves fewer of it to train on, and a probe that knows
how frequent classes are would answer below chance where labels mean nothing. Where classes are
equally frequent chance is 1 / classes; where they are not, that is so of ``balanced`` alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

VERSION = 1
#: Penalties tried, in mean squared lengths of a centred training item: the probe is then the same
#: in any unit of the features.
PENALTIES = tuple(10.0**k for k in np.arange(-4.0, 2.5, 0.5))

Array = NDArray[np.float64]
Index = NDArray[np.intp]


class Probe(NamedTuple):
    """Attributes:
    accuracy: (layers,) share of items answered right when left out.
    balanced: (layers,) mean over classes of that share among the items of a class.
    correct: (layers, items) whether each was.
    predicted: (layers, items) class index of each answer.
    penalties: (layers, outer folds) chosen, in the unit of :data:`PENALTIES`.
    """

    accuracy: Array
    balanced: Array
    correct: NDArray[np.bool_]
    predicted: Index
    penalties: Array


class Selectivity(NamedTuple):
    """Attributes, all of shape (layers,):
    accuracy: with true labels.
    control: with random labels, mean over draws.
    control_error: standard deviation of the control's accuracy over draws.
    selectivity: accuracy - control.
    """

    accuracy: Array
    control: Array
    control_error: Array
    selectivity: Array


def linear_probe(
    states: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    n_outer: int = 5,
    n_inner: int = 5,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> Probe:
    """Accuracy of a linear probe on items that were left out, at every layer.

    Args:
        states: (items, layers, width) hidden states.
        labels: (items,) class indices from 0.
        groups: (items,) such as topics: items of one group are never on both sides of a fold,
            inner or outer. None: every item by itself.
        n_outer: folds that give the accuracy.
        n_inner: folds of each training set, which choose the penalty.
        penalties: tried, see :data:`PENALTIES`.
        seed: of the order in which items go to folds.

    Raises:
        ValueError: shapes that do not fit each other, states that are not finite, labels that are
            not class indices, one class only, penalties that are not above 0, or fewer items of
            every class (or groups) than folds.
    """
    states, labels = _checked(states, labels, penalties)
    folds = _nested_folds(labels, groups, n_outer, n_inner, seed)
    scores, chosen = _predictions(states, _one_hot(labels)[None], folds, penalties)
    predicted = scores[:, 0].argmax(2)
    correct = predicted == labels
    balanced = np.mean([correct[:, labels == c].mean(1) for c in np.unique(labels)], axis=0)
    return Probe(correct.mean(1), balanced, correct, predicted, chosen[:, :, 0])


def choice_probe(
    states: ArrayLike,
    right: ArrayLike,
    questions: ArrayLike,
    n_outer: int = 5,
    n_inner: int = 5,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Is the right choice of a question the one that a linear probe takes for right?

    For questions whose choices differ from one to the next: the probe learns to tell right from
    wrong by the state after question and choice, and never sees a question that it is judged on.

    Args:
        states: (pairs, layers, width) hidden states at the end of a question with one choice.
        right: (pairs,) whether that choice is the right one; one is for every question.
        questions: (pairs,) labels of questions.
        n_outer: as :func:`linear_probe`, of questions.
        n_inner: as :func:`linear_probe`, of questions.
        penalties: as :func:`linear_probe`.
        seed: as :func:`linear_probe`.

    Returns:
        (layers, questions) in the order of their first pairs.

    Raises:
        ValueError: as :func:`linear_probe`, or a question without one right choice and a wrong one.
    """
    right = np.asarray(right).astype(int)
    states, right = _checked(states, right, penalties)
    codes = _codes(questions, len(right))
    counts, found = np.bincount(codes), np.bincount(codes, weights=right)
    if (found != 1).any() or (counts < 2).any():
        raise ValueError("every question needs one right choice and at least one wrong one")
    folds = _nested_folds(right, questions, n_outer, n_inner, seed)
    scores, _ = _predictions(states, _one_hot(right)[None], folds, penalties)
    margin = scores[:, 0, :, 1] - scores[:, 0, :, 0]
    order = codes[np.sort(np.unique(codes, return_index=True)[1])]
    best = [np.flatnonzero(codes == q)[margin[:, codes == q].argmax(1)] for q in order]
    return right[np.array(best).T] == 1


def selectivity(
    states: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    n_controls: int = 10,
    n_outer: int = 5,
    n_inner: int = 5,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> Selectivity:
    """Accuracy minus that of the control task of Hewitt & Liang (2019, D19-1275).

    In the control every group (a word type, in the paper) has a random label, drawn from the
    distribution of the true ones: it can be known of a group that was seen, and from nothing else,
    so that its accuracy is what the probe learns by heart. Both use the same folds, and these split
    groups, as the paper's do: with folds that keep groups together (:func:`linear_probe`) the
    control is at chance whatever the probe. Where every item is a group of its own it is so too.

    Args:
        states: (items, layers, width).
        labels: (items,) class indices from 0.
        groups: (items,) what has one label in the control.
        n_controls: draws of random labels.
        n_outer: as :func:`linear_probe`.
        n_inner: as :func:`linear_probe`.
        penalties: as :func:`linear_probe`.
        seed: of folds and of random labels.

    Raises:
        ValueError: as :func:`linear_probe`, or no controls.
    """
    states, labels = _checked(states, labels, penalties)
    if n_controls < 1:
        raise ValueError(f"n_controls must be at least 1, not {n_controls}")
    codes = _codes(groups, len(labels))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(labels, size=(n_controls, codes.max() + 1))[:, codes]
    targets = np.stack([_one_hot(row, labels.max() + 1) for row in (labels, *drawn)])
    folds = _nested_folds(labels, None, n_outer, n_inner, seed)
    scores, _ = _predictions(states, targets, folds, penalties)
    accuracy = (scores.argmax(3) == np.stack([labels, *drawn])).mean(2)
    control = accuracy[:, 1:].mean(1)
    error = accuracy[:, 1:].std(1, ddof=1) if n_controls > 1 else np.full(len(control), np.nan)
    return Selectivity(accuracy[:, 0], control, error, accuracy[:, 0] - control)


def _predictions(
    states: Array,
    targets: Array,
    folds: list[tuple[Index, Index, list[Index]]],
    penalties: tuple[float, ...],
) -> tuple[Array, Array]:
    """Scores (layers, tasks, items, classes) and penalties (layers, folds, tasks).

    ``targets`` (tasks, items, classes) are fitted side by side; each has its own penalty.
    """
    layers, tasks = states.shape[1], len(targets)
    scores = np.zeros((layers, *targets.shape))
    chosen = np.zeros((layers, len(folds), tasks))
    grid = np.asarray(penalties, dtype=float)
    for layer in range(layers):
        features = states[:, layer]
        features = features - features.mean(0)  # nothing but rounding depends on it
        products = features @ features.T
        for number, (train, test, inner) in enumerate(folds):
            for task, target in enumerate(targets):
                fit = _Ridge(products[np.ix_(train, train)], target[train], grid)
                best = int(fit.errors(inner).argmin())
                chosen[layer, number, task] = grid[best]
                scores[layer, task, test] = fit.predict(products[np.ix_(test, train)], best)
    return scores, chosen


class _Ridge:
    """Ridge regressions of one training set for all penalties at once, classes of equal weight."""

    def __init__(self, products: Array, y: Array, grid: Array) -> None:
        """``products`` (n, n) between training items, ``y`` (n, classes) their one-hot labels."""
        counts = y.sum(0)
        weights = (1 / counts[y.argmax(1)]) / np.count_nonzero(counts) * len(y)
        self.share = weights / len(y)
        self.root = np.sqrt(weights)[:, None]
        self.means = products @ self.share
        self.middle = float(self.means @ self.share)
        centred = products - self.means - self.means[:, None] + self.middle
        values, self.vectors = np.linalg.eigh(self.root * centred * self.root.T)
        self.values = np.maximum(values, 0.0)
        self.penalty = grid[:, None] * (self.values.mean() or 1.0)
        self.mean = self.share @ y
        self.rotated = self.vectors.T @ (self.root * (y - self.mean))
        self.y = y

    def errors(self, inner: list[Index]) -> Array:
        """(penalties,) squared error of all inner folds, each left out of the fit.

        Exact for a linear smoother H with a quadratic penalty: (I - H_bb)^-1 times the residuals
        of a block b are its residuals under the fit without it. Rows are scaled by the roots of
        their weights, which makes weighted least squares ordinary.
        """
        n, shrink = len(self.y), self.values / (self.values + self.penalty)
        smooth = (self.vectors * shrink[:, None]) @ self.vectors.T + self.root * self.root.T / n
        target = self.root * self.y
        residual = target - smooth @ target
        total = np.zeros(len(self.penalty))
        for block in inner:
            left = np.eye(len(block)) - smooth[:, block[:, None], block]
            total += (np.linalg.solve(left, residual[:, block]) ** 2).sum((1, 2))
        return total

    def predict(self, products: Array, best: int) -> Array:
        """(items, classes) scores from ``products`` (items, n) with the training items."""
        weights = self.rotated / (self.values + self.penalty[best])[:, None]
        centred = products - (products @ self.share)[:, None] - self.means + self.middle
        return centred @ (self.root * (self.vectors @ weights)) + self.mean


def _nested_folds(
    labels: Index, groups: ArrayLike | None, n_outer: int, n_inner: int, seed: int
) -> list[tuple[Index, Index, list[Index]]]:
    """Training items, test items and the inner folds, as positions among training items."""
    codes = None if groups is None else _codes(groups, len(labels))
    found = []
    for train, test in _folds(labels, codes, n_outer, seed):
        within = None if codes is None else codes[train]
        inner = [held for _, held in _folds(labels[train], within, n_inner, seed)]
        found.append((train, test, inner))
    return found


def _folds(
    labels: Index, codes: Index | None, n_folds: int, seed: int
) -> list[tuple[Index, Index]]:
    units = np.bincount(labels).max() if codes is None else len(np.unique(codes))
    if not 2 <= n_folds <= units:
        what = "items of a class" if codes is None else "groups"
        raise ValueError(f"{n_folds} folds of {units} {what}")
    if codes is None:
        split = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels)
    else:
        by_group = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        split = by_group.split(labels, labels, codes)
    return [(train, test) for train, test in split if len(test)]


def _one_hot(labels: Index, n_classes: int | None = None) -> Array:
    return np.eye(labels.max() + 1 if n_classes is None else n_classes)[labels]


def _codes(groups: ArrayLike, n: int) -> Index:
    given = np.asarray(groups)
    if given.shape != (n,):
        raise ValueError(f"groups of shape {given.shape} for {n} items")
    return np.unique(given, return_inverse=True)[1]


def _checked(
    states: ArrayLike, labels: ArrayLike, penalties: tuple[float, ...]
) -> tuple[Array, Index]:
    states, labels = np.asarray(states, dtype=np.float64), np.asarray(labels)
    if states.ndim != 3 or labels.shape != states.shape[:1]:
        raise ValueError(f"states of shape {states.shape} with labels of shape {labels.shape}")
    if not np.isfinite(states).all():
        raise ValueError("states must be finite")
    if not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise ValueError("labels must be class indices from 0")
    if len(np.unique(labels)) < 2:
        raise ValueError("labels of one class only: there is nothing to probe")
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"penalties must be above 0, not {penalties}")
    return states, labels
