"""What exposures teach: recognition and recall by number of exposures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import (
    CONDITION,
    EXCHANGEABLE,
    Data,
    Found,
    Rows,
)
from palimpsest.statistics.comparisons import equivalence_paired, two_sample_difference
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.recognition import auc, d_prime_2afc
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings
    from palimpsest.statistics import Estimate

#: Margin within which "at the floor" is equivalence, fixed beforehand.
MARGIN = 0.1


def where(values: dict) -> dict:
    """The condition as columns of the table ``statistics``."""
    rate = "chosen rate" if values["rate"] is None else f"rate {values['rate']:g}"
    factors = (values["adapter"], values["optimizer"], f"batch {values['batch_size']}", rate)
    return {
        "role": values["role"],
        "model": values["model"],
        "series": values["stimuli"],
        "factor": ", ".join(factors),
    }


def conditions(frame: pl.DataFrame, keys: list[str]):
    """Groups of a frame: every condition with the rates that validation chose and, where these are
    several, at each rate."""
    own = [name for name in CONDITION if name != "rate"]
    for values, part in grouped(frame.filter(pl.col("chosen")), [*own, *keys]):
        yield where(values | {"rate": None}), values, part
    several = frame.filter(pl.col("rate").n_unique().over(own) > 1)
    for values, part in grouped(several, [*CONDITION, *keys]):
        yield where(values), values, part


def mean(frame: pl.DataFrame, column: str = "value") -> Estimate:
    """Mean over items, items as clusters: an item tested in several cells counts once."""
    return clustered_mean(frame[column].to_numpy(), frame["unit"].to_numpy(), unit="items")


def share(frame: pl.DataFrame, column: str = "value") -> Estimate:
    """:func:`mean` of what lies between 0 and 1, as does its interval."""
    return mean(frame, column).within(0, 1)


def recognition(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Forced choice by loss and by its drop, against all foils (AUC), and d'."""
    rows: Rows = []
    found: Found = {}
    study = data.pairs.filter(pl.col("phase") == "study")
    for place, values, part in conditions(study, ["arm", "exposures"]):
        common = place | {"arm": values["arm"], "step": values["exposures"]}
        rows.append(row("recognition", "correct", mean(part, "correct"), **common))
        if part["correct_sum"].null_count() == 0:
            rows.append(row("recognition", "correct_sum", mean(part, "correct_sum"), **common))
        if not values["exposures"]:
            continue
        rows.append(row("recognition", "correct_drop", mean(part, "correct_drop"), **common))
        if values["arm"] == "studied":
            drop, foil = part["base"] - part["loss"], part["foil_base"] - part["foil_loss"]
            area = auc(drop.to_numpy(), foil.to_numpy())
            rows.append(row("recognition", "auc of the drop, all foils", area, **common))
            right = int(part["correct_drop"].floor().sum())
            rows.append(row("recognition", "d_prime", d_prime_2afc(right, part.height), **common))
    main = data.main(study)
    one = main.filter(
        (pl.col("arm") == "studied") & (pl.col("stimuli") == "natural") & (pl.col("exposures") == 1)
    )
    if one.height:
        found["one_exposure"] = mean(one, "correct")
    last = main.filter(pl.col("exposures") == pl.col("exposures").max())
    studied = last.filter(pl.col("arm") == "studied")
    if studied.is_empty() or not studied["exposures"][0]:
        return rows, found
    found["exposure_teaches"] = mean(studied, "correct_drop")
    never = last.filter((pl.col("arm") == "never") & pl.col("stimuli").is_in(EXCHANGEABLE))
    learnt = mean(studied, "margin")
    # What studied items gain is the measure; where it is not above zero there is none.
    if never.height and learnt.low > 0:
        shares = never["margin"].to_numpy() / learnt.estimate
        found["never_studied_at_floor"] = equivalence_paired(
            shares, np.zeros_like(shares), MARGIN, never["unit"].to_numpy(), unit="items"
        )
    return rows, found


def recall(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Word for word and by ROUGE, by exposures and cue."""
    rows: Rows = []
    found: Found = {}
    study = data.items.filter((pl.col("phase") == "study") & (pl.col("kind") == "study"))
    for place, values, part in conditions(study, ["metric", "exposures"]):
        rows.append(
            row("recall", values["metric"], share(part), arm="studied", step=values["exposures"])
            | place
        )
    main = data.main(study)
    last = main.filter(pl.col("exposures") == pl.col("exposures").max())
    three = main.filter(
        (pl.col("metric") == "rougeL")
        & (pl.col("stimuli") == "natural")
        & (pl.col("exposures") == 3)
    )
    if three.height:
        found["three_exposures"] = share(three)
    prefix = last.filter(pl.col("metric") == prefix_metric(settings))
    sides = {kind: prefix.filter(pl.col("stimuli") == kind) for kind in ("natural", "random_words")}
    if all(side.height for side in sides.values()):
        natural, strings = sides.values()
        found["sentences_beat_strings"] = two_sample_difference(
            natural["value"].to_numpy(),
            strings["value"].to_numpy(),
            natural["unit"].to_numpy(),
            strings["unit"].to_numpy(),
            unit="items",
        )
    return rows, found


def middle_cue(settings: Settings) -> float:
    """The cue nearest to half a sentence."""
    return min(settings.cues, key=lambda cue: abs(cue - 0.5))


def prefix_metric(settings: Settings) -> str:
    """The share of the rest before the first error, at the cue nearest to half a sentence."""
    return f"prefix_{100 * middle_cue(settings):.0f}"
