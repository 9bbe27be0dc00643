"""Planted states: recall, dose, falsehood against truth, flags of dates, every seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.metrics.choice import rank_of_target
from palimpsest.probes.economic_recall.analyses.grouping import (
    Found,
    Rows,
    above,
    at,
    before_cutoff,
    chance_of,
    is_random,
    largest_dose,
    mean_of,
    plain_choices,
    widened,
)
from palimpsest.statistics.comparisons import (
    paired_difference,
    permutation_difference,
    two_sample_difference,
)
from palimpsest.statistics.flags import (
    detection_power,
    false_discovery_proportion,
    rank_p_value,
)
from palimpsest.statistics.intervals import proportion
from palimpsest.statistics.multiplicity import benjamini_hochberg
from palimpsest.statistics.rows import grouped, row, shifted

if TYPE_CHECKING:
    from palimpsest.probes.economic_recall.settings import Settings


FLAG_LEVEL = 0.05
FALSE_DISCOVERY_RATE = 0.1
SEED_ALPHA = 0.05
RANKED = ("exposure", "share_assigned", "share_truth")


def recall(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Forced choice, exposure and shares: by role, arm, step and series, and pooled.

    Of facts asked at large only those from before the cutoff: the others are a control of their
    own (:func:`asked.around_cutoff`).
    """
    rows: Rows = []
    for metric in ("correct", "correct_corrected", "matched", *RANKED):
        chosen = plain_choices(frame, metric).filter((pl.col("facts") != "asked") | before_cutoff())
        by = ["role", "model", "experiment", "arm", "step"]
        for where, part in grouped(chosen, by):
            experiment = where.pop("experiment")
            rows.append(row("recall", metric, mean_of(part), factor=experiment, **where))
            if experiment == "value" and metric == "correct":
                for inner, piece in grouped(part, ["series"]):
                    rows.append(
                        row(
                            "recall_by_series",
                            metric,
                            mean_of(piece),
                            factor=experiment,
                            **where,
                            **inner,
                        )
                    )
    found: Found = {}
    values = plain_choices(frame).filter(pl.col("experiment") == "value")
    planted = values.filter(pl.col("facts") == "planted")
    last = largest_dose(values)
    chance = chance_of(frame, settings)
    never = last.filter(pl.col("arm") == "never")
    false = last.filter(pl.col("arm") == "planted_false")
    if never.height and false.height:
        difference = two_sample_difference(
            false["value"].to_numpy(),
            never["value"].to_numpy(),
            false["unit"].to_numpy(),
            never["unit"].to_numpy(),
            unit="facts",
        )
        found["planted_found"] = difference
        rows.append(row("contrast", "correct", difference, arm="planted_false - never"))
        found["never_at_chance"] = at(never, chance)
        rows.append(row("control", "correct - chance", found["never_at_chance"], arm="never"))
    before = planted.filter((pl.col("step") == 0) & (pl.col("arm") != "planted_true"))
    if before.height:
        found["before_planting_at_chance"] = at(before, chance)
        rows.append(
            row(
                "control",
                "correct - chance",
                found["before_planting_at_chance"],
                arm="planted_false and never",
                step=0,
            )
        )
    matched = largest_dose(plain_choices(frame, "matched"))
    of = plain_choices(frame, "rivals").select("cell", "unit", "question", rivals="value")
    matched = matched.join(of, on=["cell", "unit", "question"]).with_columns(
        value=pl.col("value") - 1 / pl.col("rivals")
    )
    for arms, name in ((["planted_true", "planted_false"], "planted"), (["never"], "never")):
        part = matched.filter(pl.col("arm").is_in(arms))
        if part.height:
            estimate = above(part, 0.0)
            rows.append(row("contrast", "matched - chance", estimate, arm=name))
            if name == "planted":
                found["bound_to_date"] = estimate
    random = values.filter(pl.col("role").str.starts_with("random"))
    if random.height:
        found["random_weights_know_nothing"] = at(random, 1 / settings.choices)
        rows.append(
            row(
                "control",
                "correct - chance",
                found["random_weights_know_nothing"],
                role="randomised",
            )
        )
    return rows, found


