"""Requests to forget, one after another (MUSE's sustainability) or growing sets at once (MUSE's
scalability; Shi et al. 2024, arXiv 2407.06460, section 3.3).

Everything is a share of what taught and retrained models have on the same facts: forgotten is 0 as
taught and 1 as models that never knew; kept is 1 where nothing of what must stay was lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from palimpsest.probes.unlearning.analyses.frames import Data, Found, Rows
from palimpsest.probes.unlearning.settings import AT_ONCE, SUCCESSIVE
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings

#: The contrast of the two ways in which all requests can come.
ORDER = "one after another minus at once"
_ONE = ["world", "model", "part", "item"]


def requests(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Forgetting and keeping by the number of requests, and a claim on what is lost on the way,
    whose note says how much of that is for the order alone."""
    rows: Rows = []
    lost: list[np.ndarray] = []
    frame = _shares(data)
    keys = ["world", "model", "arm", "how", "requests"]
    for (world, model, arm, how, done), part in frame.group_by(keys, maintain_order=True):
        place = {"series": world, "model": model, "arm": arm, "factor": how, "step": done}
        for metric in ("forgotten", "kept"):
            runs = part.sort("run")[metric].to_numpy()
            if len(runs) > 1 and np.isfinite(runs).all():
                rows.append(row("requests", metric, clustered_mean(runs, unit="models"), **place))
    chain = frame.filter(pl.col("how") == SUCCESSIVE)
    for _, part in chain.group_by(["world", "model", "arm"], maintain_order=True):
        by_run = part.sort("run", "requests").group_by("run", maintain_order=True)
        ends = by_run.agg(pl.col("kept").first() - pl.col("kept").last())
        lost.append(ends["kept"].to_numpy())
    found: Found = {}
    if lost and len({len(each) for each in lost}) == 1 and len(lost[0]) > 1:
        added = clustered_mean(np.mean(lost, axis=0), unit="taught models")
        order, note = _by_order(frame)
        rows += order
        found["requests_add_up"] = replace(added, note="; ".join(filter(None, [added.note, note])))
    return rows, found


def _by_order(frame: pl.DataFrame) -> tuple[Rows, str | None]:
    """What is kept where all requests came one after another, minus where they came at once."""
    last = frame.filter(
        pl.col("requests") == pl.col("requests").max().over("world", "model", "arm")
    )
    rows: Rows = []
    said = []
    for (world, model, arm), part in last.group_by(["world", "model", "arm"], maintain_order=True):
        sides = [
            part.filter(pl.col("how") == how).select("run", "kept") for how in (SUCCESSIVE, AT_ONCE)
        ]
        both = sides[0].join(sides[1], on="run", suffix="_at_once").sort("run")
        both = both.filter(pl.all_horizontal(pl.col("kept", "kept_at_once").is_finite()))
        if both.height < 2:
            continue
        apart = paired_difference(both["kept"], both["kept_at_once"], unit="taught models")
        place = {"series": world, "model": model, "arm": arm, "factor": ORDER}
        rows.append(row("order of requests", "kept", apart, **place))
        said.append(f"{arm} {apart.estimate:+.2f} [{apart.low:.2f}, {apart.high:.2f}]")
    if not said:
        return rows, None
    return rows, f"kept after the last, {ORDER}: {', '.join(said)}".replace("_", " ")


def _shares(data: Data) -> pl.DataFrame:
    """Forgotten and kept of each model after each number of requests."""
    references = []
    for arm, name in ((data.taught, "taught"), (data.retrained, "never")):
        own = data.probabilities.filter((pl.col("arm") == arm) & (pl.col("requests") == 0))
        references.append(own.group_by(_ONE).agg(pl.col("value").mean().alias(name)))
    stages = _completed(data.probabilities)
    joined = stages.join(references[0], on=_ONE).join(references[1], on=_ONE)
    keys = ["world", "model", "arm", "how", "requests", "run"]
    sums = joined.group_by([*keys, "part"], maintain_order=True).agg(
        pl.col("value", "taught", "never").mean()
    )
    forget = sums.filter(pl.col("part") == "forget").select(
        *keys,
        forgotten=(pl.col("taught") - pl.col("value")) / (pl.col("taught") - pl.col("never")),
    )
    stays = (
        sums.filter(pl.col("part") != "forget")
        .group_by(keys, maintain_order=True)
        .agg(kept=(pl.col("value") / pl.col("never")).mean())
    )
    return forget.join(stays, on=keys).sort(keys)


def _completed(probabilities: pl.DataFrame) -> pl.DataFrame:
    """Sets at once begin with the first request, and end with the method on the whole set."""
    stages = probabilities.filter(pl.col("requests") > 0)
    once = pl.lit(AT_ONCE).alias("how")
    first = stages.filter((pl.col("how") == SUCCESSIVE) & (pl.col("requests") == 1))
    last = stages.group_by("world", "model", "arm").agg(pl.col("requests").max().alias("all"))
    whole = probabilities.filter(pl.col("requests") == 0).join(last, on=["world", "model", "arm"])
    whole = whole.with_columns(once, requests=pl.col("all")).select(stages.columns)
    return pl.concat([stages, first.with_columns(once), whole])
