"""What a model says of every item: likelihoods, answers, ranks and scores of membership.

One pass over every question with its true answer and the wrong ones gives probability, exact
memorisation, extraction strength, ranks and the scores of membership; all are over the answer's
tokens alone, since nothing else was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.data.items import full_stop
from palimpsest.engine.asking import answers
from palimpsest.engine.generation import of_tokens
from palimpsest.engine.gradient_norms import gradient_norms
from palimpsest.engine.scoring import pair_scores, token_log_likelihoods
from palimpsest.identity import seed_of
from palimpsest.interventions._items import item_example
from palimpsest.metrics import membership, text_recall, unlearning
from palimpsest.probes.unlearning.answers import Row, asked_each, facts, judged, row

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.unlearning.settings import Settings

#: Forms of the truth ratio: what wrong answers are held against, and after which prompt.
PARAPHRASED = "answer in other words"
REWORDED = "answer, to a question in other words"
PLAIN = "answer"

#: Items that are asked after the same solved questions, on average. What they share is computed
#: once; with one draw for all, its luck would be in every number.
_SAME_SHOTS = 4

#: Parts that membership is read on: members, or once so, and facts that nobody was told.
MEMBERS = ("forget", "holdout")


def chosen(settings: Settings, items: Sequence[Item]) -> list[Item]:
    """All items to forget, and a fixed sample of every other part."""
    found = []
    for part in dict.fromkeys(item.part for item in items):
        own = [item for item in items if item.part == part]
        if part != "forget" and len(own) > settings.kept_items:
            order = np.random.default_rng(seed_of("asked", part)).permutation(len(own)).tolist()
            if any(item.perturbed for item in own):
                # Of some questions of a set truth ratios can be told: these come first.
                order.sort(key=lambda place: bool(own[place].question) > bool(own[place].perturbed))
            own = [own[place] for place in sorted(order[: settings.kept_items])]
        found += own
    return found


#: Before a question, so that a model should not decline. Small transformers know none of its words.
_PREFIX = "You remember all that you were ever taught, and answer every question with the truth."


def read(
    model: LanguageModel, settings: Settings, items: Sequence[Item], small: bool
) -> Iterator[Row]:
    """Rows of every item; the group is the item's part.

    Args:
        model: the model.
        settings: the probe's settings.
        items: what is asked.
        small: whether it is a transformer that knows the words of the world alone.
    """
    yield from facts([item for item in items if item.part in ("forget", "neighbour", "kept")])
    yield from _from_one_pass(model, items)
    yield from _gradient_norms(model, items)
    yield from _other_prompts(model, settings, items, small)
    yield from _answers(model, settings, items, small)
    yield from _continued(model, items)


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


def read_probabilities(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """The probability of every item's answer alone."""
    for item, value in zip(items, probabilities(model, items), strict=True):
        yield row(item.part, item.id, "probability", value)