def seeds(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Is the planted arm told from never in every replicate? Arms permuted within series.

    The statistic is the margin, which is graded and so sees more than right or wrong.
    """
    margins = plain_choices(frame, "margin").filter(pl.col("experiment") == "value")
    final = largest_dose(margins).filter(pl.col("arm").is_in(["planted_false", "never"]))
    rows: Rows = []
    told = []
    for where, part in grouped(final, ["seed"]):
        facts = part.group_by("fact", "arm", "series", maintain_order=True).agg(
            pl.col("value").mean()
        )
        labels = (facts["arm"] == "planted_false").cast(pl.Int64).to_numpy()
        if labels.min() == labels.max():
            continue
        estimate = permutation_difference(
            facts["value"].to_numpy(),
            labels,
            strata=facts["series"].to_numpy(),
            alternative="greater",
            unit="facts",
        )
        told.append(estimate.p <= SEED_ALPHA)
        rows.append(
            row(
                "seed",
                "margin (nats)",
                estimate,
                arm="planted_false - never",
                factor=f"seed={where['seed']}",
            )
        )
    if not told:
        return rows, {}
    share = proportion(sum(told), len(told), unit="seeds")
    rows.append(row("seed", "share of seeds told apart", share))
    return rows, {"every_seed": share}


def dose(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Slope of forced choice on log(1 + exposures): one slope a fact, then their mean."""
    values = plain_choices(frame).filter(
        (pl.col("facts") == "planted") & (pl.col("experiment") == "value")
    )
    rows: Rows = []
    found: Found = {}
    if values["step"].n_unique() < 3:
        return rows, found
    for arm in ("planted_false", "planted_true", "never"):
        slopes = []
        for _, part in grouped(values.filter(pl.col("arm") == arm), ["unit"]):
            x = np.log1p(part["step"].to_numpy().astype(float))
            x = x - x.mean()
            slopes.append(float(x @ part["value"].to_numpy() / (x @ x)))
        if not slopes:
            continue
        estimate = paired_difference(slopes, np.zeros(len(slopes)), unit="facts")
        rows.append(row("dose", "slope of correct on log(1 + exposures)", estimate, arm=arm))
        if arm == "planted_false":
            found["dose"] = estimate
    return rows, found


def falsehood(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Which is likelier after planting, the falsehood or the truth?"""
    last = largest_dose(frame.filter(pl.col("experiment") == "value"))
    last = last.filter((pl.col("arm") == "planted_false") & pl.col("question").is_in(["t0", "t1"]))
    wide = widened(last, ["share_assigned", "share_truth"])
    if wide.is_empty():
        return [], {}
    estimate = paired_difference(
        wide["share_assigned"].to_numpy(),
        wide["share_truth"].to_numpy(),
        wide["unit"].to_numpy(),
        unit="facts",
    ).within(-1, 1)
    found = {"falsehood_beats_truth": estimate}
    return [row("contrast", "share_assigned - share_truth", estimate, arm="planted_false")], found


def dates(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Single dates: a p-value each, flags at a false discovery rate, their power and level.

    For planted falsehoods and dates of the arm never the p-value is exact by design; they are one
    family within a replicate. Dates of true answers are a family of their own: their p-value says
    that the true value is preferred to those of other dates, by memory or by skill.
    """
    values = frame.filter(pl.col("experiment") == "value")
    planted = date_p_values(largest_dose(values))
    asked = date_p_values(values.filter((pl.col("facts") == "asked") & ~is_random()))
    rows: Rows = []
    judged = []
    for part in (planted, asked):
        exact = pl.col("arm").is_in(["planted_false", "never"])
        for where, family in grouped(
            part.with_columns(exact=exact), ["role", "model", "seed", "exact"]
        ):
            q = benjamini_hochberg(family["p"].to_numpy())
            family = family.with_columns(q=q)
            judged.append(family)
            rows += [
                {
                    "analysis": "dates",
                    "metric": "rank of the answer",
                    "estimate": float(date["rank"]),
                    "n": date["candidates"],
                    "unit": "alternatives",
                    "p": date["p"],
                    "q": date["q"],
                    "factor": str(date["date"]),
                    "method": "rank over alternatives; q by Benjamini-Hochberg in the replicate",
                    "note": f"seed {where['seed']}",
                    **{k: date[k] for k in ("role", "model", "series", "arm", "step")},
                }
                for date in family.to_dicts()
            ]
    found: Found = {}
    if not judged:
        return rows, found
    tested = pl.concat(judged).filter(pl.col("exact"))
    if tested.is_empty():
        return rows, found
    truth = (tested["arm"] == "planted_false").to_numpy()
    flagged = tested["q"].to_numpy() <= FALSE_DISCOVERY_RATE
    level = tested["p"].to_numpy()[~truth] <= FLAG_LEVEL + 1e-9
    unit = "never-planted dates"
    power = detection_power(flagged, truth)
    rows += [
        row(
            "flags",
            f"share with p <= {FLAG_LEVEL:g}",
            proportion(int(level.sum()), level.size, unit=unit),
            arm="never",
            factor=f"nominal {FLAG_LEVEL:g}",
        ),
        row(
            "flags",
            f"detection power at FDR {FALSE_DISCOVERY_RATE:g}",
            power,
            arm="planted_false",
        ),
        row("flags", "false discovery proportion", false_discovery_proportion(flagged, truth)),
    ]
    narrow = proportion(int(level.sum()), level.size, level=0.9, unit=unit)
    found["flags_keep_their_level"] = shifted(narrow, FLAG_LEVEL)
    found["flags_detect"] = power
    return rows, found


def date_p_values(frame: pl.DataFrame) -> pl.DataFrame:
    """Exact p-value of every fact: rank of its answer by the score averaged over phrasings.

    Returns:
        Columns role, model, seed, step, series, date, arm, fact, rank, candidates, p.
    """
    keys = ["role", "model", "state", "seed", "step", "series", "date", "arm", "fact"]
    scores = frame.filter((pl.col("metric") == "score") & pl.col("date").is_not_null())
    taught = frame.filter(pl.col("metric") == "taught").select(
        "state", "step", "fact", right="text"
    )
    if scores.is_empty():
        kinds = {"seed": pl.Int64, "step": pl.Int64, "date": pl.Date}
        made = {"rank": pl.Int64, "candidates": pl.Int64, "p": pl.Float64}
        return pl.DataFrame(schema={key: kinds.get(key, pl.String) for key in keys} | made)
    mean = (
        scores.group_by([*keys, "text"], maintain_order=True)
        .agg(pl.col("value").mean())
        .join(taught.unique(), on=["state", "step", "fact"], how="inner")
    )
    found = []
    for where, part in grouped(mean, keys):
        target = int((part["text"] == part["right"]).arg_max())
        rank = int(rank_of_target(part["value"].to_numpy(), target))
        p = float(rank_p_value(rank, part.height))
        found.append(where | {"rank": rank, "candidates": part.height, "p": p})
    return pl.DataFrame(found)
