"""Facts as units, where there are too few models; see :mod:`units`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from scipy.stats import norm

from palimpsest.probes.unlearning.analyses.contrasts import (
    FAR,
    LEAST_FACTS,
    LEAST_GAP,
    LEVEL,
    POWER,
    Numbers,
    by_unit,
    estimate_of,
    mean_of,
)
from palimpsest.probes.unlearning.analyses.frames import (
    MEMBERSHIP,
    Data,
    bounds_of_change,
    metrics_of,
)
from palimpsest.statistics import Estimate
from palimpsest.statistics.cluster_robust import RobustMean, robust_mean, t_quantile
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.recognition import auc, auc_difference, placements


@dataclass(frozen=True)
class Facts(Numbers):
    """Facts as units; each value is the mean over the models of an arm.

    Attributes:
        data: the study.
        facts: the facts of one world.
        scores: its scores of membership.
    """

    data: Data
    facts: pl.DataFrame
    scores: pl.DataFrame
    unit: str = "facts"

    def metrics(self) -> dict[str, str]:
        """Metric -> group."""
        return metrics_of(self.facts)

    def level(self, arm: str, metric: str) -> Estimate:
        """Mean over facts; areas under the curve by DeLong, for which those that nobody was told
        are units too."""
        score = _score(metric)
        sides = self._sides(arm, score) if score else ()
        if sides and min(map(len, sides)):
            return auc(*sides, unit=self.unit)
        return clustered_mean(self.values(arm, metric), unit=self.unit)

    def gone(self, arm: str, metric: str) -> Estimate | None:
        """Mean of :meth:`way`, areas by DeLong's covariances; None for fewer than two facts."""
        if score := _score(metric):
            weights = [(arm, -1.0), (self.data.taught, 1.0), (self.data.retrained, 0.0)]
            return self._areas_left(weights, score, 0.95)
        way = self.way(arm, metric)
        return None if way is None or len(way) < 2 else mean_of(way, self.unit)

    def against(self, arm: str, metric: str) -> Estimate | None:
        """An arm minus the retrained models, paired by fact; areas under the curve by DeLong."""
        if score := _score(metric):
            return self._areas(arm, score)
        values, never = self.together((arm, metric), (self.data.retrained, metric))
        few = len(values) < LEAST_FACTS
        if few:
            return None
        found = paired_difference(values, never, unit=self.unit)
        return found.within(*bounds_of_change(metric))

    def apart(self, arm: str, metric: str) -> Estimate | None:
        """As :meth:`against` at :data:`LEVEL`, of measures of single facts."""
        values, never = self.together((arm, metric), (self.data.retrained, metric))
        if len(values) < LEAST_FACTS:
            return None
        return paired_difference(values, never, level=LEVEL, unit=self.unit)

    def apart_at_best(self, arm: str, metric: str) -> float:
        """How small a difference from the retrained models can be shown of an arm whose facts
        scatter as those of the taught models do."""
        found = self.apart(self.data.taught, metric)
        if found is None:
            return np.inf
        return _stretched(found, found.n - 1)

    def left(self, arm: str, metric: str, share: float) -> Estimate | None:
        """See :class:`Models`; areas under the curve by DeLong's covariances."""
        arms = {self.data.taught: share - 1, self.data.retrained: -share}
        weights = [(arm, 1.0), *arms.items()]
        if score := _score(metric):
            return self._areas_left(weights, score)
        if self.way(arm, metric) is None:
            return None
        columns = np.stack(self.together(*((one, metric) for one, _ in weights)), axis=1)
        if len(columns) < LEAST_FACTS:
            return None
        gap = (columns[:, 1] - columns[:, 2]).mean()
        fit = robust_mean(columns @ [weight for _, weight in weights] / gap)
        return estimate_of(replace(fit, binary=False), self.unit)

    def least_left(self, arm: str, metric: str, share: float) -> float:
        """See :class:`Models`; facts scatter as where the arm is the retrained one. Of areas, as
        this arm's do: with loss beside that of retrained models these have next to no scatter."""
        found = self.left(arm if _score(metric) else self.data.retrained, metric, share)
        return np.inf if found is None else _stretched(found, found.n - 1)

    def way(self, arm: str, metric: str) -> np.ndarray | None:
        """(facts,) what each adds to the share of the way that the mean goes; see :class:`Models`.

        The gap between taught and retrained models is taken as given.
        """
        taught, never = self.together((self.data.taught, metric), (self.data.retrained, metric))
        before, values = self.together((self.data.taught, metric), (arm, metric))
        if min(len(values), len(taught)) < LEAST_FACTS:
            return None
        gaps = taught - never
        error = gaps.std(ddof=1) / np.sqrt(len(gaps))
        if not abs(gaps.mean()) > max(LEAST_GAP * error, 1e-3):
            return None
        return (before - values) / gaps.mean()

    def far(self, metric: str, estimate: Estimate, widths: float) -> bool:
        """Whether a difference from the retrained models is more than :data:`FAR`."""
        return abs(estimate.estimate) > FAR

    def _areas(self, arm: str, metric: str) -> Estimate | None:
        """Facts that nobody was told are a sample too, so that both kinds of facts are units."""
        chosen = self.scores.filter((pl.col("metric") == metric) & pl.col("value").is_finite())
        means = chosen.group_by("arm", "part", "item").agg(pl.col("value").mean())
        sides = [
            means.filter((pl.col("arm") == a) & (pl.col("part") == part)).sort("item")
            for a in (arm, self.data.retrained)
            for part in ("forget", "holdout")
        ]
        if min(side.height for side in sides) < 2 or not (
            sides[0]["item"].equals(sides[2]["item"]) and sides[1]["item"].equals(sides[3]["item"])
        ):
            return None
        return auc_difference(*(side["value"].to_numpy() for side in sides), unit=self.unit)

    def _areas_left(
        self, weights: list[tuple[str, float]], metric: str, level: float = LEVEL
    ) -> Estimate | None:
        """A contrast of areas by their placements (DeLong et al. 1988), as a share of the gap."""
        sides = [self._sides(arm, metric) for arm, _ in weights]
        if len({(len(one), len(other)) for one, other in sides}) > 1:
            return None
        m, n = map(len, sides[0])
        if min(m, n) < LEAST_FACTS:
            return None
        placed = [placements(*each) for each in sides]
        gaps = [placed[1][k] - placed[2][k] for k in (0, 1)]
        gap = float(gaps[0].mean())
        if not abs(gap) > max(LEAST_GAP * _of_sums(gaps)[0] ** 0.5, 1e-3):
            return None
        contrast = [
            sum(w * p[k] for (_, w), p in zip(weights, placed, strict=True)) for k in (0, 1)
        ]
        variance, freedom = _of_sums(contrast)
        fit = RobustMean(float(contrast[0].mean()) / gap, variance / gap**2, freedom, m + n)
        return estimate_of(fit, self.unit, level)

    def _sides(self, arm: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the forget set and of facts that nobody was told, in the order of items."""
        chosen = self.scores.filter(
            (pl.col("arm") == arm) & (pl.col("metric") == metric) & pl.col("value").is_finite()
        )
        means = chosen.group_by("part", "item").agg(pl.col("value").mean()).sort("item")
        forget, holdout = (
            means.filter(pl.col("part") == p)["value"] for p in ("forget", "holdout")
        )
        return forget.to_numpy(), holdout.to_numpy()

    @cached_property
    def _values(self) -> dict[tuple[str, str], dict[str, float]]:
        return by_unit(self.facts, "item")


def _score(metric: str) -> str | None:
    """The score of which a metric is the area under the curve; None where it is none."""
    name = metric.removeprefix("membership ")
    return name if name in MEMBERSHIP else None


def _of_sums(sides: list[np.ndarray]) -> tuple[float, float]:
    """Variance of the mean of placements on both sides, and Welch's degrees of freedom."""
    parts = np.array([np.var(side, ddof=1) / len(side) for side in sides])
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    total = float(parts.sum())
    return total, float(total**2 / spread) if spread > 0 else float(min(map(len, sides)) - 1)


def _stretched(found: Estimate, freedom: float) -> float:
    """The same from an interval at :data:`LEVEL`."""
    quantile = t_quantile(LEVEL, max(freedom, 1))
    return float((found.high - found.low) / 2 * (1 + float(norm.ppf(POWER)) / quantile))