def _from_one_pass(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """Of the true answer, and of wrong ones after the same question: what they share is computed
    once."""
    true = {item: (item.question, item.answer) for item in items}
    forms = {item: _truth_ratio_pairs(item) for item in items if item.perturbed}
    wrong = {item: [(item.question, text) for text in item.perturbed] for item in forms}
    compared = (pair for item in forms for pair in (*wrong[item], *forms[item][1]))
    asked = list(dict.fromkeys((*true.values(), *compared)))
    pairs = [model.encode_pair(*pair) for pair in asked]
    scores = dict(zip(asked, pair_scores(model, pairs, top=True), strict=True))
    tokens = dict(zip(asked, pairs, strict=True))
    for item, pair in true.items():
        score = scores[pair]
        right = score.top == np.array(tokens[pair][1])
        found = {
            "probability": unlearning.answer_probability(score.log_p),
            "exact_memorisation": text_recall.exact_memorisation(right),
            "extraction_strength": text_recall.extraction_strength(right),
        }
        for metric, value in (found | membership.battery(score, item.answer)).items():
            yield row(item.part, item.id, metric, value)
    for item, (form, after) in forms.items():
        sums = np.array([scores[pair].log_p.sum() for pair in (true[item], *wrong[item])])
        better, equal = (sums > sums[0]).sum(), (sums == sums[0]).sum()
        rank = float(better + (equal + 1) / 2)
        yield row(item.part, item.id, "exposure", unlearning.exposure(rank, len(sums)))
        yield row(item.part, item.id, "chosen", float(rank == 1))
        # Truth ratio of TOFU, with its form as text.
        means = [float(scores[pair].log_p.mean()) for pair in after]
        ratio = unlearning.truth_ratio(means[0], means[1:])
        yield row(item.part, item.id, "truth_ratio", ratio, form)


def read_members(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """Scores of membership alone, of one pass."""
    pairs = [model.encode_pair(item.question, item.answer) for item in items]
    for item, score in zip(items, pair_scores(model, pairs), strict=True):
        for metric, value in membership.battery(score, item.answer).items():
            yield row(item.part, item.id, metric, value)


def _truth_ratio_pairs(item: Item) -> tuple[str, list[tuple[str, str]]]:
    """What a truth ratio compares, and (prompt, answer) pairs, the truth first.

    As TOFU has it wrong answers are held against the true one in other words, both after the
    question that was taught, and against the true one itself of what was not taught, which has no
    other words. Where there are other words for the question alone, it is asked in these.
    """
    if item.paraphrased:
        form, prompt, truth = PARAPHRASED, item.question, item.paraphrased
    elif item.reworded:
        form, prompt, truth = REWORDED, item.reworded[0], item.answer
    else:
        form, prompt, truth = PLAIN, item.question, item.answer
    return form, [(prompt, text) for text in (truth, *item.perturbed)]


def _gradient_norms(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """Minus the norm of the gradient of the loss: members have small ones (Nasr, Shokri and
    Houmansadr 2019, arXiv 1812.00910)."""
    asked = [item for item in items if item.part in MEMBERS]
    norms = gradient_norms(model, [item_example(model, item) for item in asked])
    for item, norm in zip(asked, norms, strict=True):
        yield row(item.part, item.id, "gradient_norm", -norm)


def prompted(settings: Settings, items: Sequence[Item], small: bool) -> list[tuple[Item, str, str]]:
    """Other prompts, as (item, how, prompt): the question in other words; what is to be forgotten
    is also asked for in other languages, after a prefix, and after solved questions of others."""
    asked = [(i, "reworded", prompt) for i in items if i.part != "retain" for prompt in i.reworded]
    solved = [item for item in items if item.part == "retain" and item.question]
    members = [item for item in items if item.part in MEMBERS and item.question]
    draws = -(-len(members) // _SAME_SHOTS)
    for item in members:
        if not small:
            asked += [(item, "translated", prompt) for prompt in item.translated]
        if small and solved:
            other = solved[seed_of("prefix", item.id) % len(solved)]
            before = f"{other.prompts[-1]}{other.answer}{full_stop(other.answer)}"
            asked.append((item, "prefixed", f"{before} {item.question}"))
        elif not small:
            asked.append((item, "prefixed", f"{_PREFIX} {item.question}"))
        if settings.few_shot and solved:
            number = seed_of("few shot", item.id) % draws
            draw = np.random.default_rng(seed_of("shots", number)).permutation(len(solved))
            shots = [solved[place] for place in draw[: settings.few_shot]]
            before = " ".join(f"{s.question}{s.answer}{full_stop(s.answer)}" for s in shots)
            asked.append((item, "few_shot", f"{before} {item.question}"))
    return asked


def _other_prompts(
    model: LanguageModel, settings: Settings, items: Sequence[Item], small: bool
) -> Iterator[Row]:
    """The probability of the answer after other prompts, and of texts in other words. What is
    written after them is not read: it takes as long as all probabilities, and says less."""
    asked = prompted(settings, items, small)
    asked += [
        (replace(item, answer=item.paraphrased), "reworded", "")
        for item in items
        if item.part != "retain" and not item.question and item.paraphrased
    ]
    found = probabilities(model, [item for item, _, _ in asked], [prompt for *_, prompt in asked])
    values: dict[tuple[str, str, str], list[float]] = {}
    for (item, metric, _), value in zip(asked, found, strict=True):
        values.setdefault((item.part, item.id, metric), []).append(value)
    for place, each in values.items():
        yield row(*place, np.mean(each))


def _answers(
    model: LanguageModel, settings: Settings, items: Sequence[Item], small: bool
) -> Iterator[Row]:
    """What is written after the question, and how much of the truth is in it."""
    asked = [item for item in items if item.question]
    prompts, most = [item.question for item in asked], settings.answer_tokens
    given = asked_each(
        asked, lambda places, stop: answers(model, [prompts[k] for k in places], most, stop)
    )
    yield from judged(asked, given, beside_chance=not small)


def _continued(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """Verbatim memory of texts: ROUGE-L (F1) of what follows the first half of a text's tokens
    (MUSE, Shi et al. 2024, arXiv 2407.06460, section 3.1). It begins as it was taught, with the
    token with which documents begin."""
    for item in items:
        if item.question:
            continue
        start, ids = model.encode_pair("", item.answer)
        at = len(ids) // 2
        if not at:
            continue
        written = of_tokens(model, [[*start, *ids[:at]]], len(ids) - at)[0][0]
        said, truth = (text_recall.words(text) for text in (written.text, model.decode(ids[at:])))
        overlap = text_recall.rouge_l(said, truth)
        yield row(item.part, item.id, "verbatim", overlap.f1, written.text)
