"""What the environments are: how much they rehearse, how old it is, and whether draws obey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from scipy.stats import chi2

from palimpsest.interventions.continual import _matching
from palimpsest.probes.power_law_rehearsal.analyses.frames import Data, Found, Rows, settings_of
from palimpsest.probes.power_law_rehearsal.conditions import resolved
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.interventions.continual._environments import Environment
    from palimpsest.probes.power_law_rehearsal.settings import Settings

#: Lags with fewer expected examples are pooled into one class of the test.
FEWEST_EXPECTED = 5


def schedules(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Budget, mean lag and oldest share of each environment, and drawn lags against the law."""
    rows: Rows = [*_conditions(settings), *_main(data, settings)]
    lengths = sorted({n for each in settings.benchmarks for n in settings.lengths(each)})
    for name in settings.conditions:
        for tasks in lengths:
            environment = resolved(settings.conditions, name, tasks)
            if not environment.rehearses:
                continue
            for metric, measure in _matching.QUANTITIES.items():
                try:
                    value = measure(environment, tasks)
                except ValueError:
                    continue  # by the clock of recency these are not fixed beforehand
                rows.append(
                    {
                        "analysis": "environment",
                        "arm": name,
                        "factor": f"{tasks} tasks",
                        "metric": metric,
                        "estimate": float(value),
                        "method": "computed from the law",
                        "note": law(environment),
                    }
                )
    for place, values, part in settings_of(data.returned, ["condition"]):
        totals = part.group_by("lag", maintain_order=True).agg(
            pl.col("drawn").sum(), pl.col("expected").sum()
        )
        if totals["expected"].sum() <= 0:
            continue
        common = place | {"arm": values["condition"]}
        rows.append(_agreement(totals.sort("lag")) | common)
        rows += _shares(part, common)
    return rows, {}


def _shares(part: pl.DataFrame, common: dict) -> Rows:
    """Share of what came back by age of its task, of every network; draws vary between them."""
    drawn = part.pivot("lag", index="network_seed", values="drawn", aggregate_function="sum")
    counts = drawn.drop("network_seed").fill_null(0)
    came = counts.filter(counts.sum_horizontal() > 0)
    shares = came.select(pl.all() / came.sum_horizontal())
    rows: Rows = []
    for lag in sorted(shares.columns, key=int):
        if shares[lag].sum() > 0:
            mean = clustered_mean(shares[lag].to_numpy(), unit="networks").within(0, 1)
            rows.append(row("returned", "share", mean, step=int(lag), **common))
    return rows


def _conditions(settings: Settings) -> Rows:
    """What each condition is, for the figures: its strategy, and whether it is the reference."""
    rows: Rows = []
    for name, condition in settings.conditions.items():
        kind = ""
        if name == settings.reference:
            kind = "reference: "
        elif name == settings.plain_condition():
            kind = "plain: "
        odds = law(condition.environment)
        rows.append(
            {
                "analysis": "condition",
                "arm": name,
                "metric": condition.strategy.name,
                "note": f"{kind}{odds}",
            }
        )
    return rows


def _main(data: Data, settings: Settings) -> Rows:
    """The stream that claims are judged on."""
    for place, _, _ in settings_of(data.main(data.summary, settings), []):
        return [place | {"analysis": "main", "metric": "claims are judged on this stream"}]
    return []


def law(environment: Environment) -> str:
    """The odds of returning in a few signs."""
    if environment.kind == "power":
        lag = f"(lag + {environment.shift:g})" if environment.shift else "lag"
        return f"{lag}^-{environment.exponent:.3g}"
    if environment.kind == "exponential":
        return f"exp(-lag / {environment.scale:.3g})"
    return environment.kind.replace("_", " ")


def _agreement(totals: pl.DataFrame) -> dict:
    """Pearson's test of drawn lags against the expected ones, rare lags pooled."""
    rare = totals.filter(pl.col("expected") < FEWEST_EXPECTED)
    common = totals.filter(pl.col("expected") >= FEWEST_EXPECTED)
    drawn, expected = common["drawn"].to_list(), common["expected"].to_list()
    if rare["expected"].sum() > 0:
        drawn.append(rare["drawn"].sum())
        expected.append(rare["expected"].sum())
    statistic = sum((d - e) ** 2 / e for d, e in zip(drawn, expected, strict=True))
    freedom = len(drawn) - 1
    return {
        "analysis": "drawn",
        "metric": "chi-square of drawn lags",
        "estimate": float(statistic),
        "n": int(totals["drawn"].sum()),
        "unit": "examples",
        "p": float(chi2.sf(statistic, freedom)) if freedom else None,
        "method": f"Pearson, {freedom} degrees of freedom",
    }
