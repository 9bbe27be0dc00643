"""The detector of a guard: a logistic regression on features of prompts, and how good it is.

Its threshold comes from prompts that it was not fitted on. A wording of what is to be forgotten is
held out for all items at once, as the next user words things in a way of their own; of what must
stay whole people are held out, as the next user asks for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

VERSION = 1

#: Parts that prompts are cut into, at most, to be held out one after another.
FOLDS = 5
#: Share of held-out wordings of what is to be forgotten that the threshold finds.
FOUND = 0.95
#: Shares of false alarms at which the curve is told.
POINTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def detector() -> Pipeline:
    """A logistic regression on standardised features; both kinds of prompts weigh the same."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )


def held_out(
    features: np.ndarray, wanted: np.ndarray, wording: np.ndarray, person: np.ndarray
) -> np.ndarray:
    """(n,) score of prompts by detectors that met neither their wording nor, of what must stay,
    their person; nan for those that no detector left out.

    Args:
        features: (n, width).
        wanted: (n,) which prompts ask for the forget set.
        wording: (n,) number of each among its item's prompts. Where every item has one prompt the
            people are held out instead, of the forget set too.
        person: (n,) number of the person, or item, that it asks for.
    """
    wording = wording if wording[wanted].any() else person
    found = np.full(len(wanted), np.nan)
    for fold in range(FOLDS):
        same_wording, same_person = wording % FOLDS == fold, person % FOLDS == fold
        out = same_wording & (wanted | same_person)
        fit = ~same_wording & (wanted | ~same_person)
        if out.any() and len(np.unique(wanted[fit])) == 2:
            fitted = detector().fit(features[fit], wanted[fit])
            found[out] = fitted.predict_proba(features[out])[:, 1]
    return found


def calibrated(scores: np.ndarray, wanted: np.ndarray) -> float:
    """The highest threshold that finds :data:`FOUND` of the held-out wordings of the forget set.

    Not the share of false alarms decides: these cost no more than the phrases of a few items,
    which a harmless answer rarely needs, and a prompt that is missed costs everything. One half
    where nothing was held out.

    Args:
        scores: (n,) of prompts that were held out; nan for others.
        wanted: (n,) which of them are to be found.
    """
    own = scores[wanted & np.isfinite(scores)]
    return float(np.quantile(own, 1 - FOUND, method="lower")) if len(own) else 0.5


def quality(scores: np.ndarray, wanted: np.ndarray, threshold: float) -> dict[str, Any] | None:
    """What the report should know of a detector; None without prompts of both kinds.

    Args:
        scores: (n,) of prompts that the detector has not seen; nan for others.
        wanted: (n,) which of them are to be found.
        threshold: from which a prompt counts as found.

    Returns:
        Area under the ROC curve, numbers of prompts, shares at the threshold, and the curve as the
        shares found at given shares of false alarms.
    """
    there = np.isfinite(scores)
    scores, wanted = scores[there], wanted[there]
    if len(np.unique(wanted)) < 2:
        return None
    from sklearn.metrics import roc_auc_score, roc_curve

    wrong, found, _ = roc_curve(wanted, scores)
    return {
        "auc": float(roc_auc_score(wanted, scores)),
        "prompts": [int(wanted.sum()), int((~wanted).sum())],
        "found": float((scores[wanted] >= threshold).mean()),
        "false_alarms": float((scores[~wanted] >= threshold).mean()),
        "roc": {str(point): float(found[wrong <= point].max()) for point in POINTS},
    }
