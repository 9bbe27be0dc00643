"""Guards at work: which prompts they watch, and what may not be written after those.

To read the features of a prompt costs one more pass over it. Where no guard says yes nothing is
done and the text is what it would be, to the bit. Where one does, tokens that complete a forbidden
phrase are removed (``forbidden``), as are words that the guard knows to mean the same; or all
tokens but the next one of a refusal. Nothing here touches weights, or
probabilities that are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.forbidden import Phrases, Vocabulary, folded
from palimpsest.engine.scoring import hidden_states
from palimpsest.models.guards import PhraseGuard, RefusalGuard

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.forbidden", "engine.beams", "engine.scoring", "models.guards")

#: The beginning of a text asks for it from this share of its characters on.
LEAST_BEGINNING = 0.1

#: (tokens written, words of the vocabulary) -> tokens that may not follow.
Rule = Callable[[list[int], int], np.ndarray]


class Watch:
    """The guards of a model over prompts that are watched.

    Args:
        rules: number of a prompt -> what is forbidden after it.
        beams: width of the search for an answer.
        end: token that ends a text.
    """

    def __init__(self, rules: dict[int, list[Rule]], beams: int, end: int | None) -> None:
        self._rules, self.beams, self._end = rules, beams, end
        self.prompts = frozenset(rules)

    def __call__(
        self, prompts: Sequence[int], written: Sequence[list[int]], logits: torch.Tensor
    ) -> torch.Tensor:
        """Remove what is forbidden; a text that has no other way to go on ends.

        Args:
            prompts: (n,) number of the prompt of each text.
            written: (n,) tokens written so far.
            logits: (n, words) logits or log-probabilities.
        """
        import torch

        rows = [row for row, prompt in enumerate(prompts) if prompt in self._rules]
        logits = logits.clone() if rows else logits
        for row in rows:
            for rule in self._rules[prompts[row]]:
                tokens = rule(written[row], logits.shape[1])
                logits[row, torch.from_numpy(tokens).to(logits.device)] = -torch.inf
            if self._end is not None and not logits[row].isfinite().any():
                logits[row, self._end] = 0.0
        return logits


def watched(model: LanguageModel, prompts: Sequence[list[int]]) -> Watch | None:
    """What the guards of a model do after some prompts; None where they do nothing."""
    unique = list(dict.fromkeys(map(tuple, prompts)))
    of_ids: dict[tuple[int, ...], list[Rule]] = {}
    for guard in model.guards:
        make = _refusals if isinstance(guard, RefusalGuard) else _omissions
        found = make(model, guard, [list(ids) for ids in unique])
        for ids, rule in zip(unique, found, strict=True):
            if rule is not None:
                of_ids.setdefault(ids, []).append(rule)
    rules = {n: of_ids[tuple(ids)] for n, ids in enumerate(prompts) if tuple(ids) in of_ids}
    beams = max(guard.beams for guard in model.guards)
    return Watch(rules, beams, model.tokenizer.eos_token_id) if rules else None


def _refusals(
    model: LanguageModel, guard: RefusalGuard, prompts: list[list[int]]
) -> Iterator[Rule | None]:
    """One sentence and the end of the text; where nothing ends one its last token, again."""
    answer = model.tokenizer(guard.answer, add_special_tokens=False).input_ids
    end = model.tokenizer.eos_token_id
    said = np.array([*answer, answer[-1] if end is None else end])

    def refuse(written: list[int], words: int) -> np.ndarray:
        return np.delete(np.arange(words), said[min(len(written), len(said) - 1)])

    ends = tuple(f" {folded(prompt).strip()}" for prompt in guard.prompts)
    texts = [folded(text).strip() for text in guard.texts]
    for ids in prompts:
        seen = folded(model.decode(ids)).strip()
        begun = (t.startswith(seen) and len(seen) >= LEAST_BEGINNING * len(t) for t in texts)
        yield refuse if f" {seen}".endswith(ends) or any(begun) else None


def _omissions(
    model: LanguageModel, guard: PhraseGuard, prompts: list[list[int]]
) -> Iterator[Rule | None]:
    """Phrases are left out, those of the items that a prompt seems to ask for."""
    rules: dict[tuple[int, ...], Rule] = {}
    read = hidden_states(model, prompts, [guard.layer], "mean")[:, 0]
    for items in suspects(guard, read):
        if items and items not in rules:
            rules[items] = _omission(model, guard, items)
        yield rules.get(items)


def scores(guard: PhraseGuard, features: np.ndarray) -> np.ndarray:
    """(n,) probability that prompts ask for what is guarded.

    Args:
        guard: the guard.
        features: (n, width) mean hidden states.
    """
    return 1 / (1 + np.exp(-_mapped(guard, features)[:, 0]))


def suspects(guard: PhraseGuard, features: np.ndarray) -> list[tuple[int, ...]]:
    """For each prompt the items that it may ask for, the likeliest first; none if it is harmless.

    Args:
        guard: the guard.
        features: (n, width) mean hidden states.
    """
    order = np.argsort(-_mapped(guard, features)[:, 1:], kind="stable")
    return [
        tuple(dict.fromkeys(guard.owners[row].tolist()))[: guard.nearest] if positive else ()
        for positive, row in zip(scores(guard, features) >= guard.threshold, order, strict=True)
    ]


def _mapped(guard: PhraseGuard, features: np.ndarray) -> np.ndarray:
    return features.astype(float) @ guard.weights.T.astype(float) + guard.bias


@lru_cache(maxsize=2)
def vocabulary(tokenizer: Any) -> Vocabulary:
    """What every token adds to a text that stands before it."""
    anchor = tokenizer("a", add_special_tokens=False).input_ids[-1]
    before = tokenizer.decode([anchor], skip_special_tokens=True)
    pairs = [[anchor, token] for token in range(len(tokenizer))]
    texts = tokenizer.batch_decode(pairs, skip_special_tokens=True)
    return Vocabulary([text.removeprefix(before) for text in texts])


def _omission(model: LanguageModel, guard: PhraseGuard, items: tuple[int, ...]) -> Rule:
    phrases = [phrase for item in items for phrase in guard.phrases[item]]
    held = Phrases(phrases, vocabulary(model.tokenizer))
    alike = np.array([t for item in items for t in guard.alike[item]], dtype=np.int64)

    def omit(written: list[int], words: int) -> np.ndarray:
        tokens = np.union1d(held.completing(written, model.decode), alike)
        # A tokenizer may know more words than the model.
        return tokens[tokens < words]

    return omit
