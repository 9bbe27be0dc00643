"""What a verdict is read from: models where there are enough of them, otherwise facts.

With two models an arm no interval over models says anything. The same facts are asked of all
models, though, and the pairs of an arm's and the retrained models' answers to a fact can be
compared: that speaks of other facts of this kind and of these models, not of other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import (
    MEMBERSHIP,
    Data,
    bounds_of_change,
    metrics_of,
    of,
)
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.population import difference, margin
from palimpsest.statistics.recognition import auc_difference

#: Fewer models than this in an arm, or among the retrained ones: facts are the units.
LEAST_MODELS, LEAST_RETRAINED = 3, 5
#: From fewer facts than this no difference is read.
LEAST_FACTS = 4
#: Where taught and retrained models differ by fewer of these deviations there is no way to go.
LEAST_GAP = 3.0
#: Area under the curve of membership, as a difference from retrained models, that counts where no
#: population of models says how far these scatter.
FAR = 0.1


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

    def values(self, arm: str, metric: str) -> np.ndarray:
        """One number a model."""
        return of(self.part, arm, metric)

    def metrics(self) -> dict[str, str]:
        """Metric -> group."""
        return metrics_of(self.part)

    def against(self, arm: str, metric: str) -> Estimate | None:
        """An arm minus the retrained models; None where there are too few."""
        values, never = self.values(arm, metric), self.values(self.data.retrained, metric)
        if min(len(values), len(never)) < 2:
            return None
        return difference(values, never).within(*bounds_of_change(metric))

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

    def _of(self, arm: str, metric: str) -> pl.DataFrame:
        own = (pl.col("arm") == arm) & (pl.col("metric") == metric)
        chosen = self.facts.filter(own & pl.col("value").is_finite())
        return chosen.select("item", "value").sort("item")

    def _pairs(self, one: str, other: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        both = self._of(one, metric).join(
            self._of(other, metric), on="item", suffix="_other", maintain_order="left"
        )
        return both["value"].to_numpy(), both["value_other"].to_numpy()


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
    return Facts(data, data.facts.filter(own), data.scores.filter(own))
