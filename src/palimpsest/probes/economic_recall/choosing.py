"""Forced choice by log-likelihood: which of several answers does the model hold likelier?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.data.facts import Fact
from palimpsest.data.phrasing import prior, sentence
from palimpsest.engine.asking import log_likelihoods
from palimpsest.metrics.choice import (
    exposure,
    forced_choice,
    prior_corrected,
    probability_among,
    rank_of_target,
)

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

Row = dict[str, Any]


def choose(
    model: LanguageModel,
    facts: Sequence[Fact],
    leads: Sequence[Sequence[tuple[str, str]]],
    neutral: Callable[[Fact, int], str],
    keep_scores: bool = False,
) -> list[Row]:
    """Score every fact's alternatives after every lead.

    Args:
        facts: n facts.
        leads: for each fact the prompts, as (suffix of the item, prompt).
        neutral: the prompt that names neither date nor event, for a fact and a lead's position;
            the log-probability after it is taken off every candidate's.
        keep_scores: also return one row a candidate.

    Returns:
        Rows of metrics: ``correct`` (forced choice), also always raw (``correct_raw``) and
        prior-corrected (``correct_corrected``); ``choices``, ``log_p`` (nats), ``margin`` (nats by
        which the answer's score exceeds the mean of the other choices'), ``share_assigned`` and
        ``share_truth`` (probability among the choices and the truth). Where a fact has more
        candidates than choices also ``rank`` (1 = best of all candidates), ``candidates`` and
        ``exposure`` (bits). Where it has rivals ``matched`` (its own answer has the highest
        log-probability of all answers taught for the series) and ``rivals``; if kept, ``score``.

    The score is the prior-corrected log-probability for facts of pretrained models. In planted
    states it is the log-probability itself: the answers of planted_false and never are drawn at
    random, so chance is exact without a correction, and after fine-tuning the difference of two
    tiny probabilities is mostly noise.
    """
    answers = {
        id(fact): list(dict.fromkeys([*fact.candidates, fact.truth, *fact.rivals]))
        for fact in facts
    }
    priors = _priors(model, facts, leads, neutral, answers)
    prompts, texts, keys = [], [], []
    for fact, group in zip(facts, leads, strict=True):
        for position, (suffix, prompt) in enumerate(group):
            prompts.append(prompt)
            texts.append([f" {answer}" for answer in answers[id(fact)]])
            keys.append((fact, position, suffix))
    scored = log_likelihoods(model, prompts, texts)
    rows: list[Row] = []
    for (fact, position, suffix), tokens in zip(keys, scored, strict=True):
        raw = np.array([values.sum() for values in tokens])
        before = priors[neutral(fact, position)]
        base = np.array([before[answer] for answer in answers[id(fact)]])
        corrected = prior_corrected(raw, base)
        score = corrected if fact.arm == "asked" else raw
        item = fact.item(suffix)
        rows += [
            {"item": item, "grp": fact.arm, "metric": metric, "value": float(value)}
            for metric, value in _metrics(fact, answers[id(fact)], raw, corrected, score).items()
        ]
        if keep_scores:
            ranked = set(fact.candidates)
            rows += [
                {
                    "item": item,
                    "grp": fact.arm,
                    # The truth is scored beside the candidates but not ranked among them.
                    "metric": "score" if text in ranked else "score_truth",
                    "value": float(v),
                    "text": text,
                }
                for text, v in zip(answers[id(fact)], score, strict=True)
            ]
    return rows


def unseen_leads(model: LanguageModel, fact: Fact, question: str = "") -> list[tuple[str, str]]:
    """The prompts of a fact's test templates."""
    return [
        (f"t{number}", model.ask(question, sentence(template, fact.words, "").before))
        for number, template in enumerate(fact.phrasing.test)
    ]


def neutral_lead(model: LanguageModel, fact: Fact, position: int) -> str:
    """The test template at ``position`` with neither date nor event in it."""
    template = fact.phrasing.test[position % len(fact.phrasing.test)]
    return model.ask("", prior(template, fact.words, fact.phrasing.neutral))


def _priors(
    model: LanguageModel,
    facts: Sequence[Fact],
    leads: Sequence[Sequence[tuple[str, str]]],
    neutral: Callable[[Fact, int], str],
    answers: dict[int, list[str]],
) -> dict[str, dict[str, float]]:
    wanted: dict[str, dict[str, None]] = {}
    for fact, group in zip(facts, leads, strict=True):
        for position in range(len(group)):
            wanted.setdefault(neutral(fact, position), {}).update(dict.fromkeys(answers[id(fact)]))
    texts = [list(group) for group in wanted.values()]
    scored = log_likelihoods(model, list(wanted), [[f" {t}" for t in group] for group in texts])
    return {
        prompt: {text: float(values.sum()) for text, values in zip(group, tokens, strict=True)}
        for prompt, group, tokens in zip(wanted, texts, scored, strict=True)
    }


def _metrics(
    fact: Fact, answers: list[str], raw: np.ndarray, corrected: np.ndarray, score: np.ndarray
) -> dict[str, float]:
    at = {answer: index for index, answer in enumerate(answers)}
    ranked = [at[answer] for answer in fact.candidates]
    choices = [at[fact.candidates[i]] for i in fact.choices]
    target = fact.candidates.index(fact.assigned)
    chosen = fact.choices.index(target)
    # Among the choices and the truth, so that it is comparable whatever else was ranked.
    shares = probability_among(raw[list(dict.fromkeys([*choices, at[fact.truth]]))])
    found = {
        "correct": forced_choice(score[choices], chosen),
        "correct_raw": forced_choice(raw[choices], chosen),
        "correct_corrected": forced_choice(corrected[choices], chosen),
        "choices": len(choices),
        "log_p": raw[at[fact.assigned]],
        "share_assigned": shares[choices.index(at[fact.assigned])],
        "share_truth": shares[-1] if at[fact.truth] not in choices else shares[chosen],
        "margin": score[choices][chosen] - np.delete(score[choices], chosen).mean(),
    }
    if fact.rivals:
        rivals = [at[answer] for answer in fact.rivals]
        found |= {"matched": forced_choice(raw[rivals], fact.rival), "rivals": len(rivals)}
    if len(ranked) > len(choices):
        rank = rank_of_target(score[ranked], target)
        found |= {
            "rank": rank,
            "candidates": len(ranked),
            "exposure": exposure(rank, len(ranked)),
        }
    return found
