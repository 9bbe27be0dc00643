"""From observations of economic recall to estimates with intervals.

Every analysis takes all observations of the study (:func:`read`) and the settings, and returns
rows of the table ``statistics`` and the estimates that claims rest on. The unit of resampling is
the fact (its phrasings stay together) unless a row says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date as Date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.metrics.choice import rank_of_target
from palimpsest.statistics import Estimate
from palimpsest.statistics.comparisons import (
    equivalence_paired,
    paired_difference,
    permutation_difference,
    two_sample_difference,
)
from palimpsest.statistics.flags import (
    detection_power,
    false_discovery_proportion,
    flag,
    rank_p_value,
)
from palimpsest.statistics.intervals import clustered_mean, median_bootstrap, proportion
from palimpsest.statistics.multiplicity import benjamini_hochberg, holm
from palimpsest.statistics.power import minimal_detectable_rate, power_binomial_above_chance
from palimpsest.statistics.scan import cutoff_scan
from palimpsest.statistics.scatter import autocorrelation, runs_test
from palimpsest.statistics.verdicts import contamination

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.economic_recall.settings import Settings

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: Effect whose detection "no evidence" must rest on: one date in four is recalled.
RECALLED_SHARE = 0.25
FLAG_LEVEL = 0.05
FALSE_DISCOVERY_RATE = 0.1
SEED_ALPHA = 0.05
EQUIVALENCE_MARGIN = 0.1


def read(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """All observations of a study, with a name for the fact and for its cluster."""
    query = "SELECT * FROM economic_recall WHERE study = ? ORDER BY ALL"
    frame = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    fact = pl.concat_str(
        pl.col("series"),
        pl.col("date").cast(pl.String),
        pl.col("event").fill_null(""),
        separator="|",
        ignore_nulls=True,
    )
    return frame.with_columns(fact=fact, unit=pl.format("{}|{}", pl.col("seed"), fact))


def row(analysis: str, metric: str, estimate: Estimate, **where: Any) -> dict[str, Any]:
    """An estimate as a row of the table ``statistics``; nan becomes null."""
    numbers = {
        "estimate": float(estimate.estimate),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "p": None if estimate.p is None else float(estimate.p),
    }
    return where | {
        "analysis": analysis,
        "metric": metric,
        "n": int(estimate.n),
        "unit": estimate.unit,
        "method": f"{estimate.method}, {estimate.level:.0%} interval",
        "note": estimate.note,
        **{k: None if v is None or v != v else v for k, v in numbers.items()},
    }


def shifted(estimate: Estimate, by: float) -> Estimate:
    """The estimate minus a constant such as chance."""
    return Estimate(
        estimate.estimate - by,
        estimate.low - by,
        estimate.high - by,
        estimate.n,
        estimate.unit,
        estimate.method,
        estimate.level,
        estimate.p,
        estimate.note,
    )


def _choices(frame: pl.DataFrame, metric: str = "correct") -> pl.DataFrame:
    """Rows of the plain question, one a fact and phrasing."""
    return frame.filter(
        (pl.col("metric") == metric)
        & pl.col("question").is_in(["t0", "t1"])
        & pl.col("experiment").is_in(["value", "event_date", "event_entity"])
    )


def _mean(frame: pl.DataFrame, level: float = 0.95) -> Estimate:
    return clustered_mean(
        frame["value"].to_numpy(), frame["unit"].to_numpy(), level=level, unit="facts"
    )


def _groups(frame: pl.DataFrame, keys: list[str]) -> Iterable[tuple[dict[str, Any], pl.DataFrame]]:
    for values, part in sorted(
        frame.group_by(keys, maintain_order=True), key=lambda g: tuple(map(str, g[0]))
    ):
        yield dict(zip(keys, values, strict=True)), part


def _chance(frame: pl.DataFrame, settings: Settings) -> float:
    """Chance of the forced choice: planted facts bring their own number of alternatives."""
    found = frame.filter(pl.col("metric") == "choices")["value"]
    return 1 / float(found[0]) if found.len() else 1 / settings.choices


def _last(frame: pl.DataFrame) -> pl.DataFrame:
    """Planted facts at the largest number of exposures."""
    planted = frame.filter(pl.col("facts") == "planted")
    return planted.filter(pl.col("step") == planted["step"].max())


def recall(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Forced choice, exposure and shares: by role, arm, step and series, and pooled."""
    rows: Rows = []
    for metric in ("correct", "exposure", "share_assigned", "share_truth"):
        chosen = _choices(frame, metric)
        by = ["role", "model", "experiment", "arm", "step"]
        for where, part in _groups(chosen, by):
            experiment = where.pop("experiment")
            rows.append(row("recall", metric, _mean(part), factor=experiment, **where))
            if experiment == "value" and metric == "correct":
                for inner, piece in _groups(part, ["series"]):
                    rows.append(
                        row(
                            "recall_by_series",
                            metric,
                            _mean(piece),
                            factor=experiment,
                            **where,
                            **inner,
                        )
                    )
    found: Found = {}
    values = _choices(frame).filter(pl.col("experiment") == "value")
    planted = values.filter(pl.col("facts") == "planted")
    last = _last(values)
    chance = _chance(frame, settings)
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
        found["never_at_chance"] = shifted(_mean(never, level=0.9), chance)
        rows.append(row("control", "correct - chance", found["never_at_chance"], arm="never"))
    before = planted.filter((pl.col("step") == 0) & (pl.col("arm") != "planted_true"))
    if before.height:
        found["before_planting_at_chance"] = shifted(_mean(before, level=0.9), chance)
        rows.append(
            row(
                "control",
                "correct - chance",
                found["before_planting_at_chance"],
                arm="planted_false and never",
                step=0,
            )
        )
    random = values.filter(pl.col("role").str.starts_with("random"))
    if random.height:
        found["random_weights_know_nothing"] = shifted(_mean(random, 0.9), 1 / settings.choices)
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
    """Is the planted arm told from never in every replicate? Labels permuted within series."""
    last = _last(_choices(frame).filter(pl.col("experiment") == "value"))
    last = last.filter(pl.col("arm").is_in(["planted_false", "never"]))
    rows: Rows = []
    told = []
    for where, part in _groups(last, ["seed"]):
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
                "correct",
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
    values = _choices(frame).filter(
        (pl.col("facts") == "planted") & (pl.col("experiment") == "value")
    )
    rows: Rows = []
    found: Found = {}
    if values["step"].n_unique() < 3:
        return rows, found
    for arm in ("planted_false", "planted_true", "never"):
        slopes = []
        for _, part in _groups(values.filter(pl.col("arm") == arm), ["unit"]):
            x = np.log1p(part["step"].to_numpy().astype(float))
            x = x - x.mean()
            slopes.append(float(x @ part["value"].to_numpy() / (x @ x)))
        if not slopes:
            continue
        estimate = clustered_mean(np.array(slopes), np.arange(len(slopes)), unit="facts")
        rows.append(row("dose", "slope of correct on log(1 + exposures)", estimate, arm=arm))
        if arm == "planted_false":
            found["dose"] = estimate
    return rows, found


