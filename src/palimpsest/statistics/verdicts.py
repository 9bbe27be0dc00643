"""From an interval to a word: the same rules for every claim."""

from __future__ import annotations

from typing import Literal

from palimpsest.statistics.estimate import Estimate

Verdict = Literal["supported", "contradicted", "inconclusive"]
Contamination = Literal["contaminated", "no evidence", "cannot tell"]


def verdict_above(estimate: Estimate, threshold: float) -> Verdict:
    """Claim "larger than ``threshold``": supported when the whole interval lies above it."""
    if estimate.low > threshold:
        return "supported"
    return "contradicted" if estimate.high < threshold else "inconclusive"


def verdict_below(estimate: Estimate, threshold: float) -> Verdict:
    """Claim "smaller than ``threshold``": supported when the whole interval lies below it."""
    if estimate.high < threshold:
        return "supported"
    return "contradicted" if estimate.low > threshold else "inconclusive"


def verdict_equivalent(estimate: Estimate, margin: float) -> Verdict:
    """Claim "within ``margin`` of 0": supported when the whole interval lies inside.

    Contradicted when it lies wholly outside. With the 90% interval of ``equivalence_paired`` this
    is a test at 5%. Raises ValueError unless the margin is positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, not {margin}")
    if -margin < estimate.low and estimate.high < margin:
        return "supported"
    outside = estimate.low > margin or estimate.high < -margin
    return "contradicted" if outside else "inconclusive"


def contamination(
    recall: Estimate, chance: float, power_at: float, min_power: float = 0.8
) -> Contamination:
    """Is a model contaminated, clean as far as can be seen, or too little tested to tell?

    "contaminated" when the lower end of ``recall`` exceeds ``chance`` and its p, where there is
    one (corrected for multiplicity beforehand), is at most 1 - level. "no evidence" only when the
    test could have seen it: ``power_at``, the power at the smallest effect that matters, is at
    least ``min_power``. Otherwise, and where there is no interval, "cannot tell".
    """
    significant = recall.p is None or recall.p <= 1 - recall.level + 1e-12
    if recall.low > chance and significant:
        return "contaminated"
    tested = recall.low <= recall.high  # false where the interval is nan
    return "no evidence" if tested and power_at >= min_power else "cannot tell"
