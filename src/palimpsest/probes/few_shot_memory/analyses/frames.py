"""The observations of a study as frames: pairs for recognition, items for recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.statistics import Estimate

if TYPE_CHECKING:
    import duckdb

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: What names a condition; lists are its replicates.
CONDITION = ["role", "model", "stimuli", "adapter", "optimizer", "batch_size", "rate"]
MOMENT = ["phase", "exposures", "updates", "delay"]
#: Kinds in which a coin decided what is studied, so that the floor is one half by design.
EXCHANGEABLE = ("natural", "random_words", "novel")


@dataclass(frozen=True)
class Data:
    """Frames of one study; ``unit`` names an item of a list, ``replicate`` the list.

    Attributes:
        pairs: one row a pair and moment: loss of both, base loss of both (nats a token), whether
            the studied item was preferred by mean loss (``correct``), by summed loss
            (``correct_sum``, null for pairs never studied), by the drop of the mean loss
            (``correct_drop``), the margin of the drops (nats), and ``arm``: studied or never.
        items: one row an item, moment and metric of recall.
        facts: what was asked, rates tried and chosen, numbers of rejected draws.
    """

    pairs: pl.DataFrame
    items: pl.DataFrame
    facts: pl.DataFrame

    def main(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of the condition that claims are judged on.

        The state as loaded where there is one, else the first by name, unlearned ones last; the
        adapter, optimiser and batch size that come first; for each list the rate that its
        validation pairs chose.
        """
        if frame.is_empty():
            return frame
        plain = frame.filter(pl.col("origin").is_null())
        roles = (plain if plain.height else frame)["role"].unique(maintain_order=True).to_list()
        role = "untouched" if "untouched" in roles else sorted(roles)[0]
        frame = frame.filter((pl.col("role") == role) & pl.col("chosen"))
        for factor in ("adapter", "optimizer", "batch_size"):
            frame = frame.filter(pl.col(factor) == frame[factor].min())
        return frame


def read(connection: duckdb.DuckDBPyConnection, study: str) -> Data:
    """All observations of a study."""
    query = "SELECT * FROM few_shot_memory WHERE study = ? ORDER BY ALL"
    frame = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    facts = frame.filter(pl.col("kind") == "fact")
    frame = frame.filter(pl.col("kind") != "fact").join(_rates(facts), on="cell", how="left")
    frame = frame.with_columns(
        unit=pl.format("{}|{}|{}", "stimuli", "list", "item"),
        replicate=pl.format("{}|{}", "stimuli", "list"),
    )
    return Data(_pairs(frame, facts), frame.filter(~pl.col("metric").is_in(["loss"])), facts)


def _rates(facts: pl.DataFrame) -> pl.DataFrame:
    """Of every cell the rate that was used, and whether validation chose it for its list.

    Cells that try one rate each are compared by their validation pairs; other cells have chosen
    inside the job.
    """
    used = facts.filter(pl.col("metric") == "learning_rate").select("cell", rate="value")
    by_list = ["role", "state", "stimuli", "adapter", "optimizer", "batch_size", "list"]
    tried = facts.filter(
        pl.col("given_rate").is_not_null() & pl.col("metric").str.starts_with("validation_")
    )
    if tried.is_empty():
        return used.with_columns(chosen=pl.lit(True))
    tried = (
        tried.pivot(on="metric", index=["cell", *by_list], values="value")
        .sort("validation_recognition", "validation_loss", descending=[True, False])
        .group_by(by_list, maintain_order=True)
        .first()
    )
    won = tried["cell"].to_list()
    single = facts.filter(pl.col("given_rate").is_null())["cell"].unique().to_list()
    return used.with_columns(chosen=pl.col("cell").is_in([*won, *single]))


def tokens(facts: pl.DataFrame, *metrics: str) -> pl.DataFrame:
    """Cell and item -> tokens of its parts that ``metrics`` name."""
    return (
        facts.filter(pl.col("metric").is_in(metrics))
        .group_by("cell", "item", maintain_order=True)
        .agg(tokens=pl.col("value").sum())
    )


def _pairs(frame: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    losses = frame.filter(pl.col("metric") == "loss")
    named = ["list", "item", "unit", "replicate", *MOMENT]
    keys = ["cell", *CONDITION, "state", "origin", "chosen", *named]
    sides = []
    for arm, first, second in (("studied", "study", "foil"), ("never", "never", "never_foil")):
        one = losses.filter(pl.col("kind") == first).select(*keys, loss="value")
        two = losses.filter(pl.col("kind") == second).select(
            "cell", "item", *MOMENT, foil_loss="value"
        )
        sides.append(
            one.join(two, on=["cell", "item", *MOMENT], maintain_order="left").with_columns(
                arm=pl.lit(arm)
            )
        )
    pairs = pl.concat(sides)
    base = pairs.filter((pl.col("exposures") == 0) & (pl.col("phase") == "study")).select(
        "cell", "item", "arm", base="loss", foil_base="foil_loss"
    )
    pairs = pairs.join(
        tokens(facts, "cue", "truth"), on=["cell", "item"], how="left", maintain_order="left"
    ).join(
        tokens(facts, "foil"),
        on=["cell", "item"],
        how="left",
        maintain_order="left",
        suffix="_foil",
    )
    # The first token has no loss.
    total = pl.col("loss") * (pl.col("tokens") - 1)
    foil_total = pl.col("foil_loss") * (pl.col("tokens_foil") - 1)
    margin = (pl.col("base") - pl.col("loss")) - (pl.col("foil_base") - pl.col("foil_loss"))
    return pairs.join(base, on=["cell", "item", "arm"], maintain_order="left").with_columns(
        correct=_preferred(pl.col("foil_loss") - pl.col("loss")),
        correct_sum=pl.when(pl.col("arm") == "studied").then(_preferred(foil_total - total)),
        margin=margin,
        correct_drop=_preferred(margin),
    )


def _preferred(difference: pl.Expr) -> pl.Expr:
    """1 where the difference is positive, 0 where negative, 0.5 in a tie."""
    return (difference.sign() + 1) / 2
