"""What states of language models write when they are asked: all that endpoints can be judged by.

Items are the units; those of one part are a sample of their kind, and the same items are asked of
all states. That the forget set is told from facts that nobody was told (``holdout``) supposes that
these are as hard to guess; what an answer holds of *other* truths of its part needs no such
supposition, and stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.probes.unlearning.analyses.frames import STAYS, WRITTEN, Data, Found, Rows
from palimpsest.statistics import claims
from palimpsest.statistics.comparisons import (
    equivalence_paired,
    paired_difference,
    two_sample_difference,
)
from palimpsest.statistics.intervals import clustered_mean
from palimpsest.statistics.rows import grouped, row

if TYPE_CHECKING:
    from palimpsest.probes.unlearning.settings import Settings
    from palimpsest.statistics import Estimate

UNIT = "items"
#: Truth in the answer to its question; and in texts, what follows their first half.
RECALL, CHANCE, CONTINUED = "rouge_l", "rouge_l_by_chance", ("verbatim_words", "verbatim")
#: Truth that may be written of what nobody told, or lost of what must stay, and count as nothing.
ALMOST = 0.1


def asked(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Levels of every state and part, and three differences: from facts that nobody was told, from
    other truths, and from the untouched state. Evidence for the claims on what is written."""
    rows: Rows = []
    for place, part in grouped(data.written, ["role", "model", "world", "part"]):
        rows += _levels(part, _where(place) | {"factor": place["part"]})
    for place, part in grouped(data.written, ["role", "model", "world"]):
        rows += _told(part, _where(place))
        rows += _beyond_chance(part, _where(place))
        if place["role"] != settings.untouched:
            rows += _since(part, _of(data, settings.untouched), _where(place))
    return rows, _evidence(data, settings)


def reasons(data: Data, settings: Settings) -> dict[str, str]:
    """Why a claim on what is written cannot be tested: claim -> reason."""
    frame = data.written
    parts = set(frame["part"].unique())
    if settings.untouched not in frame["role"]:
        missing = f"no state is called {settings.untouched} (settings.untouched)"
        return dict.fromkeys(
            ("says_what_it_knows", "untold_stays_untold", "told_from_untold", "forgets_in_words",
             "keeps_in_words"),
            missing,
        )  # fmt: skip
    found = {}
    if "holdout" not in parts:
        missing = "needs facts that nobody was told (settings.own.holdout)"
        found |= dict.fromkeys(("untold_stays_untold", "told_from_untold"), missing)
    if not parts & set(STAYS):
        missing = "needs facts that must stay (settings.own: known, kept, neighbour or retain)"
        found |= dict.fromkeys(("says_what_it_knows", "keeps_in_words"), missing)
    if not _after(data, settings):
        missing = f"needs a second state, beside {settings.untouched}, that was to forget"
        found |= dict.fromkeys(("forgets_in_words", "keeps_in_words"), missing)
    return found


def out_of_reach(data: Data) -> dict[str, str]:
    """Why claims cannot be tested where all models are behind endpoints: claim -> reason."""
    if data.written.is_empty() or not data.values.is_empty():
        return {}
    return claims.out_of_reach(data.written["model"], _NEEDS)


_NEEDS = {
    "taught_is_told": "probabilities of answers",
    "calibrated": "models that were retrained here",
    "nothing_is_nothing": "its weights trained on",
    **dict.fromkeys(
        ("npo_over_ascent", "ssd_competitive", "iau_balance", "guard_hides", "guard_keeps",
         "requests_add_up"),
        "methods of unlearning applied to its weights",
    ),
    "relearning_undoes": "its weights taught again",
    "hidden_not_gone": "its hidden states",
}  # fmt: skip


def _where(place: dict[str, Any]) -> dict[str, Any]:
    return {
        "role": place["role"],
        "arm": place["role"],
        "model": place["model"],
        "series": place["world"],
    }


