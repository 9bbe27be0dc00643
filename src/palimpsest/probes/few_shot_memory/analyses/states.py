"""States against one another: does a changed model form new memories as the one before does?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import MOMENT, Data, Found, Rows
from palimpsest.probes.few_shot_memory.analyses.learning import (
    MARGIN,
    middle_cue,
    prefix_metric,
    where,
)
from palimpsest.statistics.comparisons import equivalence_paired, paired_difference
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings

#: Role whose states claims are judged on; the first by name where there is none of this name.
MAIN = "unlearned"
#: The model as it is: what states without another one to be held against are compared with.
UNTOUCHED = "untouched"
#: What must agree for two tests to be of the same item in the same condition.
ALIKE = ["model", "stimuli", "adapter", "optimizer", "batch_size", "list", "item"]


def against(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Differences between a state and the one it is held against, paired by item.

    An unlearned state is held against the state that it came from, with the same seed; any other
    against the untouched model, where the study has one. Both learn the same lists, each at the
    rate that its validation pairs chose. Items are the unit: one that several replicates of a state
    were taught is one cluster.
    """
    rows: Rows = []
    found: dict[str, Found] = {}
    for measured, metric in _measures(data, settings):
        pairs = _paired(measured.filter(pl.col("chosen")))
        by = ["role", "reference", "model", "stimuli", "adapter", "optimizer", "batch_size"]
        for values, part in grouped(pairs, [*by, "phase", "exposures", "delay"]):
            estimate = paired_difference(
                part["value"].to_numpy(),
                part["value_before"].to_numpy(),
                part["unit"].to_numpy(),
                unit="items",
            )
            study = values["phase"] == "study"
            place = where(values | {"rate": None}) | {
                "arm": f"minus {values['reference']}",
                "step": values["exposures"] if study else values["delay"],
            }
            rows.append(row("against" if study else "against_later", metric, estimate, **place))
        for claim, part in _evidence(pairs, metric, settings):
            estimate = equivalence_paired(
                part["value"].to_numpy(),
                part["value_before"].to_numpy(),
                MARGIN,
                part["unit"].to_numpy(),
                unit="items",
            )
            found.setdefault(part["role"][0], {})[claim] = estimate
    chosen = MAIN if MAIN in found else min(found, default=MAIN)
    return rows, found.get(chosen, {})


def has_any(data: Data) -> bool:
    """Whether the study has an unlearned state and the state that it came from."""
    known = data.pairs["state"].unique()
    return data.pairs.filter(pl.col("origin").is_in(known.to_list())).height > 0


def _measures(data: Data, settings: Settings) -> list[tuple[pl.DataFrame, str]]:
    """Frames with a column ``value``, and what it is."""
    studied = data.pairs.filter(pl.col("arm") == "studied")
    found = [
        (studied.filter(pl.col("exposures") > 0).with_columns(value="correct_drop"), "correct_drop")
    ]
    recalled = data.items.filter(pl.col("kind") == "study")
    cue = f"{100 * middle_cue(settings):.0f}"
    for metric in (prefix_metric(settings), f"exact_{cue}", "rougeL"):
        found.append((recalled.filter(pl.col("metric") == metric), metric))
    return found


def _paired(frame: pl.DataFrame) -> pl.DataFrame:
    """Every test of a state beside that of the same item in the state it is held against."""
    keys = [*ALIKE, *MOMENT]
    # The model as it is has one state; where a role of this name has several, the first.
    untouched = frame.filter(pl.col("role") == UNTOUCHED).group_by("model")
    held = (
        frame.filter((pl.col("role") != UNTOUCHED) | pl.col("origin").is_not_null())
        .join(
            untouched.agg(plain=pl.col("state").min()),
            on="model",
            how="left",
            maintain_order="left",
        )
        .with_columns(held=pl.coalesce("origin", "plain"))
    )
    before = frame.select(*keys, held="state", reference="role", value_before="value")
    return held.join(before, on=["held", *keys], maintain_order="left")


def _evidence(
    pairs: pl.DataFrame, metric: str, settings: Settings
) -> list[tuple[str, pl.DataFrame]]:
    """By claim and role the tests after the last exposure of unlearned states."""
    claims = {
        "correct_drop": "unlearned_recognises_alike",
        prefix_metric(settings): "unlearned_recalls_alike",
    }
    if metric not in claims:
        return []
    study = pairs.filter(pl.col("origin").is_not_null() & (pl.col("phase") == "study"))
    last = study.filter(pl.col("exposures") == pl.col("exposures").max())
    return [(claims[metric], part) for _, part in grouped(last, ["role"])]
