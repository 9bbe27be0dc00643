"""What a verdict is read from: models where there are enough of them, otherwise facts.

With two models an arm no interval over models says anything. The same facts are asked of all
models, though, and the pairs of an arm's and the retrained models' answers to a fact can be
compared: that speaks of other facts of this kind and of these models, not of other seeds.

Whether an arm has gone a share x of the way from taught to retrained models is asked of the
contrast arm - (1 - x) taught - x retrained, as a share of the gap between the two (Fieller): the
noise of both reference arms is in its interval, and no ratio is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.contrasts import (
    LEAST_GAP,
    Numbers,
    by_unit,
    estimate_of,
    mean_of,
    reach,
)
from palimpsest.probes.unlearning.analyses.facts import Facts
from palimpsest.probes.unlearning.analyses.frames import (
    Data,
    averaged,
    bounds_of_change,
    metrics_of,
)
from palimpsest.statistics import Estimate
from palimpsest.statistics.cluster_robust import robust_difference
from palimpsest.statistics.population import difference, margin

#: Fewer models than this in an arm, or among the retrained ones: facts are the units.
LEAST_MODELS, LEAST_RETRAINED = 3, 5


@dataclass(frozen=True)
class Models(Numbers):
    """Models as units.

    Attributes:
        data: the study.
        part: the values of one world.
    """

    data: Data
    part: pl.DataFrame
    unit: str = "models"

    @cached_property
    def _values(self) -> dict[tuple[str, str], dict[int, float]]:
        return by_unit(self.part, "run")

    def level(self, arm: str, metric: str) -> Estimate:
        """Mean over models."""
        return mean_of(self.values(arm, metric), self.unit)

    def gone(self, arm: str, metric: str) -> Estimate | None:
        """Mean of :meth:`way`; None for fewer than two models."""
        way = self.way(arm, metric)
        return None if way is None or len(way) < 2 else mean_of(way, self.unit)

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
        return estimate_of(robust_difference(values, never, None, None), self.unit)

    def apart_at_best(self, arm: str, metric: str) -> float:
        """How small a difference from the retrained models can be shown of one more such arm."""
        runs, never = len(self.values(arm, metric)), self.values(self.data.retrained, metric)
        if min(runs, len(never)) < 2:
            return np.inf
        parts = never.var(ddof=1) / np.array([runs, len(never)])
        return reach(parts, np.array([runs, len(never)]))

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
        pairs = self.together((arm, metric), (self.data.taught, metric))
        paired = len(pairs[0]) == len(values)
        values, before = pairs if paired else (values, taught.mean())
        rest = (values - (1 - share) * before) / gap
        return estimate_of(robust_difference(rest, share * never / gap, None, None), self.unit)

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
        return reach(weights**2 * spread / sizes, sizes) / gap

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


Units = Models | Facts


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
    return Facts(data, data.facts.filter(own), averaged(data).filter(own))