def _levels(part: pl.DataFrame, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Mean of each measure; where it is 0 or 1 in all items that is a share, with Wilson's
    interval."""
    for metric, values in _by_metric(part):
        estimate = clustered_mean(values["value"].to_numpy(), unit=UNIT).within(0, 1)
        found = row("asked", metric, estimate, **where)
        options = _only(part, "choices")["value"]
        if metric == "chosen_in_words" and len(options):
            found["note"] = f"by chance {float((1 / options).mean()):.2f}"
        yield found


def _by_metric(part: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for metric in WRITTEN:
        values = _only(part, metric)
        if values.height:
            yield metric, values.sort("part", "item")


def _told(part: pl.DataFrame, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, values in _by_metric(part):
        estimate = _apart(values)
        if estimate is not None:
            yield row("asked_apart", metric, estimate, factor="forget - holdout", **where)


def _apart(values: pl.DataFrame) -> Estimate | None:
    """The forget set minus facts that nobody was told: two samples."""
    sides = [
        values.filter(pl.col("part") == part)["value"].to_numpy() for part in ("forget", "holdout")
    ]
    if min(map(len, sides)) < 2:
        return None
    return two_sample_difference(*sides, unit=UNIT).within(-1, 1)


def _beyond_chance(part: pl.DataFrame, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in part["part"].unique(maintain_order=True):
        estimate = _beyond(part, (name,))
        if estimate is not None:
            yield row("asked_beyond_chance", RECALL, estimate, factor=name, **where)


def _beyond(
    frame: pl.DataFrame, parts: tuple[str, ...], margin: float | None = None
) -> Estimate | None:
    """An answer's own truth minus other truths of its part, paired by item."""
    own = frame.filter(pl.col("part").is_in(parts))
    sides = [_only(own, metric) for metric in (RECALL, CHANCE)]
    return _paired(*sides, margin)


def _since(
    part: pl.DataFrame, before: pl.DataFrame, where: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for metric, values in _by_metric(part):
        for name in values["part"].unique(maintain_order=True):
            now = values.filter(pl.col("part") == name)
            estimate = _paired(now, _only(before, metric))
            if estimate is not None:
                yield row("asked_since", metric, estimate, factor=name, **where)


def _paired(one: pl.DataFrame, other: pl.DataFrame, margin: float | None = None) -> Estimate | None:
    """One minus the other, paired by part and item; with a margin the test that they are alike."""
    both = one.join(other, on=["part", "item"], suffix="_other", maintain_order="left")
    if both.height < 2:
        return None
    values, others = both["value"].to_numpy(), both["value_other"].to_numpy()
    if margin is not None:
        return equivalence_paired(values, others, margin, unit=UNIT).within(-1, 1)
    return paired_difference(values, others, unit=UNIT).within(-1, 1)


def _of(data: Data, role: str) -> pl.DataFrame:
    return data.written.filter(pl.col("role") == role)


def _after(data: Data, settings: Settings) -> list[str]:
    """States that were to forget: neither the untouched one nor one that never knew."""
    roles = data.written["role"].unique().sort().to_list()
    return [role for role in roles if role not in (settings.untouched, settings.retrained)]


def _evidence(data: Data, settings: Settings) -> Found:
    before, after = _of(data, settings.untouched), _after(data, settings)
    found: dict[str, Estimate | None] = {
        "says_what_it_knows": _beyond(before, STAYS),
        "untold_stays_untold": _beyond(before, ("holdout",), ALMOST),
        "told_from_untold": _first(_apart(_only(before, each)) for each in (RECALL, *CONTINUED)),
    }
    # One number an item: the mean over the states that were to forget.
    now = data.written.filter(pl.col("role").is_in(after))
    now = now.group_by("part", "item", "metric", maintain_order=True).agg(pl.col("value").mean())
    for claim, parts, margin in (
        ("forgets_in_words", ("forget",), None),
        ("keeps_in_words", STAYS, ALMOST),
    ):
        own = now.filter(pl.col("part").is_in(parts))
        found[claim] = _first(
            _paired(_only(own, each), _only(before, each), margin) for each in (RECALL, *CONTINUED)
        )
    return {claim: estimate for claim, estimate in found.items() if estimate is not None}


def _only(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    return frame.filter(pl.col("metric") == metric)


def _first(estimates: Iterator[Estimate | None]) -> Estimate | None:
    return next((estimate for estimate in estimates if estimate is not None), None)
