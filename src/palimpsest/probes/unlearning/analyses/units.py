"""What a verdict is read from: models where there are enough of them, otherwise facts.

With two models an arm no interval over models says anything. The same facts are asked of all
models, though, and the pairs of an arm's and the retrained models' answers to a fact can be
compared: that speaks of other facts of this kind and of these models, not of other seeds.

Whether an arm has gone a share x of the way from taught to retrained models is asked of the
contrast arm - (1 - x) taught - x retrained, as a share of the gap between the two (Fieller): the
noise of both reference arms is in its interval, and no ratio is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import norm

from palimpsest.probes.unlearning.analyses.frames import (
    MEMBERSHIP,
    Data,
    bounds_of_change,
    metrics_of,
)
from palimpsest.statistics import Estimate
from palimpsest.statistics.cluster_robust import (
    RobustMean,
    robust_difference,
    robust_mean,
    t_quantile,
)
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.intervals import no_width
from palimpsest.statistics.population import difference, margin
from palimpsest.statistics.recognition import auc_difference, placements

#: Fewer models than this in an arm, or among the retrained ones: facts are the units.
LEAST_MODELS, LEAST_RETRAINED = 3, 5
#: From fewer facts than this no difference is read.
LEAST_FACTS = 4
#: Where taught and retrained models differ by fewer of these deviations there is no way to go.
LEAST_GAP = 3.0
#: Area under the curve of membership, as a difference from retrained models, that counts where no
#: population of models says how far these scatter.
FAR = 0.1
#: Equivalence, and that something has gone or stayed, is shown by one-sided tests at 5%.
LEVEL = 0.9
#: A measure can decide where one more retrained arm would pass its test this often.
POWER = 0.95


@dataclass(frozen=True)
class Models:
    """Models as units.

    Attributes:
        data: the study.
        part: the values of one world.
    """

    data: Data
    part: pl.DataFrame
    unit: str = "models"

    @cached_property
    def _values(self) -> dict[tuple[str, str], np.ndarray]:
        """As :func:`frames.of` for all arms and metrics at once."""
        finite = self.part.filter(pl.col("value").is_finite()).sort("run")
        groups = finite.partition_by("arm", "metric", as_dict=True)
        return {key: own["value"].to_numpy() for key, own in groups.items()}

    def values(self, arm: str, metric: str) -> np.ndarray:
        """One number a model."""
        return self._values.get((arm, metric), np.empty(0))

    def metrics(self) -> dict[str, str]:
        """Metric -> group."""
        return metrics_of(self.part)

    def against(self, arm: str, metric: str) -> Estimate | None:
        """An arm minus the retrained models; None where there are too few."""
        values, never = self.values(arm, metric), self.values(self.data.retrained, metric)
        if min(len(values), len(never)) < 2:
            return None
        return difference(values, never).within(*bounds_of_change(metric))

    def apart(self, arm: str, metric: str) -> Estimate | None:
        """As :meth:`against` at :data:`LEVEL`; means over facts are graded even if all are 1."""
        values, never = self.values(arm, metric), self.values(self.data.retrained, metric)
        if min(len(values), len(never)) < 2:
            return None
        return _estimate(robust_difference(values, never, None, None), self.unit)

    def apart_at_best(self, arm: str, metric: str) -> float:
        """How small a difference from the retrained models can be shown of one more such arm."""
        runs, never = len(self.values(arm, metric)), self.values(self.data.retrained, metric)
        if min(runs, len(never)) < 2:
            return np.inf
        parts = never.var(ddof=1) / np.array([runs, len(never)])
        return _reach(parts, np.array([runs, len(never)]))

    def left(self, arm: str, metric: str, share: float) -> Estimate | None:
        """What is left before an arm has gone a share of the way, as a share of the gap.

        Below 0 it has gone further. p is that of the test that nothing is left, against more. None
        as in :meth:`way`. Values are paired with the taught models that they come from.
        """
        way = self.way(arm, metric)
        if way is None or len(way) < 2 or len(self.values(self.data.retrained, metric)) < 2:
            return None
        values, taught = self.values(arm, metric), self.values(self.data.taught, metric)
        never = self.values(self.data.retrained, metric)
        gap = taught.mean() - never.mean()
        before = taught if len(taught) == len(values) else taught.mean()
        rest = (values - (1 - share) * before) / gap
        return _estimate(robust_difference(rest, share * never / gap, None, None), self.unit)

    def least_left(self, arm: str, metric: str, share: float) -> float:
        """How far from a share of the way an arm must be for that to be shown, if it scatters as
        the retrained models do; as a share of the gap."""
        taught, never = (
            self.values(one, metric) for one in (self.data.taught, self.data.retrained)
        )
        runs = len(self.values(arm, metric))
        if min(runs, len(taught), len(never)) < 2:
            return np.inf
        gap = abs(taught.mean() - never.mean())
        if gap == 0:
            return np.inf
        sizes = np.array([runs, len(never), len(taught)])
        spread = np.array([side.var(ddof=1) for side in (never, never, taught)])
        weights = np.array([1, share, 1 - share])
        return _reach(weights**2 * spread / sizes, sizes) / gap

    def way(self, arm: str, metric: str) -> np.ndarray | None:
        """(runs,) share of the way from the taught models to the mean of the retrained ones.

        0: as before; 1: as models that never knew; more: pushed beyond. None where taught and
        retrained models hardly differ, or the arm has no values.
        """
        values, never = self.values(arm, metric), self.values(self.data.retrained, metric)
        taught = self.values(self.data.taught, metric)
        if not (len(values) and len(never) and len(taught)):
            return None
        gap = taught.mean() - never.mean()
        spread = never.std(ddof=1) if len(never) > 1 else 0.0
        if not abs(gap) > max(LEAST_GAP * spread, 1e-3):
            return None
        return (taught.mean() - values) / gap

    def far(self, metric: str, estimate: Estimate, widths: float) -> bool:
        """Whether a difference from the retrained models is more than these scatter."""
        never = self.values(self.data.retrained, metric)
        return abs(estimate.estimate) > margin(never, widths)


@dataclass(frozen=True)
class Facts:
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

    def values(self, arm: str, metric: str) -> np.ndarray:
        """One number a fact."""
        return self._of(arm, metric)["value"].to_numpy()

    def metrics(self) -> dict[str, str]:
        """Metric -> group."""
        return metrics_of(self.facts)

    def against(self, arm: str, metric: str) -> Estimate | None:
        """An arm minus the retrained models, paired by fact; areas under the curve by DeLong."""
        if metric.removeprefix("membership ") in MEMBERSHIP:
            return self._areas(arm, metric.removeprefix("membership "))
        values, never = self._pairs(arm, self.data.retrained, metric)
        few = len(values) < LEAST_FACTS
        if few:
            return None
        found = paired_difference(values, never, unit=self.unit)
        return found.within(*bounds_of_change(metric))

    def apart(self, arm: str, metric: str) -> Estimate | None:
        """As :meth:`against` at :data:`LEVEL`, of measures of single facts."""
        values, never = self._pairs(arm, self.data.retrained, metric)
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
        if metric.removeprefix("membership ") in MEMBERSHIP:
            return self._areas_left(weights, metric.removeprefix("membership "))
        if self.way(arm, metric) is None:
            return None
        joined = self._of(arm, metric)
        for number, other in enumerate(arms):
            joined = joined.join(self._of(other, metric), on="item", suffix=f"_{number}")
        if joined.height < LEAST_FACTS:
            return None
        columns = joined.sort("item").select(pl.exclude("item")).to_numpy()
        gap = (columns[:, 1] - columns[:, 2]).mean()
        fit = robust_mean(columns @ [weight for _, weight in weights] / gap)
        return _estimate(replace(fit, binary=False), self.unit)

    def least_left(self, arm: str, metric: str, share: float) -> float:
        """See :class:`Models`; facts scatter as where the arm is the retrained one. Of areas, as
        this arm's do: with loss beside that of retrained models these have next to no scatter."""
        area = metric.removeprefix("membership ") in MEMBERSHIP
        found = self.left(arm if area else self.data.retrained, metric, share)
        return np.inf if found is None else _stretched(found, found.n - 1)

    def way(self, arm: str, metric: str) -> np.ndarray | None:
        """(facts,) what each adds to the share of the way that the mean goes; see :class:`Models`.

        The gap between taught and retrained models is taken as given.
        """
        taught, never = self._pairs(self.data.taught, self.data.retrained, metric)
        before, values = self._pairs(self.data.taught, arm, metric)
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

    def _areas_left(self, weights: list[tuple[str, float]], metric: str) -> Estimate | None:
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
        return _estimate(fit, self.unit)

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
    def _items(self) -> dict[tuple[str, str], pl.DataFrame]:
        finite = self.facts.filter(pl.col("value").is_finite()).sort("item")
        groups = finite.partition_by("arm", "metric", as_dict=True)
        return {key: own.select("item", "value") for key, own in groups.items()}

    def _of(self, arm: str, metric: str) -> pl.DataFrame:
        none = self.facts.clear().select("item", "value")
        return self._items.get((arm, metric), none)

    def _pairs(self, one: str, other: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        both = self._of(one, metric).join(
            self._of(other, metric), on="item", suffix="_other", maintain_order="left"
        )
        return both["value"].to_numpy(), both["value_other"].to_numpy()


Units = Models | Facts


def _estimate(fit: RobustMean, unit: str) -> Estimate:
    """A mean with its interval at :data:`LEVEL`; p is that of "not above 0"."""
    if not fit.variance >= 0:
        low, high, p = np.nan, np.nan, None
    else:
        low, high = fit.t_interval(LEVEL) if fit.variance > 0 else no_width(fit, LEVEL)
        p = fit.p_above(0)
    method = "contrast, t interval"
    n = fit.n_clusters
    return Estimate(fit.mean, low, high, n, unit, method, LEVEL, p, dof=float(fit.dof))


def _of_sums(sides: list[np.ndarray]) -> tuple[float, float]:
    """Variance of the mean of placements on both sides, and Welch's degrees of freedom."""
    parts = np.array([np.var(side, ddof=1) / len(side) for side in sides])
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    total = float(parts.sum())
    return total, float(total**2 / spread) if spread > 0 else float(min(map(len, sides)) - 1)


def _reach(parts: np.ndarray, sizes: np.ndarray) -> float:
    """How far from a limit a one-sided test has :data:`POWER`, by variances of means and their
    numbers of values."""
    variance = float(parts.sum())
    if variance == 0:
        return 0.0
    freedom = variance**2 / float((parts**2 / (sizes - 1)).sum())
    return float(np.sqrt(variance)) * (t_quantile(LEVEL, freedom) + float(norm.ppf(POWER)))


def _stretched(found: Estimate, freedom: float) -> float:
    """The same from an interval at :data:`LEVEL`."""
    quantile = t_quantile(LEVEL, max(freedom, 1))
    return float((found.high - found.low) / 2 * (1 + float(norm.ppf(POWER)) / quantile))


def units_of(
    data: Data, part: pl.DataFrame, judged_by: Literal["auto", "models", "facts"]
) -> Units:
    """What the verdicts of one world are read from."""
    counts = {
        str(arm): count
        for arm, count in part.group_by("arm").agg(pl.col("run").n_unique()).iter_rows()
    }
    arms = [data.taught, *data.methods(part)]
    few = counts[data.retrained] < LEAST_RETRAINED or min(counts[a] for a in arms) < LEAST_MODELS
    if judged_by == "models" or (judged_by == "auto" and not few):
        return Models(data, part)
    own = (pl.col("world") == part["world"][0]) & (pl.col("model") == part["model"][0])
    return Facts(data, data.facts.filter(own), data.scores.filter(own))
