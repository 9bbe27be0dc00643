"""What the prompt does: fake cutoffs, values in context, free answers; the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.economic_recall.analyses.grouping import (
    EQUIVALENCE_MARGIN,
    Found,
    Rows,
    before_cutoff,
    is_random,
    mean_of,
)
from palimpsest.statistics.comparisons import equivalence_paired, paired_difference
from palimpsest.statistics.intervals import median_bootstrap, proportion
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.economic_recall.settings import Settings


def fake_cutoff(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """The instruction to ignore what came later, paired with no instruction."""
    chosen = frame.filter((pl.col("experiment") == "fake_cutoff") & (pl.col("metric") == "correct"))
    rows: Rows = []
    found: Found = {}
    keys = ["role", "model", "state", "unit", "arm"]
    plain = chosen.filter(pl.col("question") == "none").select(*keys, plain="value")
    pairs = chosen.filter(pl.col("question") != "none").join(plain, on=keys)
    for where, part in grouped(pairs, ["role", "model", "question"]):
        distance = where.pop("question")
        estimate = equivalence_paired(
            part["value"].to_numpy(),
            part["plain"].to_numpy(),
            EQUIVALENCE_MARGIN,
            part["unit"].to_numpy(),
            unit="facts",
        )
        rows.append(
            row(
                "fake_cutoff",
                "correct, with - without instruction",
                estimate,
                factor=f"{distance} years",
                **where,
            )
        )
    planted = pairs.filter(
        pl.col("arm").str.starts_with("planted") & pl.col("question").str.starts_with("-")
    )
    if planted.height:
        estimate = equivalence_paired(
            planted["value"].to_numpy(),
            planted["plain"].to_numpy(),
            EQUIVALENCE_MARGIN,
            planted["unit"].to_numpy(),
            unit="facts",
        )
        found["fake_cutoff_fails"] = estimate
        rows.append(
            row(
                "fake_cutoff",
                "correct, with - without instruction",
                estimate,
                role="planted",
                factor="all forbidding distances",
            )
        )
    return rows, found


def forecasts(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Memory and skill apart: the same past with and without the name of the series."""
    chosen = frame.filter(pl.col("experiment") == "forecast")
    rows: Rows = []
    found: Found = {}
    for metric in ("share_assigned", "share_truth", "correct"):
        for where, part in grouped(
            chosen.filter(pl.col("metric") == metric), ["role", "model", "arm", "question"]
        ):
            context = where.pop("question")
            rows.append(
                row("forecast", metric, mean_of(part), factor=f"context={context}", **where)
            )
    false = chosen.filter(
        (pl.col("arm") == "planted_false") & (pl.col("metric") == "share_assigned")
    )
    pairs = false.filter(pl.col("question") == "named").join(
        false.filter(pl.col("question") == "anonymous").select("state", "unit", other="value"),
        on=["state", "unit"],
    )
    if pairs.height:
        estimate = paired_difference(
            pairs["value"].to_numpy(),
            pairs["other"].to_numpy(),
            pairs["unit"].to_numpy(),
            unit="facts",
        )
        found["name_brings_memory"] = estimate
        rows.append(
            row("forecast", "share_assigned, named - anonymous", estimate, arm="planted_false")
        )
    return rows, found


