"""What a model says of every item: likelihoods, answers, ranks and scores of membership.

One pass over every question with its true answer gives probability, exact memorisation, extraction
strength and the scores of membership; all are over the answer's tokens alone, since nothing else
was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.generation import generate
from palimpsest.engine.scoring import sequence_scores, token_log_likelihoods
from palimpsest.identity import seed_of
from palimpsest.metrics import membership, text_recall, unlearning

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.unlearning.settings import Settings

Row = dict[str, Any]


def row(grp: str, item: str, metric: str, value: float, text: str | None = None) -> Row:
    """One observation."""
    return {"grp": grp, "item": item, "metric": metric, "value": float(value), "text": text}


def chosen(settings: Settings, items: Sequence[Item]) -> list[Item]:
    """All items to forget, and a fixed sample of every other part."""
    found = []
    for part in dict.fromkeys(item.part for item in items):
        own = [item for item in items if item.part == part]
        if part != "forget" and len(own) > settings.kept_items:
            order = np.random.default_rng(seed_of("asked", part)).permutation(len(own))
            own = [own[place] for place in sorted(order[: settings.kept_items])]
        found += own
    return found


def read(model: LanguageModel, settings: Settings, items: Sequence[Item]) -> Iterator[Row]:
    """Rows of every item; the group is the item's part."""
    yield from _facts(items)
    yield from _from_one_pass(model, items)
    yield from _candidates(model, items)
    yield from _other_prompts(model, settings, items)
    yield from _answers(model, settings, items)


def _facts(items: Sequence[Item]) -> Iterator[Row]:
    """Question and true answer, for whoever looks at what a model said."""
    for item in items:
        if item.part in ("forget", "neighbour", "kept"):
            yield row("fact", item.id, "question", 1.0, item.question or item.answer)
            yield row("fact", item.id, "truth", 1.0, item.answer)


def probabilities(
    model: LanguageModel, items: Sequence[Item], prompts: Sequence[str] | None = None
) -> np.ndarray:
    """(n,) probability of the true answers, normalised for length, after questions or prompts."""
    prompts = [item.question for item in items] if prompts is None else prompts
    pairs = [
        model.encode_pair(prompt, item.answer) for prompt, item in zip(prompts, items, strict=True)
    ]
    scored = token_log_likelihoods(model, pairs)
    return np.array([unlearning.answer_probability(log_p) for log_p in scored])


def _from_one_pass(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    pairs = [model.encode_pair(item.question, item.answer) for item in items]
    scores = sequence_scores(model, [[*head, *tail] for head, tail in pairs], top=True)
    for item, (head, tail), score in zip(items, pairs, scores, strict=True):
        own = slice(len(head) - 1, None)
        log_p = score.log_p[own]
        right = score.top[own] == np.array(tail)
        found = {
            "probability": unlearning.answer_probability(log_p),
            "exact_memorisation": text_recall.exact_memorisation(right),
            "extraction_strength": text_recall.extraction_strength(right),
            "loss": membership.loss(log_p),
            "zlib": membership.zlib(log_p, item.question + item.answer),
            "min_k": membership.min_k(log_p),
            "min_k_plus_plus": membership.min_k_plus_plus(
                log_p, score.mean[own], score.deviation[own]
            ),
        }
        for metric, value in found.items():
            yield row(item.part, item.id, metric, value)


def _candidates(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """Rank of the truth among wrong answers after the question, and the truth ratio elsewhere."""
    asked = [item for item in items if item.perturbed]
    pairs, owners = [], []
    for item in asked:
        for prompt in (item.question, *item.reworded[:1]):
            for answer in (item.answer, *item.perturbed):
                pairs.append(model.encode_pair(prompt, answer))
        owners.append(len(pairs))
    scored = token_log_likelihoods(model, pairs)
    start = 0
    for item, end in zip(asked, owners, strict=True):
        own, start = scored[start:end], end
        n = 1 + len(item.perturbed)
        sums = np.array([log_p.sum() for log_p in own[:n]])
        better, equal = (sums > sums[0]).sum(), (sums == sums[0]).sum()
        rank = float(better + (equal + 1) / 2)
        yield row(item.part, item.id, "exposure", unlearning.exposure(rank, n))
        yield row(item.part, item.id, "chosen", float(rank == 1))
        if len(own) > n:
            means = [float(log_p.mean()) for log_p in own[n:]]
            ratio = unlearning.truth_ratio(means[0], means[1:])
            yield row(item.part, item.id, "truth_ratio", ratio)


def _other_prompts(
    model: LanguageModel, settings: Settings, items: Sequence[Item]
) -> Iterator[Row]:
    """The question in other words, and after solved questions of others."""
    worded = [(item, prompt) for item in items for prompt in item.reworded]
    found = probabilities(model, [i for i, _ in worded], [p for _, p in worded])
    by_item: dict[str, list[float]] = {}
    for (item, _), value in zip(worded, found, strict=True):
        by_item.setdefault(f"{item.part}\n{item.id}", []).append(value)
    for key, values in by_item.items():
        yield row(*key.split("\n"), "reworded", np.mean(values))
    solved = [item for item in items if item.part == "retain" and item.question]
    if not settings.few_shot or not solved:
        return
    asked = [item for item in items if item.question and item.part != "retain"]
    prompts = []
    for item in asked:
        draw = np.random.default_rng(seed_of("few shot", item.id))
        shots = [solved[place] for place in draw.permutation(len(solved))[: settings.few_shot]]
        prompts.append(" ".join([*(f"{s.question}{s.answer}." for s in shots), item.question]))
    for item, value in zip(asked, probabilities(model, asked, prompts), strict=True):
        yield row(item.part, item.id, "few_shot", value)


def _answers(model: LanguageModel, settings: Settings, items: Sequence[Item]) -> Iterator[Row]:
    """What is written after the question, and how much of the truth is in it."""
    asked = [item for item in items if item.question]
    prompts = [item.question for item in asked]
    texts = generate(model, prompts, settings.answer_tokens, stop=("\n", "."))
    for item, text, refusal in zip(asked, texts, unlearning.refusals(texts), strict=True):
        said, truth = text_recall.words(text), text_recall.words(item.answer)
        yield row(item.part, item.id, "rouge_l", text_recall.rouge_l(said, truth).recall, text)
        yield row(item.part, item.id, "refusal", float(refusal))
