"""Models as they are: events, hidden states, the cutoff, and contamination by series."""

from __future__ import annotations

from dataclasses import replace
from datetime import date as Date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import binom

from palimpsest.probes.economic_recall.analyses.grouping import (
    Found,
    Rows,
    before_cutoff,
    chance_of,
    is_random,
    largest_dose,
    mean_of,
    plain_choices,
    widened,
)
from palimpsest.statistics import Estimate
from palimpsest.statistics.block_correlation import block_correlation
from palimpsest.statistics.comparisons import paired_difference, two_sample_difference
from palimpsest.statistics.multiplicity import benjamini_hochberg, holm
from palimpsest.statistics.power import power_binomial_above_chance
from palimpsest.statistics.rows import grouped, row, shifted
from palimpsest.statistics.scan import cutoff_scan
from palimpsest.statistics.scatter import autocorrelation, runs_test
from palimpsest.statistics.verdicts import contamination

if TYPE_CHECKING:
    from palimpsest.probes.economic_recall.settings import Settings


#: Effect whose detection "no evidence" must rest on: one date in four is recalled.
RECALLED_SHARE = 0.25


def events(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Dates, order and entities of events, against chance and against word statistics."""
    rows: Rows = []
    found: Found = {}
    order = frame.filter((pl.col("experiment") == "event_order") & (pl.col("metric") == "correct"))
    for where, part in grouped(order, ["role", "model"]):
        rows.append(row("event_order", "correct", mean_of(part), factor="chance 0.5", **where))
    known = frame.filter((pl.col("facts") == "asked") & before_cutoff())
    for where, part in grouped(
        known.filter(pl.col("experiment").is_in(["event_date", "event_entity"])),
        ["role", "model", "experiment"],
    ):
        own, other = _own_and_other(part)
        if own.height:
            difference = paired_difference(
                own["value"].to_numpy(), other["value"].to_numpy(), own["unit"].to_numpy()
            )
            experiment = where.pop("experiment")
            rows.append(row("events", "another event", mean_of(other), factor=experiment, **where))
            rows.append(
                row("events", "correct - another event's", difference, factor=experiment, **where)
            )
            if experiment == "event_date" and not where["role"].startswith("random"):
                found.setdefault("headlines_dated", difference)
    untouched = known.filter(~is_random())
    entity = plain_choices(untouched).filter(pl.col("experiment") == "event_entity")
    floor = untouched.filter(pl.col("metric") == "floor_correct").select(
        "state", "unit", floor="value"
    )
    pairs = entity.join(floor, on=["state", "unit"])
    if pairs.height:
        difference = paired_difference(
            pairs["value"].to_numpy(),
            pairs["floor"].to_numpy(),
            pairs["unit"].to_numpy(),
            unit="facts",
        )
        found["entities_unmasked"] = difference
        rows.append(row("events", "correct - TF-IDF floor", difference, factor="event_entity"))
        rows.append(
            row(
                "events",
                "TF-IDF floor",
                mean_of(floor.rename({"floor": "value"})),
                factor="event_entity",
            )
        )
    return rows, found


def embedding(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Out-of-block error of ridge from hidden states against a spline of the date."""
    chosen = frame.filter(pl.col("experiment") == "embedding")
    metrics = ["target", "spline", "ridge_middle", "ridge_last", "placebo_target", "placebo"]
    wide = widened(chosen, metrics, ("role", "model", "series", "date"))
    if wide.is_empty():
        return [], {}
    rows: Rows = []
    skill_rows = []
    for where, part in grouped(wide, ["role", "model", "series"]):
        part = part.sort("date")
        for name, target in (
            ("spline", "target"),
            ("ridge_middle", "target"),
            ("ridge_last", "target"),
            ("placebo", "placebo_target"),
        ):
            estimate = block_correlation(part[name].to_numpy(), part[target].to_numpy())
            rows.append(
                row("embedding", "correlation out of block", estimate, factor=name, **where)
            )
        squared = (part["target"] - part["spline"]) ** 2
        ridge = (part["target"] - part["ridge_middle"]) ** 2
        block = np.arange(part.height) // 5
        skill_rows.append(
            part.select("state").with_columns(
                value=((squared - ridge) / squared.mean()),
                unit=pl.Series([f"{where['series']}|{b}" for b in block]),
            )
        )
    pooled = pl.concat(skill_rows)
    skill = paired_difference(
        pooled["value"].to_numpy(),
        np.zeros(pooled.height),
        pooled["unit"].to_numpy(),
        unit="blocks of 5 dates",
    )
    rows.append(row("embedding", "skill of ridge over spline", skill, factor="ridge_middle"))
    return rows, {"values_in_embeddings": skill}


def scan(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Where does recall end? The true boundary of planting must be found, and nothing else."""
    values = plain_choices(frame).filter(pl.col("experiment") == "value")
    planted = largest_dose(values)
    boundary = planted["cutoff"].drop_nulls()
    # Never-planted dates before the boundary would only thin out the drop that is looked for.
    planted = planted.filter(
        pl.col("arm").str.starts_with("planted") | (pl.col("date") >= pl.col("cutoff"))
    )
    asked = values.filter(pl.col("facts") == "asked")
    rows: Rows = []
    found: Found = {}
    for role, part in [
        ("planted", planted),
        *((w["role"], p) for w, p in grouped(asked, ["role"])),
    ]:
        facts = part.group_by("unit", "date").agg(pl.col("value").mean()).sort("date", "unit")
        if facts.height < 12:
            continue
        days = np.array([day.toordinal() for day in facts["date"]], dtype=float)
        result = cutoff_scan(days, facts["value"].to_numpy())
        note = f"rate {result.rate_before:.2f} before, {result.rate_after:.2f} after"
        ends = Date.fromordinal(int(result.date)).isoformat()
        estimate = Estimate(
            result.date,
            result.low,
            result.high,
            result.n,
            "dates",
            "likelihood-ratio scan, permuted dates",
            result.level,
            result.p,
            f"recall ends {ends}; {note}" if result.found else f"no end found; {note}",
        )
        rows.append(row("scan", "last date of recall (ordinal)", estimate, role=role))
        if role == "planted" and boundary.len():
            true = boundary[0].toordinal()
            taught = part.filter(pl.col("arm").str.starts_with("planted"))["date"].max()
            centred = shifted(estimate, float(taught.toordinal()))
            late = Date.fromordinal(true).isoformat()
            note = f"last taught date {taught.isoformat()}, boundary {late}; {estimate.note}"
            # The scan's p says that there is an end, not where.
            found["boundary_found"] = replace(centred, p=None, note=note)
    return rows, found


def scatter(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Is recall scattered over dates or clumped? Asked facts, by series, in time order."""
    asked = plain_choices(frame).filter(
        (pl.col("facts") == "asked") & (pl.col("experiment") == "value") & ~is_random()
    )
    rows: Rows = []
    for where, part in grouped(asked, ["role", "model", "series"]):
        facts = part.group_by("date").agg(pl.col("value").mean()).sort("date")
        if facts.height < 12:
            continue
        values = facts["value"].to_numpy()
        rows.append(
            row(
                "scatter", "runs / expected runs", runs_test((values >= 0.5).astype(float)), **where
            )
        )
        rows.append(row("scatter", "autocorrelation, lag 1", autocorrelation(values), **where))
    for name in ("runs / expected runs", "autocorrelation, lag 1"):
        family = [r for r in rows if r["metric"] == name]
        p = [np.nan if r["p"] is None else r["p"] for r in family]
        for r, q in zip(family, benjamini_hochberg(p), strict=True):
            r["q"] = None if q != q else float(q)
            r["method"] += "; q by Benjamini-Hochberg"
    return rows, {}


def around_cutoff(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Before against after the knowledge cutoff, with whole series as clusters."""
    asked = plain_choices(frame).filter(
        (pl.col("facts") == "asked") & pl.col("cutoff").is_not_null() & ~is_random()
    )
    rows: Rows = []
    found: Found = {}
    for where, part in grouped(asked, ["role", "model", "experiment"]):
        experiment = where.pop("experiment")
        sides = {
            "before": part.filter(pl.col("date") < pl.col("cutoff")),
            "after": part.filter(pl.col("date") >= pl.col("cutoff")),
        }
        for side, piece in sides.items():
            if piece.height:
                rows.append(row("around_cutoff", experiment, mean_of(piece), factor=side, **where))
        if all(piece.height for piece in sides.values()):
            both = set(sides["before"]["series"]) & set(sides["after"]["series"])
            before, after = (
                piece.filter(pl.col("series").is_in(list(both))) for piece in sides.values()
            )
            # With fewer than five series their spread says little: facts are the unit then.
            unit, key = ("series", "series") if len(both) >= 5 else ("facts", "unit")
            difference = two_sample_difference(
                before["value"].to_numpy(),
                after["value"].to_numpy(),
                before[key].to_numpy(),
                after[key].to_numpy(),
                unit=unit,
            )
            rows.append(
                row("around_cutoff", experiment, difference, factor="before - after", **where)
            )
            if experiment == "value":
                found.setdefault("recall_before_cutoff", difference)
    return rows, found


def contaminated(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """For each model and series: contaminated, no evidence, or cannot tell, with the power.

    In planted states chance is exact and so is the binomial test of the first phrasing. For other
    states the null is the same question with the nearest other date in it, by an exact sign test:
    knowing the level of a series is not yet recall of a date. The p-values of a state are
    corrected by Holm's method over its series; a row without series pools them all. Power is that
    of the same test, uncorrected, to see that one date in four is recalled.
    """
    values = frame.filter((pl.col("experiment") == "value") & (pl.col("metric") == "correct"))
    asked = values.filter((pl.col("facts") == "asked") & before_cutoff())
    last = largest_dose(values)
    groups = [(asked, 1 / settings.choices, "asked")]
    for arm in ("planted_false", "never"):
        groups.append((last.filter(pl.col("arm") == arm), chance_of(frame, settings), arm))
    rows: Rows = []
    for part, chance, arm in groups:
        for state, of_state in grouped(part, ["role", "model"]):
            family = [(where["series"], piece) for where, piece in grouped(of_state, ["series"])]
            p_values = [_p_value(piece, chance, arm) for _, piece in family]
            adjusted = [*holm(p_values), _p_value(of_state, chance, arm)]
            p_values.append(adjusted[-1])
            family.append((None, of_state))
            for (series, piece), p, q in zip(family, p_values, adjusted, strict=True):
                estimate = mean_of(plain_choices(piece))
                facts = piece["unit"].n_unique()
                power = _power(facts, chance, arm)
                judged = replace(estimate, p=float(q))
                made = row("contamination", "correct", estimate, arm=arm, series=series, **state)
                rows.append(
                    made
                    | {
                        "factor": contamination(judged, chance, power),
                        "p": p,
                        "q": float(q),
                        "note": f"{power:.2f}",
                    }
                )
    return rows, {}


def _p_value(frame: pl.DataFrame, chance: float, arm: str) -> float:
    return _p_permuted(frame) if arm == "asked" else _p_binomial(frame, chance)


def _power(n: int, chance: float, arm: str, alpha: float = 0.05) -> float:
    """Power of the test that is used to see that one date in four is recalled."""
    recalled = chance + RECALLED_SHARE * (1 - chance)
    if arm != "asked":
        return float(power_binomial_above_chance(n, recalled, chance, alpha))
    better, worse = recalled * (1 - chance), chance * (1 - recalled)
    discordant = np.arange(n + 1)
    needed = np.array([binom.isf(alpha, d, 0.5) + 1 for d in discordant])
    seen = binom.sf(needed - 1, discordant, better / (better + worse))
    return float(np.sum(binom.pmf(discordant, n, better + worse) * np.nan_to_num(seen)))


def _p_binomial(frame: pl.DataFrame, chance: float) -> float:
    """P(as many right or more by chance), from the first phrasing of each fact."""
    first = frame.filter(pl.col("question") == "t0")["value"]
    return float(binom.sf(int(first.sum()) - 1, first.len(), chance))


def _p_permuted(frame: pl.DataFrame) -> float:
    """One-sided exact sign test: the right date in the question against a neighbour's."""
    own, other = _own_and_other(frame)
    better = int((own["value"] > other["value"]).sum())
    worse = int((own["value"] < other["value"]).sum())
    return float(binom.sf(better - 1, better + worse, 0.5)) if better + worse else 1.0


def _own_and_other(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forced choices with the fact's own question and with another's, row by row the same fact."""
    correct = frame.filter(pl.col("metric") == "correct").sort("state", "unit")
    own = correct.filter(pl.col("question") == "t0")
    other = correct.filter(pl.col("question") == "permuted")
    keys = ["state", "unit"]
    return own.join(other, on=keys, how="semi"), other.join(own, on=keys, how="semi")
