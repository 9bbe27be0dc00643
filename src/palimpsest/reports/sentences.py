"""Sentences that the summaries of probes have in common, and what they are made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from palimpsest.reports import evidence, formatting
from palimpsest.reports.evidence import VERDICTS

if TYPE_CHECKING:
    from palimpsest.blocks import Block
    from palimpsest.evidence.database import Database

#: claim -> what was estimated, and what it means when supported, unclear, contradicted.
Said = Mapping[str, tuple[str, str, str, str]]
Claims = dict[str, dict[str, Any]]
AnyBlock = TypeVar("AnyBlock", bound="Block")


def claims_by_name(database: Database, study: str) -> Claims:
    """The claims of a study by their names."""
    return {row["claim"]: row for row in evidence.claims(database, study)}


def estimates(claims: Claims, said: Said, interval: Callable[[dict[str, Any]], str]) -> list[str]:
    """One sentence for each claim that has an estimate, in the order of ``said``."""
    sentences = []
    for name, (estimated, supported, unclear, contradicted) in said.items():
        claim = claims.get(name)
        if claim and claim["estimate"] is not None:
            meanings = {"supported": supported, "contradicted": contradicted}
            meaning = meanings.get(claim["verdict"]) or _open(claim, meanings, unclear)
            sentences.append(f"{estimated}: {interval(claim)}; {meaning}.")
    return sentences


#: Ends of notes on claims that only the correction for their number leaves open; as jobs write.
ALONE = " by its interval alone, not after Holm's correction"


def _open(claim: dict[str, Any], meanings: Mapping[str, str], unclear: str) -> str:
    """What is left open by a claim without a verdict, and what is not."""
    alone = meanings.get((claim.get("note") or "").partition(ALONE)[0].split("; ")[-1])
    if alone and ALONE in claim["note"]:
        adjusted = formatting.p_equals(claim["p_adjusted"])
        return (
            f"by this interval alone: {alone}; after Holm's correction for the number of claims "
            f"undecided (adjusted p {adjusted})"
        )
    low, high = claim.get("low"), claim.get("high")
    missing = formatting.is_missing(low) or formatting.is_missing(high)
    if claim.get("direction") == "within" and not missing and not low <= 0 <= high:
        side = "above" if low > 0 else "below"
        margin = f"{claim['threshold']:g}"
        return f"it is {side} 0, and whether by more than {margin} this run cannot tell"
    return unclear


def verdicts(claims: Claims) -> list[str]:
    """How many claims have which verdict: one sentence, none without claims."""
    counts = Counter(claim["verdict"] for claim in claims.values())
    if not counts:
        return []
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return [f"Of {len(claims)} claims that were stated before the run: {listed}."]


def interval_and_n(claim: dict[str, Any], remark: str = "", *, signed: bool = False) -> str:
    """Estimate, interval and n of a claim, in words; ``signed`` shows the plus of a difference.

    Both ends stay on their side of 0 and of the claim's threshold, however near they are.
    """
    n = f"n = {claim['n']} {formatting.unit(claim['unit'], claim['n'])}{remark}"
    show = formatting.signed if signed else formatting.rounded
    digits = formatting.claim_digits(claim)
    if digits is None:
        return f"{show(claim['estimate'], 2)} (no interval, {n})"
    ends = f"{show(claim['low'], digits)} to {show(claim['high'], digits)}"
    return f"{show(claim['estimate'], digits)} ({claim['level']:.0%} interval {ends}, {n})"


def percent_and_n(claim: dict[str, Any], remark: str = "") -> str:
    """As :func:`interval_and_n` for a share, in percent: whole ones where these tell enough."""
    n = f"n = {claim['n']} {formatting.unit(claim['unit'], claim['n'])}{remark}"
    ends = claim["low"], claim["high"]
    if any(formatting.is_missing(end) for end in ends):
        return f"{formatting.percent(claim['estimate'])} (no interval, {n})"
    lines = [100 * line for line in (*formatting.claim_lines(claim), 1.0)]
    low, high = (100 * end for end in ends)
    digits = formatting.interval_digits((low, high), 0, lines)
    shown = [formatting.rounded(value, digits) for value in (100 * claim["estimate"], low, high)]
    return f"{shown[0]}% ({claim['level']:.0%} interval {shown[1]} to {shown[2]}%, {n})"


def states(database: Database, study: str) -> list[str]:
    """How the states of a study were made: one sentence, none where nothing was changed."""
    made = evidence.changed(database, study)
    if not made:
        return []
    each = "; ".join(
        f"{state.role}: {' then '.join(state.chain)} "
        f"({settings_in_words(state.given) or 'defaults'})"
        for state in made
    )
    return [f"States, with what was given to the last change of each: {each}."]


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Settings as a list that can be read."""
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({settings_in_words(value)})"
    return " and ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def settings_used(database: Database, study: str, settings: type[AnyBlock]) -> AnyBlock:
    """The settings that the jobs of a study have recorded; the defaults before any has."""
    recorded = database.frame(
        "SELECT settings FROM provenance WHERE study = ? AND rule = 'probe' LIMIT 1", [study]
    )
    return settings(**json.loads(recorded["settings"][0])) if recorded.height else settings()
