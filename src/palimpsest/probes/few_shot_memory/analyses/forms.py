"""In which form memory fades: five curves by binomial likelihood, item by item, then pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.probes.few_shot_memory.analyses.frames import Data, Found, Rows, tokens
from palimpsest.probes.few_shot_memory.analyses.learning import conditions, mean, middle_cue
from palimpsest.probes.few_shot_memory.analyses.retention import from_study_on
from palimpsest.statistics.retention import RetentionFit, fit_with_intervals
from palimpsest.statistics.retention_compare import compare_forms
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings

#: Delays at which a curve is drawn, beside 0.
DRAWN = 40
#: Fewer different delays do not tell forms apart.
FEWEST_DELAYS = 4
#: Where more is known before study, hardly anything is left to remember.
HIGHEST_FLOOR = 0.95


def forms(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Forms of forgetting, of recognition and of recall, with the curve that fits best.

    Recognition: a trial is one foil of the list, won when the studied item's loss has dropped by
    more than the foil's; guessing wins half. Recall: a trial is one token behind the cue nearest
    to half, won when it is the likeliest after the true ones before; guessing wins what was known
    before study.
    """
    rows: Rows = []
    for memory, trials in (
        ("recognition", _against_all_foils(data)),
        ("recall", _tokens_known(data, settings)),
    ):
        if trials.is_empty():
            continue
        for place, values, part in conditions(trials, ["overlay"]):
            if part["delay"].n_unique() >= FEWEST_DELAYS:
                named = f"{memory}, {place['factor']}"
                common = place | {"arm": values["overlay"], "factor": named}
                rows += _of_one_condition(part, common)
    return rows, {}


def _of_one_condition(part: pl.DataFrame, common: dict[str, Any]) -> Rows:
    rows: Rows = []
    # One floor a condition: a single item's share rests on a dozen tokens.
    floor = min(float(part["floor"].mean()), HIGHEST_FLOOR)
    columns = [part[name].to_numpy() for name in ("unit", "delay", "won", "trials")]
    compared = compare_forms(*columns, floor=floor, unit_name="items")
    named = compared.verdict != "undecided"
    for form, weight in compared.unit_weights.items():
        rows.append(
            common
            | {
                "analysis": "form",
                "metric": form,
                "estimate": float(weight),
                "n": int(part["unit"].n_unique()),
                "unit": "items",
                "method": "Akaike weight, item by item (AICc, binomial likelihood)",
                "note": f"{compared.verdict}: {compared.reason}",
            }
        )
    shown = (
        compared.verdict if named else min(compared.pooled, key=lambda f: compared.pooled[f].aicc)
    )
    longest = int(part["delay"].max())
    at = np.unique([0, *np.round(np.geomspace(1, longest, DRAWN)).astype(int)])
    fit = fit_with_intervals(*columns, shown, floor, unit_name="items", at=at)
    if named and compared.verdict != "constant":
        for name, estimate in fit.intervals.items():
            rows.append(row("fit", f"{shown}: {name}", estimate, **common))
            if name == "half_life" and estimate.estimate > longest:
                rows[-1]["note"] = f"extrapolated: the longest delay tested is {longest} updates"
    return rows + _drawn(fit, at, part, floor, common, named)


def _drawn(
    fit: RetentionFit,
    at: np.ndarray,
    part: pl.DataFrame,
    floor: float,
    common: dict[str, Any],
    named: bool,
) -> Rows:
    """The curve and the points that it goes through, both above the floor: 0 guessing, 1 all."""
    rows: Rows = []
    for delay, estimate in zip(at, fit.band, strict=True):
        rows.append(row("curve", fit.form, estimate, step=int(delay), **common))
        if not named:
            rows[-1]["note"] = "undecided: the pooled curve that fits best"
    above = part.with_columns(
        above=(pl.col("won") / pl.col("trials") - floor) / (1 - floor),
    )
    for values, points in grouped(above, ["delay"]):
        at_delay = {"step": int(values["delay"])}
        found = mean(points, "above").within(-floor / (1 - floor), 1)
        rows.append(row("retained", "above_floor", found, **common | at_delay))
    return rows


def _against_all_foils(data: Data) -> pl.DataFrame:
    """How many foils of its list each studied item beats at each test, by the drop of the loss."""
    pairs = from_study_on(data.pairs.filter(pl.col("arm") == "studied"))
    if pairs.is_empty():
        return pairs
    parts = []
    for _, part in grouped(pairs, ["cell", "overlay", "delay"]):
        drop = (part["base"] - part["loss"]).to_numpy()
        foil = (part["foil_base"] - part["foil_loss"]).to_numpy()
        parts.append(
            part.with_columns(
                won=pl.Series((drop[:, None] > foil).sum(1).astype(np.int64)),
                trials=pl.lit(len(foil)),
                floor=pl.lit(0.5),
            )
        )
    return pl.concat(parts)


def _tokens_known(data: Data, settings: Settings) -> pl.DataFrame:
    """How many tokens behind the cue are known at each test, and the share known before study."""
    cue = middle_cue(settings)
    metric = f"known_{100 * cue:.0f}"
    known = data.items.filter((pl.col("metric") == metric) & (pl.col("kind") == "study"))
    later = from_study_on(known)
    if later.is_empty():
        return later
    before = known.filter((pl.col("phase") == "study") & (pl.col("exposures") == 0)).select(
        "cell", "item", floor="value"
    )
    joined = later.join(
        tokens(data.facts, "cue", "truth"), on=["cell", "item"], maintain_order="left"
    ).join(before, on=["cell", "item"], maintain_order="left")
    given = (cue * pl.col("tokens")).floor().clip(1, pl.col("tokens") - 1)
    behind = pl.col("tokens") - given
    return joined.with_columns(
        won=(pl.col("value") * behind).round().cast(pl.Int64),
        trials=behind.cast(pl.Int64),
    )
