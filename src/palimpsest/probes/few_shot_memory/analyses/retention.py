"""What new material leaves of memory, and what relearning saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import Data, Found, Rows
from palimpsest.probes.few_shot_memory.analyses.learning import conditions, prefix_metric, share
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.phases import two_phase
from palimpsest.statistics.rows import row
from palimpsest.statistics.savings import savings

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings

#: Updates after which forgetting is said to be gradual, from the paper.
BREAKPOINT = 10
#: Share of the rest that must come out before the first error for an item to count as recalled.
RECALLED = 0.9
INTERFERENCE = ("same", "different")


def forgetting(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Recognition and recall by updates on new material."""
    rows: Rows = []
    found: Found = {}
    pairs = from_study_on(data.pairs.filter(pl.col("arm") == "studied"))
    items = from_study_on(data.items.filter(pl.col("kind") == "study"))
    if pairs.is_empty():
        return rows, found
    for place, values, part in conditions(pairs, ["overlay", "delay"]):
        common = place | {"arm": values["overlay"], "step": values["delay"]}
        for metric in ("correct", "correct_drop"):
            rows.append(row("retention", metric, share(part, metric), **common))
    for place, values, part in conditions(items, ["overlay", "delay", "metric"]):
        rows.append(
            row("retention", values["metric"], share(part), arm=values["overlay"])
            | place
            | {"step": values["delay"]}
        )
    return rows, found | _claims(data, settings, pairs, items)


def from_study_on(frame: pl.DataFrame) -> pl.DataFrame:
    """Tests during overlay, and the last of the study phase as delay 0 of every overlay."""
    later = frame.filter(pl.col("phase").is_in(INTERFERENCE)).with_columns(overlay="phase")
    if later.is_empty():
        return later
    study = frame.filter(pl.col("phase") == "study")
    study = study.filter(pl.col("exposures") == pl.col("exposures").max())
    overlays = later["overlay"].unique().sort().to_list()
    return pl.concat([later, *(study.with_columns(overlay=pl.lit(name)) for name in overlays)])


def _claims(data: Data, settings: Settings, pairs: pl.DataFrame, items: pl.DataFrame) -> Found:
    found: Found = {}
    metric = prefix_metric(settings)
    first = (pl.col("stimuli") == "natural") & (pl.col("overlay") == settings.interference[0])
    pairs = data.main(pairs).filter(first)
    items = data.main(items).filter(first)
    prefix = items.filter(pl.col("metric") == metric)
    if prefix.is_empty():
        return found
    if prefix["delay"].max() > BREAKPOINT:
        found["steep_then_gradual"] = two_phase(
            prefix["unit"].to_numpy(),
            prefix["delay"].to_numpy(),
            prefix["value"].to_numpy(),
            BREAKPOINT,
            "line",
            unit_name="items",
        )
    last = pl.col("delay") == prefix["delay"].max()
    exact = items.filter((pl.col("metric") == metric.replace("prefix", "exact")) & last)
    before = data.main(data.items).filter(
        (pl.col("metric") == metric.replace("prefix", "exact"))
        & (pl.col("stimuli") == "natural")
        & (pl.col("phase") == "study")
        & (pl.col("exposures") == 0)
        & (pl.col("kind") == "study")
    )
    both = exact.join(before, on=["cell", "item"], suffix="_before")
    if both.height:
        found["some_survive"] = paired_difference(
            both["value"].to_numpy(),
            both["value_before"].to_numpy(),
            both["unit"].to_numpy(),
            unit="items",
        )
    both = pairs.select("cell", "item", "unit", "delay", seen="correct_drop").join(
        prefix.select("cell", "item", "delay", said=(pl.col("value") >= RECALLED).cast(pl.Float64)),
        on=["cell", "item", "delay"],
    )
    kept = both.filter((pl.col("delay") == 0) & (pl.col("seen") == 1) & (pl.col("said") == 1))
    later = both.filter(last).join(kept.select("cell", "item"), on=["cell", "item"])
    if later.height >= 2:
        found["recognition_outlives_recall"] = paired_difference(
            later["seen"].to_numpy(),
            later["said"].to_numpy(),
            later["unit"].to_numpy(),
            unit="items recognised and recalled after study",
        )
    return found


def relearning(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Savings: exposures that learning again takes against learning first, to the same criterion.

    The criterion is that the drop of an item's loss is as large as after one exposure on average.
    """
    rows: Rows = []
    again = data.pairs.filter((pl.col("phase") == "relearning") & (pl.col("arm") == "studied"))
    if again.is_empty() or not settings.relearning:
        return rows, {}
    studied = data.pairs.filter((pl.col("arm") == "studied") & (pl.col("exposures") > 0))
    for place, _, part in conditions(studied, []):
        first = part.filter(pl.col("phase") == "study")
        criterion = first.filter(pl.col("exposures") == 1).select(
            (pl.col("base") - pl.col("loss")).mean()
        )
        if criterion.is_empty() or criterion.item() is None:
            continue
        reached = pl.col("base") - pl.col("loss") >= criterion.item()
        trials = {
            phase: part.filter((pl.col("phase") == phase) & reached)
            .group_by("unit")
            .agg(pl.col("exposures").min())
            for phase in ("study", "relearning")
        }
        overlay = part.filter(pl.col("phase") == settings.interference[0])
        kept = overlay.filter((pl.col("delay") == pl.col("delay").max()) & reached)["unit"]
        units = first.select("unit").unique().sort("unit")
        counts = {
            phase: units.join(found, on="unit", how="left", maintain_order="left")["exposures"]
            .cast(pl.Float64)
            .fill_null(float("inf"))
            .to_numpy()
            .copy()
            for phase, found in trials.items()
        }
        counts["relearning"][units["unit"].is_in(kept.to_list()).to_numpy()] = 0
        most = min(max(settings.exposures), settings.relearning)
        estimate = savings(counts["study"], counts["relearning"], most, unit="items")
        rows.append(row("savings", "share of exposures saved", estimate, **place))
    return rows, {}