def falsehood(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Which is likelier after planting, the falsehood or the truth?"""
    last = _last(frame.filter(pl.col("experiment") == "value"))
    last = last.filter((pl.col("arm") == "planted_false") & pl.col("question").is_in(["t0", "t1"]))
    wide = _wide(last, ["share_assigned", "share_truth"])
    if wide.is_empty():
        return [], {}
    estimate = paired_difference(
        wide["share_assigned"].to_numpy(),
        wide["share_truth"].to_numpy(),
        wide["unit"].to_numpy(),
        unit="facts",
    )
    found = {"falsehood_beats_truth": estimate}
    return [row("contrast", "share_assigned - share_truth", estimate, arm="planted_false")], found


def _wide(frame: pl.DataFrame, metrics: list[str], keys: tuple[str, ...] = ()) -> pl.DataFrame:
    """One row a question with a column a metric; questions without all of them are left out."""
    chosen = frame.filter(pl.col("metric").is_in(metrics))
    if chosen.is_empty():
        return pl.DataFrame(schema={"unit": pl.String, **dict.fromkeys(metrics, pl.Float64)})
    wide = chosen.pivot(
        on="metric",
        index=["state", "unit", "question", *keys],
        values="value",
        aggregate_function="mean",
    )
    if set(metrics) - set(wide.columns):
        return wide.clear().with_columns(pl.lit(None, pl.Float64).alias(m) for m in metrics)
    return wide.drop_nulls(metrics).sort("state", "unit", "question")


def flags(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Single dates: an exact p-value each, flags at a false discovery rate, power and level."""
    tested = date_p_values(_last(frame.filter(pl.col("experiment") == "value")))
    tested = tested.filter(pl.col("arm").is_in(["planted_false", "never"]))
    if tested.is_empty():
        return [], {}
    flagged = np.concatenate(
        [flag(part["p"].to_numpy(), FALSE_DISCOVERY_RATE) for _, part in _groups(tested, ["seed"])]
    )
    order = pl.concat([part for _, part in _groups(tested, ["seed"])])
    truth = (order["arm"] == "planted_false").to_numpy()
    level = order.filter(pl.col("arm") == "never")["p"].to_numpy() <= FLAG_LEVEL + 1e-9
    positive = proportion(int(level.sum()), level.size, unit="never-planted dates")
    power = detection_power(flagged, truth)
    rows = [
        row(
            "flags",
            f"share with p <= {FLAG_LEVEL:g}",
            positive,
            arm="never",
            factor=f"nominal {FLAG_LEVEL:g}",
        ),
        row(
            "flags", f"detection power at FDR {FALSE_DISCOVERY_RATE:g}", power, arm="planted_false"
        ),
        row("flags", "false discovery proportion", false_discovery_proportion(flagged, truth)),
    ]
    narrow = proportion(int(level.sum()), level.size, level=0.9, unit="never-planted dates")
    return rows, {
        "flags_keep_their_level": shifted(narrow, FLAG_LEVEL),
        "flags_detect": power,
    }


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
        return pl.DataFrame(schema={**dict.fromkeys(keys, pl.String), "p": pl.Float64})
    mean = (
        scores.group_by([*keys, "text"], maintain_order=True)
        .agg(pl.col("value").mean())
        .join(taught.unique(), on=["state", "step", "fact"], how="inner")
    )
    found = []
    for where, part in _groups(mean, keys):
        target = int((part["text"] == part["right"]).arg_max())
        rank = int(rank_of_target(part["value"].to_numpy(), target))
        p = float(rank_p_value(rank, part.height))
        found.append(where | {"rank": rank, "candidates": part.height, "p": p})
    return pl.DataFrame(found)


def fake_cutoff(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """The instruction to ignore what came later, paired with no instruction."""
    chosen = frame.filter((pl.col("experiment") == "fake_cutoff") & (pl.col("metric") == "correct"))
    rows: Rows = []
    found: Found = {}
    keys = ["role", "model", "state", "unit", "arm"]
    plain = chosen.filter(pl.col("question") == "none").select(*keys, plain="value")
    pairs = chosen.filter(pl.col("question") != "none").join(plain, on=keys)
    for where, part in _groups(pairs, ["role", "model", "question"]):
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
        for where, part in _groups(
            chosen.filter(pl.col("metric") == metric), ["role", "model", "arm", "question"]
        ):
            context = where.pop("question")
            rows.append(row("forecast", metric, _mean(part), factor=f"context={context}", **where))
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
    answered = chosen.filter(pl.col("question").str.ends_with("_answer"))
    wide = _wide(answered, ["absolute_error", "persistence_error"], ("role", "model"))
    wide = wide.filter(pl.col("absolute_error").is_not_nan() & (pl.col("persistence_error") > 0))
    if wide.height:
        for where, part in _groups(wide, ["role", "model", "question"]):
            ratio = (part["absolute_error"] / part["persistence_error"]).to_numpy()
            variant = where.pop("question").removesuffix("_answer")
            estimate = median_bootstrap(ratio, part["unit"].to_numpy(), unit="facts")
            rows.append(
                row(
                    "forecast",
                    "median error / error of the last value",
                    estimate,
                    factor=f"context={variant}",
                    **where,
                )
            )
    return rows, found


def events(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Dates, order and entities of events, against chance and against word statistics."""
    rows: Rows = []
    found: Found = {}
    order = frame.filter((pl.col("experiment") == "event_order") & (pl.col("metric") == "correct"))
    for where, part in _groups(order, ["role", "model"]):
        rows.append(row("event_order", "correct", _mean(part), factor="chance 0.5", **where))
    untouched = frame.filter((pl.col("facts") == "asked") & ~_is_random())
    dated = _choices(untouched).filter(pl.col("experiment") == "event_date")
    if dated.height:
        found["headlines_dated"] = shifted(_mean(dated), 1 / settings.choices)
        rows.append(
            row("events", "correct - chance", found["headlines_dated"], factor="event_date")
        )
    entity = _choices(untouched).filter(pl.col("experiment") == "event_entity")
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
                _mean(floor.rename({"floor": "value"})),
                factor="event_entity",
            )
        )
    return rows, found


def _is_random() -> pl.Expr:
    return pl.col("role").str.starts_with("random")


def embedding(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Out-of-block error of ridge from hidden states against a spline of the date."""
    chosen = frame.filter(pl.col("experiment") == "embedding")
    metrics = ["target", "spline", "ridge_middle", "ridge_last", "placebo_target", "placebo"]
    wide = _wide(chosen, metrics, ("role", "model", "series", "date"))
    if wide.is_empty():
        return [], {}
    rows: Rows = []
    skill_rows = []
    for where, part in _groups(wide, ["role", "model", "series"]):
        part = part.sort("date")
        for name, target in (
            ("spline", "target"),
            ("ridge_middle", "target"),
            ("ridge_last", "target"),
            ("placebo", "placebo_target"),
        ):
            r = float(np.corrcoef(part[name].to_numpy(), part[target].to_numpy())[0, 1])
            estimate = _block_r(part[name].to_numpy(), part[target].to_numpy(), r)
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
    skill = clustered_mean(
        pooled["value"].to_numpy(), pooled["unit"].to_numpy(), unit="blocks of 5 dates"
    )
    rows.append(row("embedding", "skill of ridge over spline", skill, factor="ridge_middle"))
    return rows, {"values_in_embeddings": skill}


def _block_r(a: np.ndarray, b: np.ndarray, r: float, length: int = 5) -> Estimate:
    """Correlation with a percentile interval over blocks of neighbouring dates."""
    generator = np.random.default_rng(0)
    blocks = np.array_split(np.arange(len(a)), max(2, len(a) // length))
    drawn = []
    for _ in range(999):
        at = np.concatenate([blocks[i] for i in generator.integers(0, len(blocks), len(blocks))])
        if a[at].std() > 0 and b[at].std() > 0:
            drawn.append(np.corrcoef(a[at], b[at])[0, 1])
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    unit = f"blocks of {length} dates"
    return Estimate(r, float(low), float(high), len(blocks), unit, "block bootstrap")


def scan(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Where does recall end? The true boundary of planting must be found, and nothing else."""
    values = _choices(frame).filter(pl.col("experiment") == "value")
    planted = _last(values)
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
        *((w["role"], p) for w, p in _groups(asked, ["role"])),
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
            found["boundary_found"] = Estimate(**{**centred.__dict__, "note": note})
    return rows, found


def scatter(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Is recall scattered over dates or clumped? Asked facts, by series, in time order."""
    asked = _choices(frame).filter(
        (pl.col("facts") == "asked") & (pl.col("experiment") == "value") & ~_is_random()
    )
    rows: Rows = []
    for where, part in _groups(asked, ["role", "model", "series"]):
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


def answers(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Free answers: parsed or not, right or not, and how far off."""
    chosen = frame.filter((pl.col("experiment") == "value") & (pl.col("question") == "answer"))
    rows: Rows = []
    by = ["role", "model", "arm", "step"]
    categories = chosen.filter(pl.col("metric").is_in(["category_strict", "category_lenient"]))
    for where, part in _groups(categories, [*by, "metric"]):
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
        for where, part in _groups(chosen.filter(pl.col("metric") == metric), by):
            kept = part.filter(pl.col("value").is_not_nan())
            if kept.height:
                rows.append(row("answers", metric, _mean(kept), **where))
    slips = chosen.filter(pl.col("metric") == "unit_slip")
    for where, part in _groups(slips, by):
        count = int((part["value"] != 0).sum())
        rows.append(
            row("answers", "unit slips", proportion(count, part.height, unit="answers"), **where)
        )
    for metric in ("percent_error", "recall_gain"):
        for where, part in _groups(chosen.filter(pl.col("metric") == metric), by):
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


def around_cutoff(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """Before against after the knowledge cutoff, with whole series as clusters."""
    asked = _choices(frame).filter(
        (pl.col("facts") == "asked")
        & (pl.col("experiment") == "value")
        & pl.col("cutoff").is_not_null()
        & ~_is_random()
    )
    rows: Rows = []
    found: Found = {}
    for where, part in _groups(asked, ["role", "model"]):
        sides = {
            "before": part.filter(pl.col("date") < pl.col("cutoff")),
            "after": part.filter(pl.col("date") >= pl.col("cutoff")),
        }
        for side, piece in sides.items():
            if piece.height:
                rows.append(row("around_cutoff", "correct", _mean(piece), factor=side, **where))
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
                row("around_cutoff", "correct", difference, factor="before - after", **where)
            )
            found.setdefault("recall_before_cutoff", difference)
    return rows, found


def contaminated(frame: pl.DataFrame, settings: Settings) -> tuple[Rows, Found]:
    """For each model and series: contaminated, no evidence, or cannot tell, with the power.

    The p-values of a role are corrected by Holm's method over its series; power is that of the
    exact binomial test to see that one date in four is recalled.
    """
    values = _choices(frame).filter(pl.col("experiment") == "value")
    asked = values.filter(
        (pl.col("facts") == "asked")
        & (pl.col("cutoff").is_null() | (pl.col("date") < pl.col("cutoff")))
    )
    last = _last(values)
    groups = [(asked, 1 / settings.choices, "asked")]
    for arm in ("planted_false", "never"):
        groups.append((last.filter(pl.col("arm") == arm), _chance(frame, settings), arm))
    rows: Rows = []
    for part, chance, arm in groups:
        for role, of_role in _groups(part, ["role", "model"]):
            family = []
            for inner, piece in _groups(of_role, ["series"]):
                estimate = _mean(piece)
                facts = piece["unit"].n_unique()
                right = piece.group_by("unit").agg(pl.col("value").mean())["value"]
                z = (right.mean() - chance) / np.sqrt(chance * (1 - chance) / facts)
                family.append((inner, estimate, facts, float(_upper_tail(z))))
            adjusted = holm([p for *_, p in family])
            for (inner, estimate, facts, p), q in zip(family, adjusted, strict=True):
                target = chance + RECALLED_SHARE * (1 - chance)
                power = float(power_binomial_above_chance(facts, target, chance))
                least = minimal_detectable_rate(facts, chance)
                corrected = Estimate(**{**estimate.__dict__, "p": float(q)})
                verdict = contamination(corrected, chance, power)
                made = row("contamination", "correct", estimate, arm=arm, **role, **inner)
                rows.append(
                    made
                    | {
                        "factor": verdict,
                        "p": p,
                        "q": float(q),
                        "note": f"power {power:.2f} to see one date in four recalled; "
                        f"smallest rate found with power 0.8: {least:.2f}; chance {chance:.3f}",
                    }
                )
    return rows, {}


def _upper_tail(z: float) -> float:
    from scipy.stats import norm

    return norm.sf(z)


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


ANALYSES: tuple[Callable[[pl.DataFrame, Settings], tuple[Rows, Found]], ...] = (
    recall,
    seeds,
    dose,
    falsehood,
    flags,
    fake_cutoff,
    forecasts,
    events,
    embedding,
    scan,
    scatter,
    answers,
    around_cutoff,
    contaminated,
    paper,
)