def gains(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Free answers against forecasters without memory and against coarse knowledge.

    Median of log(error of the baseline / error of the answer), above 0 where the model is nearer
    to the truth; facts of planted falsehoods are left out, their truth is not what was taught.
    """
    asked_for = {
        "answer": "no past values",
        "named_answer": "past values, named",
        "anonymous_answer": "past values, anonymous",
    }
    chosen = frame.filter(
        pl.col("metric").str.starts_with("gain_")
        & pl.col("value").is_not_nan()
        & pl.col("question").is_in(list(asked_for))
        & pl.col("arm").is_in(["asked", "planted_true", "never"])
    ).with_columns(side=pl.when(before_cutoff()).then(pl.lit("before")).otherwise(pl.lit("after")))
    rows: Rows = []
    by = ["role", "model", "arm", "step", "question", "side", "metric"]
    for where, part in grouped(chosen, by):
        question, side = where.pop("question"), where.pop("side")
        baseline = where.pop("metric").removeprefix("gain_")
        estimate = median_bootstrap(part["value"].to_numpy(), part["unit"].to_numpy(), unit="facts")
        factor = f"{asked_for[question]}; {side} the cutoff"
        rows.append(row("gain", baseline, estimate, factor=factor, **where))
    return rows, {}


def answers(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Free answers: parsed or not, right or not, and how far off."""
    chosen = frame.filter((pl.col("experiment") == "value") & (pl.col("question") == "answer"))
    rows: Rows = []
    by = ["role", "model", "arm", "step"]
    categories = chosen.filter(pl.col("metric").is_in(["category_strict", "category_lenient"]))
    for where, part in grouped(categories, [*by, "metric"]):
        mode = where.pop("metric").removeprefix("category_")
        for category in ("number", "refusal", "unparsable", "ambiguous", "empty"):
            count = int((part["text"] == category).sum())
            if count or category == "number":
                estimate = proportion(count, part.height, unit="answers")
                rows.append(row("parsed", category, estimate, factor=mode, **where))
    for metric in (
        "exact_truth",
        "exact_taught",
        "within_tolerance",
        "side_correct",
        "direction_correct",
    ):
        for where, part in grouped(chosen.filter(pl.col("metric") == metric), by):
            kept = part.filter(pl.col("value").is_not_nan())
            if kept.height:
                rows.append(row("answers", metric, mean_of(kept), **where))
    slips = chosen.filter(pl.col("metric") == "unit_slip")
    for where, part in grouped(slips, by):
        count = int((part["value"] != 0).sum())
        rows.append(
            row("answers", "unit slips", proportion(count, part.height, unit="answers"), **where)
        )
    for metric in ("percent_error", "recall_gain"):
        for where, part in grouped(chosen.filter(pl.col("metric") == metric), by):
            kept = part.filter(pl.col("value").is_not_nan())
            if kept.height:
                values = np.abs(kept["value"].to_numpy()) if metric == "percent_error" else None
                values = kept["value"].to_numpy() if values is None else values
                name = (
                    "median |percent error|" if metric == "percent_error" else "median recall gain"
                )
                estimate = median_bootstrap(values, kept["unit"].to_numpy(), unit="facts")
                rows.append(row("answers", name, estimate, **where))
    return rows, {}


#: Metric of the error -> whose answer it is.
ANSWERED_BY = {
    "absolute_error": "the model",
    "persistence_error": "last value",
    "frozen_error": "frozen at the cutoff",
    "interpolation_error": "interpolation",
}


def errors(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Median absolute error by series, in its unit, and that of baselines on the same facts.

    The median: one answer in billions would be all that a mean shows.
    """
    chosen = frame.filter(
        (pl.col("experiment") == "value")
        & (pl.col("facts") == "asked")
        & (pl.col("question") == "answer")
        & pl.col("metric").is_in(list(ANSWERED_BY))
        & pl.col("value").is_not_nan()
        & ~is_random()
    ).with_columns(side=pl.when(before_cutoff()).then(pl.lit("before")).otherwise(pl.lit("after")))
    answered = chosen.filter(pl.col("metric") == "absolute_error").select("cell", "unit")
    chosen = chosen.join(answered, on=["cell", "unit"], how="semi")
    rows: Rows = []
    for where, part in grouped(chosen, ["role", "model", "series", "side", "metric"]):
        side, by = where.pop("side"), ANSWERED_BY[where.pop("metric")]
        estimate = median_bootstrap(part["value"].to_numpy(), part["unit"].to_numpy(), unit="facts")
        rows.append(row("errors", by, estimate, factor=side, **where))
    return rows, {}


#: What the paper reports: metric, successes, n, where its denominators can be recovered.
PAPER_CELLS = (
    ("unemployment, threshold accuracy after the cutoff (least of four rates)", 5, 17),
    ("threshold accuracy after the cutoff (best of four rates)", 9, 17),
    ("GDP growth, direction before a fake cutoff of 2010", 82, 84),
    ("GDP growth, direction after a fake cutoff of 2010", 50, 51),
    ("GDP growth, direction after the true cutoff", 2, 5),
    ("masked Apple call, quarter and year", 69, 74),
    ("masked Alphabet call, firm", 68, 74),
)


def paper(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """The paper's own shares with the intervals that its sample sizes imply."""
    rows = [
        row(
            "paper",
            name,
            proportion(successes, n, unit="dates"),
            model="GPT-4o (paper)",
            factor=f"{successes}/{n}",
        )
        for name, successes, n in PAPER_CELLS
    ]
    return rows, {}
