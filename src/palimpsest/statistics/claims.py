"""Claims: what a study can support or contradict, fixed before the run, and how it is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palimpsest.statistics.estimate import Estimate
from palimpsest.statistics.multiplicity import holm
from palimpsest.statistics.power import detectable
from palimpsest.statistics.verdicts import verdict_above, verdict_below, verdict_equivalent


@dataclass(frozen=True)
class Claim:
    """A claim and its test, stated before the run.

    ``matters`` is the smallest distance beyond the threshold that would matter, None where none is
    stated; a claim of equivalence has its margin for that.
    """

    name: str
    source: str
    statement: str
    direction: Literal["above", "below", "within"]
    threshold: float
    estimand: str
    matters: float | None = None

    @property
    def smallest(self) -> float | None:
        """The smallest effect of interest; a study that cannot find it has low power."""
        return self.threshold if self.direction == "within" else self.matters

    @property
    def level(self) -> float:
        """Level of the interval that decides: two one-sided tests at 5% make one of 90%."""
        return 0.9 if self.direction == "within" else 0.95

    @property
    def test(self) -> str:
        """The test in words."""
        side = "within plus or minus" if self.direction == "within" else self.direction
        threshold = f"{self.threshold:g}".replace("-", "−")
        return f"{self.estimand}: {self.level:.0%} interval {side} {threshold}"

    def verdict(self, estimate: Estimate) -> str:
        """supported, contradicted, inconclusive, or not tested where there is no interval."""
        if not estimate.low <= estimate.high:
            return "not tested"
        rule = {"above": verdict_above, "below": verdict_below, "within": verdict_equivalent}
        return rule[self.direction](estimate, self.threshold)

    def p(self, estimate: Estimate) -> float | None:
        """p of the test that decides, on the side to which it decides; None where there is none.

        By the interval where it is one of t, and otherwise that of the estimate if it tests the
        claim's threshold: two-sided of "above" and "below", the larger of two one-sided of
        "within". What contradicts a one-sided test is decided by the other side.
        """
        found = estimate.p
        if self.direction == "within":
            above, below = (estimate.p_above(side * self.threshold) for side in (-1, 1))
            if found is None and above is not None and below is not None:
                found = max(above, 1 - below)
        elif found is None or self.threshold:
            above = estimate.p_above(self.threshold)
            if above is not None:
                found = 2 * min(above, 1 - above)
            elif not math.isclose(estimate.null, self.threshold, abs_tol=1e-12):
                found = None
        if found is not None and found > 0.5 and self.verdict(estimate) == "contradicted":
            return 1 - found
        return found


def judged(
    claims: Sequence[Claim],
    evidence: Mapping[str, Estimate],
    reasons: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the table ``claims``, without the study; what has no evidence was not tested.

    ``reasons`` say why, by the name of the claim, where the run could not have evidence.
    """
    rows = []
    for claim in claims:
        row: dict[str, Any] = {
            "claim": claim.name,
            "source": claim.source,
            "statement": claim.statement,
            "test": claim.test,
            "direction": claim.direction,
            "threshold": claim.threshold,
            "smallest": claim.smallest,
            "level": claim.level,
        }
        estimate = evidence.get(claim.name)
        if estimate is None:
            reason = (reasons or {}).get(claim.name, "this run has no data for it")
            row |= {"verdict": "not tested", "note": reason}
        else:
            row |= {
                "estimate": estimate.estimate,
                "low": estimate.low,
                "high": estimate.high,
                "n": estimate.n,
                "unit": estimate.unit,
                "p": claim.p(estimate),
                "detectable": detectable(estimate, claim.direction),
                "verdict": claim.verdict(estimate),
                "note": estimate.note,
            }
        # A number that is none becomes null.
        rows.append({key: None if value != value else value for key, value in row.items()})
    return rows


def corrected(claims: Sequence[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """Rows of :func:`judged` with ``p_adjusted``; all claims of a study with a p are a family.

    By Holm's method. What is decided by its interval but not after the correction is inconclusive.
    """
    p = [math.nan if claim.get("p") is None else claim["p"] for claim in claims]
    adjusted = [None if q != q else float(q) for q in holm(p)]
    found = []
    for claim, q in zip(claims, adjusted, strict=True):
        claim = claim | {"p_adjusted": q}
        decided = claim["verdict"] in ("supported", "contradicted")
        if decided and q is not None and q > alpha:
            remark = f"{claim['verdict']} by its interval alone, not after Holm's correction"
            note = "; ".join(filter(None, [claim.get("note"), remark]))
            claim |= {"verdict": "inconclusive", "note": note}
        found.append(claim)
    return found


def out_of_reach(models: Iterable[str], needs: Mapping[str, str]) -> dict[str, str]:
    """Why claims cannot be tested where all models are behind endpoints: claim -> reason.

    Args:
        models: names of the models; may repeat.
        needs: claim -> what it needs of a model's weights.
    """
    names = " and ".join(sorted(set(models)))
    return {
        claim: f"needs {needed}: out of reach, since {names} answers behind an endpoint"
        for claim, needed in needs.items()
    }


def analysed(
    analyses: Iterable[Callable[[Any, Any], tuple[list[dict[str, Any]], dict[str, Estimate]]]],
    data: Any,
    settings: Any,
    claims: Sequence[Claim],
    reasons: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables ``statistics`` and ``claims``, without the study.

    Args:
        analyses: each gives rows, and evidence by the name of the claim that it is for.
        data: what the analyses read.
        settings: the probe's settings.
        claims: judged on the evidence of all analyses.
        reasons: why a claim cannot have evidence, where that is known.
    """
    statistics: list[dict[str, Any]] = []
    evidence: dict[str, Estimate] = {}
    for analysis in analyses:
        rows, found = analysis(data, settings)
        statistics += rows
        evidence |= found
    return statistics, judged(claims, evidence, reasons)
