"""Models behind endpoints: choices in words, and what cannot be known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.economic_recall.analyses.grouping import Found, Rows
from palimpsest.statistics import claims
from palimpsest.statistics.intervals import clustered_mean, proportion
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.economic_recall.settings import Settings

_PLANTED = (
    "planted_found",
    "every_seed",
    "dose",
    "bound_to_date",
    "falsehood_beats_truth",
    "never_at_chance",
    "before_planting_at_chance",
    "flags_keep_their_level",
    "flags_detect",
    "boundary_found",
    "fake_cutoff_fails",
    "name_brings_memory",
)
_NEEDS = {
    **dict.fromkeys(_PLANTED, "facts planted into its weights"),
    "random_weights_know_nothing": "its weights made random",
    "values_in_embeddings": "its hidden states",
}


def out_of_reach(frame: pl.DataFrame) -> dict[str, str]:
    """Why claims cannot be tested where all models are behind endpoints: claim -> reason."""
    if frame.is_empty() or frame["endpoint"].null_count():
        return {}
    return claims.out_of_reach(frame["model"], _NEEDS)


def choices_in_words(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """How answers to choices in words were read; all but ``choice`` counts as not correct."""
    rows: Rows = []
    read = frame.filter(pl.col("metric") == "category_choice")
    for where, part in grouped(read, ["role", "model", "arm", "step"]):
        for category in ("choice", "refusal", "unparsable", "ambiguous", "empty"):
            count = int((part["text"] == category).sum())
            if count or category == "choice":
                share = proportion(count, part.height, unit="answers")
                rows.append(row("parsed", category, share, factor="choice in words", **where))
    listed = frame.filter(pl.col("metric").is_in(["letters_missing", "share_letter"]))
    for where, part in grouped(listed, ["role", "model", "arm", "step"]):
        missing = part.filter(pl.col("metric") == "letters_missing")["value"]
        whole = proportion(int((missing == 0).sum()), len(missing), unit="answers")
        rows.append(row("letters", "all_listed", whole, **where))
        asked = pl.col("question") != "permuted"
        shares = part.filter(asked, pl.col("metric") == "share_letter")
        if shares.height:
            mean = clustered_mean(shares["value"], shares["unit"], unit="facts").within(0, 1)
            rows.append(row("letters", "share_letter", mean, **where))
    return rows, {}
