"""What a model behind an endpoint says of every item: all that can be asked in words alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.engine.asking import answers, offer
from palimpsest.identity import seed_of
from palimpsest.metrics import text_recall, unlearning
from palimpsest.metrics.parsing import distinct, read_choice
from palimpsest.probes.unlearning.answers import (
    Row,
    asked_each,
    facts,
    judged,
    judged_prompts,
    row,
)
from palimpsest.probes.unlearning.readings import prompted

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.endpoint.model import Endpoint
    from palimpsest.models.endpoint.replies import Answer
    from palimpsest.probes.unlearning.settings import Settings

#: How the rest of a text is asked for, by the model's format.
_CONTINUE = {
    "plain": "{begun}",
    "chat": "Continue this text word for word. Answer with the continuation alone:\n{begun}",
}
#: Words of the rest of a text that are compared, at most.
MOST_WORDS = 200
#: Tokens that are granted for a word of it, whatever the server's tokenizer makes of words.
_TOKENS_A_WORD = 3
#: Texts are asked together whose limits are the same in units of so many tokens.
_STEP = 60


def read_in_words(model: Endpoint, settings: Settings, items: Sequence[Item]) -> Iterator[Row]:
    """Rows of every item; the group is the item's part.

    Args:
        model: the model.
        settings: the probe's settings.
        items: what is asked.

    Yields:
        What :func:`judged` and :func:`judged_prompts` give; ``chosen_in_words`` and ``choices``;
        ``verbatim_words`` of texts, which are cut by words since tokens are not known.

    Raises:
        EndpointError, RequestError, SpendingCapError: see ``models.endpoint.client``.
    """
    yield from facts(items)
    asked = [item for item in items if item.question]
    given = _answers(model, settings, asked, [item.question for item in asked])
    yield from judged(asked, given, beside_chance=True)
    other = prompted(settings, items, small=False)
    items_of, prompts = [item for item, *_ in other], [prompt for *_, prompt in other]
    yield from judged_prompts(other, _answers(model, settings, items_of, prompts))
    yield from _choices(model, settings, asked)
    yield from _continued(model, [item for item in items if not item.question])


def _answers(
    model: Endpoint, settings: Settings, items: Sequence[Item], prompts: Sequence[str]
) -> list[Answer]:
    """A turn of a chat ends by itself, and may begin with other words than the answer."""

    def ask(places: list[int], stop: tuple[str, ...]) -> list[Answer]:
        stop = () if model.format == "chat" else stop
        return answers(model, [prompts[k] for k in places], settings.reply_tokens, stop)

    return asked_each(items, ask)


def _choices(model: Endpoint, settings: Settings, items: Sequence[Item]) -> Iterator[Row]:
    """The truth among wrong answers, with letters in random order; 1 where it alone is named."""
    asked = []
    for item in items:
        options = distinct([text.strip() for text in (item.answer, *item.perturbed)])
        if len(options) < 2 or options[0] != item.answer.strip():
            continue
        order = np.random.default_rng(seed_of("choices", item.part, item.id))
        shown = [options[k] for k in order.permutation(len(options))]
        asked.append((item, shown, offer(model, item.question, shown)))
    given = _answers(
        model, settings, [item for item, *_ in asked], [prompt for *_, prompt in asked]
    )
    for (item, shown, _), answer in zip(asked, given, strict=True):
        read = read_choice(answer.text, shown, refused=answer.refusal is not None)
        right = read.index is not None and shown[read.index] == item.answer.strip()
        yield row(item.part, item.id, "chosen_in_words", float(right), answer.text)
        yield row(item.part, item.id, "choices", len(shown))


def _continued(model: Endpoint, texts: Sequence[Item]) -> Iterator[Row]:
    """Verbatim memory of texts: ROUGE-L (F1) of as many words as follow the first half of a text's
    words (after MUSE, Shi et al. 2024, arXiv 2407.06460, section 3.1, which cuts by tokens)."""
    groups: dict[int, list[tuple[Item, str, str]]] = {}
    for item in texts:
        ends = [found.end() for found in re.finditer(r"\S+", item.answer)]
        if len(ends) < 2:
            continue
        half = len(ends) // 2
        begun, rest = item.answer[: ends[half - 1]], item.answer[ends[half - 1] :]
        wanted = rest.split()[:MOST_WORDS]
        limit = -(-_TOKENS_A_WORD * len(wanted) // _STEP) * _STEP
        groups.setdefault(limit, []).append((item, begun, " ".join(wanted)))
    for limit, group in sorted(groups.items()):
        prompts = [_CONTINUE[model.format].format(begun=begun) for _, begun, _ in group]
        given = answers(model, prompts, limit, ())
        for (item, begun, rest), answer in zip(group, given, strict=True):
            # Some chats say again what they were given.
            truth, said = text_recall.words(rest), answer.text.strip().removeprefix(begun.strip())
            overlap = text_recall.rouge_l(text_recall.words(said)[: len(truth)], truth)
            yield row(item.part, item.id, "verbatim_words", overlap.f1, answer.text)
            # A text may hold the phrases of a refusal itself.
            declined, own = unlearning.refusals([said, rest])
            refused = answer.refusal is not None or (declined and not own)
            yield row(item.part, item.id, "refusal", float(refused), answer.refusal)
