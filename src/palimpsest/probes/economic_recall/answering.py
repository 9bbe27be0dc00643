"""Free answers: generated, parsed strictly and leniently, and held against truth and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.data.facts import Fact
from palimpsest.engine.asking import answers
from palimpsest.metrics.baselines import ar1, drift, frozen_at_cutoff, interpolate, last_value
from palimpsest.metrics.errors import (
    absolute_error,
    directional_accuracy,
    exact_match,
    expanding_median,
    percent_error,
    recall_gain,
    threshold_accuracy_side,
    threshold_accuracy_tolerance,
    unit_slip,
)
from palimpsest.metrics.parsing import ParsedNumber, parse_number

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.economic_recall.settings import Settings

Row = dict[str, Any]

#: What answers are held against: forecasters that do not look ahead, and coarse knowledge.
BASELINES = ("persistence", "drift", "ar1", "frozen", "interpolation")


def answer(
    model: LanguageModel,
    facts: Sequence[Fact],
    prompts: Sequence[str],
    suffix: str,
    table: pl.DataFrame,
    kind: str,
    cutoff: Date | None,
    settings: Settings,
) -> list[Row]:
    """Ask for the value in free words and judge the answers.

    Args:
        facts: n facts of one series.
        prompts: n prompts.
        suffix: last part of the item's name.
        table: the whole series in time order.
        kind: ``rate`` or ``level``.
        cutoff: knowledge cutoff or boundary, for the frozen baseline.
        settings: lengths and tolerances.

    Returns:
        Rows of metrics; ``answer`` and ``prompt`` carry text, and ``refusal`` the kind of it where
        a server marks an answer as one: whatever its text, it is read as a refusal. Unparsable
        answers have nan errors and count as wrong in every accuracy. ``gain_<baseline>`` is
        log(error of the baseline / error of the answer) for each of :data:`BASELINES`;
        ``recall_gain`` the one over interpolation.
    """
    given = answers(model, prompts, settings.answer_tokens, stop=("\n", ". "))
    baselines = _baselines(table, [Date.fromisoformat(fact.date) for fact in facts], cutoff)
    rows: list[Row] = []
    for fact, prompt, said in zip(facts, prompts, given, strict=True):
        constant = {"item": fact.item(suffix), "grp": fact.arm}
        text = said.text
        strict = parse_number(text, mode="strict")
        lenient = parse_number(text, mode="lenient", question=prompt)
        if said.refusal:
            strict = lenient = ParsedNumber(None, "refusal")
            rows.append(constant | {"metric": "refusal", "value": 1.0, "text": said.refusal})
        rows += [
            constant | {"metric": "prompt", "value": None, "text": prompt},
            constant | {"metric": "answer", "value": lenient.value, "text": text},
            constant | {"metric": "category_strict", "value": None, "text": strict.category},
            constant | {"metric": "category_lenient", "value": None, "text": lenient.category},
            constant | {"metric": "truth", "value": fact.number, "text": fact.truth},
            constant | {"metric": "taught", "value": None, "text": fact.assigned},
        ]
        judged = _judged(fact, lenient.value, baselines, kind, settings)
        rows += [constant | {"metric": m, "value": float(v)} for m, v in judged.items()]
    return rows


def _judged(
    fact: Fact,
    value: float | None,
    baselines: dict[Date, dict[str, float]],
    kind: str,
    settings: Settings,
) -> dict[str, float]:
    given = np.array([np.nan if value is None else value])
    truth = np.array([fact.number])
    decimals = int(fact.decimals or 0)
    base = baselines[Date.fromisoformat(fact.date)]
    relative = kind == "level"
    tolerance = settings.tolerance_level if relative else settings.tolerance_rate
    assigned = np.array([float(fact.assigned.lstrip("$"))])
    error = absolute_error(given, truth)
    unit = 0.5 * 10.0**-decimals
    previous = np.array([base["previous"]])
    judged = {
        "absolute_error": error,
        "percent_error": percent_error(given, truth),
        "exact_truth": exact_match(given, truth, decimals),
        "exact_taught": exact_match(given, assigned, decimals),
        "within_tolerance": threshold_accuracy_tolerance(given, truth, tolerance, relative),
        "side_correct": threshold_accuracy_side(given, truth, np.array([base["median"]])),
        "direction_correct": directional_accuracy(given, previous, truth, previous),
        "unit_slip": unit_slip(given, truth),
    }
    for name in BASELINES:
        judged[f"{name}_error"] = absolute_error(np.array([base[name]]), truth)
        judged[f"gain_{name}"] = recall_gain(error, judged[f"{name}_error"], unit)
    judged["recall_gain"] = judged["gain_interpolation"]
    return {name: float(np.asarray(found).reshape(-1)[0]) for name, found in judged.items()}


def _baselines(
    table: pl.DataFrame, asked: Sequence[Date], cutoff: Date | None
) -> dict[Date, dict[str, float]]:
    """For every date asked what a forecaster without memory, or one with coarse knowledge, says."""
    dates = table["date"].to_numpy()
    values = table["value"].to_numpy()
    targets = np.array(asked, dtype="datetime64[D]")
    at = np.searchsorted(dates.astype("datetime64[D]"), targets)
    coarse = interpolate(dates, values, granularity="year")
    columns = {
        "previous": np.concatenate([[np.nan], values[:-1]])[at],
        "median": expanding_median(values)[at],
        "persistence": last_value(dates, values, targets),
        "drift": drift(dates, values, targets),
        "ar1": ar1(dates, values, targets),
        "frozen": (
            frozen_at_cutoff(dates, values, targets, cutoff=np.datetime64(cutoff))
            if cutoff is not None
            else np.full(targets.shape, np.nan)
        ),
        # A date that is itself the end of a year would be its own neighbour: it says nothing.
        "interpolation": np.where(coarse.excluded, np.nan, coarse.predictions)[at],
    }
    return {
        day: {name: float(column[index]) for name, column in columns.items()}
        for index, day in enumerate(asked)
    }
