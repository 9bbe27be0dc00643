"""The detector of a guard: a logistic regression on features of prompts, and how good it is.

Its threshold comes from prompts that it was not fitted on. A wording of what is to be forgotten is
held out for all items at once, as the next user words things in a way of their own; of what must
stay whole people are held out, as the next user asks for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from palimpsest.data.items import Item

VERSION = 1
ENGINE = ("data.items",)

#: Parts that prompts are cut into, at most, to be held out one after another.
FOLDS = 5
#: Shares of false alarms at which the curve is told.
POINTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Detector:
    """A fitted logistic regression; see ``models.guards.Guard`` for the names."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n,) probabilities."""
        states = (features - self.mean) / self.scale
        return 1 / (1 + np.exp(-(states @ self.weights + self.bias)))


def fitted(features: np.ndarray, wanted: np.ndarray, ridge: float) -> Detector:
    """A detector on all prompts; both kinds together weigh the same.

    Args:
        features: (n, width).
        wanted: (n,) whether a prompt is to be found; both kinds occur.
        ridge: penalty on the squared weights of standardised features.
    """
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    model = LogisticRegression(C=1 / ridge, class_weight="balanced", max_iter=1000)
    model.fit((features - mean) / scale, wanted)
    return Detector(mean, scale, model.coef_[0], float(model.intercept_[0]))


def parts(items: Sequence[Item], prompts: Sequence[int], by_wording: bool) -> np.ndarray:
    """(n,) the part in which each prompt is held out, from 0.

    Args:
        items: what is asked for.
        prompts: number of prompts of each item, which stand one after another.
        by_wording: a part is a wording of all items, if there are several; else it is whole people.
    """
    if by_wording and max(prompts, default=0) > 1:
        return np.array([place % FOLDS for count in prompts for place in range(count)])
    people = list(dict.fromkeys(item.id.split("/")[0] for item in items))
    number = {person: place for place, person in enumerate(people)}
    owner = [number[item.id.split("/")[0]] for item in items]
    return np.repeat(np.array(owner, dtype=int) % FOLDS, prompts)


def held_out(
    features: np.ndarray, wanted: np.ndarray, part: np.ndarray, ridge: float
) -> np.ndarray | None:
    """(n,) score of every prompt by a detector that was fitted without its part.

    None where some part is all that there is of a kind.
    """
    found = np.empty(len(wanted))
    for each in np.unique(part):
        out = part == each
        if len(np.unique(wanted[~out])) < 2:
            return None
        found[out] = fitted(features[~out], wanted[~out], ridge).scores(features[out])
    return found


def calibrated(scores: np.ndarray, wanted: np.ndarray, false_alarms: float) -> float:
    """The threshold with the highest share found less false alarms (Youden 1950).

    Thresholds lie halfway between neighbouring scores, beyond the last ones too. Of equally good
    ones it is that with fewest false alarms, then that with most room about it.

    Args:
        scores: (n,) of prompts that were held out.
        wanted: (n,) which of them are to be found.
        false_alarms: share of the others that may be taken for one of them, at most.
    """
    levels = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    middles = (levels[1:] + levels[:-1]) / 2
    found = np.array([(scores[wanted] >= t).mean() for t in middles])
    wrong = np.array([(scores[~wanted] >= t).mean() for t in middles])
    allowed = np.flatnonzero(wrong <= false_alarms)
    if not len(allowed):
        return float(np.nextafter(levels[-1], 2.0))
    room = np.diff(levels)
    best = max(allowed, key=lambda place: (found[place] - wrong[place], -wrong[place], room[place]))
    return float(middles[best])


def quality(scores: np.ndarray, wanted: np.ndarray, threshold: float) -> dict[str, Any] | None:
    """What the report should know of a detector; None without prompts of both kinds.

    Args:
        scores: (n,) of prompts that the detector has not seen.
        wanted: (n,) which of them are to be found.
        threshold: from which a prompt counts as found.

    Returns:
        Area under the ROC curve, numbers of prompts, shares at the threshold, and the curve as the
        shares found at given shares of false alarms.
    """
    if len(np.unique(wanted)) < 2:
        return None
    from sklearn.metrics import roc_auc_score, roc_curve

    wrong, found, _ = roc_curve(wanted, scores)
    curve = [float(found[wrong <= point].max()) for point in POINTS]
    return {
        "auc": float(roc_auc_score(wanted, scores)),
        "prompts": [int(wanted.sum()), int((~wanted).sum())],
        "found": float((scores[wanted] >= threshold).mean()),
        "false_alarms": float((scores[~wanted] >= threshold).mean()),
        "roc": {"false_alarms": list(POINTS), "found": curve},
    }
